# SPDX-License-Identifier: Apache-2.0
"""The trainable layers in a row: inference, and one training step (SPEC.md 5, 6 and 14)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.twin.conv_groups import groups_input_gradient
from device.twin.conv_layers import (
    conv_forward,
    conv_input_gradient,
    conv_update_weights,
    passing,
    pool_backward,
    pool_forward,
)
from device.twin.conv_shape import ConvShape
from device.twin.expansion import Block
from device.twin.fine import infer_fine
from device.twin.kernels import IntArray
from device.twin.layers import (
    LayerCounters,
    LayerInput,
    LayerWeights,
    StepContext,
    activate,
    forward,
    input_gradient,
    update_weights,
)
from device.twin.model import Arithmetic, IntModel, TrainableLayer
from device.twin.scale import Scale
from device.twin.state import LearnerState

LOSS_SCALE = Scale(1 << 14, -29)
IMAGES_AT_ONCE = 16  # unrolled rows of a convolution take much memory


@dataclass(frozen=True)
class Passed:
    """What a backward pass needs to know of a layer's forward pass.

    Attributes:
        x: its 4-bit input.
        mask: (B, values of the next layer's input), 1 where its error passes.
        passes: of a convolution, (B, P, O): where the error of its pool goes.
    """

    x: LayerInput
    mask: IntArray | None = None
    passes: IntArray | None = None


def layer_outputs(
    layer: TrainableLayer,
    weights: LayerWeights,
    x: LayerInput,
    arithmetic: Arithmetic,
    counters: LayerCounters | None = None,
) -> tuple[IntArray, IntArray | None]:
    """What is to be quantised for the next layer, (B, out_values), and `Passed.passes`."""
    if layer.conv is None:
        return forward(layer, weights, x, arithmetic, counters), None
    y = conv_forward(layer, layer.conv, weights, x, arithmetic, counters)
    z, passes = pool_forward(layer.conv, y)
    return z.reshape(len(z), -1), passes


def infer_x0(
    model: IntModel, state: LearnerState, x0: IntArray, rests: IntArray | None = None
) -> tuple[IntArray, IntArray]:
    """Features (N, features) and logits (N, C) as inference computes them (SPEC.md 5, 14.4, 18).

    Args:
        rests: of x0, (N, I0), where inference is fine; None: x0 was stored, they are 0.
    """
    if model.fine_inference:
        return infer_fine(model, state, x0, np.zeros_like(x0) if rests is None else rests)
    at_once = IMAGES_AT_ONCE if any(layer.conv for layer in model.layers) else max(1, len(x0))
    parts = [_infer(model, state, x0[i : i + at_once]) for i in range(0, len(x0), at_once)]
    features, logits = zip(*parts or [_infer(model, state, x0)], strict=True)
    return np.concatenate(features), np.concatenate(logits)


def _infer(model: IntModel, state: LearnerState, x0: IntArray) -> tuple[IntArray, IntArray]:
    x = LayerInput(x0, model.input.scale, model.x0_signed)
    ranges = state.frozen_ranges
    for index, layer in enumerate(model.layers):
        y, _ = layer_outputs(layer, state.weights[index], x, model.arithmetic)
        if index + 1 < len(model.layers):
            x_range = model.layers[index + 1].x_range
            x = activate(y, layer.out_frac_bits, ranges[index], x_range)
    return x.q, y


def forward_batch(
    model: IntModel, state: LearnerState, x0: IntArray, counters: list[LayerCounters] | None
) -> tuple[list[Passed], IntArray]:
    """Every layer of a training step, and logits; moves the tracked ranges (SPEC.md 6.1)."""
    x = LayerInput(x0, model.input.scale, model.x0_signed)
    passed: list[Passed] = []
    for index, layer in enumerate(model.layers):
        counted = counters[index] if counters else None
        y, passes = layer_outputs(layer, state.weights[index], x, model.arithmetic, counted)
        if counted and index > 0:
            counted.add_tensor("x", x.q, 0)
        if index + 1 == len(model.layers):
            passed.append(Passed(x))
            break
        top = max(0, int(y.max()))
        mask = passing(layer.conv, y) if layer.conv else (y > 0).astype(np.int64)
        passed.append(Passed(x, mask, passes))
        x = activate(y, layer.out_frac_bits, top, model.layers[index + 1].x_range)
        tracked = state.tracked[index]
        state.tracked[index] = tracked + (((top << 8) - tracked) >> 4)
    return passed, y


def backward(
    model: IntModel,
    state: LearnerState,
    passed: list[Passed],
    d: IntArray,
    context: StepContext,
    counters: list[LayerCounters] | None,
    block: Block | None = None,
) -> None:
    """SPEC.md 6.3, 14.3 and 16.2 from the head down; d (B, C) is the error of the logits."""
    scale = LOSS_SCALE
    for index in reversed(range(len(model.layers))):
        if not d.any():
            return
        layer, weights = model.layers[index], state.weights[index]
        below = passed[index - 1].mask if index > 0 else None
        if block is not None and below is not None:
            below = below * block.rows[index - 1]
        columns = None if block is None else block.columns[index]
        counted = counters[index] if counters else None
        step = _Layer(index, layer, weights, context, counted, columns)
        if layer.conv is None:
            head = index + 1 == len(model.layers)
            rows = state.n_classes if head else layer.outputs
            d, scale = step.dense(passed[index], d, scale, below, rows)
        else:
            d, scale = step.conv(layer.conv, passed[index], d, scale, below)


@dataclass(frozen=True)
class _Layer:
    """Backward pass of one layer; its methods give the error of the layer below and its scale."""

    index: int
    layer: TrainableLayer
    weights: LayerWeights
    context: StepContext
    counters: LayerCounters | None
    columns: NDArray[np.bool_] | None = None

    def dense(
        self, passed: Passed, d: IntArray, scale: Scale, mask: IntArray | None, rows: int
    ) -> tuple[IntArray, Scale]:
        common = (self.index, self.layer, self.weights)
        below, below_scale = d, scale
        if mask is not None:
            below, below_scale = input_gradient(*common, d, scale, self.context, self.counters)
            below = below * mask
        rest = (self.context, self.counters, self.columns)
        update_weights(*common, passed.x, d, scale, rows, *rest)
        return below, below_scale

    def conv(
        self, shape: ConvShape, passed: Passed, d: IntArray, scale: Scale, mask: IntArray | None
    ) -> tuple[IntArray, Scale]:
        common = (self.index, self.layer, shape, self.weights)
        assert passed.passes is not None
        d = d.reshape(len(d), shape.pooled_pixels, self.layer.outputs)
        d, scale = pool_backward(shape, d, scale, passed.passes)
        below, below_scale = d, scale
        if mask is not None:
            gradient = conv_input_gradient if shape.groups == 1 else groups_input_gradient
            below, below_scale = gradient(*common, d, scale, self.context, self.counters)
            below = below * mask
        conv_update_weights(*common, passed.x, d, scale, self.context, self.counters)
        return below, below_scale
