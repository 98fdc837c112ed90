# SPDX-License-Identifier: Apache-2.0
"""Text fields of protobuf messages."""

from collections.abc import Iterable

from codegen.errors import MalformedModelError


def utf8(value: str | bytes, where: str) -> str:
    """A text field; protobuf hands out bytes where it is not UTF-8. Raises: MalformedModelError."""
    if isinstance(value, str):
        return value
    raise MalformedModelError("name is not UTF-8", where=where, expected="UTF-8 names")


def texts(values: Iterable[str | bytes], where: str) -> tuple[str, ...]:
    """A repeated text field. Raises: MalformedModelError."""
    return tuple(utf8(value, where) for value in values)
