# SPDX-License-Identifier: Apache-2.0
"""State bytes: layout by hand, checkpoints, and refused imports (SPEC.md 8.7, 9)."""

import hashlib
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_models import RATE, Shape, random_model, random_raw

from device.twin.learner import LearnerError, TwinLearner
from device.twin.model import Arithmetic, IntModel
from device.twin.state import StateFormatError, payload_size

MODEL = random_model(Shape(), 5)
RAW = random_raw(MODEL, 5, 6)
SMALL_MASTERS = random_model(Shape(arithmetic=Arithmetic(order=4, master_bits=8, batch=5)), 6)
# I 6, O 5, head 5 x 5, one tracked range, five prototypes of five features
PAYLOAD = 4 + (30 * 2 + 20) + (25 * 2 + 20) + 4 + 5 * (2 + 10)


def trained(model: IntModel = MODEL, steps: int = 2) -> TwinLearner:
    twin = TwinLearner(model)
    twin.learn(RAW[0], 1)
    twin.train_begin(7, steps, [(0, RATE)])
    twin.train(10**9)
    return twin


def signed(body: bytes) -> bytes:
    """Bytes with the right digest."""
    return body + hashlib.sha256(body).digest()


def patched(data: bytes, at: int, value: bytes) -> bytes:
    """State bytes with a changed field and the right digest."""
    body = data[:-32]
    return signed(body[:at] + value + body[at + len(value) :])


def import_status(twin: TwinLearner, data: bytes) -> int:
    with pytest.raises(StateFormatError) as error:
        twin.import_state(data)
    return error.value.status


def test_export_by_hand() -> None:
    data = TwinLearner(MODEL).export_state()
    assert len(data) == 32 + PAYLOAD + 32
    assert payload_size(MODEL) == PAYLOAD
    assert data[:8] == b"HADS\x01\x00\x03\x00"
    assert data[8:24] == MODEL.model_id
    assert data[24:36] == struct.pack("<IHHI", PAYLOAD, 3, 0, 0)
    at = 36
    for layer in MODEL.layers:
        masters = layer.master.astype("<i2").tobytes()
        assert data[at : at + len(masters)] == masters
        at += len(masters)
        biases = layer.bias.astype("<i4").tobytes()
        assert data[at : at + len(biases)] == biases
        at += len(biases)
    assert data[at : at + 4] == struct.pack("<i", MODEL.layers[1].in_amax << 8)
    at += 4
    for count, total in zip(MODEL.prototype_count, MODEL.prototype_sum, strict=True):
        assert data[at : at + 12] == struct.pack("<H5h", count, *total.tolist())
        at += 12
    assert data[at:] == hashlib.sha256(data[:at]).digest()


def test_state_hash_by_hand() -> None:
    twin = TwinLearner(MODEL)
    text = b"HADSTATE" + struct.pack("<H", 1) + MODEL.model_id + struct.pack("<H", 3)
    text += twin.export_state()[32:-32]
    text += struct.pack("<H", 6)
    for index in range(6):
        label, rank, packed = twin.get_exemplar(index)
        text += struct.pack("<BH", label, rank) + packed
    assert twin.state_hash() == hashlib.sha256(text).digest()


def test_flags_tell_masters_prototypes_and_training() -> None:
    assert TwinLearner(SMALL_MASTERS).export_state()[6] == 2
    plain = random_model(Shape(keep_prototypes=False), 1)
    assert TwinLearner(plain).export_state()[6] == 1
    twin = trained()
    assert twin.export_state(working=True)[6] == 7
    assert twin.export_state()[6] == 3
    twin.commit()
    assert twin.export_state(working=True)[6] == 3


@pytest.mark.parametrize("model", [MODEL, SMALL_MASTERS])
def test_exported_state_comes_back(model: IntModel) -> None:
    twin = trained(model)
    twin.commit()
    other = TwinLearner(model)
    other.import_state(twin.export_state())
    assert other.export_state(working=True) == twin.export_state()
    other.commit()
    assert other.export_state() == twin.export_state()


