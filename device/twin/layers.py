# SPDX-License-Identifier: Apache-2.0
"""Forward, backward and update of the layers (SPEC.md 3 to 6)."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.twin.kernels import (
    IntArray,
    Product,
    Quantized,
    dot_bound,
    draw_u8,
    draw_u16,
    fwht,
    padded_size,
    quant,
    quant_values,
    round_half_up,
    saturate,
    saturating_product,
    stream_key,
    widen,
)
from device.twin.model import Arithmetic, FrozenLayer, InputStage, TrainableLayer
from device.twin.scale import Scale

TENSORS = ("x", "wq", "dh", "wh", "dt", "xh")
PRODUCTS = ("forward", "input_gradient", "weight_gradient")


@dataclass
class LayerCounters:
    """Counters of one trainable layer (SPEC.md 6.5).

    Attributes:
        tensors: per tensor of TENSORS [elements, clipped, zeros].
        products: per product of PRODUCTS [tiles or additions, saturated].
    """

    tensors: dict[str, list[int]] = field(default_factory=lambda: {t: [0, 0, 0] for t in TENSORS})
    products: dict[str, list[int]] = field(default_factory=lambda: {p: [0, 0] for p in PRODUCTS})
    masters_saturated: int = 0
    y_saturated: int = 0
    d_saturated: int = 0

    def tensor(self, name: str, quantized: Quantized) -> None:
        """Count a quantised tensor."""
        self.add_tensor(name, quantized.q, quantized.clipped)

    def add_tensor(self, name: str, q: IntArray, clipped: int) -> None:
        """Count quantised values of which `clipped` were outside the range."""
        row = self.tensors[name]
        row[0] += q.size
        row[1] += clipped
        row[2] += int(np.count_nonzero(q == 0))

    def flat(self) -> list[int]:
        """The numbers in the order of the wire's COUNTERS answer."""
        out = [n for t in TENSORS for n in self.tensors[t]]
        out += [n for p in PRODUCTS for n in self.products[p]]
        return [*out, self.masters_saturated, self.y_saturated, self.d_saturated]


@dataclass
class LayerWeights:
    """What learning changes in a layer: masters (O, I) and biases (O,), int64."""

    master: IntArray
    bias: IntArray

    def copy(self) -> "LayerWeights":
        """An independent copy."""
        return LayerWeights(self.master.copy(), self.bias.copy())


@dataclass(frozen=True)
class LayerInput:
    """4-bit input of a layer: q (B, I), its scale, whether it can be negative."""

    q: IntArray
    scale: Scale
    signed: bool

    @property
    def qmax(self) -> int:
        """Largest value of the 4-bit grid."""
        return 7 if self.signed else 15


@dataclass(frozen=True)
class StepContext:
    """What a backward pass needs to know of its step."""

    arithmetic: Arithmetic
    seed: int
    step: int
    rate: Scale


def input_stage(stage: InputStage, raw: IntArray, frozen: bool) -> IntArray:
    """Raw samples (N, I) to x0, or to the 8-bit input of what is frozen (SPEC.md 3, 4.1)."""
    qmax = 127 if frozen else (7 if stage.signed else 15)
    return quant_values(stage_outputs(stage, raw), stage.amax, qmax, not stage.signed)[0]


def stage_outputs(stage: InputStage, raw: IntArray) -> IntArray:
    """v of SPEC.md 3, int64 in 16 bits, (N, P C), of raw samples (N, I)."""
    channels = len(stage.zero)
    if stage.planar:
        raw = raw.reshape(len(raw), channels, stage.pixels).transpose(0, 2, 1)
    raw = raw.reshape(-1, stage.pixels, channels)
    v = (raw - stage.zero.astype(np.int64)) * stage.mult.astype(np.int64)
    v = saturate(round_half_up(v, stage.shift.astype(np.int64)), 16)
    return v.reshape(len(raw), stage.pixels * channels)


class ReadsRaw(Protocol):
    """A model of either kind, as far as its raw samples go."""

    @property
    def raw_bits(self) -> NDArray[np.int16]:
        """Fractional bits of every value of a raw sample."""


def raw_samples(model: ReadsRaw, features: NDArray[np.floating]) -> NDArray[np.int16]:
    """Float features (N, I) as raw int16 samples, where the sample is born (SPEC.md 3)."""
    scaled = np.ldexp(np.asarray(features, np.float64), model.raw_bits)
    inside: NDArray[np.floating] = np.clip(np.floor(scaled + 0.5), -32768, 32767)
    return inside.astype(np.int16)


