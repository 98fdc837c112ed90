# SPDX-License-Identifier: Apache-2.0
"""A float32 convolutional network in NumPy whose last layers learn: the arm beside the integers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.float_front import FloatFront, FloatNode
from codegen.graph import Dense, FloatGraph

Float32Array = NDArray[np.float32]
Pair = tuple[int, int]
AT_ONCE = 256  # images of an inference


@dataclass(frozen=True)
class ConvPlan:
    """A convolution to be made; depthwise: as many outputs as inputs, each of its own channel."""

    outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    depthwise: bool = False


@dataclass(frozen=True)
class BlockPlan:
    """A residual block of two 3 x 3 convolutions; the shortcut is a projection if shapes differ."""

    outputs: int
    stride: Pair = (1, 1)


Moves = list[tuple[Float32Array, NDArray[Any]]]
"""Weights and biases, each with its gradient."""


@dataclass
class Conv:
    """A convolution; ReLU behind it unless `linear`, a mean over all pixels if `mean`.

    Attributes:
        weight: float32, shape (O, kernel_h, kernel_w, I), I = 1 if depthwise; bias: float32, (O,).
    """

    weight: Float32Array
    bias: Float32Array
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    mean: bool = False
    linear: bool = False
    depthwise: bool = False
    _kept: tuple[Float32Array, ...] = field(default=(), repr=False)

    layers = 1

    def copy(self) -> "Conv":
        """The same with weights of its own."""
        return replace(self, weight=self.weight.copy(), bias=self.bias.copy(), _kept=())

    def forward(self, x: Float32Array) -> Float32Array:
        """x (B, H, W, I) to (B, Ho, Wo, O), or (B, O)."""
        rows = self._unrolled(x)
        y = self._product(rows) + self.bias
        self._kept = (np.zeros(x.shape, np.float32), rows, y)
        y = y if self.linear else np.maximum(y, 0)
        return np.asarray(y.mean(axis=(1, 2)) if self.mean else y, np.float32)

    def backward(self, d: Float32Array) -> tuple[Float32Array, Moves]:
        """Error below, and gradients, from the error of the result."""
        x, rows, y = self._kept
        if self.mean:
            d = np.broadcast_to(d[:, None, None] / (y.shape[1] * y.shape[2]), y.shape)
        d = d if self.linear else d * (y > 0)
        flat = d.reshape(-1, d.shape[3])
        if self.depthwise:
            gradient = np.einsum("nc,ntc->ct", flat, self._taps(rows))
            taps = self.weight.reshape(len(self.weight), -1).T
            errors = (d[..., None, :] * taps).reshape(*d.shape[:3], -1)
        else:
            gradient = flat.T @ rows.reshape(len(flat), -1)
            errors = d @ self.weight.reshape(len(self.weight), -1)
        moves = [(self.weight, gradient.reshape(self.weight.shape)), (self.bias, flat.sum(axis=0))]
        return self._folded(errors, x), moves

    def _product(self, rows: Float32Array) -> Float32Array:
        weight = self.weight.reshape(len(self.weight), -1)
        if not self.depthwise:
            return np.asarray(rows @ weight.T)
        y = np.einsum("ntc,ct->nc", self._taps(rows), weight)
        return np.asarray(y.reshape(*rows.shape[:3], -1))

    def _taps(self, rows: Float32Array) -> Float32Array:
        """Unrolled rows as (pixels, taps, C)."""
        return rows.reshape(-1, self.weight.shape[1] * self.weight.shape[2], len(self.weight))

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


@dataclass
class Block:
    """Convolutions, to which the block's input or a convolution of it is added; then ReLU, mean."""

    main: list[Conv]
    side: Conv | None = None
    mean: bool = False
    _sum: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)

    @property
    def layers(self) -> int:
        """Convolutions in it."""
        return len(self.main) + (self.side is not None)

    def copy(self) -> "Block":
        """The same with weights of its own."""
        side = None if self.side is None else self.side.copy()
        return Block([conv.copy() for conv in self.main], side, self.mean)

    def forward(self, x: Float32Array) -> Float32Array:
        """x (B, H, W, I) to (B, Ho, Wo, O), or (B, O)."""
        y = x
        for conv in self.main:
            y = conv.forward(y)
        self._sum = y + (x if self.side is None else self.side.forward(x))
        y = np.maximum(self._sum, 0)
        return np.asarray(y.mean(axis=(1, 2)) if self.mean else y, np.float32)

    def backward(self, d: Float32Array) -> tuple[Float32Array, Moves]:
        """Error below, and gradients, from the error of the result."""
        y = self._sum
        if self.mean:
            d = np.broadcast_to(d[:, None, None] / (y.shape[1] * y.shape[2]), y.shape)
        d = np.asarray(d * (y > 0))
        short, moves = (d, []) if self.side is None else self.side.backward(d)
        for conv in reversed(self.main):
            d, more = conv.backward(d)
            moves = moves + more
        return d + short, moves


