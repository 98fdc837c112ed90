# SPDX-License-Identifier: Apache-2.0
"""An inference layer by layer: what every layer makes, and what its quantiser cuts off.

The order is that of the generated plan (`codegen.inference`): input stage, nodes of the front,
frozen layers, trainable layers; the last trainable layer gives the logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.twin.fine import fine_outputs, rest_of
from device.twin.front import accumulate, requantize, run_node, x0_rests
from device.twin.front_node import REQUANTIZING, FrontNode
from device.twin.inference import AnyModel, InferenceModel
from device.twin.kernels import IntArray, round_half_up, saturate, widen
from device.twin.layers import (
    LayerCounters,
    LayerInput,
    activate,
    frozen_forward,
    input_stage,
)
from device.twin.model import FrozenLayer, InputStage, IntModel
from device.twin.network import Inputs, layer_outputs
from device.twin.residual import follows
from device.twin.signal import signal_features
from device.twin.state import LearnerState

INT16_ENDS = (-32768, 32767)


@dataclass(frozen=True)
class LayerTrace:
    """A layer's result on N samples.

    Attributes:
        name: of the layer; kind: features, input, a node's kind (SPEC.md 4.1), frozen, hidden,
            trained conv or head.
        shape: of one sample's result, (H, W, C) in the front, else (values,).
        q: int64 (N, values): what the device keeps; 16 bits in the head, else 8 or 4.
        qmax: largest magnitude of q: 127, 15 or 7; 32767 in the head.
        values: how many were quantised; clipped: beyond the range (what a ReLU takes is not
            counted); saturated: at an end of 16 bits before.
        tiles, tiles_saturated: of the saturating product (SPEC.md 1.8), else 0.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    q: IntArray
    qmax: int
    values: int = 0
    clipped: int = 0
    saturated: int = 0
    tiles: int = 0
    tiles_saturated: int = 0

    @property
    def zeros(self) -> int:
        """Values that are zero."""
        return int(np.count_nonzero(self.q == 0))


def trace(model: IntModel, state: LearnerState, raw: NDArray[np.int16]) -> Iterator[LayerTrace]:
    """Every layer of an inference in order (SPEC.md 3 to 5).

    Args:
        state: weights and ranges of the trainable layers; the committed ones of a learner.
        raw: int16, shape (N, inputs).
    """
    x = None
    for step in _to_x0(model, np.asarray(raw, np.int64)):
        x = step.q
        yield step
    if x is None:
        raise AssertionError("there is always an input stage")
    rests = x0_rests(model, raw) if model.fine_inference else None
    yield from _trainable(model, state, x, rests)


def trace_network(model: InferenceModel, raw: NDArray[np.int16]) -> Iterator[LayerTrace]:
    """The same of an inference-only model (SPEC.md 18), the last one being its output."""
    yield from _to_front(model, np.asarray(raw, np.int64))


def _to_x0(model: IntModel, raw: IntArray) -> Iterator[LayerTrace]:
    for step in _to_front(model, raw):
        x = step.q
        yield step
    for layer in model.frozen:
        step = _frozen(layer, x, layer is model.frozen[-1])
        x = step.q
        yield step


def _to_front(model: AnyModel, raw: IntArray) -> Iterator[LayerTrace]:
    if model.signal is not None:
        q = signal_features(model.signal, raw).astype(np.int64)
        ends = _at_ends(q)
        size = (model.signal.outputs,)
        yield LayerTrace("features", "features", size, q, INT16_ENDS[1], q.size, 0, ends)
        raw = q
    first = _input(model.input, raw, model.has_frozen_part)
    yield first
    tensors = [first.q]
    for node in model.front:
        shapes = zip(node.sources, node.in_shapes, strict=True)
        step = _node(node, [tensors[i].reshape(-1, *shape) for i, shape in shapes])
        tensors.append(step.q)
        yield step


