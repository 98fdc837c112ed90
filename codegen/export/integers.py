# SPDX-License-Identifier: Apache-2.0
"""Elementary operations of SPEC.md 1 in ONNX's integer operators.

Arithmetic shifts become floor divisions of int64, since ONNX has no arithmetic shift and its Div
truncates.
"""

from collections.abc import Sequence

import numpy as np

from codegen.export.builder import GraphBuilder


def floor_shift(g: GraphBuilder, value: str, shifts: Sequence[int] | int) -> str:
    """value >> shifts, elementwise or by column."""
    divisor = np.left_shift(np.int64(1), np.asarray(shifts, np.int64))
    if (divisor == 1).all():
        return value
    d = g.constant(divisor, np.int64)
    rest = g.node("Mod", value, d)
    return g.node("Div", g.node("Sub", value, rest), d)


def round_shift(g: GraphBuilder, value: str, shifts: Sequence[int] | int) -> str:
    """rhu(value, shifts) of SPEC.md 1.1."""
    s = np.asarray(shifts, np.int64)
    half = np.where(s > 0, np.left_shift(np.int64(1), np.maximum(s - 1, 0)), 0)
    return floor_shift(g, g.node("Add", value, g.constant(half, np.int64)), shifts)


def clip(g: GraphBuilder, value: str, low: int, high: int, dtype: type = np.int64) -> str:
    """A value held within bounds."""
    return g.node("Clip", value, g.constant(low, dtype), g.constant(high, dtype))


def quant(g: GraphBuilder, v: str, amax: int, qmax: int, nonnegative: bool) -> str:
    """Nearest quantiser of SPEC.md 1.6 with a constant range."""
    bits = 23 if qmax == 127 else 26
    return round_shift(g, _scaled(g, v, amax, qmax, nonnegative, bits), bits)


def quant_rest(g: GraphBuilder, v: str, amax: int, qmax: int, nonnegative: bool) -> str:
    """What that leaves over, in sixteenths (SPEC.md 18.1)."""
    scaled = _scaled(g, v, amax, qmax, nonnegative, 26)
    whole = g.node("Mul", round_shift(g, scaled, 26), g.constant(1 << 26, np.int64))
    return clip(g, round_shift(g, g.node("Sub", scaled, whole), 22), -7, 7)


def _scaled(g: GraphBuilder, v: str, amax: int, qmax: int, nonnegative: bool, bits: int) -> str:
    shift = max(0, amax.bit_length() - 15)
    limit = amax >> shift
    inside = clip(g, floor_shift(g, v, shift), 0 if nonnegative else -limit, limit)
    return g.node("Mul", inside, g.constant((qmax << bits) // limit, np.int64))
