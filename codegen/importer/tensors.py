# SPDX-License-Identifier: Apache-2.0
"""TensorProto to array; every size is checked before anything is allocated."""

from math import prod

import numpy as np
from onnx import TensorProto, numpy_helper

from codegen.errors import (
    BadWeightError,
    ExternalDataError,
    MalformedModelError,
    ModelTooLargeError,
    UnsupportedModelError,
)
from codegen.importer.limits import MAX_ELEMENTS, MAX_RANK, MAX_WEIGHT
from codegen.importer.source import Array

_ITEM_BYTES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.INT8: 1,
    TensorProto.INT16: 2,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.UINT8: 1,
    TensorProto.UINT16: 2,
    TensorProto.UINT32: 4,
    TensorProto.UINT64: 8,
    TensorProto.BOOL: 1,
}
_TYPED_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.STRING: "string_data",
}
_OTHER_TYPED_FIELD = "int32_data"


def read_tensor(tensor: TensorProto, name: str) -> Array:
    """Decode a tensor.

    Args:
        tensor: untrusted.
        name: what to call it in messages.
    Returns: the array; strings as an object array of str.
    Raises: ModelImportError of the fitting kind, before allocation.
    """
    where = f"tensor {name}"
    _check_location(tensor, name)
    size = _check_dims(tensor, where)
    _check_length(tensor, size, where)
    with np.errstate(all="ignore"):
        array = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.STRING:
        return _decode_strings(array, where)
    check_finite(array, name)
    return array


def check_finite(array: Array, name: str) -> None:
    """Refuse float arrays with a NaN, infinite or absurd element. Raises: BadWeightError."""
    if array.dtype.kind != "f":
        return
    with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
        good = np.abs(array.astype(np.float64)) <= MAX_WEIGHT
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        raise BadWeightError(name, index, float(array[index]), MAX_WEIGHT)


def _check_location(tensor: TensorProto, name: str) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ExternalDataError(name)
    if tensor.HasField("segment"):
        raise UnsupportedModelError(
            "tensor is cut into segments", where=f"tensor {name}", expected="whole tensors"
        )


def _check_dims(tensor: TensorProto, where: str) -> int:
    """Number of elements."""
    if len(tensor.dims) > MAX_RANK:
        raise ModelTooLargeError("dimensions", actual=len(tensor.dims), limit=MAX_RANK, where=where)
    if any(dim < 0 for dim in tensor.dims):
        raise MalformedModelError(
            f"shape {list(tensor.dims)}", where=where, expected="no negative dimension"
        )
    size = prod(int(dim) for dim in tensor.dims)
    if size > MAX_ELEMENTS or any(dim > MAX_ELEMENTS for dim in tensor.dims):
        raise ModelTooLargeError(
            "elements", actual=max(size, *tensor.dims), limit=MAX_ELEMENTS, where=where
        )
    return size


def _check_length(tensor: TensorProto, size: int, where: str) -> None:
    """The data must be there, once, and fill the shape exactly."""
    kind = tensor.data_type
    if kind not in _ITEM_BYTES and kind != TensorProto.STRING:
        known = kind in TensorProto.DataType.values()
        type_name = TensorProto.DataType.Name(kind) if known else str(kind)
        raise UnsupportedModelError(
            f"element type {type_name}", where=where, expected="float, integer, bool or string"
        )
    typed = len(getattr(tensor, _TYPED_FIELDS.get(kind, _OTHER_TYPED_FIELD)))
    if tensor.HasField("raw_data"):
        found, needed, unit = len(tensor.raw_data), size * _ITEM_BYTES.get(kind, -1), "bytes"
    else:
        found, needed, unit = typed, size, "elements"
    if found != needed or (tensor.HasField("raw_data") and typed):
        raise MalformedModelError(
            f"{found} {unit} of data for shape {list(tensor.dims)}",
            where=where,
            expected=f"{max(needed, 0)} {unit}, stored once",
        )


def _decode_strings(array: Array, where: str) -> Array:
    try:
        texts = [item if isinstance(item, str) else item.decode() for item in array.flat]
    except UnicodeDecodeError as error:
        raise MalformedModelError(
            "text is not UTF-8", where=where, expected="UTF-8 strings"
        ) from error
    result = np.empty(len(texts), dtype=object)
    result[:] = texts
    return result.reshape(array.shape)
