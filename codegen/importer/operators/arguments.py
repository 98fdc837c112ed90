# SPDX-License-Identifier: Apache-2.0
"""How operators take their inputs; what they refuse in the same words."""

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedModelError, UnsupportedShapeError
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import Constant, Prediction, Signal, Symbol, Value

Arguments = tuple[Value | None, ...]
"""The values a node reads; None for an optional input left out."""


def argument(node: SourceNode, args: Arguments, index: int) -> Value | None:
    """Input `index`, None if it is left out."""
    return args[index] if index < len(args) else None


def signal(node: SourceNode, args: Arguments, index: int = 0) -> Signal:
    """Input `index`, which must be computed from the samples. Raises: UnsupportedModelError."""
    value = argument(node, args, index)
    if isinstance(value, Signal):
        if value.margin:
            raise UnsupportedModelError(
                "reads padded values", where=node.label, expected="Pad before convolutions only"
            )
        return value
    if isinstance(value, Prediction):
        raise UnsupportedModelError(
            f"reads the result of {value.origin}",
            where=node.label,
            expected="softmax, sigmoid, argmax and labels at the end of the model only",
        )
    raise UnsupportedModelError(
        f"input {index} is constant", where=node.label, expected="a tensor computed from the input"
    )


def float_signal(node: SourceNode, args: Arguments, index: int = 0) -> Signal:
    """Likewise, and it must hold floats."""
    value = signal(node, args, index)
    if not value.is_float:
        raise UnsupportedModelError(
            "calculates with integers",
            where=node.label,
            expected="a Cast of the input, or DequantizeLinear, first",
        )
    return value


def constant(node: SourceNode, args: Arguments, index: int) -> Array:
    """Input `index`, which must be constant numbers. Raises: UnsupportedModelError."""
    value = argument(node, args, index)
    if isinstance(value, Constant) and value.is_number:
        return value.array
    if isinstance(value, Signal | Prediction):
        raise joined(node)
    raise UnsupportedModelError(
        f"input {index} is not a constant number", where=node.label, expected="constant numbers"
    )


def optional_constant(node: SourceNode, args: Arguments, index: int) -> Array | None:
    """Likewise; None if it is left out."""
    return None if argument(node, args, index) is None else constant(node, args, index)


def joined(node: SourceNode) -> UnsupportedModelError:
    """The refusal of products of computed tensors and the like."""
    return UnsupportedModelError(
        "joins two computed tensors (residual or branched network)",
        where=node.label,
        expected="Add, Sub or Concat where branches meet",
    )


def integers(node: SourceNode, array: Array) -> tuple[int, ...]:
    """A vector of indices or axes as Python integers. Raises: MalformedModelError."""
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise MalformedModelError(
            "axes or sizes are not an integer vector", where=node.label, expected="int64 vector"
        )
    return tuple(int(item) for item in array.reshape(-1))


def dimensions(node: SourceNode, value: Value | None) -> tuple[int | Symbol, ...]:
    """A target shape, in which the batch size may stand. Raises: UnsupportedModelError."""
    if not isinstance(value, Constant) or value.array.ndim != 1:
        raise UnsupportedModelError(
            "target shape is not constant", where=node.label, expected="a constant shape"
        )
    items = value.array.tolist()
    if not all(isinstance(item, int | Symbol) for item in items):
        raise MalformedModelError(
            "target shape is not of integers", where=node.label, expected="int64 vector"
        )
    return tuple(items)


def vector(node: SourceNode, array: Array, size: int, what: str) -> Array:
    """`size` numbers as float64, one number repeated if need be. Raises: UnsupportedShapeError."""
    if array.size not in (1, size):
        raise UnsupportedShapeError(
            f"{what} has {array.size} elements", where=node.label, expected=f"1 or {size}"
        )
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (size,))


def per_sample(node: SourceNode, array: Array, shape: tuple[int, ...]) -> Array:
    """A constant spread over one sample.

    Args:
        array: aligned with (batch, *shape) by ONNX broadcasting.
        shape: of one sample.
    Returns: float64, shape (features,).
    Raises: UnsupportedShapeError if it differs along the batch or widens the sample.
    """
    full = (1, *shape)
    fits = array.ndim <= len(full) and all(
        have in (1, want) for have, want in zip(reversed(array.shape), reversed(full), strict=False)
    )
    if not fits:
        raise UnsupportedShapeError(
            f"constant of shape {list(array.shape)} against samples of shape {list(shape)}",
            where=node.label,
            expected="a constant that broadcasts to one sample",
        )
    return np.broadcast_to(array.astype(np.float64), full).reshape(-1)
