# SPDX-License-Identifier: Apache-2.0
"""Input stage, frozen and trainable layers by hand; gradients against float (SPEC.md 3 to 6)."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from device.twin.kernels import IntArray
from device.twin.layers import (
    LayerInput,
    LayerWeights,
    StepContext,
    activate,
    forward,
    frozen_forward,
    input_gradient,
    input_stage,
    update_weights,
    weight_view,
)
from device.twin.model import Arithmetic, FrozenLayer, InputStage, TrainableLayer
from device.twin.scale import ONE, Scale

EIGHTH = Scale(1 << 14, -17)
PLAIN = Arithmetic(order=1, tile_k=8, acc_bits=32, batch=1)


def stage(**changes: object) -> InputStage:
    """v = (raw - 10) / 2; x0 = v / 7 as 4-bit steps of range 49."""
    base = InputStage(
        raw_frac_bits=np.zeros(1, np.int16),
        zero=np.array([10], np.int16),
        mult=np.array([1 << 13], np.int16),
        shift=np.array([14], np.uint8),
        amax=49,
        signed=True,
        scale=ONE,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def layer(master: list[list[int]], **changes: object) -> TrainableLayer:
    """A layer of scale 1/8 and output grid 2**-4, without biases."""
    base = TrainableLayer(
        name="layer",
        master=np.array(master, np.int16),
        bias=np.zeros(len(master), np.int32),
        row_factor=np.ones(len(master), np.uint8),
        scale=EIGHTH,
        out_frac_bits=4,
        relu=False,
        in_amax=0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def weights_of(made: TrainableLayer) -> LayerWeights:
    return LayerWeights(made.master.astype(np.int64), made.bias.astype(np.int64))


# 3, 4


def test_input_stage_by_hand() -> None:
    # raw 10: v 0; 24: v 7, one step; 59: v 24.5 goes up to 25, 25 / 7 = 3.57; 1000: clipped
    raw = np.array([[10], [24], [59], [-39], [1000], [-1000]])
    assert input_stage(stage(), raw, frozen=False).ravel().tolist() == [0, 1, 4, -3, 7, -7]


def test_input_stage_of_unsigned_inputs_cuts_below_zero() -> None:
    raw = np.array([[-1000], [10], [40], [2000]])
    made = stage(signed=False, amax=15)
    assert input_stage(made, raw, frozen=False).ravel().tolist() == [0, 0, 15, 15]


def test_input_stage_before_frozen_layers_has_eight_bits() -> None:
    raw = np.array([[10 + 2 * 49], [10 - 2 * 49]])
    assert input_stage(stage(), raw, frozen=True).ravel().tolist() == [127, -127]


def test_input_stage_saturates_to_16_bits() -> None:
    made = stage(mult=np.array([(1 << 14) - 1], np.int16), shift=np.array([0], np.uint8))
    raw = np.array([[32767], [-32768]])
    assert input_stage(replace(made, amax=32768), raw, False).ravel().tolist() == [7, -7]


def test_frozen_layer_by_hand() -> None:
    made = FrozenLayer(
        name="frozen",
        weight=np.array([[2, -1], [-3, 0]], np.int8),
        bias=np.array([3, 1], np.int32),
        mult=np.array([1 << 14, 1 << 14], np.int16),
        shift=np.array([15, 14], np.uint8),
        relu=True,
        out_amax=127,
    )
    # acc (190, -300), acc_shift 0 (2 x 127 x 127 has 15 bits); y = (95 + 3, -300 + 1)
    x = np.array([[100, 10]])
    assert frozen_forward(made, x, last=False).tolist() == [[98, 0]]
    # the last one to four bits: 98 / 127 x 15 = 11.57
    assert frozen_forward(made, x, last=True).tolist() == [[12, 0]]
    # without ReLU: -299 is clipped at -127
    signed = replace(made, relu=False)
    assert frozen_forward(signed, x, last=False).tolist() == [[98, -127]]
    assert frozen_forward(signed, x, last=True).tolist() == [[5, -7]]


# 5


def test_weight_view_by_hand() -> None:
    made = layer([[14, -14, 3, 0], [0, 0, 0, 0], [7, 1, 0, -3]])
    q, scales = weight_view(made, made.master.astype(np.int64))
    # half steps go up: 3 of 14 is 1.5 steps
    assert q.tolist() == [[7, -7, 2, 0], [0, 0, 0, 0], [7, 1, 0, -3]]
    assert scales[0].value == pytest.approx(2 / 8, rel=2**-13)
    assert scales[1] == ONE
    assert scales[2].value == pytest.approx(1 / 8, rel=2**-13)


def test_weight_view_with_row_and_range_factors() -> None:
    made = layer([[14, -14]], row_factor=np.array([3], np.uint8), w_range=32)
    q, scales = weight_view(made, made.master.astype(np.int64))
    # range 28: a step is 4 masters of 3 / 8; -3.5 goes up to -3
    assert q.tolist() == [[4, -3]]
    assert scales[0].value == pytest.approx(4 * 3 / 8, rel=2**-13)


def test_forward_by_hand() -> None:
    """x = (1, 3) of step 1/8, weights (7, -2) / 8: y = (7 - 6) / 64 = 1/64, in 2**-10 16."""
    made = layer([[7, -2]], out_frac_bits=10, bias=np.array([5 << 16], np.int32))
    x = LayerInput(np.array([[1, 3]]), EIGHTH, signed=True)
    assert forward(made, weights_of(made), x, PLAIN).tolist() == [[16 + 5]]


def test_forward_rounds_the_bias_half_up_and_saturates() -> None:
    made = layer([[0], [0], [0]], bias=np.array([1 << 15, -(1 << 15) - 1, 2**31 - 1], np.int32))
    x = LayerInput(np.array([[1]]), EIGHTH, signed=True)
    assert forward(made, weights_of(made), x, PLAIN).tolist() == [[1, -1, 32767]]


def test_activation_by_hand() -> None:
    # range 30 in 2**-4: a step is 2 / 16
    x = activate(np.array([[30, -4, 3, 0]]), 4, 30, 16)
    assert x.q.tolist() == [[15, 0, 2, 0]]
    assert x.scale.value == pytest.approx(2 / 16, rel=2**-13)
    assert not x.signed
    # widened to 60: a step is 4 / 16
    assert activate(np.array([[30, -4, 3, 0]]), 4, 30, 32).q.tolist() == [[8, 0, 1, 0]]


def test_activation_of_a_dead_batch_is_zero() -> None:
    x = activate(np.array([[-3, 0]]), 4, 0, 16)
    assert (x.q.tolist(), x.scale) == ([[0, 0]], ONE)


# 6.3


def test_update_by_hand_without_rounding() -> None:
    """One row, one sample, no transform: every quantity is exact, so no draw matters.

    d = -14 of step 1/16 is -7 steps of 1/8; x = 7 of step 1/8 keeps its 7. The gradient is
    -14/16 x 7/8 = -49/64. A rate of 1/16 in a grid of 1/64 moves the master by 49/16 = 3.06: by 3
    or 4, as drawn.
    """
    made = layer([[5]], scale=Scale(1 << 14, -20))
    weights = weights_of(made)
    x = LayerInput(np.array([[7]]), EIGHTH, signed=True)
    moved = set()
    for seed in range(200):
        weights = weights_of(made)
        context = StepContext(PLAIN, seed, 0, Scale(1 << 14, -18))
        update_weights(0, made, weights, x, np.array([[-14]]), Scale(1 << 14, -18), 1, context)
        moved.add(int(weights.master[0, 0]))
        # bias: 14/16 x 1/16 in 2**-20 is 57344
        assert abs(int(weights.bias[0]) - 57344) <= 4
    assert moved == {8, 9}


def test_update_leaves_rows_beyond_the_active_ones() -> None:
    made = layer([[5], [5]])
    weights = weights_of(made)
    x = LayerInput(np.array([[7]]), EIGHTH, signed=True)
    context = StepContext(PLAIN, 1, 0, ONE)
    update_weights(0, made, weights, x, np.array([[-14, -14]]), ONE, 1, context)
    assert weights.master[1].tolist() == [5] and weights.bias[1] == 0
    assert weights.master[0].tolist() != [5] and weights.bias[0] != 0


def test_update_saturates_masters_symmetrically() -> None:
    for bits, limit in ((8, 127), (16, 32767)):
        made = layer([[limit], [-limit]])
        weights = weights_of(made)
        context = StepContext(replace(PLAIN, master_bits=bits), 1, 0, Scale(1 << 14, 10))
        x = LayerInput(np.array([[7]]), EIGHTH, signed=True)
        update_weights(0, made, weights, x, np.array([[-999, 999]]), ONE, 2, context)
        assert weights.master.ravel().tolist() == [limit, -limit]


def test_update_with_a_dead_input_still_moves_the_bias() -> None:
    made = layer([[5]])
    weights = weights_of(made)
    x = LayerInput(np.array([[0]]), ONE, signed=False)
    update_weights(0, made, weights, x, np.array([[-14]]), ONE, 1, StepContext(PLAIN, 1, 0, ONE))
    assert weights.master.tolist() == [[5]] and weights.bias[0] > 0


# Gradients against float, in the mean over many seeds


def cosine(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    a, b = a.ravel(), b.ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def gradient_problem() -> tuple[TrainableLayer, LayerInput, IntArray, Scale]:
    rng = np.random.default_rng(3)
    made = layer(
        rng.integers(-20000, 20001, (6, 10)).tolist(), scale=Scale(1 << 14, -29), relu=True
    )
    x = LayerInput(rng.integers(0, 16, (12, 10)), EIGHTH, signed=False)
    return made, x, rng.integers(-9000, 9001, (12, 6)), Scale(1 << 14, -29)


@pytest.mark.parametrize("order", [1, 4, 16])
def test_mean_input_gradient_aligns_with_the_float_one(order: int) -> None:
    made, _, d, scale = gradient_problem()
    arithmetic = Arithmetic(order=order, acc_bits=32, batch=12)
    total = np.zeros((12, 10))
    for seed in range(60):
        context = StepContext(arithmetic, seed, 0, ONE)
        below, below_scale = input_gradient(1, made, weights_of(made), d, scale, context)
        total += below * below_scale.value / 60
    exact = (d * scale.value) @ (made.master * made.scale.value)
    assert cosine(total, exact) > 0.97
    assert np.linalg.norm(total) == pytest.approx(np.linalg.norm(exact), rel=0.06)


@pytest.mark.parametrize("order", [1, 4, 16])
def test_mean_weight_step_aligns_with_the_float_gradient(order: int) -> None:
    made, x, d, scale = gradient_problem()
    arithmetic = Arithmetic(order=order, acc_bits=32, batch=12)
    rate = Scale(1 << 14, -15)
    moved, bias = np.zeros((6, 10)), np.zeros(6)
    for seed in range(60):
        weights = weights_of(made)
        update_weights(0, made, weights, x, d, scale, 6, StepContext(arithmetic, seed, 0, rate))
        moved += (made.master - weights.master) * made.scale.value / 60
        bias += -weights.bias * 2.0 ** -(made.out_frac_bits + 16) / 60
    exact = (d * scale.value).T @ (x.q * x.scale.value) / 12 * rate.value
    assert cosine(moved, exact) > 0.98
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(exact), rel=0.06)
    exact_bias = (d * scale.value).mean(axis=0) * rate.value
    assert np.abs(bias - exact_bias).max() < 2.0**-18


def test_single_input_gradient_with_saturating_tiles_still_aligns() -> None:
    made, _, d, scale = gradient_problem()
    context = StepContext(Arithmetic(order=4, acc_bits=8, tile_k=32, batch=12), 0, 0, ONE)
    below, _ = input_gradient(1, made, weights_of(made), d, scale, context)
    assert cosine(below.astype(float), d @ made.master.astype(float)) > 0.9
