# SPDX-License-Identifier: Apache-2.0
"""The float front to nodes of SPEC.md 4.1, node by node, on calibration samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from codegen.float_front import FUNCTIONS, FloatFront, FloatNode, read
from codegen.quantize.ranges import (
    OUTPUT_HEADROOM,
    FloatArray,
    best_clip,
    fixed_ratio,
    frac_bits_for,
)
from codegen.quantize.stage import grid_scale
from device.twin.front import accumulate, requantize, run_node
from device.twin.front_node import REQUANTIZING, FrontNode
from device.twin.kernels import IntArray, widen
from device.twin.scale import Scale, quantized_scale

# Values that a range is chosen by, and numbers of one tensor held at once.
RANGE_SAMPLES = 2**16
MAX_VALUES = 2**22


@dataclass
class _Tensors:
    """Integers (N, values), scale and sign of every tensor so far; integers until last read."""

    q: list[IntArray]
    scale: list[Scale]
    nonnegative: list[bool]


@dataclass(frozen=True)
class FittedFront:
    """Nodes of the front, and what they make of the calibration samples.

    Attributes:
        nodes: all; the last one's range is the narrowest that `widened` starts from.
        y: of the last node before its requantisation, int64 (N, values).
        frac_bits: of y's grid.
    """

    nodes: tuple[FrontNode, ...]
    y: IntArray
    frac_bits: int

    def widened(self, factor: int) -> tuple[tuple[FrontNode, ...], IntArray, Scale]:
        """Nodes with the last range times factor / 16, the last tensor, and its scale."""
        last = self.nodes[-1]
        last = replace(last, out_amax=widen(last.out_amax, factor))
        scale = quantized_scale(grid_scale(self.frac_bits), last.out_amax, last.qmax)
        return (*self.nodes[:-1], last), requantize(last, self.y), scale


def samples_at_once(front: FloatFront) -> int:
    """Samples whose largest tensor stays within bounds of memory."""
    largest = max(front.inputs, *(node.outputs for node in front.nodes))
    return max(2, MAX_VALUES // largest)


def spread(x: FloatArray, count: int) -> FloatArray:
    """At most `count` of the samples, from first to last."""
    return x if len(x) <= count else x[np.linspace(0, len(x) - 1, count).astype(int)]


def fit_front(
    front: FloatFront, x: IntArray, scale: Scale, nonnegative: bool, makes_x0: bool
) -> FittedFront:
    """Integer nodes for the float ones.

    Args:
        x: 8-bit input tensor (N, values), in stored order; `scale` and `nonnegative` are its own.
        makes_x0: whether the last tensor is x0 (4 bits).
    """
    tensors = _Tensors([x], [scale], [nonnegative])
    float_nodes = list(front.nodes)
    if float_nodes[-1].kind not in REQUANTIZING:
        shape = float_nodes[-1].out_shape
        rescale = FloatNode(
            "concat", f"rescale{len(float_nodes)}", (len(float_nodes),), (shape,), shape
        )
        float_nodes.append(rescale)
    nodes = [_fitted(tensors, float_nodes, at) for at in range(len(float_nodes) - 1)]
    fit = _Fit(float_nodes[-1], tensors, makes_x0)
    last, frac_bits = fit.node()
    return FittedFront((*nodes, last), accumulate(last, _inputs(tensors, last)), frac_bits)


def fit_whole(
    front: FloatFront, x: IntArray, scale: Scale, nonnegative: bool
) -> tuple[tuple[FrontNode, ...], Scale]:
    """Integer nodes for all float ones, whose last tensor is an output, and its scale."""
    tensors = _Tensors([x], [scale], [nonnegative])
    nodes = [_fitted(tensors, front.nodes, at) for at in range(len(front.nodes))]
    return tuple(nodes), tensors.scale[-1]


def _fitted(tensors: _Tensors, float_nodes: Sequence[FloatNode], at: int) -> FrontNode:
    """Node `at`, and its tensor among the others."""
    fit = _Fit(float_nodes[at], tensors, False)
    node, _ = fit.node()
    made = run_node(node, _inputs(tensors, node))
    tensors.q.append(made.reshape(len(made), -1))
    tensors.scale.append(fit.scale)
    tensors.nonnegative.append(node.nonnegative)
    _forget(tensors, float_nodes, at)
    return node


def _inputs(tensors: _Tensors, node: FrontNode) -> list[IntArray]:
    pairs = zip(node.sources, node.in_shapes, strict=True)
    return [tensors.q[i].reshape(-1, *shape) for i, shape in pairs]


def _forget(tensors: _Tensors, nodes: Sequence[FloatNode], at: int) -> None:
    """Drop integers that no later node reads."""
    later = {i for node in nodes[at + 1 :] for i in node.sources}
    for i in range(len(tensors.q)):
        if i not in later:
            tensors.q[i] = np.zeros((0, 0), np.int64)


@dataclass
class _Fit:
    """One node being fitted."""

    source: FloatNode
    tensors: _Tensors
    makes_x0: bool
    scale: Scale = field(default_factory=lambda: Scale(1 << 14, -14))

    def node(self) -> tuple[FrontNode, int]:
        """The integer node and the fractional bits of its y."""
        return _BUILDERS[self.source.kind](self)

    @property
    def in_scales(self) -> list[Scale]:
        return [self.tensors.scale[i] for i in self.source.sources]

    def base(self, kind: str) -> FrontNode:
        """Name, sources and shapes."""
        s = self.source
        return FrontNode(
            kind,
            s.name,
            s.sources,
            s.in_shapes,
            s.out_shape,
            kernel=s.kernel,
            stride=s.stride,
            dilation=s.dilation,
            pad=s.pad,
            groups=s.groups,
        )

    def real_inputs(self) -> list[NDArray[np.floating]]:
        """What the integers of the inputs stand for."""
        real = {i: self.tensors.q[i] * self.tensors.scale[i].value for i in self.source.sources}
        return read(self.source, [real.get(i, np.zeros(0)) for i in range(len(self.tensors.q))])

    def inputs_nonnegative(self) -> bool:
        return all(self.tensors.nonnegative[i] for i in self.source.sources)

    def grid(self, y: NDArray[np.floating]) -> int:
        """Fractional bits for real values y, and for the bias and bounds of the node."""
        top = max(self.source.limit or 0.0, self.source.top or 0.0)
        bias = np.abs(self.source.bias).max() if self.source.bias.size else 0.0
        largest = max(float(np.abs(y).max()), float(bias), top / OUTPUT_HEADROOM)
        return frac_bits_for(largest, OUTPUT_HEADROOM)

    def requantized(
        self, node: FrontNode, y: NDArray[np.floating], frac_bits: int, positive: bool
    ) -> FrontNode:
        """Range and sign of the result; `positive`: y cannot be negative anyway."""
        nonnegative = self.source.relu or positive
        qmax = (15 if nonnegative else 7) if self.makes_x0 else 127
        integers = np.floor(_sample(y) * 2.0**frac_bits + 0.5).astype(np.int64)
        amax = best_clip(np.clip(integers, -32768, 32767), qmax, nonnegative)
        if self.source.limit is not None and not self.makes_x0:
            amax = max(1, round(self.source.limit * 2.0**frac_bits))
        if self.source.top is not None:
            amax = max(1, min(amax, round(self.source.top * 2.0**frac_bits)))
        self.scale = quantized_scale(grid_scale(frac_bits), amax, qmax)
        return replace(node, out_amax=amax, qmax=qmax, nonnegative=nonnegative)


def _sample(y: NDArray[np.floating]) -> NDArray[np.floating]:
    flat = y.reshape(-1)
    return flat[:: max(1, flat.size // RANGE_SAMPLES)]


def _conv(fit: _Fit) -> tuple[FrontNode, int]:
    s = fit.source
    y = s.linear(fit.real_inputs())
    frac_bits = fit.grid(y)
    largest = np.abs(s.weight).reshape(len(s.weight), -1).max(axis=1).astype(np.float64)
    largest[largest == 0.0] = 1.0
    weight = np.floor(s.weight / (largest / 127)[:, None, None, None] + 0.5).astype(np.int8)
    node = replace(fit.base("conv"), weight=weight)
    pairs = [
        fit.in_scales[0].mul(Scale.from_real(float(a) / 127)).pow2(frac_bits + int(k)).multiplier()
        for a, k in zip(largest, node.acc_shifts, strict=True)
    ]
    bias = np.floor(s.bias.astype(np.float64) * 2.0**frac_bits + 0.5)
    node = replace(
        node,
        bias=bias.astype(np.int32),
        mult=np.array([m for m, _ in pairs], np.int16),
        shift=np.array([k for _, k in pairs], np.uint8),
    )
    return fit.requantized(node, y, frac_bits, False), frac_bits


def _average(fit: _Fit) -> tuple[FrontNode, int]:
    y = fit.source.linear(fit.real_inputs())
    frac_bits = fit.grid(y)
    node = fit.base("average")
    terms = node.kernel[0] * node.kernel[1]
    part = fit.in_scales[0].mul(Scale.from_real(1.0 / terms))
    mult, shift = part.pow2(frac_bits + int(node.acc_shifts[0])).multiplier()
    node = replace(node, mult=np.array([mult], np.int16), shift=np.array([shift], np.uint8))
    return fit.requantized(node, y, frac_bits, fit.inputs_nonnegative()), frac_bits


def _add(fit: _Fit) -> tuple[FrontNode, int]:
    s = fit.source
    y = s.linear(fit.real_inputs())
    frac_bits = fit.grid(y)
    ratios = [scale.value * 2.0**frac_bits for scale in fit.in_scales]
    shift = min(max(floor(log2(32767 / max(ratios))), 0), 30)
    mult = [
        sign * min(32767, round(r * 2.0**shift)) for sign, r in zip(s.signs, ratios, strict=True)
    ]
    node = replace(
        fit.base("add"), mult=np.array(mult, np.int16), shift=np.array([shift], np.uint8)
    )
    positive = fit.inputs_nonnegative() and min(s.signs) > 0
    return fit.requantized(node, y, frac_bits, positive), frac_bits


def _concat(fit: _Fit) -> tuple[FrontNode, int]:
    y = fit.source.linear(fit.real_inputs())
    frac_bits = fit.grid(y)
    pairs = [fixed_ratio(scale.value * 2.0**frac_bits, 15) for scale in fit.in_scales]
    node = replace(
        fit.base("concat"),
        mult=np.array([m for m, _ in pairs], np.int16),
        shift=np.array([k for _, k in pairs], np.uint8),
    )
    return fit.requantized(node, y, frac_bits, fit.inputs_nonnegative()), frac_bits


def _max(fit: _Fit) -> tuple[FrontNode, int]:
    fit.scale = fit.in_scales[0]
    return replace(fit.base("max"), nonnegative=fit.inputs_nonnegative()), 0


def _function(fit: _Fit) -> tuple[FrontNode, int]:
    s = fit.source
    q = fit.tensors.q[s.sources[0]]
    inputs = np.maximum(np.arange(-128, 128), -127)
    real = FUNCTIONS[s.function](inputs * fit.in_scales[0].value, *s.parameters)
    seen = real[int(q.min()) + 128 : int(q.max()) + 129]
    step = (float(np.abs(seen).max()) or 1.0) / 127
    values = np.clip(np.floor(real / step + 0.5), -127, 127).astype(np.int8)
    fit.scale = Scale.from_real(step)
    table = replace(fit.base("table"), table=values, nonnegative=bool(values.min() >= 0))
    return table, 0


_BUILDERS: Mapping[str, Callable[[_Fit], tuple[FrontNode, int]]] = {
    "conv": _conv,
    "average": _average,
    "add": _add,
    "concat": _concat,
    "max": _max,
    "function": _function,
}
