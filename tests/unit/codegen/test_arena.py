# SPDX-License-Identifier: Apache-2.0
"""Buffer lifetimes to offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.arena import Arena, Buffer, allocate, lower_bound


def buffers_of(sizes: list[tuple[int, int, int]]) -> list[Buffer]:
    """Buffers from (bytes, first, length of life - 1)."""
    return [
        Buffer(f"b{n}", size, "test", first, first + life)
        for n, (size, first, life) in enumerate(sizes)
    ]


def assert_sound(arena: Arena) -> None:
    """No two buffers that live together share a byte, and all lie inside."""
    for at, one in enumerate(arena.placements):
        assert one.offset >= 0 and one.offset % 4 == 0
        assert one.offset + one.buffer.bytes <= arena.bytes
        for other in arena.placements[at + 1 :]:
            if one.buffer.overlaps(other.buffer):
                assert one.end <= other.offset or other.end <= one.offset


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9), st.integers(0, 5)), max_size=12))
def test_allocate_any_buffers_keeps_live_ones_apart(sizes: list[tuple[int, int, int]]) -> None:
    arena = allocate(buffers_of(sizes))
    assert_sound(arena)
    assert arena.lower_bound <= arena.bytes


def test_allocate_buffers_of_disjoint_lives_share_their_place() -> None:
    arena = allocate([Buffer("a", 100, "", 0, 1), Buffer("b", 80, "", 2, 3)])
    assert arena.bytes == 100
    assert {p.offset for p in arena.placements} == {0}


def test_allocate_takes_the_tightest_gap() -> None:
    arena = allocate(
        [
            Buffer("low", 40, "", 0, 9),
            Buffer("middle", 20, "", 0, 3),
            Buffer("late", 8, "", 5, 6),
            Buffer("high", 12, "", 0, 9),
        ]
    )
    assert arena.bytes == arena.lower_bound == 72


def test_allocate_sizes_are_rounded_to_words() -> None:
    arena = allocate([Buffer("a", 3, "", 0, 0), Buffer("b", 1, "", 0, 0)])
    assert arena.bytes == 8


def test_lower_bound_is_the_busiest_moment() -> None:
    assert lower_bound(buffers_of([(8, 0, 2), (4, 2, 2), (16, 4, 1)])) == 20


def test_allocate_without_buffers_is_empty() -> None:
    assert allocate([]) == Arena((), 0, 0)


@pytest.mark.parametrize(
    "buffers",
    [
        [Buffer("a", 0, "", 0, 1)],
        [Buffer("a", 4, "", 2, 1)],
        [Buffer("a", 4, "", 0, 1), Buffer("a", 4, "", 2, 3)],
    ],
)
def test_allocate_of_bad_buffers_is_refused(buffers: list[Buffer]) -> None:
    with pytest.raises(ValueError):
        allocate(buffers)
