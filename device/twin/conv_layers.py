# SPDX-License-Identifier: Apache-2.0
"""Forward, backward and update of trainable convolutions (SPEC.md 14).

Written over explicit pixels: which input pixel lies under kernel position (i, j) at output pixel p
is asked for each, never taken from a layout.
"""

from functools import cache

import numpy as np

from device.twin.conv_shape import ConvShape
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
    round_half_up,
    saturate,
    saturating_product,
    stream_key,
)
from device.twin.layers import (
    LayerCounters,
    LayerInput,
    LayerWeights,
    StepContext,
    rescale,
    update_bias,
    weight_view,
)
from device.twin.model import Arithmetic, TrainableLayer
from device.twin.scale import Scale


def under(shape: ConvShape, i: int, j: int) -> tuple[IntArray, IntArray]:
    """Output pixels at which kernel position (i, j) lies inside, and the input pixels there."""
    height, width, _ = shape.in_shape
    found = [
        (r * shape.out_size[1] + s, y * width + x)
        for r in range(shape.out_size[0])
        for s in range(shape.out_size[1])
        if 0 <= (y := shape.axis(0, r, i)) < height and 0 <= (x := shape.axis(1, s, j)) < width
    ]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@cache
def positions(shape: ConvShape) -> tuple[tuple[slice, IntArray, IntArray], ...]:
    """Each kernel position: its terms of an unrolled row, output pixels, input pixels."""
    channels = shape.group_channels
    found = []
    for i in range(shape.kernel[0]):
        for j in range(shape.kernel[1]):
            first = (i * shape.kernel[1] + j) * channels
            found.append((slice(first, first + channels), *under(shape, i, j)))
    return tuple(found)


def unroll(shape: ConvShape, x: IntArray) -> IntArray:
    """Unrolled rows (G, B, P, K) of inputs (B, H W C)."""
    rows = np.zeros((shape.groups, len(x), shape.pixels, shape.terms), np.int64)
    parts = x.reshape(len(x), -1, shape.groups, shape.group_channels).transpose(2, 0, 1, 3)
    for terms, out, inside in positions(shape):
        rows[:, :, out, terms] = parts[:, :, inside]
    return rows


def conv_forward(
    layer: TrainableLayer,
    shape: ConvShape,
    weights: LayerWeights,
    x: LayerInput,
    arithmetic: Arithmetic,
    counters: LayerCounters | None = None,
    shortcut: IntArray | None = None,
) -> IntArray:
    """Outputs y before ReLU and pool, int64 in 16 bits, shape (B, P, O) (SPEC.md 14.2).

    Args:
        shortcut: of the block that ends with the layer, (B, P O) (SPEC.md 14.6).
    """
    wq, scales = weight_view(layer, weights.master, counters)
    rows = unroll(shape, x.q).reshape(shape.groups, -1, shape.terms)
    views = wq.reshape(shape.groups, -1, shape.terms)
    parts = [saturating_product(a, b, arithmetic) for a, b in zip(rows, views, strict=True)]
    acc = np.concatenate([part.acc for part in parts], axis=1)
    product = Product(acc, sum(p.events for p in parts), sum(p.saturated for p in parts))
    base = None if shortcut is None else shortcut.reshape(acc.shape)
    y = rescale(layer, weights, x, scales, product, arithmetic, counters, base)
    y = np.minimum(y, shape.top) if shape.top else y
    return y.reshape(len(x.q), shape.pixels, layer.outputs)


def passing(shape: ConvShape, values: IntArray) -> IntArray:
    """1 where the error of outputs y or z passes: above 0 and below a bound (SPEC.md 14.2)."""
    inside = (values > 0) & (values < shape.top) if shape.top else values > 0
    return inside.astype(np.int64)


def pool_forward(shape: ConvShape, y: IntArray) -> tuple[IntArray, IntArray]:
    """z (B, Qn, O) and pass (B, P, O) in {0, 1} of outputs y (B, P, O) (SPEC.md 14.2)."""
    if shape.pool == "none":
        return y, passing(shape, y)
    r = _windows(shape, np.maximum(y, 0))
    if shape.pool == "average":
        return _average(shape, r.sum(axis=2)), passing(shape, y)
    z = r.max(axis=2)
    first = np.argmax(r, axis=2)
    chosen = np.arange(shape.pool_terms)[None, None, :, None] == first[:, :, None]
    return z, _unwindowed(shape, (chosen & (z > 0)[:, :, None]).astype(np.int64))


