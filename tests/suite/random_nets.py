# SPDX-License-Identifier: Apache-2.0
"""Networks drawn at random: shapes, operators, attributes, residuals and concatenations."""

from collections.abc import Callable

import numpy as np
import onnx

from tests.suite.build import Net

MOST_VALUES = 400


class RandomNet:
    """A network under construction; `name` is the tensor that the next step reads."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = tuple(int(n) for n in self.rng.integers((1, 3, 3), (5, 10, 10)))
        self.net = Net(f"random{seed}", self.shape, seed)
        self.name, self.size = "x", self.shape

    def pick(self, *choices: int) -> int:
        """One of them."""
        return int(self.rng.choice(choices))

    def file(self, steps: int, classes: int = 3) -> onnx.ModelProto:
        """A convolution, so many random steps, then a dense head."""
        self.conv()
        for _ in range(steps):
            STEPS[self.pick(*range(len(STEPS)))](self)
        width = int(np.prod(self.size))
        flat = self.net.node("Flatten", self.name)
        return self.net.file(self.net.gemm(flat, width, classes), classes)

    def conv(self) -> None:
        """Any Conv, with or without normalisation and activation."""
        channels, height, width = self.size
        kernel = (min(self.pick(1, 2, 3), height), min(self.pick(1, 2, 3), width))
        stride = (self.pick(1, 1, 2), self.pick(1, 1, 2))
        pad = tuple(self.pick(0, 1) for _ in range(4))
        dilation = self.pick(1, 1, 2) if min(height, width) > 2 * max(kernel) else 1
        reach = [dilation * (k - 1) + 1 for k in kernel]
        groups = self.pick(1, channels) if channels > 1 else 1
        out = groups * self.pick(1, 2, 3)
        self.name = self.net.conv(
            self.name,
            out,
            kernel,
            stride,
            pad,
            groups,
            norm=bool(self.pick(0, 1)),
            act=("", "Relu", "Tanh", "HardSwish", "LeakyRelu", "Sigmoid")[self.pick(*range(6))],
            bias=True,
            dilation=dilation,
        )
        sides = zip((height, width), pad[:2], pad[2:], reach, stride, strict=True)
        self.size = (out, *((n + a + b - r) // s + 1 for n, a, b, r, s in sides))

    def pool(self) -> None:
        """MaxPool or AveragePool."""
        channels, height, width = self.size
        kernel = (min(self.pick(1, 2, 3), height), min(self.pick(1, 2, 3), width))
        stride = (self.pick(1, 2), self.pick(1, 2))
        kind = ("MaxPool", "AveragePool")[self.pick(0, 1)]
        self.name = self.net.node(kind, self.name, kernel_shape=kernel, strides=stride)
        sides = zip((height, width), kernel, stride, strict=True)
        self.size = (channels, *((n - k) // s + 1 for n, k, s in sides))

    def residual(self) -> None:
        """x plus or minus a convolution of x, perhaps through a ReLU."""
        branch = self.net.conv(self.name, self.size[0], (1, 1), norm=False, act="")
        kind = ("Add", "Sub")[self.pick(0, 1)]
        self.name = self.net.node(kind, self.name, branch)
        if self.pick(0, 1):
            self.name = self.net.node("Relu", self.name)

    def concat(self) -> None:
        """Two convolutions of x behind one another."""
        if np.prod(self.size) > MOST_VALUES:
            return
        parts = [self.net.conv(self.name, self.pick(1, 3), (1, 1), norm=False) for _ in range(2)]
        channels = sum(self.net.channels[part] for part in parts)
        self.name = self.net.node("Concat", *parts, axis=1)
        self.net.channels[self.name] = channels
        self.size = (channels, *self.size[1:])

    def activation(self) -> None:
        """A function of each value."""
        kind = ("Relu", "Relu6", "Elu", "LeakyRelu", "HardSigmoid", "PRelu")[self.pick(*range(6))]
        if kind == "Relu6":
            self.name = self.net.relu6(self.name)
        elif kind == "PRelu":
            slope = self.net.constant(np.full((1, 1, 1), 0.2, np.float32))
            self.name = self.net.node(kind, self.name, slope)
        else:
            self.name = self.net.node(kind, self.name)

    def constant(self) -> None:
        """A product and a sum with one number a channel."""
        shape = (self.size[0], 1, 1)
        factor = self.net.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))
        offset = self.net.constant(self.rng.normal(0, 0.3, shape).astype(np.float32))
        self.name = self.net.node("Add", self.net.node("Mul", self.name, factor), offset)


STEPS: tuple[Callable[[RandomNet], None], ...] = (
    RandomNet.conv,
    RandomNet.conv,
    RandomNet.pool,
    RandomNet.residual,
    RandomNet.concat,
    RandomNet.activation,
    RandomNet.constant,
)
