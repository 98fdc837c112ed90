# SPDX-License-Identifier: Apache-2.0
"""The front of the exact form: nodes of SPEC.md 4.1 in ONNX's integer operators."""

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from codegen.export.builder import GraphBuilder
from codegen.export.integers import clip, quant, round_shift
from device.twin.front_node import FrontNode
from device.twin.inference import AnyModel

UNSIGNED = 128  # ConvInteger reads uint8: x + 128, with that as its zero


def exact_front(g: GraphBuilder, model: AnyModel, x: str) -> str:
    """All nodes: tensor 0 (N, P, C) int64 to the last tensor, (N, values) int64."""
    tensors = [x]
    for node in model.front:
        inputs = [
            g.node("Reshape", tensors[i], g.constant([-1, *shape], np.int64))
            for i, shape in zip(node.sources, node.in_shapes, strict=True)
        ]
        tensors.append(_NODES[node.kind](g, node, inputs))
    return g.node("Reshape", tensors[-1], g.constant([0, -1], np.int64))


def _requantized(g: GraphBuilder, node: FrontNode, y: str) -> str:
    return quant(g, clip(g, y, -32768, 32767), node.out_amax, node.qmax, node.nonnegative)


def _pads(node: FrontNode) -> list[int]:
    """Before and after, so that there are exactly as many windows as the node has."""
    sides = zip(
        node.out_shape, node.stride, node.kernel, node.dilation, node.pad, node.in_shapes[0],
        strict=False,
    )  # fmt: skip
    after = [max(0, (o - 1) * s + (k - 1) * d + 1 - p - n) for o, s, k, d, p, n in sides]
    return [*node.pad, *after]


def _cut(g: GraphBuilder, node: FrontNode, x: str) -> str:
    """Channels first, without rows and columns that no window covers."""
    x = g.node("Transpose", x, perm=[0, 3, 1, 2])
    sides = zip(node.out_shape, node.stride, node.kernel, node.dilation, node.pad, strict=False)
    ends = [max(1, (o - 1) * s + (k - 1) * d + 1 - p) for o, s, k, d, p in sides]
    axes = [g.constant(v, np.int64) for v in ([0, 0], ends, [2, 3])]
    return g.node("Slice", x, *axes)


def _sums(g: GraphBuilder, node: FrontNode, x: str, weight: np.ndarray, groups: int) -> str:
    """Exact sums of a window, int64 (N, H, W, O); weight int8 (O, kernel_h, kernel_w, I)."""
    shifted = g.node("Add", _cut(g, node, x), g.constant(UNSIGNED, np.int64))
    narrow = g.node("Cast", shifted, to=TensorProto.UINT8)
    acc = g.node(
        "ConvInteger",
        narrow,
        g.constant(weight.transpose(0, 3, 1, 2), np.int8),
        g.constant(UNSIGNED, np.uint8),
        kernel_shape=node.kernel,
        strides=node.stride,
        dilations=node.dilation,
        pads=_pads(node),
        group=groups,
    )
    return g.node("Transpose", g.node("Cast", acc, to=TensorProto.INT64), perm=[0, 2, 3, 1])


def _conv(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    acc = _sums(g, node, inputs[0], node.weight, node.groups)
    acc = round_shift(g, acc, node.acc_shifts.tolist())
    scaled = g.node("Mul", acc, g.constant(node.mult, np.int64))
    y = round_shift(g, scaled, node.shift.astype(np.int64).tolist())
    return _requantized(g, node, g.node("Add", y, g.constant(node.bias, np.int64)))


def _average(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    channels = node.in_shapes[0][2]
    acc = _sums(g, node, inputs[0], np.ones((channels, *node.kernel, 1), np.int8), channels)
    acc = round_shift(g, acc, int(node.acc_shifts[0]))
    scaled = g.node("Mul", acc, g.constant(int(node.mult[0]), np.int64))
    return _requantized(g, node, round_shift(g, scaled, int(node.shift[0])))


def _max(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    narrow = g.node("Cast", _cut(g, node, inputs[0]), to=TensorProto.INT8)
    most = g.node(
        "MaxPool", narrow, kernel_shape=node.kernel, strides=node.stride, pads=_pads(node)
    )
    return g.node("Transpose", g.node("Cast", most, to=TensorProto.INT64), perm=[0, 2, 3, 1])


def _add(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    parts = [
        g.node("Mul", x, g.constant(int(m), np.int64))
        for x, m in zip(inputs, node.mult, strict=True)
    ]
    return _requantized(g, node, round_shift(g, g.node("Add", *parts), int(node.shift[0])))


def _concat(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    parts = []
    for x, m, shift in zip(inputs, node.mult, node.shift, strict=True):
        scaled = g.node("Mul", x, g.constant(int(m), np.int64))
        parts.append(_requantized(g, node, round_shift(g, scaled, int(shift))))
    return g.node("Concat", *parts, axis=3)


def _table(g: GraphBuilder, node: FrontNode, inputs: list[str]) -> str:
    at = g.node("Add", inputs[0], g.constant(UNSIGNED, np.int64))
    return g.node("Gather", g.constant(node.table, np.int64), at)


_NODES: Mapping[str, Callable[[GraphBuilder, FrontNode, list[str]], str]] = {
    "conv": _conv,
    "average": _average,
    "max": _max,
    "add": _add,
    "concat": _concat,
    "table": _table,
}
