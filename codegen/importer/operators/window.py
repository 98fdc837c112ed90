# SPDX-License-Identifier: Apache-2.0
"""Operators with windows: convolutions, pools, means over pixels, padding.

Files put channels first, steps put them last; `Signal.where` keeps account.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from codegen.errors import (
    MalformedModelError,
    ModelTooLargeError,
    UnsupportedModelError,
    UnsupportedShapeError,
)
from codegen.importer.limits import MAX_FEATURES
from codegen.importer.operators.arguments import (
    Arguments,
    argument,
    constant,
    float_signal,
    integers,
    optional_constant,
    vector,
)
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import (
    ConvStep,
    DenseStep,
    PermuteStep,
    PoolStep,
    Signal,
    Step,
    Value,
    Window,
)

Pair = tuple[int, int]
MAX_SIDE = 4095


def conv(node: SourceNode, args: Arguments) -> Value:
    """Conv over one or two axes."""
    x, margin = _padded(node, args)
    weight = constant(node, args, 1).astype(np.float64)
    if weight.ndim != len(x.inner) + 1 or weight.ndim not in (3, 4):
        raise UnsupportedShapeError(
            f"weight of {weight.ndim} dimensions on samples of shape {list(x.shape)}",
            where=node.label,
            expected="channels and one or two axes",
        )
    groups = node.integer("group", 1)
    outputs, per_group = weight.shape[:2]
    if groups < 1 or outputs % groups or per_group * groups != x.inner[0] or not weight.size:
        raise MalformedModelError(
            f"{outputs} x {per_group} channels in {groups} groups for {x.inner[0]} channels",
            where=node.label,
            expected="groups that divide both",
        )
    bias = optional_constant(node, args, 2)
    b = vector(node, np.zeros(1) if bias is None else bias, outputs, "bias")
    window = _window(node, x, weight.shape[2:], margin, outputs)
    if _takes_all(window) and groups == 1:
        step: Step = DenseStep(x.step, x.in_order(weight.reshape(outputs, -1)), b, node.name)
    else:
        kernel = weight.reshape(outputs, per_group, *window.kernel).transpose(0, 2, 3, 1)
        step = ConvStep(channels_last(node, x), kernel, b, window, groups, node.name)
    return channels_first(step, window, len(weight.shape) - 2)


def _takes_all(window: Window) -> bool:
    """Whether there is one window, and it is the image."""
    return (
        window.in_shape[:2] == window.kernel
        and window.out_shape[:2] == (1, 1)
        and (window.pad == (0, 0) and window.dilation == (1, 1))
    )


def max_pool(node: SourceNode, args: Arguments) -> Value:
    """MaxPool; the second result, positions, is not computed."""
    return _pool(node, args, "max")


def average_pool(node: SourceNode, args: Arguments) -> Value:
    """AveragePool with one divisor for all windows."""
    return _pool(node, args, "average")


def pad(node: SourceNode, args: Arguments) -> Value:
    """Pad with zeros, to be taken by the convolution that reads it."""
    x = float_signal(node, args)
    listed = node.numbers("pads")
    sizes = integers(node, constant(node, args, 1) if listed is None else listed)
    value = optional_constant(node, args, 2) if listed is None else None
    filled = node.number("value", 0.0) if value is None else float(value.reshape(-1)[0])
    rank = 1 + len(x.shape)
    if node.text("mode", "constant") != "constant" or filled != 0.0 or argument(node, args, 3):
        raise UnsupportedModelError(
            "pads with other than zeros, or by named axes",
            where=node.label,
            expected="mode constant, value 0, all axes",
        )
    if len(sizes) != 2 * rank or min(sizes) < 0 or max(sizes) > MAX_SIDE or sizes[0] or sizes[rank]:
        raise UnsupportedShapeError(
            f"pads {list(sizes)[:16]}", where=node.label, expected="not negative, batch left alone"
        )
    margin = tuple(zip(sizes[1:rank], sizes[rank + 1 :], strict=True))
    if not any(map(any, margin)):
        return x
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, margin, strict=True))
    return replace(x, shape=shape, margin=margin)


def pointwise(node: SourceNode, x: Signal, matrix: Array) -> Signal:
    """Each row of the last axis times a matrix (I, O): a convolution of one pixel."""
    if x.shape[-1] != matrix.shape[0] or not matrix.size:
        raise UnsupportedShapeError(
            f"weights for {matrix.shape[0]} features",
            where=node.label,
            expected=f"{x.shape[-1]} features and at least one output",
        )
    pixels, outputs = prod(x.shape[:-1]), matrix.shape[1]
    source = in_stored_order(node, x, x.places, x.shape[-1])
    window = Window((1, pixels, x.shape[-1]), (1, pixels, outputs))
    _check_size(node, window)
    weight = matrix.T.astype(np.float64).reshape(outputs, 1, 1, -1)
    step = ConvStep(source, weight, np.zeros(outputs), window, 1, node.name)
    return Signal(step, (*x.shape[:-1], outputs))


def channels_last(node: SourceNode, x: Signal) -> Step:
    """The step of x with its first axis, the channels, innermost."""
    return in_stored_order(node, x, np.moveaxis(x.places, 0, -1), x.inner[0])


def in_stored_order(node: SourceNode, x: Signal, places: Array, channels: int) -> Step:
    """The step of x if `places` is the order it stores, otherwise a permutation of it."""
    order = places.reshape(-1)
    if (order == np.arange(order.size)).all():
        return x.step
    return PermuteStep(x.step, order, channels, node.name)


def channels_first(step: Step, window: Window, axes: int) -> Signal:
    """What a step stores channels last, as a file's tensor (C, spatial axes)."""
    height, width, channels = window.out_shape
    spatial = (width,) if axes == 1 else (height, width)
    places = np.arange(prod(window.out_shape)).reshape(height * width, channels).T
    where = None if 1 in places.shape else places.reshape(-1)
    return Signal(step, (channels, *spatial), where=where)


