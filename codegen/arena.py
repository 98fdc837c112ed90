# SPDX-License-Identifier: Apache-2.0
"""Buffer lifetimes to offsets in one arena."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGN_BYTES = 4


@dataclass(frozen=True)
class Buffer:
    """A tensor or scratch area of a plan.

    Attributes:
        name: C identifier part, unique in its arena.
        bytes: size.
        owner: what it holds and for which layer, for people.
        first, last: first and last operation (inclusive) between which it must keep its content.
    """

    name: str
    bytes: int
    owner: str
    first: int
    last: int

    def overlaps(self, other: "Buffer") -> bool:
        """Whether both are live at some operation."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    """A buffer and its offset in bytes."""

    buffer: Buffer
    offset: int

    @property
    def end(self) -> int:
        """First offset behind the buffer."""
        return self.offset + _aligned(self.buffer.bytes)


@dataclass(frozen=True)
class Arena:
    """Buffers with offsets.

    Attributes:
        placements: in the order of offsets, then lifetimes.
        bytes: size of the arena.
        lower_bound: bytes live at once at the busiest operation; no layout is smaller.
    """

    placements: tuple[Placement, ...]
    bytes: int
    lower_bound: int


def allocate(buffers: Sequence[Buffer]) -> Arena:
    """Give every buffer an offset so that buffers live at the same time do not overlap.

    Buffers are placed one by one into the tightest gap among those that live with them; the best
    of a few orders is kept.

    Args:
        buffers: names unique, sizes at least 1.
    Returns: the arena; the same for the same buffers.
    Raises: ValueError if a size or a lifetime is not positive, or a name occurs twice.
    """
    _check(buffers)
    best = min((_place(sorted(buffers, key=key)) for key in _ORDERS), key=_size)
    ordered = sorted(best, key=lambda p: (p.offset, p.buffer.first, p.buffer.name))
    return Arena(tuple(ordered), _size(best), lower_bound(buffers))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Bytes live at once at the busiest operation."""
    moments = {b.first for b in buffers}
    return max((_live_bytes(buffers, moment) for moment in moments), default=0)


def _check(buffers: Sequence[Buffer]) -> None:
    if len({b.name for b in buffers}) != len(buffers):
        raise ValueError("two buffers have the same name")
    for buffer in buffers:
        if buffer.bytes < 1 or buffer.first > buffer.last:
            raise ValueError(f"buffer {buffer.name} has no size or no life")


def _live_bytes(buffers: Sequence[Buffer], moment: int) -> int:
    return sum(_aligned(b.bytes) for b in buffers if b.first <= moment <= b.last)


def _aligned(size: int) -> int:
    return -(-size // ALIGN_BYTES) * ALIGN_BYTES


def _size(placements: Sequence[Placement]) -> int:
    return max((p.end for p in placements), default=0)


_ORDERS: tuple[Callable[[Buffer], tuple[int, int, str]], ...] = (
    lambda b: (-b.bytes, b.first, b.name),
    lambda b: (b.first - b.last, -b.bytes, b.name),
    lambda b: (b.first, -b.bytes, b.name),
    lambda b: (b.last, -b.bytes, b.name),
)


def _place(buffers: Sequence[Buffer]) -> list[Placement]:
    placed: list[Placement] = []
    for buffer in buffers:
        rivals = sorted(
            (p for p in placed if p.buffer.overlaps(buffer)), key=lambda p: (p.offset, p.end)
        )
        placed.append(Placement(buffer, _tightest_gap(rivals, _aligned(buffer.bytes))))
    return placed


def _tightest_gap(rivals: Sequence[Placement], size: int) -> int:
    """Offset of the smallest gap that holds `size` bytes; behind all rivals if none does."""
    best: tuple[int, int] | None = None
    at = 0
    for rival in rivals:
        gap = rival.offset - at
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, at)
        at = max(at, rival.end)
    return at if best is None else best[1]