def frozen_forward(layer: FrozenLayer, x: IntArray, last: bool) -> IntArray:
    """One frozen layer (SPEC.md 4): x (N, I) 8-bit to 8-bit, or to x0 if it is the last."""
    qmax = 127 if not last else (15 if layer.relu else 7)
    return quant_values(frozen_outputs(layer, x), layer.out_amax, qmax, layer.relu)[0]


def frozen_outputs(layer: FrozenLayer, x: IntArray) -> IntArray:
    """y of SPEC.md 4, int64 in 16 bits, (N, O)."""
    acc = x @ layer.weight.astype(np.int64).T
    acc_shift = max(0, (layer.weight.shape[1] * 127 * 127).bit_length() - 15)
    acc = round_half_up(acc, acc_shift) * layer.mult.astype(np.int64)
    return saturate(round_half_up(acc, layer.shift.astype(np.int64)) + layer.bias, 16)


def weight_view(
    layer: TrainableLayer, master: IntArray, counters: LayerCounters | None = None
) -> tuple[IntArray, list[Scale]]:
    """4-bit weights (O, I) and the scale of each row (SPEC.md 5.1)."""
    q = np.zeros_like(master)
    scales = []
    for o, row in enumerate(master):
        source = layer.scale.mul(Scale.from_int(int(layer.row_factor[o])))
        amax = widen(int(np.abs(row).max()), layer.w_range)
        view = quant(row, source, amax, 7, False)
        q[o] = view.q
        scales.append(view.scale)
        if counters:
            counters.tensor("wq", view)
    return q, scales


def forward(
    layer: TrainableLayer,
    weights: LayerWeights,
    x: LayerInput,
    arithmetic: Arithmetic,
    counters: LayerCounters | None = None,
) -> IntArray:
    """Pre-activations y, int64 in 16 bits, shape (B, O) (SPEC.md 5.2)."""
    wq, scales = weight_view(layer, weights.master, counters)
    product = saturating_product(x.q, wq, arithmetic)
    return rescale(layer, weights, x, scales, product, arithmetic, counters)


def rescale(
    layer: TrainableLayer,
    weights: LayerWeights,
    x: LayerInput,
    scales: list[Scale],
    product: Product,
    arithmetic: Arithmetic,
    counters: LayerCounters | None = None,
    shortcut: IntArray | None = None,
) -> IntArray:
    """y of accumulators (rows, O): to the output grid, with bias, in 16 bits (SPEC.md 5.2).

    Args:
        shortcut: added before the saturation, (rows, O) (SPEC.md 14.6).
    """
    bound = dot_bound(layer.inputs, x.qmax, 7, arithmetic)
    acc_shift = max(0, bound.bit_length() - 15)
    pairs = [x.scale.mul(s).pow2(layer.out_frac_bits + acc_shift).multiplier() for s in scales]
    mult = np.array([m for m, _ in pairs], np.int64)
    shift = np.array([s for _, s in pairs], np.int64)
    scaled = round_half_up(round_half_up(product.acc, acc_shift) * mult, shift)
    exact = scaled + round_half_up(weights.bias, 16)
    exact = exact if shortcut is None else exact + shortcut
    y = saturate(exact, 16)
    if counters:
        counters.products["forward"][0] += product.events
        counters.products["forward"][1] += product.saturated
        counters.y_saturated += int(np.count_nonzero(y != exact))
    return y


def activate(y: IntArray, frac_bits: int, top: int, x_range: int) -> LayerInput:
    """Input of the next layer: ReLU and quantisation of y (SPEC.md 5.3).

    Args:
        y: int64 in 16 bits, shape (B, O), in the grid 2**-frac_bits.
        top: largest y of the batch, or the frozen range.
        x_range: range factor of the next layer.
    """
    result = quant(y, Scale(1 << 14, -14 - frac_bits), widen(top, x_range), 15, True)
    return LayerInput(result.q, result.scale, signed=False)


