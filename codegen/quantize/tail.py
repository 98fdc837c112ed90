# SPDX-License-Identifier: Apache-2.0
"""Which convolutions of a front can be trained, and what they compute in float (SPEC.md 14)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.errors import QuantizeError
from codegen.float_front import FloatFront, FloatNode
from codegen.graph import Dense, FloatGraph
from codegen.quantize.block import find_block
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.ranges import FloatArray
from device.twin.check_conv import conv_rules
from device.twin.conv_shape import ConvShape, Pool


@dataclass(frozen=True, eq=False)
class ConvSource:
    """A convolution with ReLU and pool, as `codegen.graph.Dense` is a dense layer.

    Attributes:
        nodes: of the front that it stands for; a pool over one pixel does nothing, but is one.
        weight: float32, shape (O, K), unrolled as SPEC.md 14.1; bias: float32, shape (O,).
        last: name of the node whose result the next layer reads.
        side: its outputs are the shortcut of a residual block (SPEC.md 14.6).
        span: layers back to the first of the block whose shortcut it adds; None: it adds none.
    """

    node: FloatNode
    pool: FloatNode | None
    nodes: int
    shape: ConvShape
    weight: FloatArray
    bias: FloatArray
    last: str = ""
    side: bool = False
    span: int | None = None

    @property
    def name(self) -> str:
        """C identifier, as of the node."""
        return self.node.name

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return int(self.weight.shape[0])

    @property
    def activation(self) -> str | None:
        """ReLU, but for side layers."""
        return None if self.side else "relu"

    def linear(
        self, x: NDArray[np.floating], shortcut: NDArray[np.floating] | None = None
    ) -> NDArray[np.floating]:
        """Outputs before ReLU, a bound (ReLU6) taken, (N, P O), of inputs (N, H W C)."""
        y = self.node.linear([x.reshape(-1, *self.shape.in_shape)])
        y = y if shortcut is None else y + shortcut.reshape(y.shape)
        y = y if self.node.top is None else np.minimum(y, self.node.top)
        return np.asarray(y.reshape(len(x), -1))

    def bounded(self, frac_bits: int) -> ConvShape:
        """The geometry with the bound in the output grid 2**-frac_bits; none beyond 16 bits."""
        top = 0 if self.node.top is None else round(self.node.top * 2.0**frac_bits)
        return replace(self.shape, top=max(1, top) if self.node.top and top < 32767 else 0)

    def after(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        """What the next layer reads, of outputs (N, P O)."""
        z = np.maximum(y, 0.0)
        if self.pool is not None:
            z = self.pool.linear([z.reshape(-1, *self.pool.in_shapes[0])])
        return np.asarray(z.reshape(len(y), -1))


Source = Dense | ConvSource


def linear(
    source: Source, x: NDArray[np.floating], shortcut: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Outputs of a layer before its ReLU, float64 (N, values)."""
    if isinstance(source, ConvSource):
        return source.linear(x, shortcut)
    return np.asarray(x @ source.weight.T.astype(np.float64) + source.bias)


def after(source: Source, y: NDArray[np.floating]) -> NDArray[np.floating]:
    """What the next layer reads, of the outputs of a layer below the head."""
    return source.after(y) if isinstance(source, ConvSource) else np.maximum(y, 0.0)


def trainable_tail(front: FloatFront | None) -> tuple[list[ConvSource], str]:
    """The convolutions at a front's end that can be trained, in order; why no more."""
    nodes = list(front.nodes) if front else []
    found: list[ConvSource] = []
    while nodes:
        pool = nodes.pop() if nodes[-1].kind in ("average", "max") else None
        if nodes and nodes[-1].kind == "add":
            block, reason = _block(nodes, pool)
        else:
            reason = _why_not(nodes, pool)
            block = [] if reason else [_source(nodes[-1], pool)]
        if reason:
            return found[::-1], reason
        found += block[::-1]
        behind = 0 if pool is None else 1
        del nodes[len(nodes) + behind - sum(source.nodes for source in block) :]
    return found[::-1], "there is no layer before it"


def trained_counts(graph: FloatGraph) -> tuple[int, ...]:
    """Every number of layers, from the head, that can be trained: none cuts a residual block."""
    dense = _trainable_dense(graph)
    whole = dense == len(graph.dense_layers)
    return _counts(trainable_tail(graph.front)[0] if whole else [], dense)


def _trainable_dense(graph: FloatGraph) -> int:
    """Dense layers from the head, as far as each below it has a ReLU."""
    hidden = graph.dense_layers[:-1]
    linear = [i for i, layer in enumerate(hidden) if layer.activation is None]
    return len(hidden) - linear[-1] if linear else len(hidden) + 1


def clear_of_linear(graph: FloatGraph, options: QuantizeOptions) -> QuantizeOptions:
    """Options that leave a hidden layer without a ReLU, and all below it, frozen.

    Raises: QuantizeError if train_last asks for such a layer.
    """
    most = _trainable_dense(graph)
    if most == len(graph.dense_layers):
        return options
    if options.train_last is not None and options.train_last > most:
        layer = graph.dense_layers[-most - 1]
        raise QuantizeError(
            f"train_last is {options.train_last}, and nothing follows layer {layer.name} "
            f"(node {layer.origin})",
            where="options",
            expected=f"1 (the head) to {most}, or a Relu behind that layer",
        )
    return replace(options, train_last=options.train_last or most)


def _counts(sources: list[ConvSource], dense: int) -> tuple[int, ...]:
    whole = [n for n in range(1, len(sources) + 1) if not _cuts(sources, len(sources) - n)]
    return (*range(1, dense + 1), *(dense + n for n in whole))


