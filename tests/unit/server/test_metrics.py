# SPDX-License-Identifier: Apache-2.0
"""Metrics against the worked matrix of the specification."""

import numpy as np
import pytest

from server.learning import metrics

R = [[88], [91, 80], [75, 70, 85], [80, 82, 60, 90]]


def test_metrics_of_the_test_vector() -> None:
    after = [sum(row) / len(row) for row in R]
    assert after == pytest.approx([88, 85.5, 76.6667, 78], abs=1e-3)
    assert metrics.average_incremental_accuracy(after) == pytest.approx(82.0417, abs=1e-3)
    assert metrics.forgetting_chaudhry(R) == pytest.approx(11.3333, abs=1e-3)
    assert metrics.backward_transfer(R) == pytest.approx(-10.3333, abs=1e-3)


def test_metrics_of_one_task_are_zero() -> None:
    assert metrics.forgetting_chaudhry([[50]]) == 0
    assert metrics.backward_transfer([[50]]) == 0


def test_confusion_and_accuracies_by_hand() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    table = metrics.confusion(labels, predicted, 3)
    assert table == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert metrics.class_accuracy(table) == [0.5, pytest.approx(2 / 3), None]
    assert metrics.group_accuracy(table, [0, 1]) == 0.6
    assert metrics.group_accuracy(table, [2]) is None
