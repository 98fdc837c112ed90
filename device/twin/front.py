# SPDX-License-Identifier: Apache-2.0
"""The front: a graph of 8-bit nodes before the frozen layers (SPEC.md 4.1)."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from device.twin.fine import rest_of
from device.twin.front_node import FrontNode, Size
from device.twin.kernels import IntArray, quant_values, round_half_up, saturate
from device.twin.layers import (
    frozen_forward,
    frozen_outputs,
    input_stage,
    stage_outputs,
)
from device.twin.model import IntModel
from device.twin.signal import signal_features


def x0_of(model: IntModel, raw: NDArray[np.int16]) -> IntArray:
    """x0 (N, I0) of raw samples (N, I) (SPEC.md 3, 4, 4.1, 15)."""
    if model.signal:
        raw = signal_features(model.signal, raw)
    x = input_stage(model.input, np.asarray(raw, np.int64), model.has_frozen_part)
    if model.front:
        x = run_front(model.front, x)
    for layer in model.frozen:
        x = frozen_forward(layer, x, layer is model.frozen[-1])
    return x


def x0_rests(model: IntModel, raw: NDArray[np.int16]) -> IntArray:
    """What x0 of raw samples (N, I) leaves over, (N, I0) (SPEC.md 18.1)."""
    stage, values = model.input, np.asarray(raw, np.int64)
    if model.signal:
        values = np.asarray(signal_features(model.signal, raw), np.int64)
    if not model.has_frozen_part:
        qmax = 7 if stage.signed else 15
        return rest_of(stage_outputs(stage, values), stage.amax, qmax, not stage.signed)
    x = input_stage(stage, values, True)
    x = run_front(model.front, x) if model.front else x
    for layer in model.frozen[:-1]:
        x = frozen_forward(layer, x, False)
    last = model.frozen[-1]
    return rest_of(frozen_outputs(last, x), last.out_amax, 15 if last.relu else 7, last.relu)


def run_front(nodes: Sequence[FrontNode], x: IntArray) -> IntArray:
    """All nodes: x (N, values of tensor 0) to the last tensor as (N, values)."""
    tensors = [x]
    for node in nodes:
        read = zip(node.sources, node.in_shapes, strict=True)
        tensors.append(run_node(node, [tensors[i].reshape(-1, *shape) for i, shape in read]))
    return tensors[-1].reshape(len(x), -1)


def run_node(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    """One node: inputs (N, H, W, C) each; returns (N, *out_shape)."""
    if node.kind in _ACCUMULATE:
        return requantize(node, accumulate(node, inputs))
    if node.kind == "max":
        return _window_max(node, inputs[0])
    return node.table.astype(np.int64)[inputs[0] + 128]


def accumulate(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    """y of a node that requantises, int64 in 16 bits, (N, *out_shape)."""
    return _ACCUMULATE[node.kind](node, inputs)


def requantize(node: FrontNode, y: IntArray) -> IntArray:
    """req of SPEC.md 4.1."""
    return quant_values(y, node.out_amax, node.qmax, node.nonnegative)[0]


def windows(node: FrontNode, x: IntArray, outside: int) -> dict[Size, IntArray]:
    """For each kernel position the values under it, (N, out_h, out_w, C)."""
    (height, width), (out_h, out_w) = x.shape[1:3], node.out_shape[:2]
    reach_h = (out_h - 1) * node.stride[0] + (node.kernel[0] - 1) * node.dilation[0] + 1
    reach_w = (out_w - 1) * node.stride[1] + (node.kernel[1] - 1) * node.dilation[1] + 1
    after = max(0, reach_h - node.pad[0] - height), max(0, reach_w - node.pad[1] - width)
    margins = ((0, 0), (node.pad[0], after[0]), (node.pad[1], after[1]), (0, 0))
    padded = np.pad(x, margins, constant_values=outside)
    found = {}
    for i in range(node.kernel[0]):
        for j in range(node.kernel[1]):
            top, left = i * node.dilation[0], j * node.dilation[1]
            rows = slice(top, top + (out_h - 1) * node.stride[0] + 1, node.stride[0])
            columns = slice(left, left + (out_w - 1) * node.stride[1] + 1, node.stride[1])
            found[i, j] = padded[:, rows, columns]
    return found


def _conv(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    acc = np.zeros((len(inputs[0]), *node.out_shape), np.int64)
    for (i, j), under in windows(node, inputs[0], 0).items():
        acc += _grouped(under, node.weight[:, i, j, :].astype(np.int64), node.groups)
    scaled = round_half_up(acc, node.acc_shifts) * node.mult.astype(np.int64)
    return saturate(round_half_up(scaled, node.shift.astype(np.int64)) + node.bias, 16)


def _grouped(x: IntArray, weight: IntArray, groups: int) -> IntArray:
    """x (.., C) times weight (O, C / groups), group by group."""
    if weight.shape[1] == 1 and groups > 1:
        return np.asarray(np.repeat(x, len(weight) // groups, axis=-1) * weight[:, 0])
    parts = np.split(x.astype(np.float64), groups, axis=-1)  # exact: sums stay below 2**53
    rows = np.split(weight.astype(np.float64), groups)
    products = [part @ row.T for part, row in zip(parts, rows, strict=True)]
    return np.concatenate(products, axis=-1).astype(np.int64)


def _average(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    acc = np.zeros((len(inputs[0]), *node.out_shape), np.int64)
    for under in windows(node, inputs[0], 0).values():
        acc += under
    scaled = round_half_up(acc, node.acc_shifts) * int(node.mult[0])
    return saturate(round_half_up(scaled, int(node.shift[0])), 16)


def _window_max(node: FrontNode, x: IntArray) -> IntArray:
    return np.asarray(reduce(np.maximum, windows(node, x, -128).values()))


def _add(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    total = inputs[0] * int(node.mult[0]) + inputs[1] * int(node.mult[1])
    return saturate(round_half_up(total, int(node.shift[0])), 16)


def _concat(node: FrontNode, inputs: Sequence[IntArray]) -> IntArray:
    parts = [
        saturate(round_half_up(x * int(m), int(shift)), 16)
        for x, m, shift in zip(inputs, node.mult, node.shift, strict=True)
    ]
    return np.concatenate(parts, axis=-1)


_ACCUMULATE: Mapping[str, Callable[[FrontNode, Sequence[IntArray]], IntArray]] = {
    "conv": _conv,
    "average": _average,
    "add": _add,
    "concat": _concat,
}
