# SPDX-License-Identifier: Apache-2.0
"""Task streams and splits: complete, disjoint, and a function of the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.learning.stream import class_order, make_stream, stratified_split


def test_make_stream_digits_gives_six_then_two_and_two() -> None:
    assert make_stream(10, 6, 2, 1).tasks == ((0, 1, 2, 3, 4, 5), (6, 7), (8, 9))


def test_make_stream_remainder_makes_the_last_task_smaller() -> None:
    assert make_stream(7, 2, 2, None).tasks == ((0, 1), (2, 3), (4, 5), (6,))
    assert make_stream(3, 3, 2, None).tasks == ((0, 1, 2),)


@pytest.mark.parametrize(("classes", "base", "step"), [(3, 4, 1), (3, 0, 1), (3, 1, 0)])
def test_make_stream_impossible_cut_is_refused(classes: int, base: int, step: int) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        make_stream(classes, base, step, 0)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_class_order_is_a_permutation_and_a_function_of_the_seed(classes: int, seed: int) -> None:
    order = class_order(classes, seed)
    assert sorted(order) == list(range(classes))
    assert order == class_order(classes, seed)


def test_class_order_known_seed_stays_as_it_is() -> None:
    # Published tables name their seeds: the order behind a seed must not change with a version.
    assert class_order(10, 1) == (7, 2, 4, 6, 1, 0, 3, 5, 9, 8)


def test_class_order_other_seed_is_another_order() -> None:
    assert len({class_order(19, seed) for seed in range(20)}) == 20


def test_slots_follow_the_order_of_learning() -> None:
    stream = make_stream(10, 6, 2, 3)
    assert stream.slots(stream.class_order).tolist() == list(range(10))
    labels = np.array([stream.class_order[7], stream.class_order[0], stream.class_order[7]])
    assert stream.slots(labels).tolist() == [7, 0, 7]


@pytest.mark.parametrize("label", [-1, 10])
def test_slots_unknown_label_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        make_stream(10, 6, 2, 3).slots([0, label])


def test_rows_every_sample_belongs_to_one_task() -> None:
    stream = make_stream(10, 6, 2, 3)
    labels = np.random.default_rng(0).integers(0, 10, 200)
    rows = [stream.rows(labels, task) for task in range(3)]
    assert sorted(np.concatenate(rows)) == list(range(200))
    assert set(labels[rows[1]]) == {stream.class_order[6], stream.class_order[7]}
    assert stream.rows_seen(labels, 1).tolist() == sorted([*rows[0], *rows[1]])
    assert [stream.class_count(task) for task in range(3)] == [6, 8, 10]


def test_stratified_split_takes_the_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    first, second = stratified_split(labels, 0.25, seed=5)
    assert sorted([*first, *second]) == list(range(143))
    assert np.bincount(labels[second]).tolist() == [25, 10, 1]
    again = stratified_split(labels, 0.25, seed=5)
    assert (second == again[1]).all()
    assert (second != stratified_split(labels, 0.25, seed=6)[1]).any()


def test_stratified_split_extreme_share_leaves_a_sample_on_each_side() -> None:
    first, second = stratified_split([0, 0, 1, 1], 0.99, seed=0)
    assert (len(first), len(second)) == (2, 2)


def test_stratified_split_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has one sample"):
        stratified_split([0, 0, 1], 0.5, seed=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stratified_split([0, 0], 1.0, seed=0)
