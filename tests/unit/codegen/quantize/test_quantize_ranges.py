# SPDX-License-Identifier: Apache-2.0
"""Integer forms of real constants: fixed_ratio, frac_bits_for, best_clip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.quantize.ranges import INT16_MAX, best_clip, fixed_ratio, frac_bits_for
from device.twin.kernels import quant_values

quick = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.0, (8192, 13)),
        (-1.0, (-8192, 13)),
        (0.5, (8192, 14)),
        (1.99999, (8192, 12)),  # 16383.9 would round to 2**14
        (8191.5, (16383, 1)),
        (16383.0, (16383, 0)),
        (1e12, (16383, 0)),
        (-1e12, (-16383, 0)),
        (2.0**-30, (1, 30)),
        (2.0**-17, (8192, 30)),
        (1e-12, (0, 30)),
        (5e-324, (0, 30)),
        (0.0, (0, 0)),
    ],
)
def test_fixed_ratio_by_hand(ratio: float, expected: tuple[int, int]) -> None:
    assert fixed_ratio(ratio, 14) == expected


@quick
@given(exponent=st.floats(-45, 20), negative=st.booleans())
def test_fixed_ratio_is_nearest_within_its_format(exponent: float, negative: bool) -> None:
    ratio = (-1 if negative else 1) * 2.0**exponent
    mult, shift = fixed_ratio(ratio, 14)
    assert abs(mult) < 1 << 14 and 0 <= shift <= 30
    if abs(ratio) <= 16383:
        assert abs(mult * 2.0**-shift - ratio) <= max(abs(ratio) * 2.0**-13, 2.0**-31)
    # the largest product that the input stage can make fits 32 bits, rounding included
    assert 65535 * abs(mult) + (1 << 29) < 1 << 31


@quick
@given(largest=st.floats(1e-37, 1e37), headroom=st.sampled_from([1.0, 2.0, 4.0]))
def test_frac_bits_use_the_16_bits_well(largest: float, headroom: float) -> None:
    bits = frac_bits_for(largest, headroom)
    assert largest * headroom * 2.0**bits <= INT16_MAX
    assert largest * headroom * 2.0 ** (bits + 1) > INT16_MAX * (1 - 1e-9)


def test_frac_bits_of_nothing_are_fifteen() -> None:
    assert frac_bits_for(0.0, 2.0) == 15


def squared_error(values: np.ndarray, amax: int, qmax: int, nonnegative: bool) -> float:
    q, _ = quant_values(values, amax, qmax, nonnegative)
    return float(np.square(q * (amax / qmax) - values).sum())


@pytest.mark.parametrize("qmax", [7, 15, 127])
def test_best_clip_is_no_worse_than_the_maximum(qmax: int) -> None:
    values = (np.random.default_rng(qmax).normal(0, 3000, 4000)).astype(np.int64)
    best = best_clip(values, qmax, False)
    largest = int(np.abs(values).max())
    assert 1 <= best <= largest
    at_best = squared_error(values, best, qmax, False)
    assert at_best <= squared_error(values, largest, qmax, False)


def test_best_clip_of_a_bell_in_four_bits_cuts_its_tails() -> None:
    values = (np.random.default_rng(1).normal(0, 3000, 20000)).astype(np.int64)
    # the best range of a normal tensor for 15 levels is about 2.8 deviations
    assert 2.2 * 3000 < best_clip(values, 7, False) < 3.4 * 3000


def test_best_clip_of_two_values_keeps_them() -> None:
    assert best_clip(np.array([-700, 700]), 7, False) == 700
    assert best_clip(np.array([0, 1500]), 15, True) == 1500


@pytest.mark.parametrize("values", [[0, 0], [-5, -3]])
def test_best_clip_without_anything_above_zero_is_one(values: list[int]) -> None:
    assert best_clip(np.array(values), 15, True) == 1


def test_best_clip_of_unsigned_values_ignores_those_below_zero() -> None:
    assert best_clip(np.array([-30000, 1500, 0]), 15, True) <= 1500