def _average(shape: ConvShape, total: IntArray) -> IntArray:
    drop = max(0, (32767 * shape.pool_terms).bit_length() - 15)
    m, sh = Scale.from_int(shape.pool_terms).recip().pow2(drop).multiplier()
    return saturate(round_half_up(round_half_up(total, drop) * m, sh), 16)


def _windows(shape: ConvShape, y: IntArray) -> IntArray:
    """(B, P, O) as (B, Qn, N, O): the values of each window of the pool in row order."""
    (rows, columns), (high, wide) = shape.pooled_size, shape.pool_size
    image = y.reshape(len(y), *shape.out_size, -1)[:, : rows * high, : columns * wide]
    parts = image.reshape(len(y), rows, high, columns, wide, -1).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(len(y), rows * columns, high * wide, -1)


def _unwindowed(shape: ConvShape, parts: IntArray) -> IntArray:
    """The reverse of `_windows`, 0 where no window is."""
    (rows, columns), (high, wide) = shape.pooled_size, shape.pool_size
    image = np.zeros((len(parts), *shape.out_size, parts.shape[-1]), np.int64)
    blocks = parts.reshape(len(parts), rows, columns, high, wide, -1).transpose(0, 1, 3, 2, 4, 5)
    image[:, : rows * high, : columns * wide] = blocks.reshape(
        len(parts), rows * high, columns * wide, -1
    )
    return image.reshape(len(parts), shape.pixels, -1)


def pool_backward(
    shape: ConvShape, d: IntArray, scale: Scale, passes: IntArray
) -> tuple[IntArray, Scale]:
    """Error of y, (B, P, O), from that of z, (B, Qn, O), and its scale (SPEC.md 14.3)."""
    if shape.pool == "none":
        return d, scale
    spread = _unwindowed(shape, np.repeat(d[:, :, None], shape.pool_terms, axis=2)) * passes
    if shape.pool == "average":
        scale = scale.mul(Scale.from_int(shape.pool_terms).recip())
    return spread, scale


def conv_input_gradient(
    index: int,
    layer: TrainableLayer,
    shape: ConvShape,
    weights: LayerWeights,
    d: IntArray,
    d_scale: Scale,
    context: StepContext,
    counters: LayerCounters | None = None,
) -> tuple[IntArray, Scale]:
    """Error of the layer below before its mask, (B, H W C), and its scale (SPEC.md 14.3 a).

    Args:
        d: int64 in 16 bits, shape (B, P, O).
    """
    order, batch = context.arithmetic.order, len(d)
    by_pixel = d.transpose(1, 0, 2).reshape(-1, layer.outputs)
    dh_source = fwht(by_pixel, order)
    key = stream_key(context.seed, context.step, 8 * index)
    draws = draw_u8(key, np.arange(dh_source.size).reshape(dh_source.shape))
    dh = quant(dh_source, d_scale, int(np.abs(dh_source).max()), 7, False, draws)
    common = weights.master * layer.row_factor.astype(np.int64)[:, None]
    wh_source = fwht(common.T, order)
    wh = quant(wh_source, layer.scale, int(np.abs(wh_source).max()), 7, False)
    bound = dot_bound(wh.q.shape[1], 7, 7, context.arithmetic)
    drop = max(0, (shape.kernel[0] * shape.kernel[1] * bound).bit_length() - 15)
    acc, tiles, hits = _fold(shape, dh.q.reshape(shape.pixels, batch, -1), wh.q, context.arithmetic)
    exact = round_half_up(acc.reshape(batch, -1), drop)
    below = saturate(exact, 16)
    if counters:
        counters.tensor("dh", dh)
        counters.tensor("wh", wh)
        counters.products["input_gradient"][0] += tiles
        counters.products["input_gradient"][1] += hits
        counters.d_saturated += int(np.count_nonzero(below != exact))
    growth = order.bit_length() - 1
    return below, dh.scale.mul(wh.scale).pow2(drop - growth)


