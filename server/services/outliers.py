# SPDX-License-Identifier: Apache-2.0
"""Samples that lie far from the mean of their class, or nearer to another's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.learning.ports import Float32Array, Int64Array
from server.services.context import Context
from server.services.models import class_names, require_model
from server.storage.records import SampleRecord

NEWEST = 5000
NEWEST_BYTES = 8 << 20
# A class of fewer samples has no mean to be far from.
LEAST = 5
Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outlier:
    """A sample, how many times the median distance of its class it lies from that class's mean, and
    the class whose mean is nearest.
    """

    sample: SampleRecord
    label: str
    score: float
    nearest_class: str


@dataclass(frozen=True)
class Outliers:
    """The farthest of the newest `considered` samples, the farthest first."""

    considered: int
    items: list[Outlier]


def find_outliers(context: Context, model_id: str, min_score: float, limit: int) -> Outliers:
    """Outliers among the newest samples of a model, at most NEWEST and NEWEST_BYTES of them.

    Raises: NotFoundError.
    """
    with context.database.read() as unit:
        width = require_model(unit, model_id).feature_count
        names = class_names(unit, model_id)
        most = max(1, min(NEWEST, NEWEST_BYTES // (4 * width)))
        found = unit.samples.page(
            order="seq", after=None, limit=most, down=True,
            model_id=model_id, split=("train", "test"),
        )  # fmt: skip
    x = np.frombuffer(b"".join(s.features for s in found), "<f4").reshape(len(found), width)
    y = np.array([s.class_position for s in found], np.int64)
    scores, nearest = score(x, y)
    rows = [i for i in np.argsort(-scores, kind="stable").tolist() if scores[i] >= min_score]
    items = [
        Outlier(found[i], names[y[i]], round(float(scores[i]), 3), names[nearest[i]])
        for i in rows[:limit]
    ]
    return Outliers(len(found), items)


def score(x: Float32Array, y: Int64Array) -> tuple[Float64Array, Int64Array]:
    """Distance to the mean of the own class over that class's median distance, and nearest class.

    A feature counts in its own spread (root mean square about the class means), so that its unit
    does not matter. A sample of a class with fewer than LEAST samples scores 0.

    Args:
        x: (N, features). y: (N,) classes.
    Returns: scores (N,), nearest classes (N,).
    """
    labels, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    if not len(labels):
        return np.zeros(0), np.zeros(0, np.int64)
    wide = x.astype(np.float64)
    means = np.stack([wide[index == c].mean(axis=0) for c in range(len(labels))])
    spread = np.sqrt(np.mean(np.square(wide - means[index]), axis=0))
    spread[spread == 0] = np.inf  # a constant feature says nothing
    scaled, centres = wide / spread, means / spread
    squares = np.square(scaled).sum(1)[:, None] + np.square(centres).sum(1)[None, :]
    distances = np.sqrt(np.maximum(squares - 2 * scaled @ centres.T, 0.0))
    own = distances[np.arange(len(y)), index]
    scores = np.zeros(len(y))
    for c, count in enumerate(counts.tolist()):
        median = float(np.median(own[index == c]))
        if count >= LEAST and median > 0:
            scores[index == c] = own[index == c] / median
    return scores, labels[np.argmin(distances, axis=1)]