class ConvNetwork:
    """Convolutions, a mean over the pixels, and a head of reserved rows (zero).

    The interface of `benchmarks.accuracy.networks.Network`; a stored sample is what the first
    trained layer reads. Plain SGD, or with `momentum` for the base.
    """

    def __init__(
        self, convs: Sequence[Conv | Block], head: Float32Array, bias: Float32Array, trained: int
    ) -> None:
        self.convs, self.head, self.bias = list(convs), head, bias
        self.n_classes = len(head)
        behind = [sum(part.layers for part in self.convs[at:]) for at in range(len(convs) + 1)]
        self.first = behind.index(trained - 1)  # blocks are trained whole
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
            d, moves = conv.backward(d)
            for values, gradient in moves:
                self._move(values, gradient / batch, rate)

    def averages_from(self, step: int, steps: int) -> bool:
        """Whether weights are averaged; never here."""
        return False

    def add_average(self) -> None:
        """Nothing to add."""

    def end_average(self) -> None:
        """Nothing to take the mean of."""

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
    shape: tuple[int, int, int], plan: Sequence[ConvPlan | BlockPlan], classes: int, seed: int
) -> ConvNetwork:
    """A network of He et al.'s weights, all layers trained.

    The last convolution of a block starts small, as in Zhang et al., Fixup Initialization (ICLR
    2019): there is no batch norm to hold sums in size.
    """
    rng = np.random.default_rng(seed)
    convs: list[Conv | Block] = []
    channels = shape[2]
    for at, part in enumerate(plan):
        last = at == len(plan) - 1
        if isinstance(part, ConvPlan):
            convs.append(_fresh_conv(rng, part, channels, mean=last))
        else:
            convs.append(_fresh_block(rng, part, channels, mean=last))
        channels = part.outputs
    head = rng.normal(0, np.sqrt(1 / channels), (classes, channels)).astype(np.float32)
    layers = sum(part.layers for part in convs) + 1
    return ConvNetwork(convs, head, np.zeros(classes, np.float32), layers)


def _fresh_conv(
    rng: np.random.Generator,
    plan: ConvPlan,
    channels: int,
    mean: bool = False,
    linear: bool = False,
) -> Conv:
    inputs = 1 if plan.depthwise else channels
    spread = np.sqrt(2 / (plan.kernel[0] * plan.kernel[1] * inputs))
    weight = rng.normal(0, spread, (plan.outputs, *plan.kernel, inputs)).astype(np.float32)
    bias = np.zeros(plan.outputs, np.float32)
    return Conv(weight, bias, plan.stride, plan.pad, mean, linear, plan.depthwise)


def _fresh_block(rng: np.random.Generator, plan: BlockPlan, channels: int, mean: bool) -> Block:
    first = _fresh_conv(rng, ConvPlan(plan.outputs, (3, 3), plan.stride, (1, 1)), channels)
    wide = ConvPlan(plan.outputs, (3, 3), pad=(1, 1))
    last = _fresh_conv(rng, wide, plan.outputs, linear=True)
    last.weight *= np.float32(0.25)
    side = None
    if plan.stride != (1, 1) or plan.outputs != channels:
        point = ConvPlan(plan.outputs, (1, 1), plan.stride)
        side = _fresh_conv(rng, point, channels, linear=True)
    return Block([first, last], side, mean)


def with_rows(network: ConvNetwork, classes: int, trained: int) -> ConvNetwork:
    """A copy with `classes` head rows, new ones zero, whose last layers are trained."""
    convs = [part.copy() for part in network.convs]
    head = np.zeros((classes, network.head.shape[1]), np.float32)
    head[: len(network.head)] = network.head
    bias = np.zeros(classes, np.float32)
    bias[: len(network.bias)] = network.bias
    copy = ConvNetwork(convs, head, bias, trained)
    copy.n_classes = network.n_classes
    return copy


class _Draft:
    """Nodes so far, and the shape of each tensor."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.nodes: list[FloatNode] = []
        self.shapes = [shape]

    def add(self, kind: str, out: tuple[int, int, int], *sources: int, **fields: Any) -> int:
        """Number of the tensor that a new node makes."""
        shapes = tuple(self.shapes[i] for i in sources)
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(FloatNode(kind, name, sources, shapes, out, **fields))
        self.shapes.append(out)
        return len(self.nodes)

    def conv(self, conv: Conv, source: int) -> int:
        """A convolution of a tensor."""
        out = (*conv.out_size(self.shapes[source][:2]), len(conv.weight))
        return self.add(
            "conv",
            out,
            source,
            weight=conv.weight,
            bias=conv.bias,
            kernel=(conv.weight.shape[1], conv.weight.shape[2]),
            stride=conv.stride,
            pad=conv.pad,
            groups=len(conv.weight) if conv.depthwise else 1,
            relu=not conv.linear,
        )

    def block(self, block: Block, source: int) -> int:
        """A residual block."""
        made = source
        for conv in block.main:
            made = self.conv(conv, made)
        short = source if block.side is None else self.conv(block.side, source)
        return self.add("add", self.shapes[made], made, short, signs=(1, 1), relu=True)


def graph_of(network: ConvNetwork, shape: tuple[int, int, int], name: str) -> FloatGraph:
    """The network as the quantizer takes it."""
    draft, at = _Draft(shape), 0
    for part in network.convs:
        at = draft.block(part, at) if isinstance(part, Block) else draft.conv(part, at)
    (*size, channels) = draft.shapes[at]
    window = (size[0], size[1])
    draft.add("average", (1, 1, channels), at, kernel=window, stride=window)
    n = network.n_classes
    head = Dense("head", network.head[:n], network.bias[:n])
    front = FloatFront(tuple(draft.nodes), shape[0] * shape[1], shape[2], planar=False)
    return FloatGraph(name, shape, (head,), front=front)