def _fold(
    shape: ConvShape, dh: IntArray, wh: IntArray, arithmetic: Arithmetic
) -> tuple[IntArray, int, int]:
    """Sums (B, H W, C) of what every window position adds to the input pixel under it."""
    batch, channels = dh.shape[1], shape.in_shape[2]
    acc = np.zeros((batch, shape.in_values // channels, channels), np.int64)
    tiles = hits = 0
    for terms, out, inside in positions(shape):
        rows = dh[out].reshape(-1, dh.shape[2])
        product = saturating_product(rows, wh[terms], arithmetic)
        part = product.acc.reshape(len(out), batch, channels).transpose(1, 0, 2)
        acc[:, inside] += part  # each input pixel is under one output pixel at most
        tiles += product.events
        hits += product.saturated
    return acc, tiles, hits


def transformed_input(
    index: int, x: LayerInput, context: StepContext, counters: LayerCounters | None = None
) -> Quantized:
    """xh, (H W C, Bpad) (SPEC.md 14.3 b)."""
    xh_source = fwht(x.q.T, context.arithmetic.order)
    key = stream_key(context.seed, context.step, 8 * index + 2)
    draws = draw_u8(key, np.arange(xh_source.size).reshape(xh_source.shape))
    xh = quant(xh_source, x.scale, int(np.abs(xh_source).max()), 7, False, draws)
    if counters:
        counters.tensor("xh", xh)
    return xh


def conv_update_weights(
    index: int,
    layer: TrainableLayer,
    shape: ConvShape,
    weights: LayerWeights,
    xh: Quantized,
    d: IntArray,
    d_scale: Scale,
    context: StepContext,
    counters: LayerCounters | None = None,
) -> None:
    """Weight gradient and update in place (SPEC.md 14.3 b and c); d is (B, P, O)."""
    order = context.arithmetic.order
    dt_key = stream_key(context.seed, context.step, 8 * index + 1)
    padded = padded_size(len(d), order)
    places = np.arange(shape.pixels)[:, None] * layer.outputs
    for o in range(layer.outputs):
        source = fwht(d[:, :, o].T, order)
        dt_draws = draw_u8(dt_key, (places + o) * padded + np.arange(padded))
        dt = quant(source, d_scale, int(np.abs(source).max()), 7, False, dt_draws)
        if counters:
            counters.tensor("dt", dt)
        if not (dt.empty or xh.empty):
            group = o * shape.groups // layer.outputs
            product = _gradient(shape, group, dt.q, xh.q, context.arithmetic)
            _update_row(index, layer, weights, o, product, dt, xh, context, counters)
    flat = d.reshape(-1, layer.outputs)
    update_bias(layer, weights, flat, d_scale, context)


def _gradient(
    shape: ConvShape, group: int, dt: IntArray, xh: IntArray, arithmetic: Arithmetic
) -> Product:
    """Sums (K,) over pixels of dt (P, Bpad) with the inputs (H W C, Bpad) under the window."""
    pixels = xh.reshape(-1, shape.groups, shape.group_channels, xh.shape[1])[:, group]
    acc = np.zeros(shape.terms, np.int64)
    tiles = hits = 0
    for terms, out, inside in positions(shape):
        for p, pixel in zip(out, inside, strict=True):
            product = saturating_product(dt[p][None], pixels[pixel], arithmetic)
            acc[terms] += product.acc[0]
            tiles += product.events
            hits += product.saturated
    return Product(acc, tiles, hits)


def _update_row(
    index: int,
    layer: TrainableLayer,
    weights: LayerWeights,
    o: int,
    product: Product,
    dt: Quantized,
    xh: Quantized,
    context: StepContext,
    counters: LayerCounters | None,
) -> None:
    step_scale = layer.scale.mul(Scale.from_int(int(layer.row_factor[o]))).recip()
    batch_scale = Scale.from_int(context.arithmetic.batch).recip()
    rate = context.rate.mul(dt.scale.mul(xh.scale)).mul(step_scale.mul(batch_scale))
    m, sh = rate.pow2(-(context.arithmetic.order.bit_length() - 1)).multiplier()
    key = stream_key(context.seed, context.step, 8 * index + 3)
    u = draw_u16(key, o * padded_size(layer.inputs, 2) + np.arange(layer.inputs))
    delta = (product.acc * m + ((u << 14) >> (30 - sh))) >> sh
    limit = context.arithmetic.master_max
    exact = weights.master[o] - delta
    weights.master[o] = np.clip(exact, -limit, limit)
    if counters:
        counters.products["weight_gradient"][0] += product.events
        counters.products["weight_gradient"][1] += product.saturated
        counters.masters_saturated += int(np.count_nonzero(weights.master[o] != exact))
