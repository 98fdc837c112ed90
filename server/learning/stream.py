# SPDX-License-Identifier: Apache-2.0
"""Streams of tasks: which classes come when. Everything follows from a seed.

Labels are what a dataset calls its classes (0, 1, ..). Slots are what a learner calls them: slot i
is the i-th class in the order of learning, so task 0, the base classes, holds slots 0, 1, ...
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64Array = NDArray[np.int64]

# Each purpose draws from its own generator, so that one more draw in one moves no other.
_ORDER, _SPLIT = 1, 2


@dataclass(frozen=True)
class TaskStream:
    """Classes in the order of learning, cut into tasks.

    Attributes:
        class_order: labels; position is slot.
        tasks: slots of each task, ascending; task 0 holds the base classes.
        seed: of the class order; None for the natural order.
    """

    class_order: tuple[int, ...]
    tasks: tuple[tuple[int, ...], ...]
    seed: int | None

    def slots(self, labels: ArrayLike) -> Int64Array:
        """Slots of labels, int64, same shape.

        Raises: ValueError for a label that the stream does not have.
        """
        given = np.asarray(labels, dtype=np.int64)
        table = np.full(max(self.class_order) + 1, -1, dtype=np.int64)
        table[list(self.class_order)] = np.arange(len(self.class_order))
        unknown = given[(given < 0) | (given >= len(table))]
        if unknown.size or (table[given] < 0).any():
            raise ValueError(f"labels outside the stream's {len(self.class_order)} classes")
        return table[given]

    def rows(self, labels: ArrayLike, task: int) -> Int64Array:
        """Indices of the samples of one task, ascending."""
        return np.flatnonzero(np.isin(self.slots(labels), self.tasks[task]))

    def rows_seen(self, labels: ArrayLike, task: int) -> Int64Array:
        """Indices of the samples of tasks 0 to `task`, ascending."""
        return np.flatnonzero(self.slots(labels) < self.class_count(task))

    def class_count(self, task: int) -> int:
        """Classes known after a task."""
        return self.tasks[task][-1] + 1


def make_stream(classes: int, base: int, step: int, seed: int | None) -> TaskStream:
    """Base classes first, then `step` at a time; the last task may be smaller.

    Args:
        classes: in all. base: in task 0, 1 to classes. step: in each later task, at least 1.
        seed: of the class order; None keeps the dataset's.
    Raises: ValueError.

    Example:
        >>> make_stream(10, 6, 2, None).tasks
        ((0, 1, 2, 3, 4, 5), (6, 7), (8, 9))
    """
    if not (1 <= base <= classes and step >= 1):
        raise ValueError(f"{classes} classes cannot be cut into {base} and then {step} at a time")
    starts = [0, *range(base, classes, step), classes]
    tasks = tuple(tuple(range(a, b)) for a, b in pairwise(starts))
    return TaskStream(class_order(classes, seed), tasks, seed)


def class_order(classes: int, seed: int | None) -> tuple[int, ...]:
    """Labels 0 to classes - 1 in the order of a seed, or as they are for None."""
    if seed is None:
        return tuple(range(classes))
    return tuple(int(c) for c in np.random.default_rng([seed, _ORDER]).permutation(classes))


def stratified_split(labels: ArrayLike, share: float, seed: int) -> tuple[Int64Array, Int64Array]:
    """Cut samples in two with the same share of every class.

    Args:
        labels: integer, shape (N,).
        share: of each class in the second part, in (0, 1); rounded, at least one sample, and at
            least one left.
    Returns: indices of the first and of the second part, each ascending.
    Raises: ValueError if the share is out of range or a class has one sample.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share} is not between 0 and 1")
    given = np.asarray(labels)
    generator = np.random.default_rng([seed, _SPLIT])
    second = np.zeros(len(given), dtype=bool)
    for label in np.unique(given):
        rows = generator.permutation(np.flatnonzero(given == label))
        if len(rows) < 2:
            raise ValueError(f"class {label} has one sample: it cannot be in both parts")
        second[rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]] = True
    return np.flatnonzero(~second), np.flatnonzero(second)
