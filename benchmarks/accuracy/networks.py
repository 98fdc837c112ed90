# SPDX-License-Identifier: Apache-2.0
"""Networks that learn on this machine only: float32, and simulations of 4-bit training.

A simulation carries its integers in float32 and draws from NumPy's generator: it has the method's
operands, tiles and roundings, not its bits. It is for comparing arithmetics; what ships is measured
with the generated C.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from server.learning.base_model import Normaliser
from server.learning.float_reference import Layer, Params

Float32Array = NDArray[np.float32]
Rounding = Literal["none", "nearest", "stochastic", "luq"]
_ONE = np.ones(1, np.float32)
TRACKED = 16  # steps over which a range is averaged, as SPEC.md 5.3


@dataclass(frozen=True)
class Simulation:
    """An arithmetic of training. The defaults are float32.

    Attributes:
        stored: 4-bit x0, with one range (`x0`), or float32.
        forward: rounding of activations and weights of the forward pass.
        acc_bits, tile_k: of the saturating accumulators; 32 bits never saturate.
        order_error, order_batch: Hadamard orders of the input and of the weight gradient; 1: off.
        error, weights, error_rows, inputs: rounding of d and W in the input gradient, and of d and
            x in the weight gradient.
        master_bits: 32 for float masters.
    """

    stored: Rounding = "none"
    forward: Rounding = "none"
    acc_bits: int = 32
    tile_k: int = 32
    order_error: int = 1
    order_batch: int = 1
    error: Rounding = "none"
    weights: Rounding = "none"
    error_rows: Rounding = "none"
    inputs: Rounding = "none"
    master_bits: int = 32


HDQT = Simulation(
    stored="nearest",
    forward="nearest",
    acc_bits=8,
    order_error=16,
    order_batch=16,
    error="stochastic",
    weights="nearest",
    error_rows="stochastic",
    inputs="stochastic",
    master_bits=16,
)
SIMULATIONS: dict[str, Simulation] = {
    "float32": Simulation(),
    "float32-tuned": Simulation(),
    "simulated-hdqt": HDQT,
    "simulated-no-hadamard": replace(HDQT, order_error=1, order_batch=1),
    "simulated-nearest": replace(HDQT, error="nearest", error_rows="nearest", inputs="nearest"),
    "simulated-luq": replace(
        HDQT,
        acc_bits=32,
        order_error=1,
        order_batch=1,
        error="luq",
        error_rows="luq",
        inputs="nearest",
    ),
}


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
        self.begin_session()

    def calibrate(self, x: Float32Array, batch: int = 32) -> None:
        """Fix the range of x0 and the first ranges of activations on raw samples (N, I)."""
        normal = self._normaliser.apply(x)
        if self._how.stored != "none":
            self._clip = _best_clip(normal)
        stored = self.store(x)
        for start in range(0, len(x), batch):
            self._forward(stored[start : start + batch], training=True)

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

    def store(self, x: Float32Array) -> Float32Array:
        """Samples as they are kept: normalised, float32 or multiples of the 4-bit step."""
        normal = self._normaliser.apply(x)
        if self._how.stored == "none":
            return normal
        q, step = _quantised(normal, self._clip, 7, self._how.stored, self._random)
        return q * step

    def infer(self, stored: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Features (N, F) and logits (N, n_classes), with frozen ranges."""
        inputs, _, logits = self._forward(stored, training=False)
        return inputs[-1], logits

    def forward(self, stored: Float32Array) -> Float32Array:
        """Logits (B, n_classes) of a training step, whose rest is `backward`."""
        self._inputs, self._masks, logits = self._forward(stored, training=True)
        return logits

    def _forward(
        self, x: Float32Array, training: bool
    ) -> tuple[list[Float32Array], list[NDArray[np.bool_]], Float32Array]:
        inputs, masks = [x], []
        for index in range(len(self._weights)):
            y = self._product(inputs[-1], index)
            if index + 1 == len(self._weights):
                break
            masks.append(y > 0)
            inputs.append(self._activate(y, index + 1, training))
        return inputs, masks, y

    def _product(self, x: Float32Array, index: int) -> Float32Array:
        rows = self._rows(index)
        weight, bias = self._weights[index][:rows], self._biases[index][:rows]
        if self._how.forward == "none":
            y = x @ weight.T
        else:
            q, step = _quantised(weight, _largest(weight, True), 7, "nearest", self._random)
            unit = self._unit(index)
            y = self._dot(x / unit, q) * (unit * step[:, 0])
        return np.asarray(y + bias, np.float32)

    def _unit(self, index: int) -> np.float32:
        """Step of the 4-bit input of a layer, as last quantised; 1 where it is float32."""
        return self._clip / np.float32(7) if index == 0 else self._tops_used[index] / np.float32(15)

    def _rows(self, index: int) -> int:
        return self.n_classes if index + 1 == len(self._weights) else len(self._weights[index])

    def _activate(self, y: Float32Array, index: int, training: bool) -> Float32Array:
        if self._how.forward == "none":
            return np.maximum(y, np.float32(0))
        top = np.float32(max(float(y.max()), 1e-9))
        if training:
            first = self._tops[index] == 0
            step = 1.0 if first else 1.0 / TRACKED
            self._tops[index] += np.float32(step) * (top - self._tops[index])
        used = top if training else self._tops[index]
        self._tops_used[index] = used
        q, step_size = _quantised(y, used, 15, self._how.forward, self._random, nonnegative=True)
        return q * step_size

    def backward(self, error: Float32Array, rate: float) -> None:
        """Update by the mean over the batch of gradients; error (B, n_classes) of each row."""
        d = error.astype(np.float32)
        for index in reversed(range(len(self._weights))):
            below = self._input_gradient(d, index) if index else d
            gradient = self._weight_gradient(d, index) / np.float32(len(d))
            self._update(index, gradient, np.asarray(d.mean(axis=0), np.float32), rate)
            d = below

    def _input_gradient(self, d: Float32Array, index: int) -> Float32Array:
        how, weight = self._how, self._weights[index][: self._rows(index)]
        order = how.order_error
        left, right = fwht(d, order), fwht(np.ascontiguousarray(weight.T), order)
        a, sa = _quantised(left, _largest(left), 7, how.error, self._random)
        b, sb = _quantised(right, _largest(right), 7, how.weights, self._random)
        below = self._dot(a, b) * (sa * sb / np.float32(order))
        return np.asarray(below * self._masks[index - 1], np.float32)

    def _weight_gradient(self, d: Float32Array, index: int) -> Float32Array:
        how, order = self._how, self._how.order_batch
        left = fwht(np.ascontiguousarray(d.T), order)
        right = fwht(np.ascontiguousarray(self._inputs[index].T), order)
        a, sa = _quantised(left, _largest(left, True), 7, how.error_rows, self._random)
        b, sb = _quantised(right, _largest(right), 7, how.inputs, self._random)
        return np.asarray(self._dot(a, b) * (sa * sb / np.float32(order)), np.float32)

    def _dot(self, a: Float32Array, b: Float32Array) -> Float32Array:
        """a b^T in tiles whose sums saturate."""
        if self._how.acc_bits == 32:
            return a @ b.T
        half, tile = 1 << (self._how.acc_bits - 1), self._how.tile_k
        total = np.zeros((len(a), len(b)), np.float32)
        for k in range(0, a.shape[1], tile):
            total += np.clip(a[:, k : k + tile] @ b[:, k : k + tile].T, -half, half - 1)
        return total

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
            draws = self._random.random(moved.shape, dtype=np.float32)
            limit = (1 << (self._how.master_bits - 1)) - 1
            moved = np.clip(np.floor(moved / step[:rows] + draws), -limit, limit) * step[:rows]
        weight[:] = moved
        self._biases[index][:rows] -= lr * bias


