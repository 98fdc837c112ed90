# SPDX-License-Identifier: Apache-2.0
"""Float graphs and samples for the quantizer's tests."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from codegen.graph import Affine, Dense, FloatGraph

Array = NDArray[np.float32]
Real = NDArray[np.float64]
Weights = list[tuple[Real, Real]]


def graph_of(weights: Weights, normalizer: tuple[Real, Real] | None = None) -> FloatGraph:
    """Dense layers with ReLU between them, after an optional (offset, scale)."""
    layers: list[Affine | Dense] = []
    if normalizer:
        offset, scale = (part.astype(np.float32) for part in normalizer)
        layers.append(Affine("normalizer", offset, scale))
    for number, (weight, bias) in enumerate(weights):
        last = number + 1 == len(weights)
        arrays = weight.astype(np.float32), bias.astype(np.float32)
        layers.append(Dense(f"dense_{number}", *arrays, None if last else "relu"))
    return FloatGraph("graph", (layers[0].inputs,), tuple(layers))


def random_weights(sizes: tuple[int, ...], seed: int = 0, bias: float = 0.3) -> Weights:
    """Weights that keep the size of normal inputs."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, i**-0.5, (o, i)), rng.normal(0, bias, o)) for i, o in pairwise(sizes)]


def random_graph(*sizes: int, seed: int = 0, bias: float = 0.3) -> FloatGraph:
    """A random network without a normaliser."""
    return graph_of(random_weights(sizes, seed, bias))


def normal_samples(count: int, features: int, seed: int = 1) -> Array:
    """Samples of mean 0 and deviation 1."""
    return np.random.default_rng(seed).normal(0, 1, (count, features)).astype(np.float32)


@dataclass(frozen=True)
class Digits:
    """Scikit-learn's digits, and a float network trained on the first part."""

    graph: FloatGraph
    x_train: Array
    y_train: NDArray[np.int64]
    x_test: Array
    y_test: NDArray[np.int64]

    def accuracy(self, classes: NDArray[np.integer]) -> float:
        """Share of right answers on the test part."""
        return float((classes == self.y_test).mean())


@cache
def digits() -> Digits:
    """64-32-24-10 trained with plain SGD; the same bits every time."""
    data = load_digits()
    x, y = (data.data / 16).astype(np.float32), data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    weights = _train(x[:1200] - 0.3, y[:1200], (64, 32, 24, 10))
    normalizer = np.full(64, 0.3), np.ones(64)
    return Digits(graph_of(weights, normalizer), x[:1200], y[:1200], x[1200:], y[1200:])


def _train(x: Array, y: NDArray[np.int64], sizes: tuple[int, ...]) -> Weights:
    weights = [(w * 1.4, b * 0) for w, b in random_weights(sizes, seed=2)]
    rng = np.random.default_rng(3)
    for epoch in range(30):
        rate = 0.2 if epoch < 20 else 0.05
        for part in np.array_split(rng.permutation(len(x)), len(x) // 30):
            inputs = [x[part].astype(np.float64)]
            for w, b in weights:
                inputs.append(np.maximum(inputs[-1] @ w.T + b, 0))
            logits = inputs[-2] @ weights[-1][0].T + weights[-1][1]
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            d = p / p.sum(axis=1, keepdims=True)
            d[np.arange(len(part)), y[part]] -= 1
            d /= len(part)
            for k in range(len(weights) - 1, -1, -1):
                w, b = weights[k]
                below = (d @ w) * (inputs[k] > 0)
                weights[k] = w - rate * d.T @ inputs[k], b - rate * d.sum(axis=0)
                d = below
    return weights
