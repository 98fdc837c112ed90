# SPDX-License-Identifier: Apache-2.0
"""Made-up classes, to try levers on: Gaussian clusters of a few dimensions, mixed into features.

No accuracy on them says anything of real data; differences between arithmetics on them do.
"""

from collections.abc import Callable, Sequence

import numpy as np

from server.learning.datasets import Dataset

CENTRES = 1.3  # deviation of the centres of clusters, whose own is 1


def gaussian(
    name: str,
    samples: Sequence[int],
    features: int = 40,
    dimensions: int | None = None,
    clusters: int = 2,
    seed: int = 0,
) -> Dataset:
    """Classes of so many training samples, and a third as many test samples each, at least 20.

    Args:
        samples: training samples, a number a class.
        features: their width; they are mixtures of `dimensions` (None: as many) numbers.
        clusters: Gaussian clusters that a class consists of.
        seed: of centres, mixture and samples.

    Example:
        >>> gaussian("two", (30, 60)).x_train.shape
        (90, 40)
    """
    random = np.random.default_rng([seed, 5])
    inner = dimensions or features
    # The fewer the dimensions, the further apart the centres must be for as many errors.
    size = CENTRES * np.sqrt(10 / inner) if inner > 10 else CENTRES
    centres = size * random.normal(size=(len(samples), clusters, inner))
    mixture = random.normal(size=(inner, features)) / np.sqrt(inner)

    def drawn(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(len(counts)), counts)
        cluster = random.integers(0, clusters, len(labels))
        values = centres[labels, cluster] + random.normal(size=(len(labels), inner))
        mixed = values @ mixture if dimensions else values
        return mixed.astype(np.float32), labels.astype(np.int64)

    train, test = drawn(samples), drawn([max(20, n // 3) for n in samples])
    return Dataset(name, *train, *test, tuple(str(c) for c in range(len(samples))))


UNEQUAL = (8, 14, 24, 42, 74, 130, 228, 400)
MADE_UP: dict[str, Callable[[], Dataset]] = {
    "two clusters": lambda: gaussian("two clusters", (150,) * 8),
    "of 15 dimensions": lambda: gaussian("of 15 dimensions", (150,) * 8, dimensions=15),
    "one cluster": lambda: gaussian("one cluster", (150,) * 8, clusters=1),
    "few samples": lambda: gaussian("few samples", (20,) * 10),
    "unequal": lambda: gaussian("unequal", UNEQUAL),
    "12 features": lambda: gaussian("12 features", (150,) * 8, features=12),
    "24 features": lambda: gaussian("24 features", (150,) * 8, features=24),
    "32 features": lambda: gaussian("32 features", (150,) * 8, features=32),
}
