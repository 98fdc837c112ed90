# SPDX-License-Identifier: Apache-2.0
"""Rules of a trainable convolution (SPEC.md 14.1)."""

from collections.abc import Iterator
from typing import Any

from device.twin.conv_shape import POOLS, ConvShape

MAX_VALUES = 65535


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
    # A window that starts at an output pixel must at least begin or end inside.
    for axis in (0, 1):
        last = shape.axis(axis, shape.out_size[axis] - 1, 0)
        reach = shape.axis(axis, 0, shape.kernel[axis] - 1)
        inside = last < shape.in_shape[axis] and reach >= 0
        yield inside, "windows of the convolution lie outside"
    yield shape.pixels * rows <= MAX_VALUES, "outputs of the convolution are too many"
    yield shape.terms <= MAX_VALUES, "terms of the convolution are too many"
    yield shape.pixels * batch <= MAX_VALUES, "pixels times batch are too many"
    fits = all(p <= n for p, n in zip(shape.pool_size, shape.out_size, strict=True))
    yield fits, "windows of the pool are too large"
    yield (shape.pool == "none") == (shape.pool_size == (1, 1)), "pool and its size"


def _sizes(value: Any, count: int, least: int) -> bool:
    """Whether a value is a tuple of whole numbers in [least, MAX_VALUES]."""
    whole = isinstance(value, tuple) and len(value) == count
    return whole and all(type(n) is int and least <= n <= MAX_VALUES for n in value)
