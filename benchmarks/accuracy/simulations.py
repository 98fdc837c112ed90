# SPDX-License-Identifier: Apache-2.0
"""What a simulated arithmetic may be, and those that have a name."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.accuracy.quantisers import Rounding, Scales


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
        master_bits: 32 for float masters. update: rounding of what is subtracted from others.
        x0_range: factor on the range of x0 that calibration finds.
        activations: rounding of activations in the forward pass of training.
        ranges: of activations in training: of the batch, or the tracked ones of inference.
        signs: one fixed random sign a row of batch and a class or unit before the transforms.
        weight_scale, error_scale, error_rows_scale, inputs_scale: one a tensor, one a row, or a
            power of two a tile of a row; of W forward, and of the operands above.
        rank: coefficients of lowest sequency kept in each block of the weight gradient; 0: all.
        batch_bits: of the operands of the weight gradient.
        masks: of errors: where ReLU is 0, or also by the share of saturated tiles of a sum.
        stored_bits: of x0; 8: two nibbles, each with products and tiles of its own.
        x_range: factor on the maximum of activations that fixes their range; below 1 it clips.
        weight_clip: share of a row's maximum at which the 4-bit view clips; 0: that of eight
            shares from 1/2 to 1 with the least squared error.
        average: share of a session, its last, over which the masters are averaged.
        weight_levels, activation_levels: largest integers of W and x in the forward pass.
        inference: what the predictions that are judged are made with, by name (`INFERENCES`);
            training, herding and targets are not touched.
        rests: what rounding of activations leaves over is read too (device/SPEC.md 18).
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
    update: Rounding = "stochastic"
    x0_range: float = 1.0
    activations: Rounding = "nearest"
    ranges: Literal["batch", "tracked"] = "batch"
    signs: bool = False
    weight_scale: Scales = "row"
    error_scale: Scales = "tensor"
    error_rows_scale: Scales = "row"
    inputs_scale: Scales = "tensor"
    rank: int = 0
    batch_bits: int = 4
    masks: Literal["relu", "saturated"] = "relu"
    stored_bits: int = 4
    x_range: float = 1.0
    weight_clip: float = 1.0
    average: float = 0.0
    weight_levels: int = 7
    activation_levels: int = 15
    inference: str = "own"
    rests: bool = False

    def of_inference(self) -> "Simulation":
        """The arithmetic of predictions."""
        return replace(self, **INFERENCES[self.inference])


# What predictions change against the arithmetic of training. Sums are exact where one is of 8 bits.
_WIDE_X = {"activation_levels": 255, "acc_bits": 32}
_WIDE_W = {"weight_levels": 127, "acc_bits": 32}
_WIDE_X0 = {"stored_bits": 8, "x0_range": 2.0}
INFERENCES: dict[str, dict[str, Any]] = {
    "own": {},
    "fine": {"rests": True},
    "exact sums": {"acc_bits": 32},
    "8-bit x0": _WIDE_X0,
    "8-bit activations": _WIDE_X,
    "8-bit weights": _WIDE_W,
    "8-bit weights and activations": _WIDE_X | _WIDE_W,
    "8-bit weights, activations and x0": _WIDE_X | _WIDE_W | _WIDE_X0,
    "float32": {"stored": "none", "forward": "none"},
}
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
