# SPDX-License-Identifier: Apache-2.0
"""Elementary operations of the method on whole tensors (SPEC.md 1 and 6.2).

Written for reading: each function is one definition of SPEC.md, in 64-bit NumPy. Nothing here is
shared with the C runtime.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.twin.model import Arithmetic
from device.twin.scale import ONE, Scale, quantized_scale

IntArray = NDArray[np.int64]
UIntArray = NDArray[np.uint32]

SAMPLER_TENSOR = 0xFFFF0000


def round_half_up(values: IntArray, shift: int | IntArray) -> IntArray:
    """values / 2**shift to the nearest integer, halves up (SPEC.md 1.1)."""
    shift = np.asarray(shift, np.int64)
    half = np.where(shift > 0, np.left_shift(1, np.maximum(shift - 1, 0)), 0)
    return np.asarray((values + half) >> shift, np.int64)


def saturate(values: IntArray, bits: int) -> IntArray:
    """Clamp to [-2**(bits-1), 2**(bits-1) - 1] (SPEC.md 1.2)."""
    return np.clip(values, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def mix(words: UIntArray) -> UIntArray:
    """The 32-bit hash of SPEC.md 1.3, elementwise."""
    x = np.asarray(words, np.uint32).copy()
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def stream_key(seed: int, step: int, tensor: int) -> int:
    """Key of a tensor's random words (SPEC.md 1.3)."""
    key = np.zeros(1, np.uint32)
    for part in (seed, step, tensor):
        key = mix(key + np.uint32(part))
    return int(key[0])


def draw_words(key: int, words: IntArray) -> UIntArray:
    """Random words of a stream by number."""
    return mix((np.asarray(words, np.int64) + key).astype(np.uint32))


def draw_u8(key: int, index: IntArray) -> IntArray:
    """8-bit draws by element index: byte index & 3 of word index >> 2."""
    words = draw_words(key, index >> 2).astype(np.int64)
    return np.asarray((words >> (8 * (index & 3))) & 0xFF)


def draw_u16(key: int, index: IntArray) -> IntArray:
    """16-bit draws by element index: half index & 1 of word index >> 1."""
    words = draw_words(key, index >> 1).astype(np.int64)
    return np.asarray((words >> (16 * (index & 1))) & 0xFFFF)


@dataclass(frozen=True)
class Quantized:
    """A quantised tensor: integers, the scale of one step, and what the counters see."""

    q: IntArray
    scale: Scale
    clipped: int
    empty: bool


def quant_values(
    values: IntArray,
    amax: int,
    qmax: int,
    nonnegative: bool,
    draws: IntArray | None = None,
) -> tuple[IntArray, int]:
    """Quantise with a given range (SPEC.md 1.6).

    Args:
        values: int64, any shape.
        amax: range, at least 1.
        qmax: 7, 15 or 127.
        nonnegative: lower bound 0 instead of -amax.
        draws: 8-bit draws of the same shape for stochastic rounding; None rounds to nearest.
    Returns: the integers and how many values were outside the range.
    """
    bits = 23 if qmax == 127 else 26
    shift = max(0, amax.bit_length() - 15)
    limit = amax >> shift
    reciprocal = (qmax << bits) // limit
    shifted = values >> shift
    inside = np.clip(shifted, 0 if nonnegative else -limit, limit)
    offset = 1 << (bits - 1) if draws is None else draws << (bits - 8)
    return (inside * reciprocal + offset) >> bits, int(np.count_nonzero(inside != shifted))


def quant(
    values: IntArray,
    source: Scale,
    amax: int,
    qmax: int,
    nonnegative: bool,
    draws: IntArray | None = None,
) -> Quantized:
    """Quantise a tensor of scale `source`; a range of 0 gives the all-zero tensor (SPEC.md 1.6)."""
    if amax <= 0:
        return Quantized(np.zeros_like(values), ONE, 0, True)
    q, clipped = quant_values(values, amax, qmax, nonnegative, draws)
    return Quantized(q, quantized_scale(source, amax, qmax), clipped, False)


def widen(amax: int, factor: int) -> int:
    """A range times a factor in sixteenths (SPEC.md 5)."""
    return (amax * factor) >> 4


