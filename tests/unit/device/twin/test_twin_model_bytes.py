# SPDX-License-Identifier: Apache-2.0
"""Integer models as bytes: round trip, and hostile bytes, which raise ModelFormatError only."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_models import Shape, random_model

from device.twin.check import check_model
from device.twin.learner import TwinLearner
from device.twin.model import Arithmetic, Exemplar, IntModel, ModelFormatError
from device.twin.scale import Scale

MODEL = random_model(Shape(frozen=(7,)), 1)
BYTES = MODEL.to_bytes()
START = 16
HEADER_SIZE = int.from_bytes(BYTES[12:16], "little")


def with_header(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The model's bytes with a changed JSON header."""
    doc = json.loads(BYTES[START : START + HEADER_SIZE])
    change(doc)
    return with_text(json.dumps(doc).encode())


def with_text(text: bytes) -> bytes:
    return BYTES[:12] + len(text).to_bytes(4, "little") + text + BYTES[START + HEADER_SIZE :]


def refused(data: bytes) -> None:
    with pytest.raises(ModelFormatError, match="not an integer model"):
        IntModel.from_bytes(data)


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape(frozen=(7, 3)), Shape(hidden=(), keep_prototypes=False), Shape(signed=False)],
)
def test_model_comes_back_from_its_bytes(shape: Shape) -> None:
    model = random_model(shape, 2)
    again = IntModel.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()
    assert again.model_id == model.model_id
    assert TwinLearner(again).state_hash() == TwinLearner(model).state_hash()
    assert again.arithmetic == model.arithmetic and again.class_names == model.class_names


def test_model_id_tells_models_apart() -> None:
    other = replace(MODEL, layers=(replace(MODEL.layers[0], w_range=99), *MODEL.layers[1:]))
    assert len(MODEL.model_id) == 16 and other.model_id != MODEL.model_id


def test_with_arithmetic_changes_all_but_the_masters() -> None:
    assert MODEL.with_arithmetic(acc_bits=32).arithmetic.acc_bits == 32
    with pytest.raises(ValueError, match="master_bits"):
        MODEL.with_arithmetic(master_bits=8)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 15, 16, 17, START + HEADER_SIZE - 1])
def test_bytes_cut_in_the_header_are_refused(size: int) -> None:
    refused(BYTES[:size])


@pytest.mark.parametrize("size", [START + HEADER_SIZE, len(BYTES) - 1])
def test_bytes_cut_in_the_arrays_are_refused(size: int) -> None:
    refused(BYTES[:size])


def test_bytes_after_the_end_are_refused() -> None:
    refused(BYTES + b"\0")


@pytest.mark.parametrize("position", range(START))
def test_flipped_prologue_is_refused(position: int) -> None:
    data = bytearray(BYTES)
    data[position] ^= 0x41
    refused(bytes(data))


@settings(derandomize=True, deadline=None, max_examples=400)
@given(data=st.data())
def test_spoiled_bytes_are_refused_or_a_model_within_the_rules(data: st.DataObject) -> None:
    spoiled = bytearray(BYTES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(START, START + HEADER_SIZE - 1))
        spoiled[at] = data.draw(st.integers(0, 255))
    try:
        model = IntModel.from_bytes(bytes(spoiled))
    except ModelFormatError:
        return
    check_model(model)
    model.to_bytes()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"layers": NaN}',
    ],
)
def test_header_of_another_form_is_refused(text: bytes) -> None:
    refused(with_text(text))


@pytest.mark.parametrize(
    "shape",
    [
        [10**9, 10**9],
        [2**40, 2**40],
        [10**30],
        [-1, -30],
        [-1],
        [0, 10**20],
        [1e300],
        ["6"],
        None,
        [[6]],
        [True],
        [2.5],
    ],
)
def test_absurd_shape_is_refused(shape: object) -> None:
    refused(with_header(lambda doc: doc["input"]["zero"].update(shape=shape)))