def input_gradient(
    index: int,
    layer: TrainableLayer,
    weights: LayerWeights,
    d: IntArray,
    d_scale: Scale,
    context: StepContext,
    counters: LayerCounters | None = None,
) -> tuple[IntArray, Scale]:
    """Error of the layer below before its ReLU mask, and its scale (SPEC.md 6.3 a).

    Args:
        d: int64 in 16 bits, shape (B, O).
    Returns: int64 in 16 bits, shape (B, I), and the scale.
    """
    order = context.arithmetic.order
    dh_source = fwht(d, order)
    key = stream_key(context.seed, context.step, 8 * index)
    draws = draw_u8(key, np.arange(dh_source.size).reshape(dh_source.shape))
    dh = quant(dh_source, d_scale, int(np.abs(dh_source).max()), 7, False, draws)
    common = weights.master * layer.row_factor.astype(np.int64)[:, None]
    wh_source = fwht(common.T, order)
    wh = quant(wh_source, layer.scale, int(np.abs(wh_source).max()), 7, False)
    if counters:
        counters.tensor("dh", dh)
        counters.tensor("wh", wh)
    product = saturating_product(dh.q, wh.q, context.arithmetic)
    bound = dot_bound(wh.q.shape[1], 7, 7, context.arithmetic)
    drop = max(0, bound.bit_length() - 15)
    exact = round_half_up(product.acc, drop)
    below = saturate(exact, 16)
    if counters:
        counters.products["input_gradient"][0] += product.events
        counters.products["input_gradient"][1] += product.saturated
        counters.d_saturated += int(np.count_nonzero(below != exact))
    growth = order.bit_length() - 1
    return below, dh.scale.mul(wh.scale).pow2(drop - growth)


def update_weights(
    index: int,
    layer: TrainableLayer,
    weights: LayerWeights,
    x: LayerInput,
    d: IntArray,
    d_scale: Scale,
    rows: int,
    context: StepContext,
    counters: LayerCounters | None = None,
    columns: NDArray[np.bool_] | None = None,
) -> None:
    """Weight gradient and update in place of the first `rows` rows (SPEC.md 6.3 b and c).

    Args:
        columns: those that learn, (I,), SPEC.md 16.2; None: all.
    """
    order = context.arithmetic.order
    xh_source = fwht(x.q.T, order)
    key = stream_key(context.seed, context.step, 8 * index + 2)
    draws = draw_u8(key, np.arange(xh_source.size).reshape(xh_source.shape))
    xh = quant(xh_source, x.scale, int(np.abs(xh_source).max()), 7, False, draws)
    if counters:
        counters.tensor("xh", xh)
    if columns is not None:
        xh = replace(xh, q=xh.q * columns[:, None])
    dt_source = fwht(d.T, order)[:rows]
    batch = padded_size(d.shape[0], order)
    dt_key = stream_key(context.seed, context.step, 8 * index + 1)
    for o in range(rows):
        dt_draws = draw_u8(dt_key, o * batch + np.arange(batch))
        source = dt_source[o]
        dt = quant(source, d_scale, int(np.abs(source).max()), 7, False, dt_draws)
        if counters:
            counters.tensor("dt", dt)
        if not (dt.empty or xh.empty):
            _update_row(index, layer, weights, o, dt, xh, context, counters)
    update_bias(layer, weights, d[:, :rows], d_scale, context)


def _update_row(
    index: int,
    layer: TrainableLayer,
    weights: LayerWeights,
    o: int,
    dt: Quantized,
    xh: Quantized,
    context: StepContext,
    counters: LayerCounters | None,
) -> None:
    product = saturating_product(dt.q[None, :], xh.q, context.arithmetic)
    step_scale = layer.scale.mul(Scale.from_int(int(layer.row_factor[o]))).recip()
    batch_scale = Scale.from_int(context.arithmetic.batch).recip()
    rate = context.rate.mul(dt.scale.mul(xh.scale)).mul(step_scale.mul(batch_scale))
    m, sh = rate.pow2(-(context.arithmetic.order.bit_length() - 1)).multiplier()
    key = stream_key(context.seed, context.step, 8 * index + 3)
    u = draw_u16(key, o * padded_size(layer.inputs, 2) + np.arange(layer.inputs))
    delta = (product.acc[0] * m + ((u << 14) >> (30 - sh))) >> sh
    limit = context.arithmetic.master_max
    exact = weights.master[o] - delta
    weights.master[o] = np.clip(exact, -limit, limit)
    if counters:
        counters.products["weight_gradient"][0] += product.events
        counters.products["weight_gradient"][1] += product.saturated
        counters.masters_saturated += int(np.count_nonzero(weights.master[o] != exact))


def update_bias(
    layer: TrainableLayer, weights: LayerWeights, d: IntArray, d_scale: Scale, context: StepContext
) -> None:
    """Biases of the first d.shape[1] rows in place; d (samples, rows) (SPEC.md 6.3 c)."""
    rows = d.shape[1]
    rate = context.rate.mul(d_scale).mul(Scale.from_int(context.arithmetic.batch).recip())
    m, sh = rate.pow2(layer.out_frac_bits + 16).multiplier64()
    delta = round_half_up(d.sum(axis=0) * m, sh)
    weights.bias[:rows] = saturate(weights.bias[:rows] - delta, 32)