def _padded(node: SourceNode, args: Arguments) -> tuple[Signal, tuple[Pair, ...]]:
    """The input without its margin, and the margin of its spatial axes."""
    value = argument(node, args, 0)
    if not isinstance(value, Signal) or not value.margin:
        x = float_signal(node, args)
        return x, ((0, 0),) * (len(x.shape) - 1)
    if any(value.margin[0]):
        raise UnsupportedModelError(
            "reads padded channels", where=node.label, expected="Pad of spatial axes"
        )
    bare = replace(value, shape=value.inner, margin=())
    return bare, value.margin[1:]


def _window(
    node: SourceNode,
    x: Signal,
    kernel: Sequence[int],
    margin: tuple[Pair, ...],
    outputs: int,
    ceil: bool = False,
) -> Window:
    """Shapes and positions, two axes always.

    Raises: UnsupportedShapeError, MalformedModelError.
    """
    axes = len(kernel)
    if axes not in (1, 2) or len(x.inner) != axes + 1:
        raise UnsupportedShapeError(
            f"a window of {axes} axes on samples of shape {list(x.inner)}",
            where=node.label,
            expected="channels and one or two axes",
        )
    stride = _sizes(node, "strides", (1,) * axes)
    dilation = _sizes(node, "dilations", (1,) * axes)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = _pads(node, x.inner[1:], reach, stride)
    pads = [(p[0] + m[0], p[1] + m[1]) for p, m in zip(pads, margin, strict=True)]
    out = []
    for n, r, s, (before, after) in zip(x.inner[1:], reach, stride, pads, strict=True):
        room = n + before + after - r
        count = room // s + 1
        if ceil and room % s and count * s < n + before:  # a window must start inside
            count += 1
        out.append(count)
    sides = (*kernel, *stride, *dilation, *(n for pair in pads for n in pair))
    if min(out) < 1 or max(sides) > MAX_SIDE or min(kernel) < 1:
        raise MalformedModelError(
            f"window {list(kernel)} on samples of shape {list(x.inner)}",
            where=node.label,
            expected="a window that fits",
        )
    window = Window(
        (*_two(x.inner[1:], 1), x.inner[0]),
        (*_two(out, 1), outputs),
        _two(kernel, 1),
        _two(stride, 1),
        _two(dilation, 1),
        _two([before for before, _ in pads], 0),
    )
    _check_size(node, window)
    return window


