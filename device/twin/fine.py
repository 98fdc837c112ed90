# SPDX-License-Identifier: Apache-2.0
"""Inference that reads its inputs as twice four bits (SPEC.md 18)."""

import numpy as np

from device.twin.kernels import (
    IntArray,
    dot_bound,
    quant_values,
    round_half_up,
    saturate,
    saturating_product,
    widen,
)
from device.twin.layers import LayerInput, LayerWeights, activate, weight_view
from device.twin.model import Arithmetic, IntModel, TrainableLayer
from device.twin.state import LearnerState

REST_BITS = 4
REST_MAX = 7
FINE_RULE = "fine_inference needs dense trainable layers, and frozen ones behind a front"


def can_be_fine(model: IntModel) -> bool:
    """Whether a model's shape lets it have fine inference."""
    dense = all(layer.conv is None for layer in model.layers)
    return dense and (bool(model.frozen) or not model.front)


def rest_of(values: IntArray, amax: int, qmax: int, nonnegative: bool) -> IntArray:
    """What rounding to 4 bits left over, in sixteenths, [-7, 7] (SPEC.md 18.1).

    Args:
        values: int64, any shape. amax, qmax, nonnegative: as of `quant_values`; qmax 7 or 15.
    """
    shift = max(0, amax.bit_length() - 15)
    limit = amax >> shift
    inside = np.clip(values >> shift, 0 if nonnegative else -limit, limit)
    fine = inside * ((qmax << 26) // limit)
    q, _ = quant_values(values, amax, qmax, nonnegative)
    rest: IntArray = np.clip((fine - (q << 26) + (1 << 21)) >> 22, -REST_MAX, REST_MAX)
    return rest


def infer_fine(
    model: IntModel, state: LearnerState, x0: IntArray, rests: IntArray
) -> tuple[IntArray, IntArray]:
    """Features (N, features) and logits (N, C); x0 and its rests (N, I0)."""
    x, rest = LayerInput(x0, model.input.scale, model.x0_signed), rests
    for index, layer in enumerate(model.layers):
        y = fine_outputs(layer, state.weights[index], x, rest, model.arithmetic)
        if index + 1 < len(model.layers):
            x_range = model.layers[index + 1].x_range
            top = state.frozen_ranges[index]
            x = activate(y, layer.out_frac_bits, top, x_range)
            rest = rest_of(y, widen(top, x_range), 15, True)
    return x.q, y


def fine_outputs(
    layer: TrainableLayer,
    weights: LayerWeights,
    x: LayerInput,
    rest: IntArray,
    arithmetic: Arithmetic,
) -> IntArray:
    """Pre-activations y, int64 in 16 bits, (N, O) (SPEC.md 18.2)."""
    wq, scales = weight_view(layer, weights.master)
    parts = [saturating_product(q, wq, arithmetic).acc for q in (x.q, rest)]
    acc = (parts[0] << REST_BITS) + parts[1]
    bounds = [dot_bound(layer.inputs, qmax, 7, arithmetic) for qmax in (x.qmax, REST_MAX)]
    drop = max(0, ((bounds[0] << REST_BITS) + bounds[1]).bit_length() - 15)
    grid = layer.out_frac_bits + drop - REST_BITS
    pairs = np.array([x.scale.mul(s).pow2(grid).multiplier() for s in scales], np.int64)
    scaled = round_half_up(round_half_up(acc, drop) * pairs[:, 0], pairs[:, 1])
    return saturate(scaled + round_half_up(weights.bias, 16), 16)
