# SPDX-License-Identifier: Apache-2.0
"""Exemplar memory, sampler, herding and prototypes (SPEC.md 8.1 to 8.5)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.twin.exemplars import (
    STAGED,
    ExemplarMemory,
    Prototypes,
    Sampling,
    draw_batch,
    herd,
    pack_x0,
    reduce_memory,
    rows_of,
    unpack_x0,
)
from device.twin.kernels import IntArray
from device.twin.model import Exemplar
from tests.vectors import learner as reference

quick = settings(derandomize=True, deadline=None, max_examples=60)
features_lists = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 15), min_size=width, max_size=width), min_size=1, max_size=12
    )
)


def exemplar(label: int, rank: int, *values: int) -> Exemplar:
    return Exemplar(label, rank, np.array(values or (0,), np.int8))


def memory_of(*exemplars: Exemplar, slots: int = 20) -> ExemplarMemory:
    memory = ExemplarMemory(slots, 10)
    memory.keep(list(exemplars))
    return memory


def sample_batch(
    memory: ExemplarMemory, batch: int, seed: int, step: int, sampling: Sampling
) -> tuple[IntArray, IntArray]:
    return rows_of(memory, draw_batch(memory, batch, seed, step, sampling))


def places(memory: ExemplarMemory) -> list[tuple[int, int]]:
    return [(s.exemplar.label, s.exemplar.rank) for s in memory.samples]


# 8.1


def test_pack_by_hand() -> None:
    assert pack_x0(np.array([1, -1, 7, -7, 0], np.int8)) == bytes([0xF1, 0x97, 0x00])
    assert pack_x0(np.array([15, 8], np.int8)) == bytes([0x8F])


@quick
@given(values=st.lists(st.integers(-7, 7), min_size=1, max_size=9))
def test_packed_signed_x0_comes_back(values: list[int]) -> None:
    packed = pack_x0(np.array(values, np.int8))
    assert len(packed) == (len(values) + 1) // 2
    assert unpack_x0(packed, len(values), signed=True).tolist() == values


@quick
@given(values=st.lists(st.integers(0, 15), min_size=1, max_size=9))
def test_packed_unsigned_x0_comes_back(values: list[int]) -> None:
    packed = pack_x0(np.array(values, np.int8))
    assert unpack_x0(packed, len(values), signed=False).tolist() == values


def test_memory_is_in_canonical_order() -> None:
    memory = memory_of(exemplar(1, 1), exemplar(0, 2), exemplar(1, 0))
    memory.stage_arrival(0, np.zeros(1, np.int8))
    memory.put(exemplar(1, 0), staged=True)
    assert places(memory) == [(0, 2), (0, STAGED), (1, 0), (1, 0), (1, 1)]
    assert [s.staged for s in memory.samples] == [False, True, False, True, False]
    assert memory.free == 25


def test_arrivals_are_numbered_by_class_and_anew_after_a_commit() -> None:
    memory = memory_of()
    for label in (0, 1, 0):
        memory.stage_arrival(label, np.zeros(1, np.int8))
    assert places(memory) == [(0, STAGED), (0, STAGED + 1), (1, STAGED)]
    memory.drop_staged()
    memory.stage_arrival(0, np.zeros(1, np.int8))
    assert places(memory) == [(0, STAGED)]
    reduce_memory(memory, 2, 0, lambda x0: x0)
    memory.stage_arrival(0, np.zeros(1, np.int8))
    assert places(memory) == [(0, 0), (0, STAGED)]


# 8.2


def test_uniform_sampler_takes_the_canonical_index() -> None:
    memory = memory_of(*[exemplar(n // 4, n % 4, n) for n in range(12)])
    x0, labels = sample_batch(memory, 50, seed=9, step=3, sampling="uniform")
    assert labels.tolist() == [v // 4 for v in x0.ravel().tolist()]
    samples = [reference.Sample(n // 4, n % 4, False, [n]) for n in range(12)]
    chosen = reference.draw_batch(samples, 50, 9, 3, "uniform")
    assert [s.x0 for s in chosen] == x0.tolist()


def test_balanced_sampler_gives_small_classes_their_share() -> None:
    memory = memory_of(exemplar(0, 0), *[exemplar(2, n, n) for n in range(15)])
    _, labels = sample_batch(memory, 512, seed=1, step=0, sampling="balanced")
    assert set(labels.tolist()) == {0, 2}
    assert abs(int((labels == 0).sum()) - 256) < 60
    _, labels = sample_batch(memory, 512, seed=1, step=0, sampling="uniform")
    assert abs(int((labels == 0).sum()) - 32) < 30


def test_sampler_depends_on_seed_and_step_alone() -> None:
    memory = memory_of(*[exemplar(0, n, n) for n in range(15)])
    first = sample_batch(memory, 20, 1, 2, "uniform")[0].tolist()
    assert sample_batch(memory, 20, 1, 2, "uniform")[0].tolist() == first
    assert sample_batch(memory, 20, 1, 3, "uniform")[0].tolist() != first
    assert sample_batch(memory, 20, 2, 2, "uniform")[0].tolist() != first


# 8.4


def test_herding_by_hand() -> None:
    """0, 4, 6, 10 have the mean 5: 4 is as near as 6 and earlier; then 6 makes the mean 5."""
    assert herd(np.array([[0], [4], [6], [10]]), 4) == [1, 2, 0, 3]


def test_herding_of_points_in_the_plane_by_hand() -> None:
    """Mean (4, 4). First (5, 4), at a distance of 1. For a mean of two, (3, 4) is perfect."""
    points = np.array([[0, 4], [5, 4], [8, 4], [3, 4], [4, 4 + 5], [4, 4 - 5]])
    points[4], points[5] = [4, 8], [4, 0]
    assert herd(points, 2) == [1, 3]


@quick
@given(features=features_lists, quota=st.integers(0, 15))
def test_herding_matches_the_reference(features: list[list[int]], quota: int) -> None:
    assert herd(np.array(features), quota) == reference.herd(features, quota)


@quick
@given(features=features_lists)
def test_herding_prefix_is_the_smaller_memory(features: list[list[int]]) -> None:
    order = herd(np.array(features), len(features))
    assert sorted(order) == list(range(len(features)))
    for quota in range(len(features)):
        assert herd(np.array(features), quota) == order[:quota]


@quick
@given(features=features_lists)
def test_herding_takes_the_nearest_to_the_mean_first(features: list[list[int]]) -> None:
    points = np.array(features)
    mean = (256 * points.sum(axis=0) + len(points) // 2) // len(points)
    distance = ((256 * points - mean) ** 2).sum(axis=1)
    assert herd(points, 1) == [int(np.argmin(distance))]


def identity(x0: IntArray) -> IntArray:
    return x0


def test_reduce_herds_classes_with_arrivals_and_trims_the_others() -> None:
    memory = memory_of(
        exemplar(0, 0, 0), exemplar(0, 1, 10), *[exemplar(1, n, n) for n in range(5)], slots=6
    )
    for value in (4, 6):
        memory.stage_arrival(0, np.array([value], np.int8))
    reduce_memory(memory, 2, 0, identity)
    assert [(s.exemplar.label, s.exemplar.rank, int(s.exemplar.x0[0])) for s in memory.samples] == [
        (0, 0, 4),
        (0, 1, 6),
        (0, 2, 0),
        (1, 0, 0),
        (1, 1, 1),
        (1, 2, 2),
    ]
    assert not any(s.staged for s in memory.samples)


def test_reduce_respects_the_limit_a_class() -> None:
    memory = memory_of(*[exemplar(0, n, n) for n in range(5)], exemplar(1, 3, 1))
    reduce_memory(memory, 2, 2, identity)
    assert places(memory) == [(0, 0), (0, 1), (1, 3)]


def test_reduce_keeps_at_most_1023_a_class() -> None:
    memory = memory_of(*[exemplar(0, n) for n in range(1030)], slots=5000)
    reduce_memory(memory, 1, 0, identity)
    assert len(memory.samples) == 1023


def test_staged_exemplar_replaces_the_committed_one_of_its_rank() -> None:
    memory = memory_of(exemplar(0, 0, 1), exemplar(0, 1, 2))
    memory.put(exemplar(0, 1, 3), staged=True)
    memory.replace_committed()
    assert [int(s.exemplar.x0[0]) for s in memory.samples] == [1, 3]


# 8.5


def prototypes(count: list[int], total: list[list[int]]) -> Prototypes:
    return Prototypes(np.array(count), np.array(total))


def test_prototype_at_255_is_halved_before_it_grows() -> None:
    made = prototypes([255], [[301, 300, -3]])
    made.add(0, np.array([1, 2, 3]))
    assert made.count.tolist() == [129]
    assert made.total.tolist() == [[151 + 1, 150 + 2, -1 + 3]]


def test_nearest_mean_by_hand() -> None:
    """Means 2 (of four), 5 (of two): 3 is nearer to 2, 4 to 5; 3.5 cannot occur."""
    made = prototypes([4, 2, 0], [[8], [10], [0]])
    assert [made.nearest(np.array([f]), 3) for f in (0, 3, 4, 15)] == [0, 0, 1, 1]


def test_nearest_mean_on_a_tie_is_the_lowest_class_that_has_one() -> None:
    made = prototypes([0, 1, 5], [[0], [2], [20]])
    assert made.nearest(np.array([3]), 3) == 1
    assert made.nearest(np.array([3]), 2) == 1


@quick
@given(
    classes=st.lists(
        st.tuples(st.integers(0, 255), st.lists(st.integers(0, 15), min_size=3, max_size=3)),
        min_size=1,
        max_size=6,
    ),
    features=st.lists(st.integers(0, 15), min_size=3, max_size=3),
)
def test_nearest_mean_matches_the_reference(
    classes: list[tuple[int, list[int]]], features: list[int]
) -> None:
    count = [n for n, _ in classes]
    total = [[n * v + min(n, 3) for v in mean] for n, mean in classes]
    expected = reference.nearest_mean(
        [reference.Prototype(n, s) for n, s in zip(count, total, strict=True)], features
    )
    if expected >= 0:
        made = prototypes(count, total)
        assert made.nearest(np.array(features), len(classes)) == expected


@pytest.mark.parametrize("wrong", [lambda f, q: list(range(min(len(f), q))), lambda f, q: []])
def test_herding_oracle_catches_a_planted_error(wrong: object) -> None:
    features = [[0], [4], [6], [10]]
    assert callable(wrong)
    with pytest.raises(AssertionError):
        assert wrong(np.array(features), 2) == reference.herd(features, 2)
