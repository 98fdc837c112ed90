# SPDX-License-Identifier: Apache-2.0
"""The grid of raw samples and the input stage that reads it (SPEC.md 3)."""

from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from codegen.graph import Affine
from codegen.quantize.calibration import normalized
from codegen.quantize.ranges import RAW_HEADROOM, FloatArray, fixed_ratio, frac_bits_for
from device.twin.kernels import IntArray, round_half_up, saturate
from device.twin.model import InputStage
from device.twin.scale import ONE, Scale

# Steps of the raw grid a normalised unit, where a feature is small.
RAW_STEPS = 256
RawGrid = NDArray[np.int16] | None
"""Fractional bits of every raw feature, where a signal's features have fixed them."""


def input_grid(
    given: Affine | None, x: FloatArray, grid: RawGrid = None
) -> tuple[InputStage, IntArray, IntArray, int]:
    """Input stage without its range, raw samples, normalised samples v and their bits.

    Args:
        grid: of the raw features, where it is fixed.
    """
    width = x.shape[1]
    identity = Affine("identity", np.zeros(width, np.float32), np.ones(width, np.float32))
    normalizer = given or identity
    raw_bits = _raw_bits(normalizer, given is None, x) if grid is None else grid
    normal = normalized(normalizer, x)
    v_bits = frac_bits_for(float(np.abs(normal).max()), RAW_HEADROOM)
    pairs = [
        fixed_ratio(float(s) * 2.0 ** (v_bits - int(bits)), 14)
        for s, bits in zip(normalizer.scale, raw_bits, strict=True)
    ]
    stage = InputStage(
        raw_frac_bits=raw_bits,
        zero=_to_grid(normalizer.offset, raw_bits).astype(np.int16),
        mult=np.array([m for m, _ in pairs], np.int16),
        shift=np.array([s for _, s in pairs], np.uint8),
        amax=1,
        signed=bool(normal.min() < 0),
        scale=ONE,
    )
    raw = saturate(_to_grid(x, raw_bits).astype(np.int64), 16)
    v = (raw - stage.zero) * stage.mult.astype(np.int64)
    return stage, raw, saturate(round_half_up(v, stage.shift.astype(np.int64)), 16), v_bits


def _raw_bits(normalizer: Affine, alike: bool, x: FloatArray) -> NDArray[np.int16]:
    """Fractional bits of every raw feature, shape (features,).

    All features share one grid, which a driver finds easiest and which leaves small features room
    to grow with classes yet to come. Where a normaliser says that a feature is small, it gets a
    finer grid, as fine as 1 / RAW_STEPS of a normalised unit and as its calibrated range allows.
    """
    largest = np.maximum(np.abs(x).max(axis=0), np.abs(normalizer.offset)).astype(np.float64)
    shared = frac_bits_for(float(largest.max()), RAW_HEADROOM)
    if alike:
        return np.full(x.shape[1], shared, np.int16)
    allowed = [frac_bits_for(float(top), RAW_HEADROOM) for top in largest]
    wanted = [ceil(log2(RAW_STEPS * abs(float(s)))) if s else shared for s in normalizer.scale]
    fine = [min(a, max(w, shared)) for a, w in zip(allowed, wanted, strict=True)]
    return np.array(fine, np.int16)


def _to_grid(values: FloatArray, frac_bits: NDArray[np.int16]) -> NDArray[np.floating]:
    """values * 2**frac_bits to the nearest integer, halves up."""
    return np.floor(np.ldexp(values.astype(np.float64), frac_bits) + 0.5)


def grid_scale(frac_bits: int) -> Scale:
    """The grid of `frac_bits` bits after the point as a scale: 2**-frac_bits."""
    return Scale(1 << 14, -14 - frac_bits)
