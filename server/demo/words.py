# SPDX-License-Identifier: Apache-2.0
"""Numbers as the tables and the report write them."""

from collections.abc import Sequence

THIN_SPACE = "\u202f"


def percent(share: float | None) -> str:
    """A share in [0, 1] in percent.

    Example:
        >>> percent(0.9876), percent(None)
        ('98.8 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def points(share: float | None) -> str:
    """A difference of shares in percentage points.

    Example:
        >>> points(0.0213), points(None)
        ('2.1', '-')
    """
    return "-" if share is None else f"{100 * share:.1f}"


def count(value: int | None) -> str:
    """An integer in groups of three."""
    return "-" if value is None else f"{value:,}".replace(",", THIN_SPACE)


def bytes_text(value: int) -> str:
    """Bytes, short.

    Example:
        >>> bytes_text(900), bytes_text(5_200)
        ('900 B', '5.2 kB')
    """
    return f"{value} B" if value < 1000 else f"{value / 1000:.1f} kB"


def span_of(names: Sequence[str]) -> str:
    """Class names, a run of numbers as a range.

    Example:
        >>> span_of(["0", "1", "2"]), span_of(["6", "7"]), span_of(["walk", "run"])
        ('0-2', '6, 7', 'walk, run')
    """
    if len(names) > 2 and all(n.isdigit() for n in names):
        first = int(names[0])
        if [int(n) for n in names] == list(range(first, first + len(names))):
            return f"{names[0]}-{names[-1]}"
    return short(", ".join(names), 40)


def short(text: str, length: int) -> str:
    """Text cut to a length.

    Example:
        >>> short("walking upstairs", 10)
        'walking u…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"
