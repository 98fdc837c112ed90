# SPDX-License-Identifier: Apache-2.0
"""Cursor paging: a cursor is the last key of a page, made opaque."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.errors import InvalidInputError, Issue

Record = TypeVar("Record")
Key = str | int


@dataclass(frozen=True)
class Page(Generic[Record]):
    """One page; next_cursor is None on the last."""

    items: Sequence[Record]
    next_cursor: str | None


def encode_cursor(key: Key) -> str:
    """Make a key opaque.

    Example:
        >>> decode_cursor(encode_cursor(17), int)
        17
    """
    return base64.urlsafe_b64encode(json.dumps([key]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type[Key]) -> Key | None:
    """The key of a cursor, or None for None. Raises: InvalidInputError."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        (key,) = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        key = None
    if type(key) is not kind or (isinstance(key, int) and not 0 <= key < 1 << 62):
        issue = Issue("not a cursor", "query cursor", "next_cursor of an earlier page")
        raise InvalidInputError("The cursor is not one of this listing.", [issue])
    return key


def make_page(records: Sequence[Record], limit: int, key: Callable[[Record], Key]) -> Page[Record]:
    """A page from one record more than it may hold."""
    items = records[:limit]
    more = len(records) > limit
    return Page(items, encode_cursor(key(items[-1])) if more else None)
