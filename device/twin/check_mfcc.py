# SPDX-License-Identifier: Apache-2.0
"""What SPEC.md 15.2 says of an MFCC stage, rule by rule."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from device.twin.mfcc import (
    FFT_SIZES,
    FLOOR_MAX,
    FLOOR_MIN,
    MEL_SCALES,
    MELS_MAX,
    RATE_MAX,
    SAMPLES_MAX,
    Mfcc,
    empty_band,
)


def mfcc_rules(signal: Mfcc) -> Iterator[tuple[bool, str]]:
    """Whether each rule holds, and what breaks it; later rules assume earlier ones."""
    yield signal.kind == "mfcc", "kind of signal"
    yield _within(signal.rate, 2, RATE_MAX), "rate of the signal"
    yield type(signal.fft) is int and signal.fft in FFT_SIZES, "fft of the signal"
    yield _within(signal.frame, 2, signal.fft), "frame of the signal"
    yield _within(signal.window, signal.frame, SAMPLES_MAX), "window of the signal"
    yield _within(signal.step, 1, SAMPLES_MAX), "step of the signal"
    yield _within(signal.mels, 1, MELS_MAX), "mels of the signal"
    yield _within(signal.coefficients, 1, signal.mels), "coefficients of the signal"
    yield _within(signal.low, 0, signal.rate // 2), "low of the signal"
    yield _within(signal.high, signal.low + 1, signal.rate // 2), "high of the signal"
    yield _within(signal.floor, FLOOR_MIN, FLOOR_MAX), "floor of the signal"
    yield signal.mel in MEL_SCALES, "mel of the signal"
    bits = signal.frac_bits
    yield np.shape(bits) == (1,) and bits.dtype == np.int16, "frac_bits of the signal"
    yield int(bits[0]) in (0, 15), "frac_bits of the signal"
    yield signal.outputs <= SAMPLES_MAX, "features of the signal"
    yield empty_band(signal) is None, "a mel band without a bin"


def _within(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
