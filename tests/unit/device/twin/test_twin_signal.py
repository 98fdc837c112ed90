# SPDX-License-Identifier: Apache-2.0
"""Window statistics of the twin (SPEC.md 15.1) against floats, and worked by hand."""

from math import sqrt

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device.twin.signal import WindowStats, signal_features

VALUES = st.integers(-32768, 32767)


def stats(window: int, extra: int, ddof: int = 0) -> WindowStats:
    """A stage of one axis."""
    return WindowStats(window, np.zeros(1, np.int16), np.array([extra], np.uint8), ddof)


@given(st.lists(VALUES, min_size=2, max_size=200), st.integers(0, 4), st.integers(0, 1))
def test_features_are_the_floats_to_the_nearest_step(x: list[int], extra: int, ddof: int) -> None:
    found = signal_features(stats(len(x), extra, ddof), np.array([x]))[0].astype(float)
    floats = np.array(x, float)
    fine = 2.0**extra
    expected = [
        floats.mean(),
        min(32767, floats.std(ddof=ddof) * fine),
        floats.min(),
        floats.max(),
        min(32767, np.abs(np.diff(floats)).mean() * fine),
    ]
    # Half a step of rounding; D is a floor, so the root may be smaller by 1 / (2 sqrt(D)) <= 1/2.
    allowed = [0.5, 1.0, 0.0, 0.0, 0.5]
    error = np.abs(found - expected)
    assert (error <= np.array(allowed) + 1e-6).all(), (found, expected)


def test_features_of_two_axes_worked_by_hand() -> None:
    # axis 0: 1 2 4 9: mean 4, sum of squares 102: D = 4 * (4 * 102 - 256) / 16 = 38, root 6.16;
    # differences 1 2 5: 2 * 8 / 3 = 5.33.
    # axis 1: -3 -3 -2 -4: mean -3, D = (4 * 38 - 144) / 16 = 0.5
    signal = WindowStats(4, np.array([0, 0], np.int16), np.array([1, 0], np.uint8))
    raw = np.array([[1, -3, 2, -3, 4, -2, 9, -4]])
    assert signal_features(signal, raw).tolist() == [[4, 6, 1, 9, 5, -3, 0, -4, -2, 1]]
    assert sqrt(38) > 6


def test_mean_rounds_halves_up_and_below_zero_too() -> None:
    means = [signal_features(stats(2, 0), np.array([pair]))[0][0] for pair in ((0, 1), (-1, 0))]
    assert means == [1, 0]


def test_grids_say_what_a_step_of_each_feature_is() -> None:
    signal = WindowStats(3, np.array([4, -1], np.int16), np.array([2, 0], np.uint8))
    assert signal.feature_bits.tolist() == [4, 6, 4, 4, 6, -1, -1, -1, -1, -1]
    assert signal.raw_bits.tolist() == [4, -1] * 3