def fwht(values: Float32Array, order: int) -> Float32Array:
    """Block Hadamard transform along the last axis, zero-padded, not normalised.

    Example:
        >>> fwht(np.array([[1, 2, 3]], np.float32), 2)
        array([[ 3., -1.,  3.,  3.]], dtype=float32)
    """
    if order == 1:
        return values
    h = np.ones((1, 1), np.float32)
    while len(h) < order:
        h = np.block([[h, h], [h, -h]])
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % order)))
    return (padded.reshape(len(values), -1, order) @ h).reshape(padded.shape)


def _accelerated(momentum: Float32Array, gradient: Float32Array, mu: float) -> Float32Array:
    momentum *= np.float32(mu)
    momentum += gradient
    return momentum


def _largest(values: Float32Array, by_row: bool = False) -> NDArray[np.float32]:
    top = np.abs(values).max(axis=1, keepdims=True) if by_row else np.abs(values).max()
    return np.asarray(top, np.float32)


def _quantised(
    values: Float32Array,
    top: NDArray[np.float32] | np.float32,
    levels: int,
    rounding: Rounding,
    random: np.random.Generator,
    *,
    nonnegative: bool = False,
) -> tuple[Float32Array, NDArray[np.float32]]:
    """Integers in float32, and the size of a step; `none` leaves the values, with step 1."""
    if rounding == "none":
        return values, _ONE
    if rounding == "luq":
        return _logarithmic(values, top, random), _ONE
    step = np.asarray(np.where(top > 0, top, 1) / np.float32(levels), np.float32)
    scaled = np.clip(values / step, 0 if nonnegative else -levels, levels)
    half = np.float32(0.5)
    draws = random.random(scaled.shape, dtype=np.float32) if rounding == "stochastic" else half
    return np.floor(scaled + draws), step


def _logarithmic(
    values: Float32Array, top: NDArray[np.float32] | np.float32, random: np.random.Generator
) -> Float32Array:
    """Powers of two, three bits of exponent and a sign, unbiased below and between them.

    Source: Chmiel et al., Accurate Neural Training with 4-bit Matrix Multiplications at Standard
    Formats (LUQ), arXiv 2112.10769.
    """
    least = np.maximum(top, np.float32(1e-30)) / np.float32(64)  # 7 powers: 2^0 to 2^6 times this
    share = np.abs(values) / least
    power = np.exp2(np.floor(np.log2(np.maximum(share, 1))))
    part = np.where(share < 1, share, share / power - 1)
    up = random.random(values.shape, dtype=np.float32) < part
    size = np.where(share < 1, up, power * (1 + up))
    return np.asarray(np.sign(values) * size * least, np.float32)


def _best_clip(values: Float32Array) -> np.float32:
    """The range of [-7, 7] with the least squared error, as calibration chooses it."""
    top, best = np.abs(values).max(), (np.inf, np.float32(1))
    for part in range(8, 41):
        clip = np.float32(top * part / 40)
        step = clip / np.float32(7)
        error = np.square(np.floor(np.clip(values / step, -7, 7) + 0.5) * step - values).sum()
        best = min(best, (float(error), clip))
    return best[1]


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
