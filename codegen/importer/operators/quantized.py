# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear: models that onnxruntime has quantized, with their scales.

What a pair does to a computed tensor is kept as the range it clamps to. That range is also where
onnxruntime hides a ReLU: a lower end of zero.
"""

from dataclasses import replace

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedModelError
from codegen.importer.operators.arguments import (
    Arguments,
    argument,
    constant,
    float_signal,
    signal,
)
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import ClampStep, Constant, Prediction, Value

_LIMITS = {np.dtype(np.int8): (-128, 127), np.dtype(np.uint8): (0, 255)}


def quantize(node: SourceNode, args: Arguments) -> Value:
    """QuantizeLinear of a computed tensor, to 8 bits with one scale."""
    value = argument(node, args, 0)
    if isinstance(value, Prediction):  # probabilities, which decide nothing more
        return value
    x = float_signal(node, args)
    scale, zero, low, high = _grid(node, args)
    step = ClampStep(x.step, (low - zero) * scale, (high - zero) * scale, True, node.name)
    return replace(x, step=step, is_float=False, grid=(scale, zero))


def dequantize(node: SourceNode, args: Arguments) -> Value:
    """DequantizeLinear of what a QuantizeLinear made, with the same scale."""
    value = argument(node, args, 0)
    if isinstance(value, Prediction):
        return value
    x = signal(node, args)
    scale, zero, _, _ = _grid(node, args)
    if x.grid != (scale, zero):
        raise UnsupportedModelError(
            "reads integers of another scale",
            where=node.label,
            expected="scale and zero point of the QuantizeLinear before it",
        )
    return replace(x, is_float=True, grid=None)


def dequantize_constant(node: SourceNode, arrays: list[Array | None]) -> Array:
    """DequantizeLinear of a constant, per tensor or per channel."""
    q, scale = arrays[0], arrays[1]
    zero = arrays[2] if len(arrays) > 2 else None
    if q is None or scale is None or q.dtype.kind not in "iu" or scale.dtype.kind != "f":
        raise TypeError("not integers with a float scale")
    if scale.size > 1:
        axis = node.integer("axis", 1)
        if scale.ndim != 1 or node.integer("block_size", 0):
            raise ValueError("scales in blocks")
        shape = [1] * q.ndim
        shape[axis] = scale.size
        scale = scale.reshape(shape)
        zero = None if zero is None else zero.reshape(shape)
    centred = q.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
    return np.asarray(centred * scale.astype(np.float64).reshape(scale.shape or ())).astype(
        np.float32
    )


def _grid(node: SourceNode, args: Arguments) -> tuple[float, int, int, int]:
    """Scale, zero point, least and largest integer."""
    scale = constant(node, args, 1)
    point = argument(node, args, 2)
    zero = point.array if isinstance(point, Constant) else np.zeros(1, np.uint8)
    if scale.size != 1 or zero.size != 1 or zero.dtype not in _LIMITS:
        raise UnsupportedModelError(
            f"{scale.size} scales, zero point of type {zero.dtype}",
            where=node.label,
            expected="one scale for a computed tensor, int8 or uint8",
        )
    value = float(scale.reshape(-1)[0])
    if not value > 0.0:
        raise MalformedModelError(f"scale {value}", where=node.label, expected="a positive scale")
    low, high = _LIMITS[zero.dtype]
    return value, int(zero.reshape(-1)[0]), low, high
