# SPDX-License-Identifier: Apache-2.0
"""A look at protobuf bytes before they are parsed.

Parsing allocates per field, so that 32 MiB of empty messages would take gigabytes. This walk over
the wire format allocates nothing: it counts fields and nesting, and stops at the first limit.

Source: Protocol Buffers encoding (tag = field number << 3 | wire type).
"""

from typing import Any

from codegen.errors import MalformedModelError, ModelTooLargeError
from codegen.importer.limits import MAX_DEPTH, MAX_FIELDS

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

Descriptor = Any
"""A protobuf message type: of another class in each of protobuf's implementations."""
Span = tuple[int, int, Descriptor, int]
"""One message still to be walked: begin, end, type, depth."""


def check_wire(data: bytes, message: Descriptor) -> None:
    """Refuse bytes that are not protobuf, or that hold too many fields or levels.

    Args:
        data: serialised message.
        message: its type.
    Raises: MalformedModelError, ModelTooLargeError.
    """
    spans: list[Span] = [(0, len(data), message, 1)]
    budget = MAX_FIELDS
    while spans:
        span = spans.pop()
        if span[3] > MAX_DEPTH:
            raise ModelTooLargeError(
                "nested messages", actual=span[3], limit=MAX_DEPTH, where="file"
            )
        budget = _walk(data, span, spans, budget)


def _walk(data: bytes, span: Span, spans: list[Span], budget: int) -> int:
    """Walk one message, push its submessages, and return what is left of the budget."""
    at, end, message, depth = span
    fields = message.fields_by_number
    while at < end:
        budget -= 1
        if budget < 0:
            raise ModelTooLargeError(
                "protobuf fields", actual=MAX_FIELDS + 1, limit=MAX_FIELDS, where="file"
            )
        begin = at
        tag, at = _varint(data, at, end)
        wire_type = tag & 7
        if wire_type == _LENGTH:
            length, at = _varint(data, at, end)
            field = fields.get(tag >> 3)
            if field is not None and field.message_type is not None:
                spans.append((at, at + length, field.message_type, depth + 1))
            at += length
        elif wire_type == _VARINT:
            _, at = _varint(data, at, end)
        elif wire_type in (_FIXED32, _FIXED64):
            at += 4 if wire_type == _FIXED32 else 8
        else:
            raise _malformed(begin, "unknown wire type")
        if at > end:
            raise _malformed(begin, "field runs past the end of its message")
    return budget


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Value of the varint at `at`, and the position after it."""
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        if at + i >= end:
            raise _malformed(at, "number is cut off")
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _malformed(at, "number is too long")


def _malformed(at: int, what: str) -> MalformedModelError:
    return MalformedModelError(what, where=f"byte {at}", expected="an ONNX file")
