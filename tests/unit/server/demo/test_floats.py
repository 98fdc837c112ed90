# SPDX-License-Identifier: Apache-2.0
"""The float side of the demo: herding, memory, a session."""

import numpy as np

from server.demo.floats import FloatLearner, Recipe, herd
from server.learning.float_reference import TrainOptions, train_base

CENTRES = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3], [-3, -3, -3]], np.float32)
RECIPE = Recipe(steps=150, batch=16, learning_rate=0.05, exemplar_slots=12, seed=3)


def rows(*labels: int, count: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat(labels, count).astype(np.int64)
    noise = np.random.default_rng(seed).normal(0, 0.3, (len(y), 3))
    return (CENTRES[y] + noise).astype(np.float32), y


def learner() -> FloatLearner:
    x, y = rows(0, 1, 2)
    made = FloatLearner(train_base(x, y, 3, TrainOptions(hidden=(8,), epochs=10), 1), None)
    made.remember(x, y, RECIPE.exemplar_slots)
    return made


def test_herd_prefix_is_the_smaller_memory() -> None:
    features = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    assert herd(features, 9)[:4].tolist() == herd(features, 4).tolist()
    assert len(set(herd(features, 20).tolist())) == 20


def test_recipe_rate_falls_late_in_the_session() -> None:
    rates = [RECIPE.rate(step) for step in (0, 104, 105, 149)]
    assert np.allclose(rates, [0.05, 0.05, 0.01, 0.01])


def test_remember_shares_slots_equally() -> None:
    made = learner()
    assert {label: len(kept) for label, kept in made.memory.items()} == {0: 4, 1: 4, 2: 4}


def test_learn_new_class_keeps_the_old_ones() -> None:
    made = learner()
    made.learn(*rows(3, seed=5), RECIPE)
    x, y = rows(0, 1, 2, 3, seed=7)
    assert np.mean(made.predict(x) == y) > 0.95
    assert {len(kept) for kept in made.memory.values()} == {3}
    assert made.sizes == [3, 8, 4]


def test_learn_same_seed_gives_same_network() -> None:
    first, second = learner(), learner()
    for made in (first, second):
        made.learn(*rows(3, seed=5), RECIPE)
    assert np.array_equal(first.params[-1].weight, second.params[-1].weight)