def _cuts(sources: list[ConvSource], start: int) -> str:
    """Name of the last layer of a block that begins before `start` and ends behind it; or ""."""
    behind = enumerate(sources[start:])
    return next((s.name for at, s in behind if s.span is not None and s.span > at), "")


def _block(nodes: list[FloatNode], pool: FloatNode | None) -> tuple[list[ConvSource], str]:
    """Layers of the residual block that the last of the nodes ends; or why it cannot be trained."""
    add = nodes[-1]
    reasons = (
        (not add.relu, "has no ReLU"),
        (add.signs != (1, 1), "subtracts"),
        (pool is not None and not _pools(add, pool), "has overlapping or padded pools behind it"),
    )
    reason = next((f"{add.name} (add) {text}" for holds, text in reasons if holds), "")
    if reason:
        return [], reason
    found = find_block(nodes)
    if found is None:
        return [], f"{add.name} (add) does not end a residual block of convolutions (SPEC.md 14.6)"
    last = _source(replace(found.main[-1], relu=True, top=add.top), pool)
    span = len(found.main) - (0 if found.side else 1)
    last = replace(
        last, nodes=last.nodes + 1, span=span, last=add.name if pool is None else pool.name
    )
    layers = [*(_source(node, None) for node in found.main[:-1]), last]
    if found.side is not None:
        layers.insert(1, replace(_source(found.side, None), side=True))
    return layers, ""


def split_front(front: FloatFront, sources: tuple[ConvSource, ...]) -> FloatFront | None:
    """What is left of the front without its last convolutions; None if nothing is."""
    count = sum(source.nodes for source in sources)
    nodes = front.nodes[: len(front.nodes) - count]
    return FloatFront(nodes, front.pixels, front.channels, front.planar) if nodes else None


def tail_sources(
    front: FloatFront | None, count: int, dense: int, batch: int
) -> tuple[ConvSource, ...]:
    """The last `count` convolutions before `dense` dense layers.

    Raises: QuantizeError if there are fewer that can be trained, or one is too large.
    """
    found, reason = trainable_tail(front)
    if count > len(found):
        raise QuantizeError(
            f"train_last is {count + dense}; {reason}",
            where="options",
            expected=f"1 (the head) to {len(found) + dense}",
        )
    cut = _cuts(found, len(found) - count)
    if cut:
        raise QuantizeError(
            f"train_last is {count + dense}; it would cut the residual block that {cut} ends",
            where="options",
            expected=f"one of {', '.join(map(str, _counts(found, dense)))}: blocks stay whole",
        )
    sources = tuple(found[len(found) - count :])
    for source in sources:
        rules = conv_rules(source.shape, source.outputs, source.shape.in_values, batch)
        broken = next((text for holds, text in rules if not holds), "")
        if broken:
            raise QuantizeError(
                broken,
                where=f"layer {source.name}",
                expected="at most 65535 values, terms, and pixels times batch, and padding "
                "no wider than a window (SPEC.md 14.1); or fewer layers trained",
            )
    return sources


def _why_not(nodes: list[FloatNode], pool: FloatNode | None) -> str:
    """Why the last of the nodes, behind it perhaps a pool, cannot be trained; "" if it can."""
    if not nodes or nodes[-1].kind != "conv":
        last = nodes[-1] if nodes else pool
        what = f"{last.name} ({last.kind})" if last else "it"
        return f"{what} is no convolution with a ReLU"
    node = nodes[-1]
    reasons = (
        (node.sources != (len(nodes) - 1,), "does not read the layer before it"),
        (not node.relu, "has no ReLU"),
        (pool is not None and not _pools(node, pool), "has overlapping or padded pools behind it"),
    )
    return next((f"{node.name} {text}" for holds, text in reasons if holds), "")


def _pools(node: FloatNode, pool: FloatNode) -> bool:
    """Whether a pool's windows lie side by side on what the convolution makes."""
    if _covers_all(node, pool):
        return pool.top is None
    apart = all(
        out == 1 or stride == kernel
        for out, stride, kernel in zip(pool.out_shape, pool.stride, pool.kernel, strict=False)
    )
    plain = pool.pad == (0, 0) and pool.dilation == (1, 1) and pool.top is None
    inside = all(
        out * kernel <= size
        for out, kernel, size in zip(pool.out_shape, pool.kernel, node.out_shape, strict=False)
    )
    full = all(
        out == size // kernel
        for out, size, kernel in zip(pool.out_shape, node.out_shape, pool.kernel, strict=False)
    )
    return apart and plain and inside and full and pool.in_shapes[0] == node.out_shape


def _covers_all(node: FloatNode, pool: FloatNode) -> bool:
    """Whether one window takes every pixel, be they written as rows or as one row."""
    pixels, channels = node.out_shape[0] * node.out_shape[1], node.out_shape[2]
    rows = pool.in_shapes[0] in (node.out_shape, (1, pixels, channels))
    return rows and pool.out_shape == (1, 1, channels) and pool.kernel == pool.in_shapes[0][:2]


def _source(node: FloatNode, pool: FloatNode | None) -> ConvSource:
    kind: Pool = "none"
    nodes, last = (1, node.name) if pool is None else (2, pool.name)
    if pool is not None:
        kind = "average" if pool.kind == "average" else "max"
    size = (1, 1)
    if pool is not None:
        size = node.out_shape[:2] if _covers_all(node, pool) else pool.kernel
    if size == (1, 1):
        kind, pool = "none", None
    shape = ConvShape(
        in_shape=node.in_shapes[0],
        out_size=node.out_shape[:2],
        kernel=node.kernel,
        stride=node.stride,
        dilation=node.dilation,
        pad=node.pad,
        pool=kind,
        pool_size=size,
        groups=node.groups,
    )
    weight = node.weight.reshape(len(node.weight), -1)
    return ConvSource(node, pool, nodes, shape, weight, node.bias, last)