@pytest.mark.parametrize("dtype", ["float64", "object", "int64", "O", 3, None, "int16,int16"])
def test_other_dtype_is_refused(dtype: object) -> None:
    refused(with_header(lambda doc: doc["input"]["zero"].update(dtype=dtype)))


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ((), "n_classes", 0),
        ((), "n_classes", 6),
        ((), "n_classes", "3"),
        ((), "n_classes", 3.0),
        ((), "max_classes", 251),
        ((), "exemplar_slots", 65535),
        ((), "staging_slots", -1),
        ((), "per_class_limit", -1),
        ((), "keep_prototypes", 1),
        ((), "keep_prototypes", False),
        ((), "layers", []),
        ((), "layers", 5),
        ((), "frozen", []),
        ((), "name", 5),
        ((), "class_names", [1, 2, 3]),
        ((), "unknown", 1),
        ((), "arithmetic", None),
        (("arithmetic",), "order", 5),
        (("arithmetic",), "order", 4.0),
        (("arithmetic",), "batch", True),
        (("arithmetic",), "tile_k", "4"),
        (("arithmetic",), "saturation", ["tile"]),
        (("input",), "scale", [1, 2]),
        (("input",), "scale", [1 << 14, 40000]),
        (("input",), "scale", [1 << 14, float("inf")]),
        (("input",), "scale", 3),
        (("input",), "amax", 0),
        (("input",), "signed", "yes"),
        (("input",), "raw_frac_bits", 8),
        (("layers", 0), "out_frac_bits", 16),
        (("layers", 0), "in_amax", 32768),
        (("layers", 0), "x_range", 15),
        (("layers", 0), "w_range", 256),
        (("layers", 0), "relu", False),
        (("layers", 1), "relu", True),
        (("layers", 0), "master", [[1]]),
        (("frozen", 0), "out_amax", 0),
        (("frozen", 0), "relu", 1),
        (("exemplars", 0), "label", 3),
        (("exemplars", 0), "rank", 0x8000),
        (("exemplars", 0), "rank", 1),
    ],
)
def test_constant_out_of_its_range_is_refused(
    where: tuple[str | int, ...], key: str, value: object
) -> None:
    def change(doc: dict[str, Any]) -> None:
        node: Any = doc
        for step in where:
            node = node[step]
        node[key] = value

    refused(with_header(change))


def broken_models() -> dict[str, IntModel]:
    """Models with arrays outside the ranges of SPEC.md."""
    first, head = MODEL.layers
    frozen = MODEL.frozen[0]

    def layers(**changes: Any) -> IntModel:
        return replace(MODEL, layers=(replace(first, **changes), head))

    def inputs(**changes: Any) -> IntModel:
        return replace(MODEL, input=replace(MODEL.input, **changes))

    wide = np.full(6, 1 << 14, np.int16)
    small = Arithmetic(order=4, tile_k=4, batch=5, master_bits=8)
    return {
        "master of -2**15": layers(master=np.full_like(first.master, -32768)),
        "masters beyond 8 bits": replace(MODEL, arithmetic=small),
        "row factor 0": layers(row_factor=np.zeros_like(first.row_factor)),
        "one bias too few": layers(bias=first.bias[1:]),
        "mult of 2**14": inputs(mult=wide),
        "shift of 31": inputs(shift=np.full(6, 31, np.uint8)),
        "scale beyond 16 bits": inputs(scale=Scale(1 << 14, 40000)),
        "frozen weight of -128": replace(
            MODEL, frozen=(replace(frozen, weight=np.full_like(frozen.weight, -128)),)
        ),
        "frozen shift of 31": replace(
            MODEL, frozen=(replace(frozen, shift=np.full(7, 31, np.uint8)),)
        ),
        "a layer too narrow": replace(MODEL, layers=(first, replace(first, relu=False))),
        "x0 of -8": replace(MODEL, exemplars=(Exemplar(0, 0, np.full(7, -8, np.int8)),)),
        "x0 too short": replace(MODEL, exemplars=(Exemplar(0, 0, np.zeros(6, np.int8)),)),
        "more exemplars than slots": replace(
            MODEL, exemplars=tuple(Exemplar(0, n, np.zeros(7, np.int8)) for n in range(18))
        ),
        "prototypes of 256 samples": replace(MODEL, prototype_count=np.full(5, 256, np.uint16)),
        "prototype beyond its count": replace(
            MODEL, prototype_count=np.zeros(5, np.uint16), prototype_sum=MODEL.prototype_sum + 1
        ),
    }


@pytest.mark.parametrize("name", broken_models())
def test_array_out_of_its_range_is_refused(name: str) -> None:
    refused(broken_models()[name].to_bytes())


def test_good_models_pass_the_check() -> None:
    for seed in range(5):
        check_model(random_model(Shape(), seed))
        check_model(random_model(Shape(frozen=(4,), hidden=(3, 3)), seed))
