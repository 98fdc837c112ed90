# SPDX-License-Identifier: Apache-2.0
"""Models as bytes: a magic number, a JSON header that names every array, then the arrays."""

import io
import json
from dataclasses import asdict
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.arithmetic import Arithmetic
from device.twin.conv_shape import ConvShape
from device.twin.scale import Scale

Arrays = dict[str, NDArray[Any]]

_DTYPES = {"int8", "uint8", "int16", "uint16", "int32"}
# Fields that came later: left out where they say nothing, so that older models keep their bytes.
_LEFT_OUT = {
    "front": (),
    "signal": None,
    "expansion": None,
    "fine_inference": False,
    "pixels": 1,
    "planar": False,
    "distillation": False,
    "bias_correction": False,
    "conv": None,
    "side": False,
    "adds": None,
}
_LEFT_OUT_OF_CONV = {"groups": 1, "top": 0}
# What bytes that are no model can set off on the way to becoming one.
WRONG = (LookupError, ValueError, TypeError, AttributeError)
HOSTILE = (*WRONG, ArithmeticError, RecursionError)


class ModelFormatError(ValueError):
    """The bytes are not an integer model of this version."""


def pack(magic: bytes, model: Any) -> bytes:
    """Serialise a dataclass; the same content gives the same bytes."""
    arrays: Arrays = {}
    header = json.dumps(_describe(model, "", arrays), sort_keys=True).encode()
    out = io.BytesIO()
    out.write(magic + len(header).to_bytes(4, "little") + header)
    for key in sorted(arrays):
        out.write(np.ascontiguousarray(arrays[key]).tobytes())
    return out.getvalue()


def unpack(magic: bytes, data: bytes) -> tuple[dict[str, Any], Arrays]:
    """The JSON form and the arrays by name.

    Raises: ModelFormatError if the bytes are cut short or followed by others, or have another
        magic number; HOSTILE for much else that is no model.
    """
    if not data.startswith(magic):
        raise ModelFormatError(
            f"not an integer model: the first bytes are not {magic[:8].decode()} version 1"
        )
    start = len(magic) + 4
    size = int.from_bytes(data[len(magic) : start], "little")
    doc = json.loads(data[start : start + size].decode())
    specs: dict[str, tuple[str, tuple[int, ...]]] = {}
    _collect(doc, specs)
    arrays: Arrays = {}
    at = start + size
    for key in sorted(specs):
        dtype, shape = specs[key]
        end = at + prod(shape) * np.dtype(dtype).itemsize
        if end > len(data):
            raise ModelFormatError("not an integer model: it is cut short")
        arrays[key] = np.frombuffer(data[at:end], dtype).reshape(shape)
        at = end
    if at != len(data):
        raise ModelFormatError("not an integer model: bytes follow its end")
    return doc, arrays


def fields(node: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Fields of a dataclass, with arrays and scales in place of what stands for them."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and "array" in value:
            out[key] = arrays[value["array"]]
        elif key in ("scale", "output_scale"):
            out[key] = Scale(int(value[0]), int(value[1]))
        else:
            out[key] = value
    return out


def tuples(node: dict[str, Any]) -> dict[str, Any]:
    """Lists of whole numbers, and lists of such, as tuples."""
    return {key: _tuple(value) if isinstance(value, list) else value for key, value in node.items()}


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)


def _describe(value: Any, path: str, arrays: Arrays) -> Any:
    """JSON form of a dataclass; arrays are moved to `arrays` and named by their path."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, Scale):
        return [value.mantissa, value.exponent]
    if isinstance(value, Arithmetic):
        return asdict(value)
    if isinstance(value, tuple):
        return [_describe(item, f"{path}/{i:05d}", arrays) for i, item in enumerate(value)]
    if hasattr(value, "__dataclass_fields__"):
        silent = _LEFT_OUT_OF_CONV if isinstance(value, ConvShape) else _LEFT_OUT
        return {
            name: _describe(getattr(value, name), f"{path}/{name}", arrays)
            for name in value.__dataclass_fields__
            if name not in silent or getattr(value, name) != silent[name]
        }
    return value


def _collect(node: Any, specs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    if isinstance(node, dict):
        if "array" in node:
            if node["dtype"] not in _DTYPES:
                raise ModelFormatError(f"not an integer model: dtype {node['dtype']!r}")
            shape = tuple(node["shape"])
            if not all(type(n) is int and n >= 0 for n in shape):
                raise ModelFormatError(f"not an integer model: shape {shape}")
            specs[node["array"]] = (node["dtype"], shape)
            return
        for item in node.values():
            _collect(item, specs)
    elif isinstance(node, list):
        for item in node:
            _collect(item, specs)
