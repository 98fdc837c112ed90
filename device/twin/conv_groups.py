# SPDX-License-Identifier: Apache-2.0
"""Input gradient of a trainable convolution of several groups (SPEC.md 14.3 d)."""

import numpy as np

from device.twin.conv_layers import positions
from device.twin.conv_shape import ConvShape
from device.twin.kernels import (
    IntArray,
    dot_bound,
    draw_u8,
    fwht,
    padded_size,
    quant,
    round_half_up,
    saturate,
    saturating_product,
    stream_key,
)
from device.twin.layers import LayerCounters, LayerWeights, StepContext
from device.twin.model import TrainableLayer
from device.twin.scale import Scale


def errors_over(shape: ConvShape, d: IntArray) -> IntArray:
    """Rows d_bqg of errors (B, P, O): shape (H W, G, B, T)."""
    batch, outputs = len(d), d.shape[2] // shape.groups
    pixels = shape.in_values // shape.in_shape[2]
    taps = shape.kernel[0] * shape.kernel[1]
    rows = np.zeros((pixels, shape.groups, batch, taps, outputs), np.int64)
    parts = d.reshape(batch, shape.pixels, shape.groups, outputs).transpose(1, 2, 0, 3)
    for tap, (_, out, inside) in enumerate(positions(shape)):
        rows[inside, :, :, tap] = parts[out]  # at most one output pixel has it at this position
    return rows.reshape(pixels, shape.groups, batch, taps * outputs)


def weights_over(shape: ConvShape, w: IntArray) -> IntArray:
    """Rows w_c of weights (O, K): shape (G, I, T)."""
    taps = shape.kernel[0] * shape.kernel[1]
    parts = w.reshape(shape.groups, -1, taps, shape.group_channels)
    return parts.transpose(0, 3, 2, 1).reshape(shape.groups, shape.group_channels, -1)


def groups_input_gradient(
    index: int,
    layer: TrainableLayer,
    shape: ConvShape,
    weights: LayerWeights,
    d: IntArray,
    d_scale: Scale,
    context: StepContext,
    counters: LayerCounters | None = None,
) -> tuple[IntArray, Scale]:
    """Error of the layer below before its mask, (B, H W C), and its scale.

    Args:
        d: int64 in 16 bits, shape (B, P, O).
    """
    arithmetic, channels = context.arithmetic, shape.in_shape[2]
    errors = errors_over(shape, d)
    pixels, groups, batch, terms = errors.shape
    dh_source = fwht(errors.reshape(-1, terms), arithmetic.order)
    key = stream_key(context.seed, context.step, 8 * index)
    draws = draw_u8(key, np.arange(dh_source.size).reshape(dh_source.shape))
    dh = quant(dh_source, d_scale, int(np.abs(dh_source).max()), 7, False, draws)
    common = weights.master * layer.row_factor.astype(np.int64)[:, None]
    wh_source = fwht(weights_over(shape, common).reshape(channels, terms), arithmetic.order)
    wh = quant(wh_source, layer.scale, int(np.abs(wh_source).max()), 7, False)
    padded = padded_size(terms, arithmetic.order)
    dh_rows = dh.q.reshape(pixels, groups, batch, padded)
    wh_rows = wh.q.reshape(groups, shape.group_channels, padded)
    drop = max(0, dot_bound(padded, 7, 7, arithmetic).bit_length() - 15)
    acc = np.zeros((batch, pixels, groups, shape.group_channels), np.int64)
    for g in range(groups):
        product = saturating_product(dh_rows[:, g].reshape(-1, padded), wh_rows[g], arithmetic)
        acc[:, :, g] = product.acc.reshape(pixels, batch, -1).transpose(1, 0, 2)
        if counters:
            counters.products["input_gradient"][0] += product.events
            counters.products["input_gradient"][1] += product.saturated
    exact = round_half_up(acc.reshape(batch, -1), drop)
    below = saturate(exact, 16)
    if counters:
        counters.tensor("dh", dh)
        counters.tensor("wh", wh)
        counters.d_saturated += int(np.count_nonzero(below != exact))
    growth = arithmetic.order.bit_length() - 1
    return below, dh.scale.mul(wh.scale).pow2(drop - growth)
