# SPDX-License-Identifier: Apache-2.0
"""The file's graph as plain Python data: what is left of ONNX once its bytes are trusted."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import MalformedModelError

Array = NDArray[Any]
AttributeValue = int | float | str | Array | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]

ML_DOMAIN = "ai.onnx.ml"
_PRINTABLE = frozenset(string.ascii_letters + string.digits + " _.,:;/-+()[]")
_MAX_SHOWN = 80


def shown(name: str) -> str:
    """A name from the file, made safe for messages and for comments in C.

    No comment mark, line end, backslash or trigraph survives.

    >>> shown("dense/MatMul")
    'dense/MatMul'
    >>> shown("x*/ #error")
    'x_/ _error'
    """
    kept = "".join(c if c in _PRINTABLE else "_" for c in name[: _MAX_SHOWN + 1])
    return kept if len(kept) <= _MAX_SHOWN else kept[:_MAX_SHOWN] + "..."


@dataclass(frozen=True)
class SourceNode:
    """One operator of the file.

    Attributes:
        index: position in the file.
        name: as in the file, made safe; "#<index>" where the file has none.
        operator: operator type; prefixed by "ai.onnx.ml." in that domain.
        inputs: tensor names; "" stands for an optional input left out.
        outputs: tensor names; "" likewise.
        attributes: decoded values by name.
        opset: version of the node's domain.
    """

    index: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    opset: int

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"node {self.name} ({self.operator})"

    def number(self, name: str, default: float) -> float:
        """A float attribute. Raises: MalformedModelError."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self._wrong_type(name, "a number")
        return float(value)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute. Raises: MalformedModelError."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._wrong_type(name, "an integer")
        return value

    def text(self, name: str, default: str) -> str:
        """A string attribute. Raises: MalformedModelError."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self._wrong_type(name, "a string")
        return value

    def numbers(self, name: str) -> Array | None:
        """A list-of-numbers attribute as a vector, None if absent. Raises: MalformedModelError."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or any(isinstance(item, str) for item in value):
            raise self._wrong_type(name, "a list of numbers")
        integers = all(isinstance(item, int) for item in value)
        return np.array(value, dtype=np.int64 if integers else np.float64)

    def strings(self, name: str) -> tuple[str, ...] | None:
        """A list-of-strings attribute, None if absent. Raises: MalformedModelError."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise self._wrong_type(name, "a list of strings")
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            raise self._wrong_type(name, "a list of strings")
        return texts

    def _wrong_type(self, name: str, expected: str) -> MalformedModelError:
        return MalformedModelError(
            f"attribute {name} has the wrong type", where=self.label, expected=expected
        )


@dataclass(frozen=True)
class SourceInput:
    """The one tensor fed by the user.

    Attributes:
        name: tensor name.
        shape: of one sample, all positive.
        batch: batch size fixed by the file, None if free.
        is_float: whether elements are float32 or float64; else they are integers.
    """

    name: str
    shape: tuple[int, ...]
    batch: int | None
    is_float: bool


@dataclass(frozen=True)
class SourceGraph:
    """The part of the file that its outputs depend on.

    Attributes:
        name: made safe.
        nodes: in an order in which each reads only what came before.
        constants: tensor values by name; floats finite.
        input: the one tensor fed by the user.
        outputs: tensor names.
    """

    name: str
    nodes: tuple[SourceNode, ...]
    constants: Mapping[str, Array]
    input: SourceInput
    outputs: tuple[str, ...]
