# SPDX-License-Identifier: Apache-2.0
"""Inference with the largest operands: tiles whose sums fill the fields of the packed kernels."""

from dataclasses import replace

import numpy as np
import pytest

from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.parity.conftest import OpenBoard, OpenPair
from tests.parity.models import ModelSpec, make_model

INPUTS = 75  # two whole tiles and a part, which is no whole number of fours


def largest(*, signed: bool) -> IntModel:
    """A head whose rows are all at an end of their range, or change in the middle."""
    arithmetic = {"order": 4, "batch": 6, "tile_k": 32}
    spec = ModelSpec("largest", (INPUTS, 6), signed=signed, n_classes=6, arithmetic=arithmetic)
    model = make_model(spec)
    top = model.arithmetic.master_max
    master = np.full((6, INPUTS), top, np.int16)
    master[1::2] = -top
    master[2:4, 16:48] *= -1
    master[4:, ::3] *= -1
    stage = replace(model.input, mult=np.abs(model.input.mult))
    return replace(model, input=stage, layers=(replace(model.layers[0], master=master),))


def samples() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """All at the top, all at the bottom, and a quarter of them at the top."""
    raw = np.full((3, INPUTS), 32767, np.int16)
    raw[1] = -32768
    raw[2, ::4] = 0
    return raw


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("layout", ["host", "microbit", "mps2-an386", "mps3-an547"])
def test_largest_sums_equal_twin(layout: str, signed: bool, open_pair: OpenPair) -> None:
    defines = ("HAD_DSP_IN_C",) if layout == "mps2-an386" else ()
    pair = open_pair(largest(signed=signed), layout=layout, defines=defines, sanitize=True)
    for raw in samples():
        pair.both("infer", raw)


@pytest.mark.parametrize("board", ["mps2-an386", "mps3-an547"])
def test_largest_sums_on_emulated_board_equal_twin(board: str, open_board: OpenBoard) -> None:
    model = largest(signed=False)
    twin, device = TwinLearner(model), open_board(model, board)
    for raw in samples():
        found, expected = device.infer(raw), twin.infer(raw)
        assert found[0] == expected[0]
        assert list(found[1]) == list(expected[1])
