# SPDX-License-Identifier: Apache-2.0
"""Metrics against hand-worked values, and Student's t against SciPy."""

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_rel

from server.learning import metrics

# One class a task: the accuracies on all classes are the means of the rows.
MATRIX = [[88], [91, 80], [75, 70, 85], [80, 82, 60, 90]]
AFTER_EACH = [88, 85.5, 230 / 3, 78]


def test_average_incremental_accuracy_vector_is_the_hand_worked_mean() -> None:
    assert pytest.approx([np.mean(row) for row in MATRIX]) == AFTER_EACH
    assert metrics.average_incremental_accuracy(AFTER_EACH) == pytest.approx(82.0416667)
    assert metrics.last_accuracy(AFTER_EACH) == 78


def test_forgetting_vector_leaves_the_last_row_out_of_the_maximum() -> None:
    # (91 - 80) + (80 - 82) + (85 - 60) over three tasks: a gain counts, with its sign.
    assert metrics.forgetting_chaudhry(MATRIX) == pytest.approx(34 / 3)


def test_backward_transfer_vector_compares_with_the_diagonal() -> None:
    # (80 - 88) + (82 - 80) + (60 - 85).
    assert metrics.backward_transfer(MATRIX) == pytest.approx(-31 / 3)


def test_forgetting_single_task_is_zero() -> None:
    assert metrics.forgetting_chaudhry([[88]]) == 0
    assert metrics.backward_transfer([[88]]) == 0


def test_accuracy_row_unequal_tasks_weighs_samples_not_classes() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    predicted = np.array([0, 0, 1, 1, 2, 0])
    table = metrics.confusion(labels, predicted, 3)
    assert table == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert metrics.accuracy_row(table, [(0, 1), (2,)]) == [3 / 4, 1 / 2]
    assert metrics.group_accuracy(table, range(3)) == 4 / 6
    assert metrics.balanced_accuracy(table) == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)


def test_accuracy_row_task_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task 1 \(classes \[1\]\) has no samples"):
        metrics.accuracy_row([[3, 0], [0, 0]], [(0,), (1,)])


def test_balanced_accuracy_class_without_samples_is_left_out() -> None:
    assert metrics.balanced_accuracy([[3, 1, 0], [0, 0, 0], [0, 0, 2]]) == pytest.approx(7 / 8)
    assert metrics.balanced_accuracy([[0]]) is None


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 30, 99, 100])
def test_student_t_95_equals_scipy(freedom: int) -> None:
    assert metrics.student_t_95(freedom) == pytest.approx(student.ppf(0.95, freedom), abs=1e-9)


def test_paired_difference_lower_bound_is_where_the_one_sided_test_turns() -> None:
    ours, theirs = [83.9, 82.1, 84.4, 83.0], [83.7, 82.6, 83.9, 82.2]
    found = metrics.paired_difference(ours, theirs)
    assert found.mean == pytest.approx(0.25)
    assert found.std == pytest.approx(np.std(np.subtract(ours, theirs), ddof=1))
    assert found.lower_95 is not None
    shifted = np.array(theirs) + found.lower_95
    assert ttest_rel(ours, shifted, alternative="greater").pvalue == pytest.approx(0.05)


def test_summary_one_value_has_no_bounds() -> None:
    assert metrics.summary([5.0]) == metrics.Summary(5.0, 0.0, None, None, 1)


def test_paired_difference_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        metrics.paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no values"):
        metrics.paired_difference([], [])
