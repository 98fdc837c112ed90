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
    transformed_input,
)
from device.twin.conv_shape import ConvShape
from device.twin.expansion import Block
from device.twin.fine import infer_fine
from device.twin.kernels import IntArray, Quantized
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
from device.twin.residual import Error, below, follows, has_side, identity, join, reads
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
    shortcut: IntArray | None = None,
) -> tuple[IntArray, IntArray | None]:
    """What is to be quantised for the next layer, (B, out_values), and `Passed.passes`."""
    if layer.conv is None:
        return forward(layer, weights, x, arithmetic, counters), None
    y = conv_forward(layer, layer.conv, weights, x, arithmetic, counters, shortcut)
    z, passes = pool_forward(layer.conv, y)
    return z.reshape(len(z), -1), passes


class Inputs:
    """4-bit inputs of the layers of a forward pass, and outputs of a side layer (SPEC.md 14.6)."""

    def __init__(self, layers: tuple[TrainableLayer, ...], x0: LayerInput) -> None:
        self.layers = layers
        self.x = {0: x0}
        self.side: IntArray | None = None

    def of(self, index: int) -> LayerInput:
        """What a layer reads."""
        return self.x[reads(self.layers, index)]

    def shortcut(self, index: int) -> IntArray | None:
        """What a layer adds to its outputs, (B, P O)."""
        layer = self.layers[index]
        if layer.adds is None:
            return None
        if has_side(self.layers, layer.adds):
            return self.side
        return identity(layer, self.x[layer.adds])


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
    inputs = Inputs(model.layers, LayerInput(x0, model.input.scale, model.x0_signed))
    ranges = state.frozen_ranges
    head = len(model.layers) - 1
    for index, layer in enumerate(model.layers):
        common = (layer, state.weights[index], inputs.of(index), model.arithmetic)
        y, _ = layer_outputs(*common, None, inputs.shortcut(index))
        if layer.side:
            inputs.side = y
        elif index < head:
            above = follows(model.layers, index)
            x_range = model.layers[above].x_range
            inputs.x[above] = activate(y, layer.out_frac_bits, ranges[above - 1], x_range)
    return inputs.of(head).q, y


def forward_batch(
    model: IntModel, state: LearnerState, x0: IntArray, counters: list[LayerCounters] | None
) -> tuple[list[Passed], IntArray]:
    """Every layer of a training step, and logits; moves the tracked ranges (SPEC.md 6.1)."""
    inputs = Inputs(model.layers, LayerInput(x0, model.input.scale, model.x0_signed))
    passed: list[Passed] = []
    for index, layer in enumerate(model.layers):
        counted = counters[index] if counters else None
        x = inputs.of(index)
        common = (layer, state.weights[index], x, model.arithmetic)
        y, passes = layer_outputs(*common, counted, inputs.shortcut(index))
        if counted and index > 0 and not layer.side:
            counted.add_tensor("x", x.q, 0)
        if layer.side or index + 1 == len(model.layers):
            inputs.side = y
            passed.append(Passed(x, None, passes))
            continue
        top = max(0, int(y.max()))
        mask = passing(layer.conv, y) if layer.conv else (y > 0).astype(np.int64)
        passed.append(Passed(x, mask, passes))
        above = follows(model.layers, index)
        inputs.x[above] = activate(y, layer.out_frac_bits, top, model.layers[above].x_range)
        tracked = state.tracked[above - 1]
        state.tracked[above - 1] = tracked + (((top << 8) - tracked) >> 4)
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
    """SPEC.md 6.3, 14.3, 14.6 and 16.2 from the head down; d (B, C) is the error of the logits."""
    layers = model.layers
    errors = {len(layers) - 1: Error.of(d, LOSS_SCALE)}
    shortcuts: dict[int, Error] = {}  # errors of the inputs of blocks, by their first layers
    shared: Quantized | None = None  # xh of a side layer
    for index in reversed(range(len(layers))):
        layer, error = layers[index], errors.pop(index)
        under = below(layers, index)
        mask = passed[under].mask if under >= 0 else None
        if block is not None and mask is not None:
            mask = mask * block.rows[under]
        columns = None if block is None else block.columns[index]
        counted = counters[index] if counters else None
        step = _Layer(index, layer, state.weights[index], context, counted, columns)
        rows = state.n_classes if index + 1 == len(layers) else layer.outputs
        given = shared if has_side(layers, index) else None
        made, inner, xh = step.run(passed[index], error, mask, rows, given)
        shared = xh if layer.side else shared
        if layer.adds is not None:
            if has_side(layers, layer.adds):
                errors[layer.adds + 1] = inner
            elif layer.adds > 0:
                entry = passed[below(layers, layer.adds)].mask
                assert entry is not None
                shortcuts[layer.adds] = inner.masked(entry)
        if made is None:
            continue
        if layer.side:
            shortcuts[index - 1] = made
        else:
            errors[under] = join(made, shortcuts.pop(index)) if index in shortcuts else made


@dataclass(frozen=True)
class _Layer:
    """Backward pass of one layer."""

    index: int
    layer: TrainableLayer
    weights: LayerWeights
    context: StepContext
    counters: LayerCounters | None
    columns: NDArray[np.bool_] | None = None

    def run(
        self,
        passed: Passed,
        error: Error,
        mask: IntArray | None,
        rows: int,
        xh: Quantized | None,
    ) -> tuple[Error | None, Error, Quantized | None]:
        """The update, and the error of what the layer reads.

        Args:
            mask: of that; None: it is x0, whose error nobody wants.
            rows: those that learn; xh: of a side layer, which made it already.
        Returns: error of what it reads, error of its outputs before the pool, and its xh.
        """
        if error.largest == 0:
            nothing = np.zeros_like(passed.x.q)
            return None if mask is None else Error(nothing, error.scale, 0), error, None
        if self.layer.conv is None:
            return self._dense(passed, error, mask, rows), error, None
        return self._conv(self.layer.conv, passed, error, mask, xh)

    def _dense(
        self, passed: Passed, error: Error, mask: IntArray | None, rows: int
    ) -> Error | None:
        common = (self.index, self.layer, self.weights)
        rest = (self.context, self.counters)
        made = None
        if mask is not None:
            d, scale = input_gradient(*common, error.d, error.scale, *rest)
            made = Error.of(d * mask, scale)
        update_weights(*common, passed.x, error.d, error.scale, rows, *rest, self.columns)
        return made

    def _conv(
        self,
        shape: ConvShape,
        passed: Passed,
        error: Error,
        mask: IntArray | None,
        xh: Quantized | None,
    ) -> tuple[Error | None, Error, Quantized]:
        common = (self.index, self.layer, shape, self.weights)
        assert passed.passes is not None
        d = error.d.reshape(len(error.d), shape.pooled_pixels, self.layer.outputs)
        d, scale = pool_backward(shape, d, error.scale, passed.passes)
        made = None
        if mask is not None:
            gradient = conv_input_gradient if shape.groups == 1 else groups_input_gradient
            e, e_scale = gradient(*common, d, scale, self.context, self.counters)
            made = Error.of(e * mask, e_scale)
        if xh is None:
            xh = transformed_input(self.index, passed.x, self.context, self.counters)
        conv_update_weights(*common, xh, d, scale, self.context, self.counters)
        return made, Error(d.reshape(len(d), -1), scale, error.largest), xh
