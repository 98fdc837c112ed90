# SPDX-License-Identifier: Apache-2.0
"""Trainable layers of the exact form: SPEC.md 5 and 14 in ONNX's integer operators."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from codegen.errors import ExportError
from codegen.export.builder import GraphBuilder, int8
from codegen.export.integers import clip, round_shift
from device.twin.conv_shape import ConvShape
from device.twin.fine import REST_BITS, REST_MAX
from device.twin.kernels import IntArray, dot_bound, round_half_up
from device.twin.layers import weight_view
from device.twin.model import Arithmetic, IntModel, TrainableLayer
from device.twin.scale import Scale

MAX_EVERY_ADD_TERMS = 2048


@dataclass(frozen=True)
class GivenInput:
    """What a layer reads: x, its rests where inference is fine (SPEC.md 18), scale and sign."""

    x: str
    rests: str | None
    scale: Scale
    signed: bool


def exact_identity(g: GraphBuilder, layer: TrainableLayer, given: GivenInput) -> str:
    """The input of a block as the shortcut of its last layer, (N, P O) (SPEC.md 14.6)."""
    m, shift = given.scale.pow2(layer.out_frac_bits).multiplier()
    value = g.node("Mul", given.x, g.constant(m, np.int64))
    return clip(g, round_shift(g, value, shift), -32768, 32767)


def before_activation(
    g: GraphBuilder,
    layer: TrainableLayer,
    given: GivenInput,
    model: IntModel,
    shortcut: str | None = None,
) -> str:
    """What the next layer quantises, (N, values); of the head the logits of active rows.

    Args:
        shortcut: added to the outputs, (N, P O).
    """
    rows = model.n_classes if layer is model.layers[-1] else layer.outputs
    wq, scales = weight_view(layer, layer.master.astype(np.int64))
    x, rests, signed = given.x, given.rests, given.signed
    if layer.conv is None:
        acc = _product(g, x, signed, wq[:rows], model.arithmetic)
        if rests is not None:
            acc = g.node("Mul", acc, g.constant(1 << REST_BITS, np.int64))
            acc = g.node("Add", acc, _product(g, rests, True, wq[:rows], model.arithmetic))
        fine = rests is not None
        return _outputs(g, layer, acc, given, model.arithmetic, scales[:rows], fine)
    acc = _unrolled(g, layer.conv, x, signed, wq, model.arithmetic)
    if shortcut is not None:
        shortcut = g.node("Reshape", shortcut, g.constant([-1, layer.outputs], np.int64))
    y = _outputs(g, layer, acc, given, model.arithmetic, scales, False, shortcut)
    if layer.conv.top:
        y = clip(g, y, -32768, layer.conv.top)
    y = g.node("Reshape", y, g.constant([-1, layer.conv.pixels, layer.outputs], np.int64))
    return g.node("Reshape", _pooled(g, layer.conv, y), g.constant([0, -1], np.int64))


def _unrolled(
    g: GraphBuilder, shape: ConvShape, x: str, signed: bool, wq: IntArray, arithmetic: Arithmetic
) -> str:
    """Products of the unrolled rows, (N P, O), a product a group (SPEC.md 14.1, 14.2)."""
    padded = g.node("Pad", x, g.constant([0, 0, 0, 1], np.int64))
    parts = []
    for group, rows in enumerate(np.split(wq, shape.groups)):
        at = g.constant(_places(shape, group), np.int64)
        row = g.node("Gather", padded, at, axis=1)
        row = g.node("Reshape", row, g.constant([-1, shape.terms], np.int64))
        parts.append(_product(g, row, signed, rows, arithmetic))
    return g.node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def _places(shape: ConvShape, group: int) -> IntArray:
    """Input value of term k at pixel p, (P, K); outside the value behind the last, which is 0."""
    (height, width, channels), own = shape.in_shape, shape.group_channels
    p, k = np.indices((shape.pixels, shape.terms))
    tap, c = k // own, k % own
    y = p // shape.out_size[1] * shape.stride[0] + tap // shape.kernel[1] * shape.dilation[0]
    x = p % shape.out_size[1] * shape.stride[1] + tap % shape.kernel[1] * shape.dilation[1]
    y, x = y - shape.pad[0], x - shape.pad[1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    at = (y * width + x) * channels + group * own + c
    return np.where(inside, at, shape.in_values).astype(np.int64)


def _pooled(g: GraphBuilder, shape: ConvShape, y: str) -> str:
    """z (N, Qn, O) of y (N, P, O) (SPEC.md 14.2)."""
    if shape.pool == "none":
        return y
    (high, wide), (rows, columns) = shape.pool_size, shape.pooled_size
    q, t = np.indices((rows * columns, high * wide))
    row, column = q // columns * high + t // wide, q % columns * wide + t % wide
    r = g.node("Max", y, g.constant(0, np.int64))
    at = g.constant(row * shape.out_size[1] + column, np.int64)
    parts, axes = g.node("Gather", r, at, axis=1), g.constant([2], np.int64)
    if shape.pool == "max":
        return g.node("ReduceMax", parts, axes, keepdims=0)
    drop = max(0, (32767 * shape.pool_terms).bit_length() - 15)
    m, sh = Scale.from_int(shape.pool_terms).recip().pow2(drop).multiplier()
    total = round_shift(g, g.node("ReduceSum", parts, axes, keepdims=0), drop)
    mean = round_shift(g, g.node("Mul", total, g.constant(m, np.int64)), sh)
    return clip(g, mean, -32768, 32767)


def _outputs(
    g: GraphBuilder,
    layer: TrainableLayer,
    acc: str,
    given: GivenInput,
    arithmetic: Arithmetic,
    scales: list[Scale],
    fine: bool = False,
    shortcut: str | None = None,
) -> str:
    """y of accumulators (rows, outputs) (SPEC.md 5.2, 14.6, 18.2)."""
    bound = dot_bound(layer.inputs, 7 if given.signed else 15, 7, arithmetic)
    if fine:
        bound = (bound << REST_BITS) + dot_bound(layer.inputs, REST_MAX, 7, arithmetic)
    acc_shift = max(0, bound.bit_length() - 15)
    grid = layer.out_frac_bits + acc_shift - (REST_BITS if fine else 0)
    pairs = [given.scale.mul(s).pow2(grid).multiplier() for s in scales]
    acc = round_shift(g, acc, acc_shift)
    acc = g.node("Mul", acc, g.constant([m for m, _ in pairs], np.int64))
    y = round_shift(g, acc, [s for _, s in pairs])
    bias = round_half_up(layer.bias[: len(scales)].astype(np.int64), 16)
    y = g.node("Add", y, g.constant(bias, np.int64))
    y = y if shortcut is None else g.node("Add", y, shortcut)
    return clip(g, y, -32768, 32767)


def _product(g: GraphBuilder, x: str, signed: bool, wq: IntArray, arithmetic: Arithmetic) -> str:
    """Saturating product of SPEC.md 1.8, int64 (N, rows)."""
    terms = wq.shape[1]
    every_add = arithmetic.saturation == "every_add" and arithmetic.acc_bits < 32
    if every_add and terms > MAX_EVERY_ADD_TERMS:
        raise ExportError(
            f"a product of {terms} terms saturates at every addition",
            where="exact form",
            expected=f"at most {MAX_EVERY_ADD_TERMS} terms, or saturation by tile",
        )
    narrow = g.node("Cast", x, to=TensorProto.INT8 if signed else TensorProto.UINT8)
    sizes = [min(arithmetic.tile_k, terms - k) for k in range(0, terms, arithmetic.tile_k)]
    parts = _split(g, narrow, sizes)
    total, start = "", 0
    for part, size in zip(parts, sizes, strict=True):
        weights = wq[:, start : start + size]
        tile = (_every_add_tile if every_add else _tile)(g, part, weights, arithmetic.acc_bits)
        total = g.node("Add", total, tile) if total else tile
        start += size
    return g.node("Cast", total, to=TensorProto.INT64)


def _split(g: GraphBuilder, x: str, sizes: list[int]) -> list[str]:
    if len(sizes) == 1:
        return [x]
    return g.nodes("Split", x, g.constant(sizes, np.int64), names=g.fresh(len(sizes)), axis=1)


def _saturate(g: GraphBuilder, value: str, bits: int) -> str:
    if bits >= 32:
        return value
    return clip(g, value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, np.int32)


def _tile(g: GraphBuilder, x: str, weights: IntArray, bits: int) -> str:
    return _saturate(g, g.node("MatMulInteger", x, g.constant(int8(weights.T), np.int8)), bits)


def _every_add_tile(g: GraphBuilder, x: str, weights: IntArray, bits: int) -> str:
    acc = ""
    for column, values in zip(_split(g, x, [1] * weights.shape[1]), weights.T, strict=True):
        term = g.node("MatMulInteger", column, g.constant(int8(values[None, :]), np.int8))
        acc = _saturate(g, g.node("Add", acc, term) if acc else term, bits)
    return acc