def _check_size(node: SourceNode, window: Window) -> None:
    size = prod(window.out_shape)
    if size >= MAX_FEATURES:
        raise ModelTooLargeError(
            "numbers in an output", actual=size, limit=MAX_FEATURES - 1, where=node.label
        )


def _two(values: Sequence[int], first: int) -> Pair:
    """One number an axis as (vertical, horizontal)."""
    return (first, int(values[0])) if len(values) == 1 else (int(values[0]), int(values[1]))


def _sizes(node: SourceNode, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    given = node.numbers(name)
    sizes = default if given is None else integers(node, given)
    if len(sizes) != len(default) or min(sizes) < 1:
        raise MalformedModelError(
            f"{name} {list(sizes)[:8]}", where=node.label, expected=f"{len(default)} positive sizes"
        )
    return sizes


def _pads(
    node: SourceNode, sizes: Sequence[int], reach: Sequence[int], stride: Sequence[int]
) -> list[Pair]:
    """Padding (before, after) of each axis, from pads or auto_pad."""
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for n, r, s in zip(sizes, reach, stride, strict=True):
            total = max(0, (-(-n // s) - 1) * s + r - n)
            small = total // 2
            pads.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
        return pads
    given = node.numbers("pads") if auto == "NOTSET" else None
    flat = (0,) * (2 * len(sizes)) if given is None else integers(node, given)
    if len(flat) != 2 * len(sizes) or min(flat) < 0 or auto not in ("NOTSET", "VALID"):
        raise UnsupportedShapeError(
            f"pads {list(flat)[:8]}, auto_pad {auto}",
            where=node.label,
            expected=f"{2 * len(sizes)} numbers, none negative",
        )
    return list(zip(flat[: len(sizes)], flat[len(sizes) :], strict=True))


def _pool(node: SourceNode, args: Arguments, kind: str) -> Value:
    x, margin = _padded(node, args)
    if any(map(any, margin)):
        raise UnsupportedModelError(
            "pools padded values", where=node.label, expected="pads of the pool itself"
        )
    given = node.numbers("kernel_shape")
    if given is None:
        raise MalformedModelError("no kernel_shape", where=node.label, expected="one size an axis")
    kernel, ceil = integers(node, given), bool(node.integer("ceil_mode", 0))
    window = _window(node, x, kernel, margin, x.shape[0], ceil)
    if window.dilation != (1, 1):
        raise UnsupportedModelError(
            "is dilated", where=node.label, expected="dilations of 1 in pools"
        )
    partial = _leaves_input(window)
    inside = all(
        window.pad[a] < window.kernel[a]
        and (window.out_shape[a] - 1) * window.stride[a] - window.pad[a] < window.in_shape[a]
        for a in (0, 1)
    )
    if kind == "average" and partial and (ceil or not node.integer("count_include_pad", 0)):
        raise UnsupportedModelError(
            "averages windows of different sizes at the edge",
            where=node.label,
            expected="no padding, or count_include_pad = 1 without ceil_mode",
        )
    if not inside:
        raise UnsupportedShapeError(
            "a window lies outside", where=node.label, expected="pads below the kernel"
        )
    step = PoolStep(
        channels_last(node, x), "max" if kind == "max" else "average", window, node.name
    )
    return channels_first(step, window, len(kernel))


def _leaves_input(window: Window) -> bool:
    """Whether some window covers positions outside."""
    ends = [
        (out - 1) * s + k - p - n
        for out, s, k, p, n in zip(
            window.out_shape,
            window.stride,
            window.kernel,
            window.pad,
            window.in_shape,
            strict=False,
        )
    ]
    return any(window.pad) or max(ends) > 0