def padded_size(size: int, order: int) -> int:
    """size rounded up to a multiple of the Hadamard order."""
    return -(-size // order) * order


@cache
def hadamard_matrix(order: int) -> Any:
    """Sylvester matrix, shape (order, order), int64."""
    h = np.ones((1, 1), np.int64)
    while h.shape[0] < order:
        h = np.block([[h, h], [h, -h]])
    return h


def fwht(values: IntArray, order: int) -> IntArray:
    """Block Hadamard transform along the last axis, zero-padded (SPEC.md 1.7).

    Args:
        values: int64, shape (rows, k).
    Returns: int64, shape (rows, padded_size(k, order)).
    """
    rows, size = values.shape
    padded = np.zeros((rows, padded_size(size, order)), np.int64)
    padded[:, :size] = values
    blocks = padded.reshape(rows, -1, order) @ hadamard_matrix(order)
    return np.asarray(blocks.reshape(padded.shape), np.int64)


def dot_bound(terms: int, qmax_a: int, qmax_b: int, arithmetic: Arithmetic) -> int:
    """Largest magnitude of a saturating product, D of SPEC.md 1.8."""
    tiles = -(-terms // arithmetic.tile_k)
    return min(tiles << (arithmetic.acc_bits - 1), terms * qmax_a * qmax_b)


@dataclass(frozen=True)
class Product:
    """Result of a saturating product and its counters: tiles (or additions), saturated ones."""

    acc: IntArray
    events: int
    saturated: int


def saturating_product(a: IntArray, b: IntArray, arithmetic: Arithmetic) -> Product:
    """a @ b.T with tiled saturating accumulators (SPEC.md 1.8).

    Args:
        a: 4-bit integers, shape (rows, k).
        b: 4-bit integers, shape (cols, k).
    Returns: int64 accumulators, shape (rows, cols).
    """
    total = np.zeros((a.shape[0], b.shape[0]), np.int64)
    events = saturated = 0
    tile_sum = _every_add_tile if arithmetic.saturation == "every_add" else _exact_tile
    for start in range(0, a.shape[1], arithmetic.tile_k):
        part = slice(start, min(start + arithmetic.tile_k, a.shape[1]))
        tile, seen, hit = tile_sum(a[:, part], b[:, part], arithmetic.acc_bits)
        total += tile
        events += seen
        saturated += hit
    return Product(total, events, saturated)


def _exact_tile(a: IntArray, b: IntArray, bits: int) -> tuple[IntArray, int, int]:
    # float64 holds these sums exactly (below 2**53) and lets BLAS do the work
    exact = (a.astype(np.float64) @ b.T.astype(np.float64)).astype(np.int64)
    tile = saturate(exact, bits)
    return tile, tile.size, int(np.count_nonzero(tile != exact))


def _every_add_tile(a: IntArray, b: IntArray, bits: int) -> tuple[IntArray, int, int]:
    acc = np.zeros((a.shape[0], b.shape[0]), np.int64)
    hit = 0
    for k in range(a.shape[1]):
        raw = acc + np.multiply.outer(a[:, k], b[:, k])
        acc = saturate(raw, bits)
        hit += int(np.count_nonzero(acc != raw))
    return acc, acc.size * a.shape[1], hit


@cache
def exp2_table() -> Any:
    """EXP2 of SPEC.md 6.2: floor(2**15 * 2**(-f/64) + 1/2) for f in 0..63, int64.

    By integers alone: t is the largest integer with (2 t - 1)**64 <= 2**(16*64 - f).
    """
    table = np.zeros(64, np.int64)
    for f in range(64):
        t = 1 << 14
        while (2 * (t + 1) - 1) ** 64 <= 1 << (16 * 64 - f):
            t += 1
        table[f] = t
    return table


def softmax_q15(logits: IntArray, frac_bits: int) -> IntArray:
    """Probabilities in Q15 of each row (SPEC.md 6.2).

    Args:
        logits: int64, shape (rows, active classes), in the grid 2**-frac_bits.
    """
    below = logits.max(axis=1, keepdims=True) - logits
    t = (below * 23637 + (1 << (frac_bits + 7))) >> (frac_bits + 8)
    whole = t >> 6
    e = np.where(whole <= 15, round_half_up(exp2_table()[t & 63], np.minimum(whole, 15)), 0)
    total = e.sum(axis=1)
    shift = np.array([int(s).bit_length() - 16 for s in total])
    reciprocal = (1 << 31) // (total >> shift)
    half = np.left_shift(1, 15 + shift)[:, None]
    return np.asarray((e * reciprocal[:, None] + half) >> (16 + shift)[:, None], np.int64)


def loss_error(logits: IntArray, labels: IntArray, frac_bits: int) -> tuple[IntArray, IntArray]:
    """Error of softmax cross-entropy and the probabilities (SPEC.md 6.2).

    A label beyond the active classes, which an import can leave in the memory, is no column: its
    row's error is p alone.

    Returns: int64 errors in [-32767, 32767], Q15, and Q15 probabilities, both of logits' shape.
    """
    p = softmax_q15(logits, frac_bits)
    d = p.copy()
    known = np.flatnonzero(labels < logits.shape[1])
    d[known, labels[known]] -= 1 << 15
    return np.clip(d, -32767, 32767), p