def test_checkpoint_with_the_same_samples_goes_on_to_the_same_bits() -> None:
    """Bit 2 travels: the commit after a checkpoint renews the prototypes as it would have."""
    whole = trained(steps=4)
    first = trained(steps=2)
    second = TwinLearner(MODEL)
    second.learn(RAW[0], 1)
    second.import_state(first.export_state(working=True))
    second.train_begin(7, 2, [(0, RATE)])
    second.train(10**9)
    assert second.state_hash() == whole.state_hash()
    assert second.commit() == whole.commit()
    resumed = TwinLearner(MODEL)
    resumed.learn(RAW[0], 1)
    resumed.import_state(first.export_state(working=True))
    assert resumed.commit() == first.commit()


def test_import_changes_no_inference_before_its_commit() -> None:
    twin = trained()
    twin.commit()
    other = TwinLearner(MODEL)
    before = other.infer_many(RAW)[1]
    other.import_state(twin.export_state())
    assert np.array_equal(other.infer_many(RAW)[1], before)
    other.commit()
    assert np.array_equal(other.infer_many(RAW)[1], twin.infer_many(RAW)[1])


GOOD = TwinLearner(MODEL).export_state()
TRACKED_AT = 36 + 80 + 70


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (patched(GOOD, 0, b"X"), -4),
        (patched(GOOD, 4, b"\x02"), -4),
        (patched(GOOD, 6, b"\x02"), -4),
        (patched(GOOD, 6, b"\x01"), -4),
        (patched(GOOD, 6, b"\x0b"), -4),
        (patched(GOOD, 8, b"\xff\xff"), -4),
        (patched(GOOD, 24, struct.pack("<I", PAYLOAD - 1)), -4),
        (patched(GOOD, 28, struct.pack("<H", 0)), -4),
        (patched(GOOD, 28, struct.pack("<H", 6)), -4),
        (patched(GOOD, 30, b"\x01"), -4),
        (patched(GOOD, 36, struct.pack("<h", -32768)), -4),
        (patched(GOOD, TRACKED_AT, struct.pack("<i", -1)), -4),
        (patched(GOOD, TRACKED_AT, struct.pack("<i", (32767 << 8) + 1)), -4),
        (patched(GOOD, TRACKED_AT + 4, struct.pack("<H", 256)), -4),
        (patched(GOOD, TRACKED_AT + 4, struct.pack("<H5h", 1, 16, 0, 0, 0, 0)), -4),
        (patched(GOOD, TRACKED_AT + 4, struct.pack("<H5h", 1, 0, 0, 0, 0, -16)), -4),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), -5),
        (GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:], -5),
    ],
)
def test_import_of_spoiled_bytes_restores_the_committed_state(data: bytes, status: int) -> None:
    """Regression: working weights that were trained but not committed survived a failed import."""
    twin = trained()
    assert import_status(twin, data) == status
    assert twin.export_state(working=True) == GOOD
    with pytest.raises(LearnerError):
        twin.train(1)
    # the staged sample is still there
    assert len(twin.memory.samples) == 7


@pytest.mark.parametrize(
    "cut", [lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"", lambda d: d[:63]]
)
def test_import_of_the_wrong_length_changes_nothing(cut: Callable[[bytes], bytes]) -> None:
    twin = trained()
    before = twin.state_hash()
    assert import_status(twin, cut(GOOD)) == -4
    assert twin.state_hash() == before
    assert twin.train(1).units == 0


def test_import_at_the_edges_of_the_ranges_is_taken() -> None:
    twin = TwinLearner(MODEL)
    twin.import_state(patched(GOOD, 36, struct.pack("<h", -32767)))
    twin.import_state(patched(GOOD, TRACKED_AT, struct.pack("<i", 32767 << 8)))
    twin.import_state(patched(GOOD, TRACKED_AT + 4, struct.pack("<H5h", 1, 15, 0, 0, 0, -15)))
    assert twin.working.prototypes.total[0, 0] == 15


@settings(derandomize=True, deadline=None, max_examples=150)
@given(at=st.integers(0, len(GOOD) - 1), value=st.integers(1, 255))
def test_import_of_any_flipped_byte_is_refused(at: int, value: int) -> None:
    twin = TwinLearner(MODEL)
    data = GOOD[:at] + bytes([GOOD[at] ^ value]) + GOOD[at + 1 :]
    assert import_status(twin, data) in (-4, -5)
    assert twin.state_hash() == TwinLearner(MODEL).state_hash()


def test_import_of_another_model_is_refused() -> None:
    other = random_model(Shape(), 99)
    assert import_status(TwinLearner(MODEL), TwinLearner(other).export_state()) == -4
