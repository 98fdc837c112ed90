# SPDX-License-Identifier: Apache-2.0
"""Bias correction in float32 beside the device's own; held-out sets that choose settings."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.correction import Correction, fit_correction, held_counts
from benchmarks.accuracy.validation import held_out
from device.twin import correction as twin
from server.learning.datasets import Dataset, load

FRAC_BITS = 8


def biased(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Logits of six classes, of which the last two are too large; int64 in 2**-8, and labels."""
    random = np.random.default_rng(4)
    labels = np.arange(rows) % 6
    logits = random.normal(0, 1, (rows, 6)) + 3 * np.eye(6)[labels]
    logits[:, 4:] += 2
    return np.floor(logits * 2**FRAC_BITS).astype(np.int64), labels


@pytest.mark.parametrize("steps", [1, 8, 60])
def test_float_fit_takes_the_steps_of_the_device(steps: int) -> None:
    logits, labels = biased()
    device = twin.fit_correction(logits, labels, 4, FRAC_BITS, steps)
    found = fit_correction((logits / 2**FRAC_BITS).astype(np.float32), labels, 4, steps)
    assert (found.first, found.last) == (device.first, device.last) == (4, 6)
    assert found.alpha == pytest.approx(device.alpha / 4096, abs=0.02)
    assert found.beta == pytest.approx(device.beta / 2**FRAC_BITS, abs=0.02)


def test_fit_takes_the_bias_away() -> None:
    logits, labels = biased(600)
    values = (logits / 2**FRAC_BITS).astype(np.float32)
    found = fit_correction(values, labels, 4, 100)
    before, after = (v.argmax(axis=1) for v in (values, found.apply(values)))
    assert (before >= 4).mean() > 0.45
    assert (after >= 4).mean() == pytest.approx(1 / 3, abs=0.05)
    assert (after == labels).mean() > (before == labels).mean() + 0.05


def test_without_new_classes_or_samples_nothing_is_corrected() -> None:
    values = np.ones((3, 4), np.float32)
    assert fit_correction(values, np.arange(3), 4, 8) == Correction()
    assert fit_correction(values[:0], np.arange(0), 2, 8) == Correction()


@pytest.mark.parametrize("hold", [0, 1, 2, 3])
def test_as_many_samples_are_held_out_as_on_the_device(hold: int) -> None:
    counts = np.array([9, 1, 20, 40])
    labels = np.repeat(np.arange(4), counts)
    by_device = np.bincount(labels[twin.held_out(labels, hold)], minlength=4)
    assert held_counts(counts, hold).tolist() == by_device.tolist()


def test_held_out_people_are_every_third_and_no_test_sample_is_used(tmp_path: Path) -> None:
    people, y = np.repeat(np.arange(7), 4), np.arange(28) % 2
    x = np.arange(28, dtype=np.float32)[:, None]
    path = tmp_path / "named.npz"
    np.savez(path, x_train=x, y_train=y, x_test=-x, y_test=y, subject_train=people)
    data = load("named", tmp_path)
    found = held_out(data, tmp_path, seed=4)
    assert set(people[found.x_test[:, 0].astype(int)]) == {1, 4}
    assert set(people[found.x_train[:, 0].astype(int)]) == {0, 2, 3, 5, 6}
    assert np.array_equal(found.y_test, y[found.x_test[:, 0].astype(int)])


def test_without_people_a_share_of_each_class_is_held_out() -> None:
    y = np.arange(40) % 4
    x = np.arange(40, dtype=np.float32)[:, None]
    found = held_out(Dataset("none", x, y, -x, y, ("a", "b", "c", "d")), None, seed=0)
    assert np.bincount(found.y_test).tolist() == [3] * 4
    assert sorted(np.concatenate([found.x_train, found.x_test])[:, 0]) == list(range(40))
