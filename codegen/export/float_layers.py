# SPDX-License-Identifier: Apache-2.0
"""The float graph as ONNX, every layer's result an output: what integers are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from codegen.export.builder import INPUT, IR_VERSION, OPSET, GraphBuilder
from codegen.float_front import BINARY, PARAMETERS, FloatFront, FloatNode
from codegen.graph import Affine, FloatGraph

FUNCTION_NODES = {
    "abs": "Abs",
    "celu": "Celu",
    "elu": "Elu",
    "erf": "Erf",
    "exp": "Exp",
    "leaky_relu": "LeakyRelu",
    "selu": "Selu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}


@dataclass(frozen=True)
class FloatLayers:
    """An ONNX model and the names of its outputs: one a layer, in the order of `device.twin.trace`.

    The first is the normalised input. Tensors of the front have the shape (N, H, W, C).
    """

    model: onnx.ModelProto
    outputs: tuple[str, ...]


def export_float_layers(graph: FloatGraph) -> FloatLayers:
    """Write the graph: input float32 (N, features), outputs float32 of every layer."""
    g = GraphBuilder()
    x = INPUT
    if isinstance(graph.normalizer, Affine):
        x = g.node("Sub", x, _float(g, graph.normalizer.offset))
        x = g.node("Mul", x, _float(g, graph.normalizer.scale))
    else:
        x = g.node("Identity", x)
    names = [x]
    if graph.front is not None:
        x = _arranged(g, graph.front, x)
        names = [x]
        names += _front(g, graph.front, x)
        x = g.node("Flatten", names[-1])
    for layer in graph.dense_layers:
        x = g.node("Gemm", x, _float(g, layer.weight), _float(g, layer.bias), transB=1)
        x = g.node("Relu", x) if layer.activation == "relu" else x
        names.append(x)
    return FloatLayers(_model(g, graph, names), tuple(names))


def _float(g: GraphBuilder, values: object) -> str:
    return g.constant(values, np.float32)


def _model(g: GraphBuilder, graph: FloatGraph, names: list[str]) -> onnx.ModelProto:
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", graph.features])]
    made = g.graph("float_layers", inputs, outputs)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, ir_version=IR_VERSION, opset_imports=opsets)


def _arranged(g: GraphBuilder, front: FloatFront, x: str) -> str:
    """Samples as (N, pixels, channels), as they are stored."""
    first, second = front.channels, front.pixels
    if not front.planar:
        first, second = second, first
    x = g.node("Reshape", x, g.constant([0, first, second], np.int64))
    return g.node("Transpose", x, perm=[0, 2, 1]) if front.planar else x


def _front(g: GraphBuilder, front: FloatFront, x: str) -> list[str]:
    tensors = [x]
    for node in front.nodes:
        inputs = [
            g.node("Reshape", tensors[i], g.constant([-1, *shape], np.int64))
            for i, shape in zip(node.sources, node.in_shapes, strict=True)
        ]
        y = _node(g, node, inputs)
        if node.relu:
            y = g.node("Relu", y)
        if node.top is not None:
            y = g.node("Min", y, _float(g, node.top))
        tensors.append(y)
    return tensors[1:]


def _node(g: GraphBuilder, node: FloatNode, inputs: list[str]) -> str:
    if node.kind in ("conv", "average", "max"):
        return _window(g, node, inputs[0])
    if node.kind == "add":
        signed = [
            x if sign > 0 else g.node("Neg", x) for x, sign in zip(inputs, node.signs, strict=True)
        ]
        return g.node("Add", *signed)
    if node.kind == "concat":
        return g.node("Concat", *inputs, axis=3)
    return _function(g, node, inputs[0])


def _window(g: GraphBuilder, node: FloatNode, x: str) -> str:
    """ONNX's windows want channels first."""
    x = g.node("Transpose", x, perm=[0, 3, 1, 2])
    pads = (*node.pad, *_pads_after(node))
    common: dict[str, Any] = {"kernel_shape": node.kernel, "strides": node.stride}
    if node.kind == "conv":
        weight = _float(g, node.weight.transpose(0, 3, 1, 2))
        more: dict[str, Any] = {"dilations": node.dilation, "group": node.groups}
        y = g.node("Conv", x, weight, _float(g, node.bias), pads=pads, **common, **more)
    elif node.kind == "max":
        y = g.node("MaxPool", _cut(g, node, x), pads=pads, **common)
    else:  # a sum with a fixed divisor: zeros outside count
        full = g.constant([0, 0, *node.pad, 0, 0, *_pads_after(node)], np.int64)
        y = g.node("AveragePool", g.node("Pad", _cut(g, node, x), full), **common)
    return g.node("Transpose", y, perm=[0, 2, 3, 1])


