# SPDX-License-Identifier: Apache-2.0
"""Rules of a trainable convolution (SPEC.md 14.1)."""

from collections.abc import Iterator
from typing import Any

from device.twin.conv_shape import POOLS, ConvShape

MAX_VALUES = 65535
MAX_ORDER = 64


def conv_rules(shape: ConvShape, rows: int, width: int, batch: int) -> Iterator[tuple[bool, str]]:
    """Rules in order, each with its name; a later one assumes that the earlier ones hold.

    Args:
        rows: O; width: values of the vector it reads; batch: B.
    """
    yield isinstance(shape, ConvShape), "conv"
    yield _sizes(shape.in_shape, 3, 1), "input shape of the convolution"
    for name in ("out_size", "kernel", "stride", "dilation", "pool_size"):
        yield _sizes(getattr(shape, name), 2, 1), f"{name} of the convolution"
    yield _sizes(shape.pad, 2, 0), "pad of the convolution"
    yield shape.pool in POOLS, "pool"
    yield shape.in_values == width, "input size of the convolution"
    # A window may lie in the padding alone, but no further from the input than it is long.
    for axis in (0, 1):
        length = (shape.kernel[axis] - 1) * shape.dilation[axis] + 1
        last = shape.axis(axis, shape.out_size[axis] - 1, 0)
        near = last < shape.in_shape[axis] + length and shape.pad[axis] <= length
        yield near, "windows of the convolution lie outside"
    yield shape.pixels * rows <= MAX_VALUES, "outputs of the convolution are too many"
    groups = shape.groups
    yield type(groups) is int and groups >= 1, "groups of the convolution"
    divided = shape.in_shape[2] % groups == 0 and rows % groups == 0
    yield divided, "channels of the convolution are no multiple of its groups"
    reached = shape.kernel[0] * shape.kernel[1] * (rows // groups) + MAX_ORDER - 1
    yield shape.terms <= MAX_VALUES, "terms of the convolution are too many"
    yield groups == 1 or reached <= MAX_VALUES, "outputs under a window are too many"
    yield type(shape.top) is int and 0 <= shape.top <= 32767, "upper bound of the convolution"
    yield shape.pixels * batch <= MAX_VALUES, "pixels times batch are too many"
    fits = all(p <= n for p, n in zip(shape.pool_size, shape.out_size, strict=True))
    yield fits, "windows of the pool are too large"
    yield (shape.pool == "none") == (shape.pool_size == (1, 1)), "pool and its size"


def _sizes(value: Any, count: int, least: int) -> bool:
    """Whether a value is a tuple of whole numbers in [least, MAX_VALUES]."""
    whole = isinstance(value, tuple) and len(value) == count
    return whole and all(type(n) is int and least <= n <= MAX_VALUES for n in value)
