# SPDX-License-Identifier: Apache-2.0
"""Features of raw signals, taken before the input stage (SPEC.md 15)."""

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from device.twin.mfcc import Mfcc, mfcc_features

WINDOW_MAX = 1024
AXES_MAX = 64
EXTRA_MAX = 4
STATISTICS = ("mean", "deviation", "minimum", "maximum", "mean_absolute_difference")


@dataclass(frozen=True)
class WindowStats:
    """Statistics of a window of sensor samples, axis by axis (SPEC.md 15.1).

    Attributes:
        window: n, samples an axis, 2 to 1024.
        frac_bits: int16, shape (A,): raw = round(sample * 2**frac_bits), for each axis.
        extra_bits: uint8, shape (A,), in [0, 4]: fractional bits that deviation and mean absolute
            difference have beyond those of their axis.
        ddof: the deviation's divisor is n - ddof: 0 or 1.
    """

    window: int
    frac_bits: NDArray[np.int16]
    extra_bits: NDArray[np.uint8]
    ddof: int = 0
    kind: str = "window-stats"

    @property
    def axes(self) -> int:
        """A."""
        return len(self.frac_bits)

    @property
    def inputs(self) -> int:
        """Values in a raw window: n samples of A axes, the axes of a sample side by side."""
        return self.window * self.axes

    @property
    def outputs(self) -> int:
        """Features: five an axis."""
        return len(STATISTICS) * self.axes

    @property
    def raw_bits(self) -> NDArray[np.int16]:
        """Fractional bits of every raw value, shape (inputs,)."""
        return np.tile(self.frac_bits, self.window)

    @property
    def feature_bits(self) -> NDArray[np.int16]:
        """Fractional bits of every feature, shape (outputs,)."""
        fine = self.frac_bits + self.extra_bits.astype(np.int16)
        return np.stack([self.frac_bits, fine, self.frac_bits, self.frac_bits, fine], 1).ravel()


Signal: TypeAlias = WindowStats | Mfcc


def signal_features(signal: Signal, raw: NDArray[np.integer]) -> NDArray[np.int16]:
    """Features (N, outputs) of raw windows (N, inputs), as the input stage reads them."""
    if isinstance(signal, Mfcc):
        return mfcc_features(signal, raw)
    windows = np.asarray(raw, np.int64).reshape(len(raw), signal.window, signal.axes)
    found = np.zeros((len(raw), signal.outputs), np.int16)
    for i, window in enumerate(windows):
        columns = zip(window.T.tolist(), signal.extra_bits.tolist(), strict=True)
        found[i] = [v for x, extra in columns for v in _statistics(x, extra, signal.ddof)]
    return found


def _statistics(x: list[int], extra: int, ddof: int) -> tuple[int, int, int, int, int]:
    """SPEC.md 15.1, in Python's integers."""
    n, total = len(x), sum(x)
    mean = (2 * total + n) // (2 * n)
    scatter = n * sum(v * v for v in x) - total * total
    square = (scatter << (2 * extra)) // (n * (n - ddof))
    root = isqrt(square)
    deviation = root + (square - root * root > root)
    moved = sum(abs(b - a) for a, b in pairwise(x))
    difference = ((moved << (extra + 1)) + n - 1) // (2 * (n - 1))
    return mean, _saturated(deviation), min(x), max(x), _saturated(difference)


def _saturated(v: int) -> int:
    return min(v, 32767)
