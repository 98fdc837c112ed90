# SPDX-License-Identifier: Apache-2.0
"""Slice of a computed tensor: columns of vectors, and steps or pixels of signals and images.

What is cut off the end of a convolution is not computed (causal convolutions that pad both sides
are written so); other cuts are depthwise convolutions of a single weight.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from codegen.errors import UnsupportedModelError, UnsupportedShapeError
from codegen.importer.operators.arguments import Arguments, constant, integers, optional_constant
from codegen.importer.operators.reduce import one_place
from codegen.importer.operators.select import select
from codegen.importer.operators.window import MAX_SIDE, channels_first, channels_last
from codegen.importer.source import SourceNode
from codegen.importer.values import ConvStep, Signal, Window

Cut = tuple[int, int]  # first position and how many


def cut(node: SourceNode, x: Signal, args: Arguments) -> Signal:
    """Positions next to each other along axes of each sample.

    Raises: UnsupportedModelError for other steps than 1, cuts of the batch or of channels.
    """
    cuts = _cuts(node, x, args)
    if len(cuts) == 1:
        first, count = cuts[0]
        return select(node, x, range(first, first + count))
    if cuts[0] != (0, x.shape[0]) or x.margin or len(cuts) > 3:
        raise UnsupportedModelError(
            f"cuts channels, or samples of shape {list(x.shape)}",
            where=node.label,
            expected="steps of (channels, steps), or a part of (channels, height, width)",
        )
    if len(cuts) == 2 and cuts[1][1] == 1:
        return one_place(node, x, cuts[1][0], keep=True)
    return _part(node, x, cuts[1:])


def _part(node: SourceNode, x: Signal, cuts: Sequence[Cut]) -> Signal:
    (top, height), (left, width) = cuts if len(cuts) == 2 else ((0, 1), *cuts)
    source = channels_last(node, x)
    if isinstance(source, ConvStep) and (top, left) == (0, 0):
        window = replace(source.window, out_shape=(height, width, len(source.weight)))
        return channels_first(replace(source, window=window), window, len(cuts))
    if max(top, left) >= MAX_SIDE:
        raise UnsupportedShapeError(
            f"begins at {top}, {left}", where=node.label, expected=f"below {MAX_SIDE}"
        )
    channels = x.shape[0]
    before = (1, *x.shape[1:]) if len(cuts) == 1 else x.shape[1:]
    weight = np.zeros((channels, top + 1, left + 1, 1))
    weight[:, top, left] = 1.0
    window = Window(
        (before[0], before[1], channels), (height, width, channels), (top + 1, left + 1)
    )
    step = ConvStep(source, weight, np.zeros(channels), window, channels, node.name)
    return channels_first(step, window, len(cuts))


def _cuts(node: SourceNode, x: Signal, args: Arguments) -> list[Cut]:
    """First position and count along each axis of a sample."""
    starts, ends, axes, steps = _fields(node, args)
    rank = 1 + len(x.shape)
    found: list[Cut] = [(0, n) for n in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = axis % rank - 1
        if not -rank <= axis < rank or at < 0 or step != 1:
            raise UnsupportedModelError(
                f"cuts along axis {axis} by steps of {step}",
                where=node.label,
                expected="positions next to each other along axes of each sample",
            )
        places = range(x.shape[at])[start:end]
        if not places:
            raise UnsupportedShapeError("leaves nothing", where=node.label, expected="a position")
        found[at] = (places[0], len(places))
    return found


def _fields(node: SourceNode, args: Arguments) -> tuple[Sequence[int], ...]:
    if node.opset < 10:
        given = [node.numbers(name) for name in ("starts", "ends", "axes")]
    else:
        given = [constant(node, args, 1), constant(node, args, 2), optional_constant(node, args, 3)]
    listed = [None if array is None else integers(node, array.reshape(-1)) for array in given]
    starts, ends = listed[0] or (), listed[1] or ()
    axes = listed[2] if listed[2] is not None else tuple(range(len(starts)))
    by = None if node.opset < 10 else optional_constant(node, args, 4)
    steps = (1,) * len(starts) if by is None else integers(node, by.reshape(-1))
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise UnsupportedModelError(
            "starts, ends, axes and steps of different lengths",
            where=node.label,
            expected="one of each an axis",
        )
    return starts, ends, axes, steps
