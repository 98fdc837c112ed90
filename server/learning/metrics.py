# SPDX-License-Identifier: Apache-2.0
"""Accuracy, and what is computed from the matrix R[k][j]: accuracy on task j after task k.

Row k has k + 1 entries. Accuracies are in percent or in [0, 1]; results are in the same unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, cos, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

Matrix = Sequence[Sequence[float]]
Table = Sequence[Sequence[int]]


def confusion(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], size: int
) -> list[list[int]]:
    """Counts, shape (size, size): row true class, column predicted class."""
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    return [[int(v) for v in row] for row in table]


def class_accuracy(table: Table) -> list[float | None]:
    """Accuracy of each class in [0, 1]; None for a class without samples."""
    return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(table)]


def group_accuracy(table: Table, slots: Sequence[int]) -> float | None:
    """Accuracy in [0, 1] over the samples of the given classes; None without samples."""
    total = sum(sum(table[s]) for s in slots)
    return sum(table[s][s] for s in slots) / total if total else None


def balanced_accuracy(table: Table) -> float | None:
    """Mean accuracy in [0, 1] of the classes that have samples; None without samples.

    Example: 9 of 10 right and 1 of 2 right:
        >>> balanced_accuracy([[9, 1], [1, 1]])
        0.7
    """
    known = [a for a in class_accuracy(table) if a is not None]
    return sum(known) / len(known) if known else None


def accuracy_row(table: Table, tasks: Sequence[Sequence[int]]) -> list[float]:
    """Row k of R in [0, 1], from the confusion counts after the last of `tasks`.

    Args:
        table: rows and columns are class slots.
        tasks: class slots of tasks 0 to k; each has samples.
    Raises: ValueError if a task has no samples.
    """
    row = []
    for task, slots in enumerate(tasks):
        accuracy = group_accuracy(table, slots)
        if accuracy is None:
            raise ValueError(f"task {task} (classes {list(slots)}) has no samples")
        row.append(accuracy)
    return row


def average_incremental_accuracy(after_each_task: Sequence[float]) -> float:
    """Mean over tasks of the accuracy on all classes seen so far.

    Example:
        >>> round(average_incremental_accuracy([88, 85.5, 76.667, 78]), 3)
        82.042
    """
    return sum(after_each_task) / len(after_each_task)


def last_accuracy(after_each_task: Sequence[float]) -> float:
    """Accuracy on all classes after the last task."""
    return after_each_task[-1]


def forgetting_chaudhry(matrix: Matrix) -> float:
    """Mean over tasks j < k of (max over l < k of R[l][j]) - R[k][j], k the last row.

    Source: Chaudhry et al., ECCV 2018; 0 for a single task.

    Example:
        >>> r = [[88], [91, 80], [75, 70, 85], [80, 82, 60, 90]]
        >>> round(forgetting_chaudhry(r), 3)
        11.333
    """
    last = len(matrix) - 1
    drops = [max(matrix[k][j] for k in range(j, last)) - matrix[last][j] for j in range(last)]
    return sum(drops) / len(drops) if drops else 0.0


def backward_transfer(matrix: Matrix) -> float:
    """Mean over tasks j < T of R[T][j] - R[j][j]; 0 for a single task.

    Example:
        >>> r = [[88], [91, 80], [75, 70, 85], [80, 82, 60, 90]]
        >>> round(backward_transfer(r), 3)
        -10.333
    """
    last = len(matrix) - 1
    gains = [matrix[last][j] - matrix[j][j] for j in range(last)]
    return sum(gains) / len(gains) if gains else 0.0


@dataclass(frozen=True)
class Summary:
    """Values of one figure over seeds.

    Attributes:
        mean: arithmetic mean.
        std: standard deviation with divisor n - 1; 0 for one value.
        lower_95, upper_95: bounds of the true mean, each one-sided at 95 % (Student's t);
            None for one value, which bounds nothing.
        count: n.
    """

    mean: float
    std: float
    lower_95: float | None
    upper_95: float | None
    count: int


def summary(values: Sequence[float]) -> Summary:
    """Mean, deviation and one-sided 95 % bounds of values of independent seeds.

    Raises: ValueError without values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("no values to summarise")
    mean = sum(values) / count
    if count == 1:
        return Summary(mean, 0.0, None, None, 1)
    std = sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    margin = student_t_95(count - 1) * std / sqrt(count)
    return Summary(mean, std, mean - margin, mean + margin, count)


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Summary of ours - theirs, seed by seed: "not worse by more than d" holds if lower_95 > -d.

    Args:
        ours, theirs: the same seeds in the same order.
    Raises: ValueError if the lengths differ or are 0.

    Example:
        >>> paired_difference([81.0, 83.0, 82.0], [80.0, 81.0, 82.0]).mean
        1.0
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values against {len(theirs)}: not pairs")
    return summary([a - b for a, b in zip(ours, theirs, strict=True)])


def student_t_95(freedom: int) -> float:
    """The 95 % quantile of Student's t distribution with `freedom` >= 1 degrees of freedom.

    Example:
        >>> round(student_t_95(3), 3), round(student_t_95(9), 3)
        (2.353, 1.833)
    """
    low, high = 0.0, 7.0  # one degree, the widest, has 6.31
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if _central_share(middle, freedom) < 0.9 else (low, middle)
    return (low + high) / 2


def _central_share(t: float, freedom: int) -> float:
    """P(|T| <= t), exact. Source: Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    term, total = (cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * k / (k + 1)
    share = sin(angle) * total
    return 2 / pi * (angle + share) if odd else share
