# SPDX-License-Identifier: Apache-2.0
"""Networks that learn on this machine only: float32, and simulations of 4-bit training.

A simulation carries its integers in float32 and draws from NumPy's generator: it has the method's
operands, tiles and roundings, not its bits. It is for comparing arithmetics; what ships is measured
with the generated C.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.quantisers import (
    Float32Array,
    Operand,
    best_clip,
    best_shares,
    fwht,
    largest,
    lowest,
    nibbles_product,
    product,
    quantised,
    rests_product,
    saturated_share,
    with_rest,
)
from benchmarks.accuracy.simulations import Simulation
from server.learning.base_model import Normaliser
from server.learning.float_reference import Layer, Params

TRACKED = 16  # steps over which a range is averaged, as SPEC.md 5.3


@dataclass(frozen=True)
class Optimiser:
    """Stochastic gradient descent; plain by default."""

    momentum: float = 0.0
    weight_decay: float = 0.0


class Network:
    """A dense network with ReLU between its layers.

    Attributes:
        n_classes: classes that take part; the head has rows for more.
    """

    def __init__(
        self,
        params: Params,
        normaliser: Normaliser,
        max_classes: int,
        simulation: Simulation,
        optimiser: Optimiser,
        seed: int,
    ) -> None:
        self.n_classes = len(params[-1].weight)
        self._normaliser, self._how, self._optimiser = normaliser, simulation, optimiser
        self._random = np.random.default_rng([seed, 99])
        spare = max_classes - self.n_classes
        self._weights = [layer.weight.copy() for layer in params]
        self._biases = [layer.bias.copy() for layer in params]
        self._weights[-1] = np.pad(self._weights[-1], ((0, spare), (0, 0)))
        self._biases[-1] = np.pad(self._biases[-1], (0, spare))
        self._steps = [_master_step(w, simulation.master_bits) for w in self._weights]
        self._weights = [_on_grid(w, s) for w, s in zip(self._weights, self._steps, strict=True)]
        self._tops = [np.float32(0)] * len(params)
        self._tops_used = [np.float32(0)] * len(params)
        self._clip = np.float32(1)
        width = max(max_classes, 1024, *(len(layer.weight) for layer in params))
        drawn = np.random.default_rng([seed, 98]).integers(0, 2, width)
        self._signs = np.float32(2) * drawn.astype(np.float32) - np.float32(1)
        self._expansion: tuple[int, int] | None = None
        self._learns: list[NDArray[np.bool_]] | None = None
        self.begin_session()

    def reserve(self, first: int, rows: int) -> None:
        """Let hidden layers from `first` on grow by `rows` a session (device/SPEC.md 16)."""
        self._expansion = first, rows

    def grow(self) -> None:
        """Add a block of rows, which learns alone, but for the head, until the next one."""
        if self._expansion is None:
            return
        first, rows = self._expansion
        head = len(self._weights) - 1
        for index in range(first, head + 1):
            columns = rows if index > first else 0
            self._weights[index] = np.pad(self._weights[index], ((0, 0), (0, columns)))
            if index < head:
                self._add_rows(index, rows, columns or self._weights[index].shape[1])
        self._learns = [np.zeros(w.shape, bool) for w in self._weights[:-1]]
        self._learns.append(np.ones(self._weights[-1].shape, bool))
        for index in range(first, head):
            self._learns[index][-rows:, -rows if index > first else 0 :] = True

    def _add_rows(self, index: int, rows: int, inputs: int) -> None:
        """He et al.'s uniform weights for the last `inputs` columns, zeros for the others."""
        old, limit = self._weights[index], np.sqrt(6 / inputs)
        fresh = np.zeros((rows, old.shape[1]), np.float32)
        fresh[:, -inputs:] = self._random.uniform(-limit, limit, (rows, inputs))
        self._weights[index] = np.concatenate([old, fresh])
        self._biases[index] = np.pad(self._biases[index], (0, rows))

    def calibrate(self, x: Float32Array, batch: int = 32) -> None:
        """Fix the range of x0 and the first ranges of activations on raw samples (N, I)."""
        normal = self._normaliser.apply(x)
        if (self._how.stored, self._how.forward) != ("none", "none"):
            self._clip = best_clip(normal)
        stored = self.store(x)
        for start in range(0, len(x), batch):
            self._forward(stored[start : start + batch], self._how, training=True)

    def params(self) -> Params:
        """Weights and biases of the classes that take part, float32 copies."""
        pairs = zip(self._weights, self._biases, strict=True)
        rows = [self._rows(index) for index in range(len(self._weights))]
        return tuple(
            Layer(w[:n].copy(), b[:n].copy()) for (w, b), n in zip(pairs, rows, strict=True)
        )

    def begin_session(self) -> None:
        """Forget the momentum."""
        self._momenta = [np.zeros_like(w) for w in self._weights]
        self._bias_momenta = [np.zeros_like(b) for b in self._biases]
        self._summed = 0
        self._sums = [np.zeros(w.shape, np.float64) for w in self._weights]
        self._bias_sums = [np.zeros(b.shape, np.float64) for b in self._biases]

    def store(self, x: Float32Array) -> Float32Array:
        """Samples as they are kept: normalised, float32 or multiples of the 4-bit step."""
        return self._input(x, self._how)

    def infer(self, stored: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Features (N, F) and logits (N, n_classes), with frozen ranges."""
        inputs, _, logits = self._forward(stored, self._how, training=False)
        return inputs[-1], logits

    def judge(self, x: Float32Array) -> tuple[Float32Array, Float32Array]:
        """As `infer`, of raw samples (N, I), by the arithmetic of predictions."""
        how = self._how.of_inference()
        inputs, _, logits = self._forward(self._input(x, how), how, training=False)
        return inputs[-1], logits

    def forward(self, stored: Float32Array) -> Float32Array:
        """Logits (B, n_classes) of a training step, whose rest is `backward`."""
        self._inputs, self._masks, logits = self._forward(stored, self._how, training=True)
        return logits

    def _input(self, x: Float32Array, how: Simulation) -> Float32Array:
        normal = self._normaliser.apply(x)
        if how.stored == "none":
            return normal
        levels = _input_levels(how)
        if how.rests:
            return with_rest(normal, self._unit(0, how), -levels, levels)
        top = np.full((1, 1), self._unit(0, how) * levels, np.float32)
        found = quantised(normal, top, levels, how.stored, self._random)
        return np.asarray(found.q * found.step, np.float32)

    def _forward(
        self, x: Float32Array, how: Simulation, training: bool
    ) -> tuple[list[Float32Array], list[NDArray[np.bool_]], Float32Array]:
        inputs, masks = [x], []
        self._unsaturated: list[Float32Array] = []
        for index in range(len(self._weights)):
            y = self._product(inputs[-1], index, how)
            if index + 1 == len(self._weights):
                break
            masks.append(y > 0)
            inputs.append(self._activate(y, index + 1, how, training))
        return inputs, masks, y

    def _product(self, x: Float32Array, index: int, how: Simulation) -> Float32Array:
        rows, unit = self._rows(index), self._unit(index, how)
        weight, bias = self._weights[index][:rows], self._biases[index][:rows]
        if how.forward == "none":
            return np.asarray(x @ weight.T + bias, np.float32)
        top = largest(weight, how.weight_scale, how.tile_k)
        if how.weight_clip != 1:
            top = top * (how.weight_clip or best_shares(weight, top))
        w = quantised(weight, top, how.weight_levels, "nearest", self._random, tile=how.tile_k)
        if index == 0 and how.stored_bits == 8:
            y = nibbles_product(np.rint(x / unit), unit, w, how.tile_k, how.acc_bits)
            return np.asarray(y + bias, np.float32)
        if how.rests:
            return rests_product(x / unit, unit, w, how.tile_k, how.acc_bits) + bias
        whole = np.rint(x / unit) if index or how.stored != "none" else x / unit
        a = Operand(np.asarray(whole, np.float32), np.full((1, 1), unit, np.float32))
        if how.masks == "saturated":
            self._unsaturated.append(1 - saturated_share(a, w, how.tile_k, how.acc_bits))
        return np.asarray(product(a, w, how.tile_k, how.acc_bits) + bias, np.float32)

    def _unit(self, index: int, how: Simulation) -> np.float32:
        """Step of the integer input of a layer, as last quantised."""
        if index:
            return self._tops_used[index] / np.float32(how.activation_levels)
        return self._clip * np.float32(how.x0_range) / np.float32(_input_levels(how))

    def _rows(self, index: int) -> int:
        return self.n_classes if index + 1 == len(self._weights) else len(self._weights[index])

    def _activate(
        self, y: Float32Array, index: int, how: Simulation, training: bool
    ) -> Float32Array:
        if how.forward == "none":
            return np.maximum(y, np.float32(0))
        top = np.float32(max(float(y.max()), 1e-9))
        if training:
            first = self._tops[index] == 0
            step = 1.0 if first else 1.0 / TRACKED
            self._tops[index] += np.float32(step) * (top - self._tops[index])
        own = training and how.ranges == "batch"
        used = np.float32(how.x_range) * (top if own else self._tops[index])
        self._tops_used[index] = used
        if how.rests:
            return with_rest(y, self._unit(index, how), 0, how.activation_levels)
        rounding = how.activations if training else how.forward
        whole = np.full((1, 1), used, np.float32)
        levels = how.activation_levels
        found = quantised(y, whole, levels, rounding, self._random, nonnegative=True)
        return np.asarray(found.q * found.step, np.float32)

    def averages_from(self, step: int, steps: int) -> bool:
        """Whether the masters after a step count in the average of a session."""
        return step >= steps * (1 - self._how.average)

    def add_average(self) -> None:
        """Count the masters as they are now."""
        for total, w in zip(self._sums, self._weights, strict=True):
            total += w
        for total, b in zip(self._bias_sums, self._biases, strict=True):
            total += b
        self._summed += 1

    def end_average(self) -> None:
        """Take the mean, on the grid of the masters, if there is one."""
        if not self._summed:
            return
        for index, step in enumerate(self._steps):
            mean = (self._sums[index] / self._summed).astype(np.float32)
            self._weights[index] = _on_grid(mean, step)
            self._biases[index] = (self._bias_sums[index] / self._summed).astype(np.float32)

    def backward(self, error: Float32Array, rate: float) -> None:
        """Update by the mean over the batch of gradients; error (B, n_classes) of each row."""
        d = error.astype(np.float32)
        for index in reversed(range(len(self._weights))):
            if self._unsaturated:
                d = d * self._unsaturated[index]
            below = self._input_gradient(d, index) if index else d
            if self._learns is not None and index:
                below = below * self._learns[index - 1].any(axis=1)
            gradient = self._weight_gradient(d, index) / np.float32(len(d))
            self._update(index, gradient, np.asarray(d.mean(axis=0), np.float32), rate)
            d = below

    def _input_gradient(self, d: Float32Array, index: int) -> Float32Array:
        how, weight = self._how, self._weights[index][: self._rows(index)]
        left = self._transformed(d, how.order_error)
        right = self._transformed(weight.T, how.order_error)
        top = largest(left, how.error_scale, how.tile_k)
        a = quantised(left, top, 7, how.error, self._random, tile=how.tile_k)
        b = quantised(right, largest(right), 7, how.weights, self._random)
        below = product(a, b, how.tile_k, how.acc_bits) / np.float32(how.order_error)
        return np.asarray(below * self._masks[index - 1], np.float32)

    def _weight_gradient(self, d: Float32Array, index: int) -> Float32Array:
        how, levels = self._how, (1 << (self._how.batch_bits - 1)) - 1
        left = self._transformed(d.T, how.order_batch)
        right = self._transformed(self._inputs[index].T, how.order_batch)
        if how.rank:
            left, right = (lowest(v, how.order_batch, how.rank) for v in (left, right))
        tops = (largest(left, how.error_rows_scale), largest(right, how.inputs_scale))
        a = quantised(left, tops[0], levels, how.error_rows, self._random)
        b = quantised(right, tops[1], levels, how.inputs, self._random)
        bits = how.acc_bits if how.batch_bits == 4 else 32
        return product(a, b, how.tile_k, bits) / np.float32(how.order_batch)

    def _transformed(self, values: Float32Array, order: int) -> Float32Array:
        if self._how.signs:
            values = values * self._signs[: values.shape[1]]
        return fwht(np.ascontiguousarray(values), order)

    def _update(self, index: int, gradient: Float32Array, bias: Float32Array, rate: float) -> None:
        rows, how, lr = len(gradient), self._optimiser, np.float32(rate)
        weight = self._weights[index][:rows]
        if how.weight_decay:
            gradient = gradient + np.float32(how.weight_decay) * weight
        if how.momentum:
            gradient = _accelerated(self._momenta[index][:rows], gradient, how.momentum)
            bias = _accelerated(self._bias_momenta[index][:rows], bias, how.momentum)
        step = self._steps[index]
        moved = weight - lr * gradient
        if step is not None:
            draws = np.full(moved.shape, 0.5, np.float32)
            if self._how.update == "stochastic":
                self._random.random(out=draws, dtype=np.float32)
            limit = (1 << (self._how.master_bits - 1)) - 1
            moved = np.clip(np.floor(moved / step[:rows] + draws), -limit, limit) * step[:rows]
        if self._learns is not None:
            learns = self._learns[index][:rows]
            moved, bias = np.where(learns, moved, weight), bias * learns.any(axis=1)
        weight[:] = moved
        self._biases[index][:rows] -= lr * bias


def _input_levels(how: Simulation) -> int:
    return 7 if how.stored_bits == 4 else 127


def _accelerated(momentum: Float32Array, gradient: Float32Array, mu: float) -> Float32Array:
    momentum *= np.float32(mu)
    momentum += gradient
    return momentum


def _master_step(weight: Float32Array, bits: int) -> Float32Array | None:
    """Grid of the masters by row, as codegen.quantize chooses it; None for float masters."""
    if bits == 32:
        return None
    limit = (1 << (bits - 1)) - 1
    top = float(np.abs(weight).max()) or 1.0
    if bits == 16:
        return np.full((len(weight), 1), 4 * top / limit, np.float32)
    rows = np.abs(weight).max(axis=1, keepdims=True)
    return np.asarray(2 * np.where(rows > 0, rows, top) / limit, np.float32)


def _on_grid(weight: Float32Array, step: Float32Array | None) -> Float32Array:
    return weight if step is None else np.asarray(np.floor(weight / step + 0.5) * step, np.float32)
