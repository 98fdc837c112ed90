# SPDX-License-Identifier: Apache-2.0
"""Accuracy, and what is computed from the matrix R[k][j]: accuracy on task j after task k.

Row k has k + 1 entries. Accuracies are in percent or in [0, 1]; results are in the same unit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = Sequence[Sequence[float]]


def confusion(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], size: int
) -> list[list[int]]:
    """Counts, shape (size, size): row true class, column predicted class."""
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    return [[int(v) for v in row] for row in table]


def class_accuracy(table: Sequence[Sequence[int]]) -> list[float | None]:
    """Accuracy of each class in [0, 1]; None for a class without samples."""
    return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(table)]


def group_accuracy(
    table: Sequence[Sequence[int]], slots: Sequence[int]
) -> float | None:
    """Accuracy in [0, 1] over the samples of the given classes; None without samples."""
    total = sum(sum(table[s]) for s in slots)
    return sum(table[s][s] for s in slots) / total if total else None


def average_incremental_accuracy(after_each_task: Sequence[float]) -> float:
    """Mean over tasks of the accuracy on all classes seen so far.

    Example:
        >>> round(average_incremental_accuracy([88, 85.5, 76.667, 78]), 3)
        82.042
    """
    return sum(after_each_task) / len(after_each_task)


def forgetting_chaudhry(matrix: Matrix) -> float:
    """Mean over tasks j < k of (max over l < k of R[l][j]) - R[k][j], k the last row.

    Source: Chaudhry et al., ECCV 2018; 0 for a single task.

    Example:
        >>> r = [[88], [91, 80], [75, 70, 85], [80, 82, 60, 90]]
        >>> round(forgetting_chaudhry(r), 3)
        11.333
    """
    last = len(matrix) - 1
    drops = [
        max(matrix[k][j] for k in range(j, last)) - matrix[last][j] for j in range(last)
    ]
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
