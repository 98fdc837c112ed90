# SPDX-License-Identifier: Apache-2.0
"""Operators on constants, computed at import in NumPy with ONNX's meaning.

Sizes are known and checked before anything is computed, and their sum is bounded.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from onnx import TensorProto

from codegen.errors import MalformedModelError, ModelTooLargeError, UnsupportedModelError
from codegen.importer.budget import Budget, check_size
from codegen.importer.limits import (
    MAX_RANK,
)
from codegen.importer.operators.arguments import dimensions, integers
from codegen.importer.operators.quantized import dequantize_constant
from codegen.importer.source import Array, SourceNode
from codegen.importer.tensors import check_finite
from codegen.importer.values import Constant

_CAST_TYPES: Mapping[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.BOOL: np.bool_,
}
_CONTRADICTIONS = (ValueError, IndexError, TypeError, OverflowError)


def fold(node: SourceNode, args: Sequence[Constant | None], budget: Budget) -> Constant:
    """Compute a node whose inputs are all constant.

    Args:
        node: with an operator in FOLDABLE.
        args: its inputs, None where left out.
        budget: charged.
    Raises: ModelTooLargeError, MalformedModelError, UnsupportedModelError, BadWeightError.
    """
    arrays = [None if arg is None else arg.array for arg in args]
    if node.operator not in _SYMBOLIC and any(
        array is not None and array.dtype == object for array in arrays
    ):
        raise UnsupportedModelError(
            "calculates with text or with the batch size",
            where=node.label,
            expected="shapes fixed but for the batch",
        )
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(FOLDABLE[node.operator](node, arrays, budget))
    except _CONTRADICTIONS as error:
        raise MalformedModelError(
            "constant inputs contradict each other", where=node.label, expected="fitting shapes"
        ) from error
    if result.ndim > MAX_RANK:
        raise ModelTooLargeError("dimensions", actual=result.ndim, limit=MAX_RANK, where=node.label)
    budget.take_folded(result.size, node)
    check_finite(result, f"result of {node.label}")
    return Constant(result)


Arrays = Sequence[Array | None]
Folder = Callable[[SourceNode, Arrays, Budget], Array]


def _needed(arrays: Arrays, index: int) -> Array:
    array = arrays[index] if index < len(arrays) else None
    if array is None:
        raise ValueError("input left out")
    return array


def _constant(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    for name, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            check_size(value.size, node)
            return value
        if name in ("value_float", "value_floats"):
            return np.array(value, dtype=np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, dtype=np.int64)
        if name in ("value_string", "value_strings"):
            return np.array(value, dtype=object)
    raise UnsupportedModelError(
        "constant without a dense value", where=node.label, expected="attribute value"
    )


def _identity(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    return _needed(arrays, 0)


def _cast(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    array, to = _needed(arrays, 0), node.integer("to", 0)
    if to not in _CAST_TYPES:
        raise UnsupportedModelError(
            f"casts to type {to}", where=node.label, expected="a float type, int32, int64 or bool"
        )
    check_size(array.size, node)
    if array.dtype == object:
        dimensions(node, Constant(array.reshape(-1)))
        return array
    return array.astype(_CAST_TYPES[to])


def _elementwise(function: Callable[..., Array]) -> Folder:
    def folder(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
        inputs = [_needed(arrays, i) for i in range(len(arrays))]
        shape = np.broadcast_shapes(*(array.shape for array in inputs))
        check_size(prod(shape), node)
        return np.asarray(function(*inputs))

    return folder


def _true_divide(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        raise TypeError("integer division is not folded")
    return np.asarray(a / b)


def _matmul(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    a, b = _needed(arrays, 0), _needed(arrays, 1)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError("only matrices are multiplied")
    check_size(a.shape[0] * b.shape[1], node)
    budget.take_products(a.size * b.shape[1], node)
    return np.asarray(a @ b)


def _transpose(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    array, perm = _needed(arrays, 0), node.numbers("perm")
    order = None if perm is None else integers(node, perm)
    return np.ascontiguousarray(np.transpose(array, order))


def _reshape(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    array, target = _needed(arrays, 0), integers(node, _needed(arrays, 1))
    if len(target) > MAX_RANK:
        raise ValueError("too many dimensions")
    if not node.integer("allowzero", 0):
        target = tuple(d or array.shape[i] for i, d in enumerate(target))
    return array.reshape(target)


def _axes(node: SourceNode, arrays: Arrays) -> tuple[int, ...]:
    listed = node.numbers("axes")
    return integers(node, _needed(arrays, 1) if listed is None else listed)[: MAX_RANK + 1]


def _squeeze(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    array = _needed(arrays, 0)
    if node.numbers("axes") is None and len(arrays) < 2:
        return np.squeeze(array)
    return np.squeeze(array, axis=_axes(node, arrays))


def _unsqueeze(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    return np.expand_dims(_needed(arrays, 0), _axes(node, arrays))


def _concat(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    parts = [_needed(arrays, i) for i in range(len(arrays))]
    check_size(sum(part.size for part in parts), node)
    return np.concatenate(parts, axis=node.integer("axis", 0))


def _gather(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    data, index = _needed(arrays, 0), _needed(arrays, 1)
    axis = node.integer("axis", 0)
    if index.dtype.kind not in "iu":
        raise TypeError("indices are not integers")
    check_size(data.size // max(data.shape[axis], 1) * index.size, node)
    return np.take(data, index, axis=axis)


def _slice(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    array = _needed(arrays, 0)
    listed = [node.numbers(name) for name in ("starts", "ends", "axes")]
    fields = listed if node.opset < 10 else list(arrays[1:])
    given = [None if field is None else integers(node, field) for field in fields]
    starts, ends = given[0] or (), given[1] or ()
    axes = (given[2] if len(given) > 2 else None) or tuple(range(len(starts)))
    steps = (given[3] if len(given) > 3 else None) or (1,) * len(starts)
    cuts = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(start, end if end >= -array.shape[axis] or step > 0 else None, step)
    return array[tuple(cuts)]


def _filled(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    sizes = integers(node, _needed(arrays, 0))
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if len(sizes) > MAX_RANK or not isinstance(value, np.ndarray) or value.size != 1:
        raise ValueError("not one number, or too many dimensions")
    check_size(prod(sizes), node)
    return np.full(sizes, value.reshape(-1)[0], value.dtype)


def _shape(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    full = np.array(_needed(arrays, 0).shape, dtype=np.int64)
    return full[node.integer("start", 0) : node.integer("end", len(full))]


def _dequantize(node: SourceNode, arrays: Arrays, budget: Budget) -> Array:
    check_size(_needed(arrays, 0).size, node)
    return dequantize_constant(node, list(arrays))


FOLDABLE: Mapping[str, Folder] = {
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "DequantizeLinear": _dequantize,
    "Div": _elementwise(_true_divide),
    "Gather": _gather,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Reciprocal": _elementwise(np.reciprocal),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
_SYMBOLIC = ("Cast", "Concat", "Constant", "Gather", "Identity", "Slice", "Squeeze", "Unsqueeze")
