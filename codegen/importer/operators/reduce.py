# SPDX-License-Identifier: Apache-2.0
"""One number of many pixels: means and maxima over axes, and one step of a signal."""

from math import prod

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedShapeError
from codegen.importer.operators.arguments import (
    Arguments,
    float_signal,
    integers,
    optional_constant,
)
from codegen.importer.operators.window import MAX_SIDE, channels_last, in_stored_order
from codegen.importer.source import SourceNode
from codegen.importer.values import ConvStep, DenseStep, PoolStep, Signal, Value, Window


def global_max(node: SourceNode, args: Arguments) -> Value:
    """GlobalMaxPool."""
    x = float_signal(node, args)
    return _over(node, x, tuple(range(1, len(x.shape))), True, "max")


def global_average(node: SourceNode, args: Arguments) -> Value:
    """GlobalAveragePool."""
    x = float_signal(node, args)
    return _over(node, x, tuple(range(1, len(x.shape))), True, "average")


def reduce_mean(node: SourceNode, args: Arguments) -> Value:
    """ReduceMean over axes of the sample."""
    return _reduce(node, args, "average")


def reduce_max(node: SourceNode, args: Arguments) -> Value:
    """ReduceMax over axes of the sample."""
    return _reduce(node, args, "max")


def one_place(node: SourceNode, x: Signal, place: int, keep: bool) -> Signal:
    """One step of a signal (C, T): a depthwise convolution with a single weight of one."""
    channels, steps = x.shape
    if not -steps <= place < steps:
        raise MalformedModelError(
            f"takes step {place}", where=node.label, expected=f"-{steps} to {steps - 1}"
        )
    if steps > MAX_SIDE:
        raise UnsupportedShapeError(
            f"takes one of {steps} steps", where=node.label, expected=f"at most {MAX_SIDE} steps"
        )
    weight = np.zeros((channels, 1, steps, 1))
    weight[:, 0, place % steps] = 1.0
    window = Window((1, steps, channels), (1, 1, channels), (1, steps))
    source = channels_last(node, x)
    step = ConvStep(source, weight, np.zeros(channels), window, channels, node.name)
    return Signal(step, (channels, 1) if keep else (channels,))


def _reduce(node: SourceNode, args: Arguments, kind: str) -> Value:
    x = float_signal(node, args)
    listed = node.numbers("axes")
    given = optional_constant(node, args, 1) if listed is None else listed
    rank = 1 + len(x.shape)
    axes = () if given is None else integers(node, given)
    if not all(-rank <= axis < rank for axis in axes):
        raise MalformedModelError(
            f"axes {list(axes)[:8]}", where=node.label, expected=f"[-{rank}, {rank})"
        )
    spatial = tuple(sorted({axis % rank - 1 for axis in axes}))
    if not spatial or spatial[0] < 0:
        raise UnsupportedShapeError(
            "reduces the batch, or all axes", where=node.label, expected="axes of each sample"
        )
    return _over(node, x, spatial, bool(node.integer("keepdims", 1)), kind)


def _over(node: SourceNode, x: Signal, axes: tuple[int, ...], keep: bool, kind: str) -> Signal:
    """One number for each place of the other axes."""
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    pixels, channels = prod(x.shape[a] for a in axes), prod(x.shape[a] for a in rest)
    places = x.places.transpose([*axes, *rest])
    kernel = (1, pixels)
    if pixels > MAX_SIDE:
        height = next((x.shape[a] for a in axes if pixels // x.shape[a] <= MAX_SIDE), 0)
        if not 0 < height <= MAX_SIDE or axes[0] >= len(x.shape):
            raise UnsupportedShapeError(
                f"reduces {pixels} numbers", where=node.label, expected=f"at most {MAX_SIDE} a side"
            )
        kernel = (height, pixels // height)
    shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes)
    linear = x.step
    if kind == "average" and rest == [0] and isinstance(linear, ConvStep) and _is_pointwise(linear):
        return _mean_first(node, linear, kernel, shape)
    window = Window((*kernel, channels), (1, 1, channels), kernel)
    step = PoolStep(
        in_stored_order(node, x, places, channels),
        "max" if kind == "max" else "average",
        window,
        node.name,
    )
    return Signal(step, shape)


def _is_pointwise(step: ConvStep) -> bool:
    """Whether it takes each pixel by itself, all channels together."""
    window = step.window
    plain = window.kernel == window.stride == (1, 1) and window.pad == (0, 0)
    return plain and step.groups == 1 and window.in_shape[:2] == window.out_shape[:2]


def _mean_first(
    node: SourceNode, conv: ConvStep, kernel: tuple[int, int], shape: tuple[int, ...]
) -> Signal:
    """The mean of a linear map of pixels: that map, a dense layer, of the pixels' mean."""
    outputs, channels = len(conv.weight), conv.window.in_shape[2]
    window = Window((*kernel, channels), (1, 1, channels), kernel)
    mean = PoolStep(conv.source, "average", window, node.name)
    weight = conv.weight.reshape(outputs, channels)
    return Signal(DenseStep(mean, weight, conv.bias, conv.origin), shape)