def _input(stage: InputStage, raw: IntArray, frozen: bool) -> LayerTrace:
    channels = len(stage.zero)
    rows = raw.reshape(len(raw), channels, stage.pixels).transpose(0, 2, 1) if stage.planar else raw
    rows = rows.reshape(-1, stage.pixels, channels)
    v = (rows - stage.zero.astype(np.int64)) * stage.mult.astype(np.int64)
    v = saturate(round_half_up(v, stage.shift.astype(np.int64)), 16)
    q = input_stage(stage, raw, frozen)
    qmax = 127 if frozen else (7 if stage.signed else 15)
    shape = (stage.pixels, channels) if stage.pixels > 1 else (channels,)
    counts = (v.size, _clipped(v, stage.amax, not stage.signed), _at_ends(v))
    return LayerTrace("input", "input", shape, q, qmax, *counts)


def _node(node: FrontNode, inputs: list[IntArray]) -> LayerTrace:
    if node.kind in REQUANTIZING:
        y = accumulate(node, inputs)
        q = requantize(node, y).reshape(len(y), -1)
        counts = (y.size, _clipped(y, node.out_amax, node.nonnegative), _at_ends(y))
        return LayerTrace(node.name, node.kind, node.out_shape, q, node.qmax, *counts)
    q = run_node(node, inputs).reshape(len(inputs[0]), -1)
    return LayerTrace(node.name, node.kind, node.out_shape, q, node.qmax, q.size)


def _frozen(layer: FrozenLayer, x: IntArray, last: bool) -> LayerTrace:
    acc = x @ layer.weight.astype(np.int64).T
    acc_shift = max(0, (layer.weight.shape[1] * 127 * 127).bit_length() - 15)
    y = round_half_up(acc, acc_shift) * layer.mult.astype(np.int64)
    y = saturate(round_half_up(y, layer.shift.astype(np.int64)) + layer.bias, 16)
    q = frozen_forward(layer, x, last)
    qmax = 127 if not last else (15 if layer.relu else 7)
    counts = (y.size, _clipped(y, layer.out_amax, layer.relu), _at_ends(y))
    return LayerTrace(layer.name, "frozen", (q.shape[1],), q, qmax, *counts)


def _trainable(
    model: IntModel, state: LearnerState, x0: IntArray, rests: IntArray | None
) -> Iterator[LayerTrace]:
    """Rests (SPEC.md 18) are read, but neither traced nor counted."""
    inputs = Inputs(model.layers, LayerInput(x0, model.input.scale, model.x0_signed))
    for index, layer in enumerate(model.layers):
        counters, x = LayerCounters(), inputs.of(index)
        common = (layer, state.weights[index], x)
        shortcut = inputs.shortcut(index)
        y, _ = layer_outputs(*common, model.arithmetic, counters, shortcut)
        if rests is not None:
            y = fine_outputs(*common, rests, model.arithmetic)
        tiles = tuple(counters.products["forward"])
        if layer.side or index + 1 == len(model.layers):
            inputs.side = y
            y = y if layer.side else y[:, : state.n_classes]
            shape, kind = (y.shape[1],), "shortcut" if layer.side else "head"
            ends = _at_ends(y)
            yield LayerTrace(layer.name, kind, shape, y, INT16_ENDS[1], y.size, 0, ends, *tiles)
            continue
        above = follows(model.layers, index)
        top, x_range = state.frozen_ranges[above - 1], model.layers[above].x_range
        x = inputs.x[above] = activate(y, layer.out_frac_bits, top, x_range)
        rests = None if rests is None else rest_of(y, widen(top, x_range), 15, True)
        counts = (y.size, _clipped(y, max(1, widen(top, x_range)), True), counters.y_saturated)
        kind = "trained conv" if layer.conv else "hidden"
        yield LayerTrace(layer.name, kind, (y.shape[1],), x.q, 15, *counts, *tiles)


def _clipped(v: IntArray, amax: int, nonnegative: bool) -> int:
    """Values outside the clamp of SPEC.md 1.6; below zero is no clip where negatives vanish."""
    shift = max(0, amax.bit_length() - 15)
    limit = amax >> shift
    shifted = v >> shift
    below = 0 if nonnegative else int(np.count_nonzero(shifted < -limit))
    return below + int(np.count_nonzero(shifted > limit))


def _at_ends(y: IntArray) -> int:
    return int(np.count_nonzero((y == INT16_ENDS[0]) | (y == INT16_ENDS[1])))
