# SPDX-License-Identifier: Apache-2.0
"""The float front of a network: a graph of nodes on (H, W, C) tensors, before its dense layers.

Convolutions, pools, residual sums, concatenations and functions of one number. What the importer
makes of a file and the quantizer turns into SPEC.md 4.1. Layouts are planned already: channels are
innermost everywhere, whatever the file's order was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import erf, pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Size = tuple[int, int]
Shape3 = tuple[int, int, int]


def _erf(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(np.vectorize(erf, otypes=[np.float64])(x))


def _softplus(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(np.logaddexp(x, np.zeros_like(x)))


def _gelu_tanh(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """After Hendrycks and Gimpel, Gaussian Error Linear Units, arXiv 1606.08415."""
    return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))


def compose(x: NDArray[np.floating], *tokens: float | str) -> NDArray[np.floating]:
    """A function in postfix notation: "x", numbers, names of FUNCTIONS and of BINARY.

    A function takes its parameters, which come before its name, then one number.
    """
    stack: list[NDArray[np.floating]] = []
    for token in tokens:
        if not isinstance(token, str):
            stack.append(np.full_like(x, token))
        elif token == "x":
            stack.append(x)
        elif token in BINARY:
            b, a = stack.pop(), stack.pop()
            stack.append(BINARY[token](a, b))
        else:
            count = PARAMETERS.get(token, 0)
            parameters = [stack.pop() for _ in range(count)][::-1]
            stack.append(FUNCTIONS[token](stack.pop(), *parameters))
    return stack.pop()


BINARY: Mapping[str, Callable[..., NDArray[np.floating]]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
}
PARAMETERS = {
    "celu": 1,
    "clip": 2,
    "elu": 1,
    "gated_hard_sigmoid": 2,
    "hard_sigmoid": 2,
    "leaky_relu": 1,
    "selu": 2,
}
"""Numbers that a function takes besides x, where there are any."""
FUNCTIONS: Mapping[str, Callable[..., NDArray[np.floating]]] = {
    "abs": np.abs,
    "celu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x),
    "composed": compose,
    "erf": _erf,
    "exp": np.exp,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / sqrt(2))),
    "gelu_tanh": _gelu_tanh,
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "selu": lambda x, alpha, gamma: gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "clip": lambda x, low, high: np.clip(x, low, high),
    "leaky_relu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "hard_sigmoid": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "gated_hard_sigmoid": lambda x, alpha, beta: x * np.clip(alpha * x + beta, 0, 1),
    "sigmoid": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
    "tanh": np.tanh,
}
"""Functions of one number, which become tables."""


@dataclass(frozen=True, eq=False)
class FloatNode:
    """One node. Fields that a kind does not use keep their defaults.

    Attributes:
        kind: conv, average (a fixed divisor), max, add, concat or function.
        name: C identifier, unique in the front.
        sources: tensors read: 0 is the front's input, k + 1 what node k makes.
        in_shapes: (H, W, C) of each; out_shape: of the result.
        weight: conv: float32 (O, kernel_h, kernel_w, I / groups); bias: float32 (O,).
        kernel, stride, dilation, pad: (vertical, horizontal); pad is the one at the top left.
        signs: add: factor of each source, 1 or -1.
        relu: whether a ReLU follows (not after max and function).
        top: upper bound after it, None without; 6 for ReLU6.
        limit: magnitude that the file's own quantization gives the result, None without.
        function, parameters: of FUNCTIONS.
        origin: node of the file, printable.
    """

    kind: str
    name: str
    sources: tuple[int, ...]
    in_shapes: tuple[Shape3, ...]
    out_shape: Shape3
    weight: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    bias: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    kernel: Size = (1, 1)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    pad: Size = (0, 0)
    groups: int = 1
    signs: tuple[int, ...] = ()
    relu: bool = False
    top: float | None = None
    limit: float | None = None
    function: str = ""
    parameters: tuple[float | str, ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            copy = np.array(getattr(self, name), dtype=np.float32, order="C")
            copy.setflags(write=False)
            object.__setattr__(self, name, copy)

    @property
    def outputs(self) -> int:
        """Values of the result."""
        return prod(self.out_shape)

    def forward(self, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Inputs (N, H, W, C) each; returns (N, *out_shape), ReLU and top included."""
        y = self.linear(inputs)
        if self.relu:
            y = np.maximum(y, 0)
        return y if self.top is None else np.minimum(y, self.top)

    def linear(self, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Likewise, without ReLU and top."""
        return _FORWARD[self.kind](self, inputs)


@dataclass(frozen=True, eq=False)
class FloatFront:
    """Nodes in order, the last one's tensor being the result.

    Attributes:
        pixels, channels: of the input tensor; channels are those with constants of their own.
        planar: samples come channel by channel and are brought into pixel order first.
    """

    nodes: tuple[FloatNode, ...]
    pixels: int
    channels: int
    planar: bool

    @property
    def inputs(self) -> int:
        """Values in the input tensor."""
        return self.pixels * self.channels

    @property
    def outputs(self) -> int:
        """Values in the last tensor."""
        return self.nodes[-1].outputs

    @property
    def n_weights(self) -> int:
        """Weights and biases."""
        return sum(node.weight.size + node.bias.size for node in self.nodes)

    def arrange(self, x: NDArray[Any]) -> NDArray[Any]:
        """Samples (N, values) in the file's order to pixel order."""
        if not self.planar:
            return x
        planes = x.reshape(len(x), self.channels, self.pixels)
        return planes.transpose(0, 2, 1).reshape(len(x), -1)

    def forward(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """x (N, values) in the file's order to the last tensor (N, values)."""
        tensors = [self.arrange(x)]
        for node in self.nodes:
            tensors.append(node.forward(read(node, tensors)))
        return tensors[-1].reshape(len(x), -1)


def read(node: FloatNode, tensors: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """A node's inputs, (N, H, W, C) each."""
    pairs = zip(node.sources, node.in_shapes, strict=True)
    return [tensors[i].reshape(-1, *shape) for i, shape in pairs]


def _windows(node: FloatNode, x: NDArray[np.floating], outside: float) -> dict[Size, FloatArray]:
    """For each kernel position the values under it, (N, out_h, out_w, C)."""
    ends = [
        (out - 1) * s + (k - 1) * d + 1 - p - n
        for out, s, k, d, p, n in zip(
            node.out_shape,
            node.stride,
            node.kernel,
            node.dilation,
            node.pad,
            x.shape[1:],
            strict=False,
        )
    ]
    margins = [(0, 0), *((p, max(0, e)) for p, e in zip(node.pad, ends, strict=True)), (0, 0)]
    padded = np.pad(x, margins, constant_values=outside)
    found = {}
    for i in range(node.kernel[0]):
        for j in range(node.kernel[1]):
            cuts = [
                slice(a * d, a * d + (out - 1) * s + 1, s)
                for a, d, out, s in zip(
                    (i, j), node.dilation, node.out_shape, node.stride, strict=False
                )
            ]
            found[i, j] = padded[:, cuts[0], cuts[1]]
    return found


def _conv(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    y = np.zeros((len(inputs[0]), *node.out_shape), inputs[0].dtype)
    for (i, j), under in _windows(node, inputs[0], 0.0).items():
        y += _grouped(under, node.weight[:, i, j, :], node.groups)
    return y + node.bias


def _grouped(x: NDArray[np.floating], weight: FloatArray, groups: int) -> NDArray[np.floating]:
    if weight.shape[1] == 1 and groups > 1:
        return np.asarray(np.repeat(x, len(weight) // groups, axis=-1) * weight[:, 0])
    parts, rows = np.split(x, groups, axis=-1), np.split(weight, groups)
    return np.concatenate([p @ r.T for p, r in zip(parts, rows, strict=True)], axis=-1)


def _average(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    total = reduce(np.add, _windows(node, inputs[0], 0.0).values())
    return np.asarray(total / (node.kernel[0] * node.kernel[1]))


def _max(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return np.asarray(reduce(np.maximum, _windows(node, inputs[0], -np.inf).values()))


def _add(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return inputs[0] * node.signs[0] + inputs[1] * node.signs[1]


def _concat(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return np.concatenate(list(inputs), axis=-1)


def _function(node: FloatNode, inputs: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return np.asarray(FUNCTIONS[node.function](inputs[0], *node.parameters), inputs[0].dtype)


_FORWARD: Mapping[
    str, Callable[[FloatNode, Sequence[NDArray[np.floating]]], NDArray[np.floating]]
] = {
    "conv": _conv,
    "average": _average,
    "max": _max,
    "add": _add,
    "concat": _concat,
    "function": _function,
}
