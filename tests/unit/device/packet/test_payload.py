# SPDX-License-Identifier: Apache-2.0
"""Payloads: there and back on random changes, hand-worked bytes, malformed ones refused."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.packet import PayloadError, WireExemplar, decode_payload, encode_payload, state_digest
from device.packet.payload import HEAD
from device.twin.exemplars import pack_x0
from device.twin.model import IntModel
from device.twin.state import LearnerState, export_state, initial_state
from tests.parity.models import SPECS, make_model

MODELS = {spec.name: make_model(spec) for spec in SPECS if spec.name in ("plain", "odd", "off")}


def export(model: IntModel, state: LearnerState) -> bytes:
    """Committed state bytes."""
    return export_state(model, model.model_id, state, False)


def changed(model: IntModel, share: float, size: int, seed: int) -> LearnerState:
    """A state near the initial one: a share of the masters and biases moved by up to `size`."""
    rng = np.random.default_rng(seed)
    state = initial_state(model)
    top = model.arithmetic.master_max
    for weights in state.weights:
        pick = rng.random(weights.master.shape) < share
        moves = rng.integers(-size, size + 1, weights.master.shape)
        weights.master = np.clip(weights.master + pick * moves, -top, top)
        weights.bias = weights.bias + (rng.random(weights.bias.shape) < share) * size
    prototypes = state.prototypes
    if model.keep_prototypes:
        prototypes.count[:] = rng.integers(0, 256, prototypes.count.shape)
        limit = 15 * prototypes.count[:, None]
        prototypes.total[:] = rng.integers(-limit, limit + 1, prototypes.total.shape)
    state.step += int(rng.integers(1, 1000))
    return state


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    share=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    size=st.sampled_from([1, 9, 300, 70000]),
    seed=st.integers(0, 2**32 - 1),
    more_classes=st.booleans(),
)
def test_payload_there_and_back_gives_the_result(
    name: str, share: float, size: int, seed: int, more_classes: bool
) -> None:
    model = MODELS[name]
    state = changed(model, share, size, seed)
    state.n_classes += int(more_classes)
    base, result = export(model, initial_state(model)), export(model, state)
    exemplars = [WireExemplar(1, 7, bytes((model.x0_size + 1) // 2)), drawn(model, share, seed)]
    payload = encode_payload(model, base, result, exemplars)
    assert decode_payload(model, base, payload) == (result, exemplars)
    assert payload == encode_payload(model, base, result, exemplars)


def drawn(model: IntModel, share: float, seed: int) -> WireExemplar:
    """Values of which a share are not 0: so every coding is chosen at times."""
    rng = np.random.default_rng(seed)
    low, top = (-7, 8) if model.x0_signed else (0, 16)
    values = rng.integers(low, top, model.x0_size) * (rng.random(model.x0_size) < share)
    return WireExemplar(0, 3, pack_x0(values.astype(np.int8)))


def test_payload_of_no_change_is_one_bit_a_field() -> None:
    model = MODELS["plain"]
    base = export(model, initial_state(model))
    # 2 layers: 4 fields, tracked, prototypes: 6 zero bits.
    expected = bytes([2, 0, 3, 0]) + bytes(8) + b"\0"
    assert encode_payload(model, base, base) == expected


# Row 0, value 2 of layer 0 goes up by 3: z = 6. The field has changed (1); a mode, low bit first.
# Dense (20 values): k = 0 takes 19 + 7 bits, with mode and k less than sparse, which takes 26 + 7.
DENSE_ROW = "1" + "10" + "00000" + "00" + "1111110" + "0" * 17
# Sparse (45 values): gap 2 takes 3 bits at kg 0 and at kg 1, so kg = 0: 1 1 0. z - 1 = 5 takes 6
# bits at k 0, 4 at k 1 (1 1 0, then 1) and 4 at k 2, so k = 1. One change, in 16 bits.
SPARSE_ROW = "1" + "01" + "00000" + "10000" + "1" + "0" * 15 + "110" + "1101"


@pytest.mark.parametrize(
    ("name", "row", "rows"), [("plain", DENSE_ROW, 12), ("odd", SPARSE_ROW, 13)]
)
def test_payload_of_one_changed_master_by_hand(name: str, row: str, rows: int) -> None:
    model = MODELS[name]
    state = initial_state(model)
    state.weights[0].master[0, 2] = 0
    base = export(model, state)
    state.weights[0].master[0, 2] = 3
    bits = row + "00" * (rows - 1) + "0" * 5  # other rows and five other fields are unchanged
    bits += "0" * (-len(bits) % 8)
    stream = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    head = bytes([2, 0, 3, 0]) + bytes(8)
    assert encode_payload(model, base, export(model, state)) == head + stream


def test_sums_of_fewer_samples_are_expected_in_proportion() -> None:
    """Three samples become two: 9 and 4 are expected to become 6 (6.5 falls just short) and 3."""
    model = MODELS["plain"]
    state = initial_state(model)
    sums = state.prototypes.total
    state.prototypes.count[0], sums[0] = 3, 0
    sums[0, :2] = 9, 4
    base = export(model, state)
    state.prototypes.count[0] = 2
    sums[0, :2] = 6, 3
    # Five fields unchanged; dense (2 + sums bits at k 0, sparse takes 28); z of -1 is 1, of sums 0.
    bits = "00000" + "1" + "10" + "00000" + "10" + "0" * sums.shape[1] + "00" * (len(sums) - 1)
    bits += "0" * (-len(bits) % 8)
    stream = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    payload = encode_payload(model, base, export(model, state))
    assert payload == bytes([2, 0, 3, 0]) + bytes(8) + stream


def test_state_digest_is_the_hash_of_all_before_it() -> None:
    state = export(MODELS["plain"], initial_state(MODELS["plain"]))
    assert state_digest(state) == hashlib.sha256(state[:-32]).digest()


def test_state_before_its_commit_is_refused() -> None:
    model = MODELS["plain"]
    early = export_state(model, model.model_id, initial_state(model), True)
    with pytest.raises(PayloadError, match="before its commit"):
        encode_payload(model, early, early)
    with pytest.raises(PayloadError, match="not the export of a committed"):
        state_digest(early)


def test_state_of_another_model_is_refused() -> None:
    base = export(MODELS["odd"], initial_state(MODELS["odd"]))
    with pytest.raises(PayloadError, match="base: wrong length"):
        encode_payload(MODELS["plain"], base, base)


def test_exemplar_that_does_not_fit_is_refused() -> None:
    model = MODELS["plain"]
    base = export(model, initial_state(model))
    good = WireExemplar(0, 0, bytes(10))
    for bad in (replace(good, packed=b"1"), replace(good, label=3), replace(good, rank=0x8000)):
        with pytest.raises(PayloadError, match="exemplar"):
            encode_payload(model, base, base, [bad])


def test_malformed_payloads_are_refused() -> None:
    model = MODELS["plain"]
    base = export(model, initial_state(model))
    payload = encode_payload(model, base, export(model, changed(model, 0.3, 9, 1)))
    cases = {
        "cut short": payload[:-1],
        "follow": payload + b"\0",
        "version": b"\1" + payload[1:],
    }
    for text, bad in cases.items():
        with pytest.raises(PayloadError, match=text):
            decode_payload(model, base, bad)


@settings(max_examples=200, deadline=None)
@given(stream=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(stream: bytes) -> None:
    model = MODELS["plain"]
    base = export(model, initial_state(model))
    payload = HEAD.pack(2, 0, 3, 5, 0, 0) + stream
    try:
        result, _ = decode_payload(model, base, payload)
    except PayloadError:
        return
    assert len(result) == len(base)
