# SPDX-License-Identifier: Apache-2.0
"""Float32 training of dense networks: makes base models, and stands beside the integer learner.

Plain stochastic gradient descent on softmax cross-entropy, ReLU between layers: the same method as
on the device without its quantisation, so that on equal batches the difference is the arithmetic's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layer:
    """y = x W^T + b: weight float32 (O, I), bias float32 (O,)."""

    weight: Float32Array
    bias: Float32Array


Params = tuple[Layer, ...]


@dataclass(frozen=True)
class TrainOptions:
    """How a base model is trained.

    Attributes:
        hidden: widths of the hidden layers.
        epochs, batch: passes over the data; samples a step, the last of an epoch may be smaller.
        lr: learning rate at the start.
        milestones: epochs from which the rate is a `lr_drop` of what it was.
        weight_decay: added gradient per weight; biases do not decay.
    """

    hidden: tuple[int, ...] = (64,)
    epochs: int = 30
    batch: int = 32
    lr: float = 0.1
    milestones: tuple[int, ...] = (20, 26)
    lr_drop: float = 0.2
    weight_decay: float = 1e-4

    def rate(self, epoch: int) -> float:
        """Learning rate in an epoch, counted from 0."""
        return self.lr * self.lr_drop ** sum(epoch >= m for m in self.milestones)


def init_params(sizes: Sequence[int], generator: np.random.Generator) -> Params:
    """Weights from the normal distribution of He et al. (2015), variance 2 / I; biases zero.

    Args:
        sizes: features, hidden widths, classes.
    """
    layers = []
    for inputs, outputs in pairwise(sizes):
        weight = generator.normal(0.0, np.sqrt(2.0 / inputs), (outputs, inputs))
        layers.append(Layer(weight.astype(np.float32), np.zeros(outputs, np.float32)))
    return tuple(layers)


def add_classes(params: Params, count: int) -> Params:
    """The same network with `count` more outputs, whose weights and biases are zero."""
    head = params[-1]
    weight = np.pad(head.weight, ((0, count), (0, 0)))
    return (*params[:-1], Layer(weight, np.pad(head.bias, (0, count))))


def forward(params: Params, x: Float32Array) -> Float32Array:
    """Logits, float32 (N, classes), of x float32 (N, features)."""
    return _activations(params, x)[-1]


def predict(params: Params, x: Float32Array, n_classes: int | None = None) -> Int64Array:
    """Class slots, int64 (N,); only the first `n_classes` outputs take part. Lowest wins a tie."""
    best: Int64Array = np.argmax(forward(params, x)[:, :n_classes], axis=1).astype(np.int64)
    return best


def train_step(
    params: Params,
    x: Float32Array,
    y: Int64Array,
    lr: float,
    n_classes: int,
    *,
    weight_decay: float = 0.0,
    first_trained: int = 0,
) -> tuple[Params, float]:
    """One step of gradient descent on the mean cross-entropy of a batch.

    Args:
        x: float32 (B, features). y: class slots, int64 (B,), each below n_classes.
        n_classes: classes that take part; further outputs of the head are left alone.
        first_trained: layers before this one are frozen.
    Returns: the new parameters, and the mean loss before the step.
    """
    activations = _activations(params, x)
    error, loss = _softmax_error(activations[-1], y, n_classes)
    trained: list[Layer] = []
    for index in range(len(params) - 1, first_trained - 1, -1):
        layer = params[index]
        gradient = error.T @ activations[index] + weight_decay * layer.weight
        bias = layer.bias - lr * error.sum(axis=0)
        trained.insert(0, Layer(_f32(layer.weight - lr * gradient), _f32(bias)))
        error = (error @ layer.weight) * (activations[index] > 0)
    return (*params[:first_trained], *trained), loss


def train_base(
    x: Float32Array, y: Int64Array, n_classes: int, options: TrainOptions, seed: int
) -> Params:
    """Train a network from the start; the same arguments give the same bits on one machine.

    Args:
        x: float32 (N, features), normalised. y: class slots, int64 (N,).
    """
    generator = np.random.default_rng(seed)
    params = init_params([x.shape[1], *options.hidden, n_classes], generator)
    for epoch in range(options.epochs):
        for rows in batches(len(x), options.batch, generator):
            params, _ = train_step(
                params,
                x[rows],
                y[rows],
                options.rate(epoch),
                n_classes,
                weight_decay=options.weight_decay,
            )
    return params


def batches(count: int, size: int, generator: np.random.Generator) -> list[Int64Array]:
    """Indices 0 to count - 1, shuffled, in batches; the last may be smaller."""
    order = generator.permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def _activations(params: Params, x: Float32Array) -> list[Float32Array]:
    """Input of each layer, and the logits last."""
    values = [x]
    for index, layer in enumerate(params):
        y = values[-1] @ layer.weight.T + layer.bias
        values.append(y if index == len(params) - 1 else np.maximum(y, np.float32(0)))
    return values


def _softmax_error(
    logits: Float32Array, y: Int64Array, n_classes: int
) -> tuple[Float32Array, float]:
    """Gradient of the mean loss by the logits, zero beyond n_classes; and the mean loss."""
    used = logits[:, :n_classes]
    shifted = used - used.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = float(np.mean(log_sum[:, 0] - shifted[rows, y]))
    error = np.zeros_like(logits)
    error[:, :n_classes] = np.exp(shifted - log_sum)
    error[rows, y] -= 1
    return _f32(error / len(y)), loss


def _f32(values: NDArray[np.floating]) -> Float32Array:
    return values.astype(np.float32, copy=False)
