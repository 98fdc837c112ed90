# SPDX-License-Identifier: Apache-2.0
"""Outliers by distance to class means, and classes that lack samples."""

import numpy as np
import pytest

from server.errors import NotFoundError
from server.services import outliers
from server.services.outliers import score
from tests.api.harness import Service, make_samples

SQUARE = [(0, 0), (2, 0), (0, 2), (2, 2)]


def test_score_is_distance_over_the_median_worked_by_hand() -> None:
    """Class 7 is the square about (1, 1), class 9 two points; means (1, 1), (11, 1)."""
    x = np.array([*SQUARE, (1, 1), (10, 1), (12, 1)], np.float32)
    y = np.array([7] * 5 + [9] * 2)
    scores, nearest = score(x, y)
    # Spreads: of the first feature sqrt(6 / 7), of the second sqrt(4 / 7). Corners lie at
    # sqrt(7 / 6 + 7 / 4), which is the median; the middle at 0; class 9 is too small to tell.
    assert scores == pytest.approx([1, 1, 1, 1, 0, 0, 0])
    assert nearest.tolist() == [7] * 5 + [9] * 2


def test_score_does_not_depend_on_units() -> None:
    x = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    y = np.arange(40) % 2
    plain, near = score(x, y)
    other, same = score(x * np.float32([1, 1024, 1 / 64]), y)
    assert other == pytest.approx(plain, rel=1e-5) and same.tolist() == near.tolist()


def test_constant_features_and_no_samples_are_no_error() -> None:
    scores, _ = score(np.ones((6, 2), np.float32), np.zeros(6, np.int64))
    assert scores.tolist() == [0] * 6
    assert score(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))[0].size == 0


def test_planted_outlier_and_wrong_label_are_found(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 0, 1, 2, count=30)
    far, _ = make_samples(1, 1, seed=9)
    service.client.send_samples(far * 9, [1], model_id=model.id)
    wrong, _ = make_samples(2, 1, seed=9)
    service.client.send_samples(wrong, [0], model_id=model.id, split="test")
    found = service.client.outliers(model.id)
    assert found.considered == 92
    assert [o.label for o in found.items[:2]] == ["1", "0"]
    assert found.items[0].score > found.items[1].score > 3
    assert found.items[1].nearest_class == "2" and found.items[1].split == "test"
    assert {o.nearest_class for o in found.items[2:] if o.label == "2"} <= {"2"}


def test_only_the_newest_samples_are_looked_at(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = service.ready_model()
    service.send(model.id, 0, 1, count=10)
    monkeypatch.setattr(outliers, "NEWEST", 7)
    assert service.client.outliers(model.id).considered == 7


def test_coverage_names_what_a_class_lacks(service: Service) -> None:
    model = service.ready_model()
    assert {c.coverage for c in service.client.classes(model.id)} == {"missing"}
    service.send(model.id, 0, 1, count=20)
    service.send(model.id, 3, count=2)
    service.send(model.id, 0, 2, 3, split="test")
    told = [c.coverage for c in service.client.classes(model.id)]
    assert told == ["good", "untested", "untrained", "few"]


def test_outliers_of_an_unknown_model_are_not_found(service: Service) -> None:
    with pytest.raises(NotFoundError):
        service.client.outliers("0" * 32)
