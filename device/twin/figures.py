# SPDX-License-Identifier: Apache-2.0
"""The figures of device/DESIGN.md, measured with the twin's own arithmetic.

    python -m device.twin.figures

Everything is drawn from fixed seeds, so the output is the same everywhere.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from device.twin.kernels import IntArray, loss_error, quant_values, saturating_product
from device.twin.layers import LayerInput, LayerWeights, StepContext, input_gradient, update_weights
from device.twin.model import Arithmetic, TrainableLayer
from device.twin.scale import ONE, Scale

BATCH, INPUTS, OUTPUTS = 64, 48, 20
SEEDS = 20
GRID = Scale(1 << 14, -29)


def draws_bias() -> float:
    """Mean error of stochastic rounding, in steps, over all draws and 1001 values."""
    values = np.linspace(-30011, 30011, 1001).astype(np.int64)
    draws = np.arange(256)[:, None] + np.zeros_like(values)
    q, _ = quant_values(np.broadcast_to(values, draws.shape), 30011, 7, False, draws)
    return float((q.mean(axis=0) - values / 30011 * 7).mean())


def _errors(rng: np.random.Generator) -> IntArray:
    """Errors of a network that has nearly learned: a few rows carry most of the gradient."""
    labels = rng.integers(0, OUTPUTS, BATCH)
    logits = rng.normal(0, 300, (BATCH, OUTPUTS))
    logits[np.arange(BATCH), labels] += rng.choice([300, 2600], BATCH, p=[0.15, 0.85])
    return loss_error(logits.astype(np.int64), labels, 8)[0]


def _layer(rng: np.random.Generator) -> TrainableLayer:
    return TrainableLayer(
        name="figures",
        master=np.clip(rng.normal(0, 5000, (OUTPUTS, INPUTS)), -32767, 32767).astype(np.int16),
        bias=np.zeros(OUTPUTS, np.int32),
        row_factor=np.ones(OUTPUTS, np.uint8),
        scale=GRID,
        out_frac_bits=8,
        relu=False,
        in_amax=0,
    )


def _relative_error(made: NDArray[np.floating], exact: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(made - exact) / np.linalg.norm(exact))


def _input(rng: np.random.Generator, signed: bool) -> LayerInput:
    """Bell-shaped inputs, or the like after a ReLU."""
    low, high = (-7, 7) if signed else (0, 15)
    q = rng.normal(0, 3, (BATCH, INPUTS)) if signed else np.abs(rng.normal(0, 5, (BATCH, INPUTS)))
    return LayerInput(np.clip(q, low, high).astype(np.int64), ONE, signed)


def gradient_errors(order: int, acc_bits: int = 8, signed: bool = False) -> tuple[float, float]:
    """Relative error of one step's input gradient and weight gradient, mean over seeds."""
    arithmetic = Arithmetic(order=order, acc_bits=acc_bits, batch=BATCH)
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        layer, d, x = _layer(rng), _errors(rng), _input(rng, signed)
        weights = LayerWeights(layer.master.astype(np.int64), layer.bias.astype(np.int64))
        context = StepContext(arithmetic, seed, 0, Scale(1 << 14, -20))
        below, scale = input_gradient(1, layer, weights, d, GRID, context)
        exact = d @ layer.master * GRID.value * GRID.value
        update_weights(0, layer, weights, x, d, GRID, OUTPUTS, context)
        moved = (layer.master - weights.master) * GRID.value
        step = d.T @ x.q * GRID.value * context.rate.value / BATCH
        found.append((_relative_error(below * scale.value, exact), _relative_error(moved, step)))
    input_error, weight_error = np.mean(found, axis=0)
    return float(input_error), float(weight_error)


def saturated_tiles(acc_bits: int, signed: bool) -> float:
    """Share of saturated tiles of 32 terms: bell-shaped weights, bell-shaped or ReLU inputs."""
    rng = np.random.default_rng(0)
    low = -7 if signed else 0
    x = np.clip(
        np.rint(rng.normal(0, 3 if signed else 6, (400, 320))), low, 15 if not signed else 7
    )
    w = np.clip(np.rint(rng.normal(0, 2.5, (100, 320))), -7, 7)
    product = saturating_product(x.astype(int), w.astype(int), Arithmetic(acc_bits=acc_bits))
    return product.saturated / product.events


def lines() -> Iterator[str]:
    """The report, a line a figure."""
    yield f"bias of stochastic rounding, in steps: {draws_bias():.6f} (-1/512 is {-1 / 512:.6f})"
    yield "relative error of a step's gradients: of the input, of the weights after a ReLU or not"
    for order, acc_bits in ((1, 8), (4, 8), (16, 8), (64, 8), (16, 12), (16, 32)):
        below, weight = gradient_errors(order, acc_bits)
        other = gradient_errors(order, acc_bits, signed=True)[1]
        yield f"order {order:2}, {acc_bits:2}-bit tiles: {below:.3f}, {weight:.3f} or {other:.3f}"
    for acc_bits in (8, 12):
        signed, relu = saturated_tiles(acc_bits, True), saturated_tiles(acc_bits, False)
        yield f"{acc_bits:2}-bit tiles saturated: signed inputs {signed:.4f}, ReLU {relu:.4f}"


if __name__ == "__main__":
    for line in lines():
        print(line)