def _reach(node: FloatNode) -> list[int]:
    """Rows and columns of the padded input that windows cover."""
    pairs = zip(node.out_shape, node.stride, node.kernel, node.dilation, strict=False)
    return [(out - 1) * s + (k - 1) * d + 1 for out, s, k, d in pairs]


def _pads_after(node: FloatNode) -> list[int]:
    sides = zip(_reach(node), node.pad, node.in_shapes[0], strict=False)
    return [max(0, reach - pad - size) for reach, pad, size in sides]


def _cut(g: GraphBuilder, node: FloatNode, x: str) -> str:
    """Without rows and columns that no window covers: they could make one window more."""
    sides = zip(_reach(node), node.pad, strict=True)
    ends = g.constant([max(1, reach - pad) for reach, pad in sides], np.int64)
    return g.node("Slice", x, g.constant([0, 0], np.int64), ends, g.constant([2, 3], np.int64))


def _function(g: GraphBuilder, node: FloatNode, x: str) -> str:
    if node.function == "composed":
        return _composed(g, node.parameters, x)
    numbers = [float(value) for value in node.parameters]
    return _single(g, node.function, numbers, x)


def _composed(g: GraphBuilder, tokens: Sequence[float | str], x: str) -> str:
    """The postfix notation of `codegen.float_front.compose`."""
    stack: list[str | float] = []
    for token in tokens:
        if token == "x":
            stack.append(x)
        elif not isinstance(token, str):
            stack.append(token)
        elif token in BINARY:
            names = [v if isinstance(v, str) else _float(g, v) for v in (stack.pop(), stack.pop())]
            stack.append(g.node(token.capitalize(), names[1], names[0]))
        else:
            numbers = [float(stack.pop()) for _ in range(PARAMETERS.get(token, 0))][::-1]
            stack.append(_single(g, token, numbers, str(stack.pop())))
    return str(stack.pop())


def _single(g: GraphBuilder, name: str, parameters: Sequence[float], x: str) -> str:
    if name == "clip":
        return g.node("Clip", x, _float(g, parameters[0]), _float(g, parameters[1]))
    if name in ("hard_sigmoid", "gated_hard_sigmoid"):
        alpha, beta = parameters
        gate = g.node("HardSigmoid", x, alpha=alpha, beta=beta)
        return g.node("Mul", x, gate) if name.startswith("gated") else gate
    if name == "mish":  # ONNX has both, but not in the opset of these files
        return g.node("Mul", x, g.node("Tanh", g.node("Softplus", x)))
    if name in ("gelu", "gelu_tanh"):
        return _gelu(g, name, x)
    fields: dict[str, Any] = dict(zip(("alpha", "gamma"), parameters, strict=False))
    return g.node(FUNCTION_NODES[name], x, **fields)


def _gelu(g: GraphBuilder, name: str, x: str) -> str:
    if name == "gelu":
        gate = g.node("Erf", g.node("Mul", x, _float(g, sqrt(0.5))))
    else:
        cube = g.node("Mul", g.node("Mul", x, x), g.node("Mul", x, _float(g, 0.044715)))
        gate = g.node("Tanh", g.node("Mul", g.node("Add", x, cube), _float(g, sqrt(2 / pi))))
    half = g.node("Mul", x, _float(g, 0.5))
    return g.node("Mul", half, g.node("Add", gate, _float(g, 1.0)))
