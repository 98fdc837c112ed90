# SPDX-License-Identifier: Apache-2.0
"""The class-incremental methods on a network of this machine: float32 and simulated arithmetics.

The same stream, steps, rates, memory, draws alike and losses as on the device (device/SPEC.md 6.6,
8): what differs is the arithmetic.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.correction import NO_CORRECTION, fit_correction, held_counts
from benchmarks.accuracy.networks import Network
from benchmarks.accuracy.quantisers import Float32Array
from server.demo.floats import herd
from server.learning.methods import NEAREST_MEAN, RECIPES, Method, distillation_of
from server.learning.sessions import MILESTONE_AT, MILESTONE_FACTOR

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """Length and learning rates of a session.

    Attributes:
        epochs: steps = epochs * stored samples / batch.
        drops: (share of the session, factor on the rate from there on), ascending.
    """

    epochs: int
    batch: int
    learning_rate: float
    drops: tuple[tuple[float, float], ...] = ((MILESTONE_AT, MILESTONE_FACTOR),)

    def steps(self, stored: int) -> int:
        """Steps of a session over `stored` samples."""
        return max(1, ceil(self.epochs * stored / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step."""
        passed = [factor for share, factor in self.drops if step >= int(steps * share)]
        return self.learning_rate * (passed[-1] if passed else 1.0)


class HostLearner:
    """A network, its exemplars, and a method."""

    def __init__(
        self,
        network: Network,
        method: Method,
        slots: int,
        schedule: Schedule,
        distillation: float | None = None,
    ) -> None:
        self._network, self._method, self._distillation = network, method, distillation
        self._slots, self._schedule = slots, schedule
        self._memory: dict[int, Float32Array] = {}
        self._means: dict[int, Float32Array] = {}
        self._correction = NO_CORRECTION

    def start(self, x: Float32Array, y: Int64Array) -> None:
        """Exemplars and means of the base classes: raw samples (N, I), slots (N,)."""
        stored = self._network.store(x)
        features, _ = self._network.infer(stored)
        self._remember(stored, y)
        self._means = {int(c): features[y == c].mean(axis=0) for c in np.unique(y)}

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        """One task."""
        network, known = self._network, self._network.n_classes
        stored = network.store(x)
        if not RECIPES[self._method].trains:
            features, _ = network.infer(stored)
            network.n_classes = class_count
            self._means |= {int(c): features[y == c].mean(axis=0) for c in np.unique(y)}
            return
        new = {int(c): stored[y == c] for c in np.unique(y)}
        pool, held = _split(self._memory | new, RECIPES[self._method].hold)
        self._train(pool, new, known, class_count, seed)
        self._correct(held, known)
        self._remember(stored, y)
        self._means = {c: network.infer(kept)[0].mean(axis=0) for c, kept in self._memory.items()}

    def predict(self, x: Float32Array, head: int) -> Int64Array:
        """Class slots (N,) of raw samples, by the linear or the nearest-mean head."""
        features, logits = self._network.judge(x)
        if head != NEAREST_MEAN:
            return np.asarray(self._correction.apply(logits).argmax(axis=1), np.int64)
        means = np.stack([self._means[c] for c in sorted(self._means)])
        distances = np.square(means).sum(axis=1) - 2 * features @ means.T
        return np.asarray(distances.argmin(axis=1), np.int64)

    def _train(
        self,
        pool: dict[int, Float32Array],
        new: dict[int, Float32Array],
        known: int,
        class_count: int,
        seed: int,
    ) -> None:
        recipe, network = RECIPES[self._method], self._network
        drawn = new if recipe.sampling.startswith("new") else pool
        x, sizes = np.concatenate(list(drawn.values())), [len(rows) for rows in drawn.values()]
        labels = np.repeat(list(drawn), sizes)
        how = distillation_of(self._method, known, class_count, self._distillation)
        _, old = network.infer(x)
        teacher = softmax(self._correction.apply(old)[:, :known], 1 << how.soften)
        network.n_classes = class_count
        if recipe.expansion is not None:
            network.grow()
        network.begin_session()
        steps = self._schedule.steps(sum(map(len, pool.values())))
        random = np.random.default_rng([seed, 7])
        ends = np.cumsum(sizes)
        alike = np.array(sizes) if recipe.sampling.endswith("uniform") else np.ones(len(sizes))
        shares = alike / alike.sum()
        for step in range(steps):
            group = random.choice(len(sizes), self._schedule.batch, p=shares)
            size = np.array(sizes)[group]
            rows = ends[group] - 1 - (random.random(len(group)) * size).astype(np.int64)
            logits = network.forward(x[rows])
            error = softmax(logits)
            error[np.arange(len(rows)), labels[rows]] -= 1
            if how.weight:
                share, heat = how.weight / 256, 1 << how.soften
                error *= np.float32(1 - share)
                softened = softmax(logits[:, :known], heat) - teacher[rows]
                error[:, :known] += np.float32(share * heat) * softened
            network.backward(error, self._schedule.rate(step, steps))
            if network.averages_from(step, steps):
                network.add_average()
        network.end_average()

    def _correct(self, held: dict[int, Float32Array], known: int) -> None:
        self._correction = NO_CORRECTION
        if held:
            logits = self._network.infer(np.concatenate(list(held.values())))[1]
            labels = np.repeat(np.array(list(held)), [len(rows) for rows in held.values()])
            steps = RECIPES[self._method].correction_steps
            self._correction = fit_correction(logits, labels, known, steps)

    def _remember(self, stored: Float32Array, y: Int64Array) -> None:
        quota = self._slots // self._network.n_classes
        for label in np.unique(y):
            own = stored[y == label]
            if quota < len(own):
                own = own[herd(self._network.infer(own)[0], quota)]
            self._memory[int(label)] = own
        self._memory = {label: kept[:quota] for label, kept in sorted(self._memory.items())}


def _split(
    pool: dict[int, Float32Array], hold: int
) -> tuple[dict[int, Float32Array], dict[int, Float32Array]]:
    """What a session trains on, and what it holds out: the last samples of each class."""
    if hold == 0:
        return pool, {}
    held = held_counts(np.array([len(rows) for rows in pool.values()]), hold)
    parts = zip(pool.items(), held.tolist(), strict=True)
    split = {c: (rows[: len(rows) - n], rows[len(rows) - n :]) for (c, rows), n in parts}
    return {c: a for c, (a, _) in split.items()}, {c: b for c, (_, b) in split.items()}


def softmax(logits: Float32Array, heat: int = 1) -> Float32Array:
    """Probabilities by row, of logits divided by a temperature."""
    shifted = (logits - logits.max(axis=1, keepdims=True)) / np.float32(heat)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
