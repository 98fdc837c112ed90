# SPDX-License-Identifier: Apache-2.0
"""A float32 convolutional network in NumPy whose last layers learn: the arm beside the integers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.float_front import FloatFront, FloatNode
from codegen.graph import Dense, FloatGraph

Float32Array = NDArray[np.float32]
Pair = tuple[int, int]
AT_ONCE = 256  # images of an inference


@dataclass
class Conv:
    """A convolution with ReLU, and a mean over all pixels behind it if `mean`.

    Attributes:
        weight: float32, shape (O, kernel_h, kernel_w, I); bias: float32, shape (O,).
    """

    weight: Float32Array
    bias: Float32Array
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    mean: bool = False
    _kept: tuple[Float32Array, ...] = field(default=(), repr=False)

    def forward(self, x: Float32Array) -> Float32Array:
        """x (B, H, W, I) to (B, Ho, Wo, O), or (B, O)."""
        rows = self._unrolled(x)
        y = rows @ self.weight.reshape(len(self.weight), -1).T + self.bias
        self._kept = (np.zeros(x.shape, np.float32), rows, y)
        y = np.maximum(y, 0)
        return np.asarray(y.mean(axis=(1, 2)) if self.mean else y, np.float32)

    def backward(self, d: Float32Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Error below, gradients of weight and bias, from the error of the result."""
        x, rows, y = self._kept
        if self.mean:
            d = np.broadcast_to(d[:, None, None] / (y.shape[1] * y.shape[2]), y.shape)
        d = d * (y > 0)
        flat = d.reshape(-1, d.shape[3])
        gradient = (flat.T @ rows.reshape(len(flat), -1)).reshape(self.weight.shape)
        below = self._folded(d @ self.weight.reshape(len(self.weight), -1), x)
        return below, gradient, flat.sum(axis=0)

    def out_size(self, size: Pair) -> Pair:
        """Output pixels, vertically and horizontally, of an input's."""
        kernel = self.weight.shape[1:3]
        pairs = zip(size, self.pad, kernel, self.stride, strict=True)
        height, width = ((n + 2 * p - k) // s + 1 for n, p, k, s in pairs)
        return height, width

    def _places(self, size: Pair) -> list[tuple[slice, slice]]:
        (high, wide), (down, right) = self.out_size(size), self.stride
        return [
            (slice(i, i + (high - 1) * down + 1, down), slice(j, j + (wide - 1) * right + 1, right))
            for i in range(self.weight.shape[1])
            for j in range(self.weight.shape[2])
        ]

    def _unrolled(self, x: Float32Array) -> Float32Array:
        padded = np.pad(x, ((0, 0), (self.pad[0],) * 2, (self.pad[1],) * 2, (0, 0)))
        parts = [padded[:, v, h] for v, h in self._places((x.shape[1], x.shape[2]))]
        return np.concatenate(parts, axis=3)

    def _folded(self, rows: Float32Array, x: Float32Array) -> Float32Array:
        """Sums of unrolled errors where they came from."""
        (top, left), (_, height, width, channels) = self.pad, x.shape
        padded = np.zeros((len(x), height + 2 * top, width + 2 * left, channels), np.float32)
        for at, (v, h) in enumerate(self._places((height, width))):
            padded[:, v, h] += rows[..., at * channels : (at + 1) * channels]
        return padded[:, top : top + height, left : left + width]


class ConvNetwork:
    """Convolutions, a mean over the pixels, and a head of reserved rows (zero).

    The interface of `benchmarks.accuracy.networks.Network`; a stored sample is what the first
    trained layer reads. Plain SGD, or with `momentum` for the base.
    """

    def __init__(
        self, convs: Sequence[Conv], head: Float32Array, bias: Float32Array, trained: int
    ) -> None:
        self.convs, self.head, self.bias = list(convs), head, bias
        self.n_classes = len(head)
        self.first = len(convs) + 1 - trained
        self.momentum = 0.0
        self._speed: dict[int, Float32Array] = {}
        self._features = np.zeros((0, 0), np.float32)

    def begin_session(self) -> None:
        """Forget momentum."""
        self._speed = {}

    def store(self, x: Float32Array) -> Float32Array:
        """What the first trained layer reads, of samples (N, H, W, C)."""
        return self._in_parts(x, lambda part: self._run(part, 0, self.first))

    def infer(self, stored: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Features (N, F) and logits (N, n_classes)."""
        features = self._in_parts(stored, lambda part: self._run(part, self.first, None))
        return features, self._logits(features)

    def judge(self, x: Float32Array) -> tuple[Float32Array, Float32Array]:
        """As `infer`, of raw samples."""
        return self.infer(self.store(x))

    def forward(self, stored: Float32Array) -> Float32Array:
        """Logits (B, n_classes) of a training step."""
        self._features = self._run(stored, self.first, None)
        return self._logits(self._features)

    def backward(self, error: Float32Array, rate: float) -> None:
        """One step of SGD, from the error of the logits summed over the batch."""
        batch, n = len(error), self.n_classes
        d = error @ self.head[:n]
        self._move(self.head[:n], error.T @ self._features / batch, rate)
        self._move(self.bias[:n], error.sum(axis=0) / batch, rate)
        for conv in reversed(self.convs[self.first :]):
            d, weight, bias = conv.backward(d)
            self._move(conv.weight, weight / batch, rate)
            self._move(conv.bias, bias / batch, rate)

    def _move(self, values: Float32Array, gradient: NDArray[Any], rate: float) -> None:
        if self.momentum:
            key = values.__array_interface__["data"][0]
            speed = self._speed.get(key, np.zeros_like(values)) * self.momentum + gradient
            self._speed[key] = gradient = speed
        values -= np.float32(rate) * gradient

    def _logits(self, features: Float32Array) -> Float32Array:
        n = self.n_classes
        return np.asarray(features @ self.head[:n].T + self.bias[:n], np.float32)

    def _run(self, x: Float32Array, first: int, last: int | None) -> Float32Array:
        for conv in self.convs[first:last]:
            x = conv.forward(x)
        return x

    def _in_parts(self, x: Float32Array, run: object) -> Float32Array:
        assert callable(run)
        return np.concatenate([run(x[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE)])


def fresh(
    shape: tuple[int, int, int],
    plan: Sequence[tuple[int, Pair, Pair, Pair]],
    classes: int,
    seed: int,
) -> ConvNetwork:
    """A network of He et al.'s weights, all layers trained.

    Args:
        plan: output channels, kernel, stride and pad of each convolution.
    """
    rng = np.random.default_rng(seed)
    convs, channels = [], shape[2]
    for at, (outputs, kernel, stride, pad) in enumerate(plan):
        spread = np.sqrt(2 / (kernel[0] * kernel[1] * channels))
        weight = rng.normal(0, spread, (outputs, *kernel, channels)).astype(np.float32)
        last = at == len(plan) - 1
        convs.append(Conv(weight, np.zeros(outputs, np.float32), stride, pad, last))
        channels = outputs
    head = rng.normal(0, np.sqrt(1 / channels), (classes, channels)).astype(np.float32)
    return ConvNetwork(convs, head, np.zeros(classes, np.float32), len(plan) + 1)


def with_rows(network: ConvNetwork, classes: int, trained: int) -> ConvNetwork:
    """A copy with `classes` head rows, new ones zero, whose last layers are trained."""
    convs = [Conv(c.weight.copy(), c.bias.copy(), c.stride, c.pad, c.mean) for c in network.convs]
    head = np.zeros((classes, network.head.shape[1]), np.float32)
    head[: len(network.head)] = network.head
    bias = np.zeros(classes, np.float32)
    bias[: len(network.bias)] = network.bias
    copy = ConvNetwork(convs, head, bias, trained)
    copy.n_classes = network.n_classes
    return copy


def graph_of(network: ConvNetwork, shape: tuple[int, int, int], name: str) -> FloatGraph:
    """The network as the quantizer takes it."""
    nodes: list[FloatNode] = []
    current = shape
    for at, conv in enumerate(network.convs):
        height, width = conv.out_size(current[:2])
        out = (height, width, len(conv.weight))
        nodes.append(
            FloatNode(
                "conv",
                f"conv{at}",
                (at,),
                (current,),
                out,
                weight=conv.weight,
                bias=conv.bias,
                kernel=(conv.weight.shape[1], conv.weight.shape[2]),
                stride=conv.stride,
                pad=conv.pad,
                relu=True,
            )
        )
        current = out
    mean = (1, 1, current[2])
    sources, size = (len(nodes),), current[:2]
    nodes.append(FloatNode("average", "mean", sources, (current,), mean, kernel=size, stride=size))
    n = network.n_classes
    head = Dense("head", network.head[:n], network.bias[:n])
    front = FloatFront(tuple(nodes), shape[0] * shape[1], shape[2], planar=False)
    return FloatGraph(name, shape, (head,), front=front)
