# SPDX-License-Identifier: Apache-2.0
"""C literals, tables and comments."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.scale import Scale

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */"
LINE_CHARS = 100
INDENT = "    "
INT32_MIN = -(2**31)


def comment_text(text: str) -> str:
    """Text that is harmless inside a C comment: printable ASCII, no end of comment."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return printable.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def integer(value: int) -> str:
    """Literal of an int32 value."""
    return "INT32_MIN" if value == INT32_MIN else str(value)


def unsigned(value: int) -> str:
    """Literal of an unsigned value."""
    return f"{value}U"


def scale(value: Scale) -> str:
    """Initialiser of a had_scale."""
    return f"{{{value.mantissa}, {value.exponent}}}"


def columns(values: Iterable[str], indent: str = INDENT) -> list[str]:
    """Lines of comma-separated values in columns of one width, at most LINE_CHARS long."""
    items = list(values)
    width = max((len(item) for item in items), default=1)
    per_line = max(1, (LINE_CHARS - len(indent)) // (width + 2))
    power = 1 << (per_line.bit_length() - 1)
    rows = [items[at : at + power] for at in range(0, len(items), power)]
    return [indent + " ".join(f"{item + ',':>{width + 1}}" for item in row) for row in rows]


def table(declaration: str, values: NDArray[Any] | Sequence[int], source: str) -> list[str]:
    """A constant array with explicit length in its declaration.

    Args:
        declaration: such as "const int8_t w[W_COUNT]".
        values: integers.
        source: comment above it.
    """
    flat = [integer(int(v)) for v in np.asarray(values).reshape(-1)]
    return [f"/* {comment_text(source)} */", f"{declaration} = {{", *columns(flat), "};", ""]


def byte_rows(declaration: str, rows: Sequence[bytes], source: str) -> list[str]:
    """A constant array of byte rows."""
    lines = [f"/* {comment_text(source)} */", f"{declaration} = {{"]
    for row in rows:
        lines += [INDENT + "{", *columns([f"0x{b:02x}U" for b in row], INDENT * 2), INDENT + "},"]
    return [*lines, "};", ""]


def define(name: str, value: str, comment: str = "") -> str:
    """A #define, its value parenthesised unless it is one word."""
    body = value if value.replace("_", "").isalnum() else f"({value})"
    return f"#define {name} {body}" + (f" /* {comment} */" if comment else "")
