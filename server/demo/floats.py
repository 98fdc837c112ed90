# SPDX-License-Identifier: Apache-2.0
"""The same stream in float32: what the device is given, learned without quantisation.

Same samples, steps, batch, learning rates and class-balanced draws; an exemplar memory of the same
size, chosen by herding on the float network's own features.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.learning.base_model import Normaliser
from server.learning.float_reference import Params, add_classes, predict, train_step
from server.learning.ports import Float32Array, Int64Array
from server.learning.sessions import MILESTONE_AT, MILESTONE_FACTOR


@dataclass(frozen=True)
class Recipe:
    """How a session learns; the service is told the same.

    Attributes:
        batch: rows a step, fixed when the model is quantized.
        learning_rate: at the start; it falls late in the session, as in server.learning.sessions.
        exemplar_slots: samples kept, shared equally by the classes.
    """

    steps: int
    batch: int
    learning_rate: float
    exemplar_slots: int
    seed: int

    def rate(self, step: int) -> float:
        """Learning rate of a step of the session."""
        late = step >= int(self.steps * MILESTONE_AT)
        return self.learning_rate * (MILESTONE_FACTOR if late else 1.0)


@dataclass
class FloatLearner:
    """A network that learns the stream.

    Attributes:
        params: present weights.
        normaliser: of the inputs; None if they are taken as they are.
        memory: exemplars of every class, normalised, in herding order.
    """

    params: Params
    normaliser: Normaliser | None
    memory: dict[int, Float32Array] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Features, hidden widths, classes."""
        return [self.params[0].weight.shape[1], *(len(layer.weight) for layer in self.params)]

    def predict(self, x: Float32Array) -> Int64Array:
        """Class slots, (N,)."""
        return predict(self.params, self._normal(x))

    def remember(self, x: Float32Array, y: Int64Array, slots: int) -> None:
        """Choose exemplars of the classes in y, cut those of the others: slots / classes each."""
        quota = slots // len(self.params[-1].weight)
        rows = self._normal(x)
        for label in np.unique(y):
            own = rows[y == label]
            self.memory[int(label)] = own[herd(_features(self.params, own), quota)]
        self.memory = {label: kept[:quota] for label, kept in self.memory.items()}

    def learn(self, x: Float32Array, y: Int64Array, recipe: Recipe) -> None:
        """One session: new classes from their samples, old ones from exemplars."""
        random = np.random.default_rng(recipe.seed)
        missing = int(y.max()) + 1 - len(self.params[-1].weight)
        self.params = add_classes(self.params, max(missing, 0))
        rows = self._normal(x)
        pool = dict(self.memory) | {int(c): rows[y == c] for c in np.unique(y)}
        for step in range(recipe.steps):
            labels = random.choice(sorted(pool), recipe.batch).astype(np.int64)
            batch = np.stack([pool[int(c)][random.integers(len(pool[int(c)]))] for c in labels])
            count = len(self.params[-1].weight)
            self.params, _ = train_step(self.params, batch, labels, recipe.rate(step), count)
        self.remember(x, y, recipe.exemplar_slots)

    def _normal(self, x: Float32Array) -> Float32Array:
        return x if self.normaliser is None else self.normaliser.apply(x)


def _features(params: Params, x: Float32Array) -> Float32Array:
    """Input of the head."""
    for layer in params[:-1]:
        x = np.maximum(x @ layer.weight.T + layer.bias, np.float32(0))
    return x


def herd(features: Float32Array, count: int) -> NDArray[np.intp]:
    """Rows whose running mean stays nearest to the mean of all (Rebuffi et al., iCaRL, 2017).

    Example:
        >>> herd(np.array([[0.0], [1.0], [2.0], [6.0]], np.float32), 3)
        array([2, 1, 3])
    """
    mean = features.mean(axis=0)
    chosen: list[int] = []
    total = np.zeros_like(mean)
    free = np.ones(len(features), bool)
    for k in range(1, min(count, len(features)) + 1):
        distance = np.square(mean - (total + features) / k).sum(axis=1)
        distance[~free] = np.inf
        chosen.append(int(np.argmin(distance)))
        free[chosen[-1]] = False
        total += features[chosen[-1]]
    return np.array(chosen, np.intp)
