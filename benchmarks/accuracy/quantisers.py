# SPDX-License-Identifier: Apache-2.0
"""Quantisers and transform of the simulations: integers carried in float32."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Rounding = Literal["none", "nearest", "stochastic", "luq"]
Scales = Literal["tensor", "row", "block"]
ONE = np.ones((1, 1), np.float32)


@dataclass(frozen=True)
class Operand:
    """Integers q (rows, K) in float32; value = q step, step (1 or rows, 1 or tiles)."""

    q: Float32Array
    step: Float32Array


def product(a: Operand, b: Operand, tile: int, acc_bits: int) -> Float32Array:
    """a b^T, (rows of a, rows of b), in tiles whose sums of integers saturate; 32 bits: exact."""
    blocks = max(a.step.shape[1], b.step.shape[1]) > 1
    if acc_bits == 32 and not blocks:
        return np.asarray((a.q @ b.q.T) * (a.step @ b.step.T), np.float32)
    half = np.float32(1 << (acc_bits - 1))
    total = np.zeros((len(a.q), len(b.q)), np.float32)
    for n, k in enumerate(range(0, a.q.shape[1], tile)):
        part = a.q[:, k : k + tile] @ b.q[:, k : k + tile].T
        np.clip(part, -half, half - 1, out=part)
        total += part * (_of_tile(a.step, n) @ _of_tile(b.step, n).T) if blocks else part
    return total if blocks else np.asarray(total * (a.step @ b.step.T), np.float32)


def nibbles_product(
    x: Float32Array, unit: np.float32, w: Operand, tile: int, acc_bits: int
) -> Float32Array:
    """x w^T of 8-bit integers x: the upper nibble in [-8, 8] and the lower one, tiles apart."""
    upper = np.floor(x / 16 + np.float32(0.5))
    parts = [(upper, 16 * unit), (x - 16 * upper, unit)]
    found = [product(Operand(q, s.reshape(1, 1)), w, tile, acc_bits) for q, s in parts]
    return np.asarray(found[0] + found[1], np.float32)


def with_rest(values: Float32Array, step: np.float32, low: int, high: int) -> Float32Array:
    """Values in [low, high] steps to the nearest, and what that leaves over in sixteenths."""
    scaled = np.clip(values / step, low, high)
    q = np.floor(scaled + np.float32(0.5))
    rest = np.clip(np.floor((scaled - q) * 16 + np.float32(0.5)), -7, 7)
    return np.asarray((q + rest / 16) * step, np.float32)


def rests_product(
    x: Float32Array, unit: np.float32, w: Operand, tile: int, acc_bits: int
) -> Float32Array:
    """x w^T of such values in units: whole numbers and rests, tiles apart (device/SPEC.md 18)."""
    whole = np.floor(x + np.float32(0.5))
    parts = [(whole, unit), ((x - whole) * 16, unit / np.float32(16))]
    found = [product(Operand(q, s.reshape(1, 1)), w, tile, acc_bits) for q, s in parts]
    return np.asarray(found[0] + found[1], np.float32)


def best_shares(values: Float32Array, top: Float32Array) -> Float32Array:
    """Share of `top` in [1/2, 1] at which [-7, 7] clips with least squared error, by row."""
    shares = np.arange(16, 7, -1, dtype=np.float32) / np.float32(16)
    errors = []
    for share in shares:
        step = np.where(top > 0, top, 1) * share / np.float32(7)
        q = np.floor(np.clip(values / step, -7, 7) + np.float32(0.5))
        errors.append(np.square(q * step - values).sum(axis=1))
    return np.asarray(shares[np.argmin(errors, axis=0)][:, None], np.float32)


def saturated_share(a: Operand, b: Operand, tile: int, acc_bits: int) -> Float32Array:
    """Share of the tiles that saturate, of every sum of `product`."""
    half, starts = 1 << (acc_bits - 1), range(0, a.q.shape[1], tile)
    sums = [a.q[:, k : k + tile] @ b.q[:, k : k + tile].T for k in starts]
    return np.asarray(np.mean([(s < -half) | (s > half - 1) for s in sums], axis=0), np.float32)


def _of_tile(step: Float32Array, n: int) -> Float32Array:
    return step[:, min(n, step.shape[1] - 1)][:, None]


def largest(values: Float32Array, scales: Scales = "tensor", tile: int = 32) -> Float32Array:
    """Largest magnitudes: (1, 1), (rows, 1), or of each block of `tile`, a power of two."""
    size = np.abs(values)
    if scales == "tensor":
        return np.asarray(size.max(keepdims=True).reshape(1, 1), np.float32)
    if scales == "row":
        return np.asarray(size.max(axis=1, keepdims=True), np.float32)
    padded = np.pad(size, ((0, 0), (0, -size.shape[1] % tile)))
    top = padded.reshape(len(size), -1, tile).max(axis=2)
    return np.asarray(
        np.where(top > 0, np.exp2(np.ceil(np.log2(np.maximum(top, 1e-30)))), 0), np.float32
    )


def quantised(
    values: Float32Array,
    top: Float32Array,
    levels: int,
    rounding: Rounding,
    random: np.random.Generator,
    *,
    nonnegative: bool = False,
    tile: int = 32,
) -> Operand:
    """Integers of (rows, K) values in ranges as `largest` gives them; `none`: as they are."""
    if rounding == "none":
        return Operand(values, ONE)
    if rounding == "luq":
        return Operand(logarithmic(values, top, random), ONE)
    step = np.asarray(np.where(top > 0, top, 1) / np.float32(levels), np.float32)
    whole = step if step.shape[1] == 1 else np.repeat(step, tile, axis=1)[:, : values.shape[1]]
    scaled = np.clip(values / whole, 0 if nonnegative else -levels, levels)
    half = np.float32(0.5)
    draws = random.random(scaled.shape, dtype=np.float32) if rounding == "stochastic" else half
    return Operand(np.floor(scaled + draws), step)


def logarithmic(
    values: Float32Array, top: Float32Array, random: np.random.Generator
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


def best_clip(values: Float32Array) -> np.float32:
    """The range of [-7, 7] with the least squared error, as calibration chooses it."""
    top, best = np.abs(values).max(), (np.inf, np.float32(1))
    for part in range(8, 41):
        clip = np.float32(top * part / 40)
        step = clip / np.float32(7)
        error = np.square(np.floor(np.clip(values / step, -7, 7) + 0.5) * step - values).sum()
        best = min(best, (float(error), clip))
    return best[1]


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


def lowest(values: Float32Array, order: int, rank: int) -> Float32Array:
    """Of each transformed block, the `rank` coefficients of lowest sequency.

    Source: the low-rank Hadamard approximation of HOT (Kim et al., CVPR 2025, arXiv 2503.21261).

    Example:
        >>> lowest(np.array([[1, 2, 3, 4]], np.float32), 4, 2)
        array([[1., 3.]], dtype=float32)
    """
    rows = np.sign(fwht(np.eye(order, dtype=np.float32), order))
    changes = (rows[:, 1:] != rows[:, :-1]).sum(axis=1)
    kept = np.sort(np.argsort(changes, kind="stable")[:rank])
    return values.reshape(len(values), -1, order)[:, :, kept].reshape(len(values), -1)
