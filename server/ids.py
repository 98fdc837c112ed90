# SPDX-License-Identifier: Apache-2.0
"""Identifiers that sort by time, and the clock."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]


def new_id(clock: Clock = time.time) -> str:
    """A fresh identifier: 48 bits of milliseconds, then 80 random bits, as 32 hex digits."""
    milliseconds = int(clock() * 1000) & ((1 << 48) - 1)
    return f"{milliseconds:012x}{secrets.token_hex(10)}"


def utc_text(clock: Clock = time.time) -> str:
    """The time now, RFC 3339 in UTC with microseconds.

    Example:
        >>> utc_text(lambda: 0.5)
        '1970-01-01T00:00:00.500000Z'
    """
    now = datetime.fromtimestamp(clock(), UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_anchor: list[float] = []


def steady_s() -> float:
    """Seconds since 1970 by the clock as it stood when this was first asked, counted on steadily.

    For durations that rows carry from one request to the next: a clock that is set forwards by a
    day while the process runs must not end a soak, nor one that is set back stop it.
    """
    if not _anchor:
        _anchor.append(time.time() - time.monotonic())
    return _anchor[0] + time.monotonic()


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one time to another, both as `utc_text` gives them.

    Example:
        >>> seconds_between("1970-01-01T00:00:00.500000Z", "1970-01-01T00:01:00.000000Z")
        59.5
    """
    span = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    return span.total_seconds()
