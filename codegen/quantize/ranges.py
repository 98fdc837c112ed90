# SPDX-License-Identifier: Apache-2.0
"""Grids, ranges and integer forms of real constants."""

from math import floor, log2

import numpy as np
from numpy.typing import NDArray

from device.twin.kernels import IntArray, quant_values

FloatArray = NDArray[np.float32]
# Sixteen bits are plenty: room for new classes whose samples are larger than any calibrated one.
RAW_HEADROOM = 8.0
OUTPUT_HEADROOM = 4.0
INT16_MAX = 32767
CLIP_CANDIDATES = 40


def frac_bits_for(largest: float, headroom: float) -> int:
    """Most fractional bits with which `largest` times `headroom` fits 16 bits.

    >>> frac_bits_for(1.0, 2.0), frac_bits_for(0.0, 2.0)
    (13, 15)
    """
    return floor(log2(INT16_MAX / (largest * headroom))) if largest > 0 else 15


def fixed_ratio(ratio: float, bits: int) -> tuple[int, int]:
    """(mult, shift) with mult / 2**shift nearest to `ratio`, |mult| < 2**bits, shift in [0, 30].

    >>> fixed_ratio(0.5, 14), fixed_ratio(0.0, 14)
    ((8192, 14), (0, 0))
    """
    if ratio == 0.0:
        return 0, 0
    shift = min(max(bits - 1 - floor(log2(abs(ratio))), 0), 30)
    limit = (1 << bits) - 1
    mult = round(ratio * 2.0**shift)
    if abs(mult) > limit and shift > 0:
        shift -= 1
        mult = round(ratio * 2.0**shift)
    return max(-limit, min(limit, mult)), shift


def best_clip(values: IntArray, qmax: int, nonnegative: bool) -> int:
    """Range of the quantiser with the least squared error on `values`, at least 1.

    Few levels are better spent on the bulk than on the tails: with four bits the best range of a
    bell-shaped tensor is well inside its maximum.
    """
    largest = int(values.max() if nonnegative else np.abs(values).max())
    if largest < 1:
        return 1
    best, best_error = largest, float("inf")
    for part in range(CLIP_CANDIDATES // 5, CLIP_CANDIDATES + 1):
        amax = max(1, largest * part // CLIP_CANDIDATES)
        q, _ = quant_values(values, amax, qmax, nonnegative)
        error = float(np.square(q * (amax / qmax) - values).sum())
        if error < best_error:
            best, best_error = amax, error
    return best
