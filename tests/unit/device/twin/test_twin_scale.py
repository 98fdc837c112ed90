# SPDX-License-Identifier: Apache-2.0
"""Scales and multipliers by hand, and their errors (SPEC.md 1.4, 1.5)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.twin.scale import INVERSE_QMAX, ONE, Scale, quantized_scale

quick = settings(derandomize=True, deadline=None, max_examples=100)
scales = st.builds(Scale, st.integers(2**14, 2**15 - 1), st.integers(-60, 60))


def test_constants_have_their_values() -> None:
    assert ONE.value == 1.0
    for qmax, inverse in INVERSE_QMAX.items():
        assert abs(inverse.value * qmax - 1) < 2**-15


@pytest.mark.parametrize(
    ("value", "mantissa", "exponent"),
    [
        (1, 16384, -14),
        (3, 24576, -13),
        (32767, 32767, 0),
        (32768, 16384, 1),
        (32769, 16385, 1),  # 16384.5, half up
        (65535, 16384, 2),  # 32767.5 rounds to 2**15, which is carried
    ],
)
def test_from_int_by_hand(value: int, mantissa: int, exponent: int) -> None:
    assert Scale.from_int(value) == Scale(mantissa, exponent)


def test_mul_by_hand() -> None:
    # 1.5 x 1.5 = 2.25: 24576 squared is 2**29 x 1.125
    assert Scale(24576, -14).mul(Scale(24576, -14)) == Scale(18432, -13)
    # 1.25 squared stays below 2
    assert Scale(20480, -14).mul(Scale(20480, -14)) == Scale(25600, -14)
    # 16385 x 32766 = 2**29 - 2; by 2**14 it rounds to 2**15, which is carried
    assert Scale(16385, 0).mul(Scale(32766, 0)) == Scale(1 << 14, 15)


def test_recip_by_hand() -> None:
    assert ONE.recip() == ONE
    assert Scale(24576, -13).recip() == Scale(21845, -16)  # 1 / 3, rounded down
    assert Scale.from_int(3).recip().value == pytest.approx(1 / 3, rel=2**-14)


def test_pow2_moves_the_exponent() -> None:
    assert ONE.pow2(5).value == 32.0


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (1, (32767, 0)),  # too large for any multiplier
        (0, (20000, 0)),
        (-30, (20000, 30)),
        (-31, (10000, 30)),
        (-44, (1, 30)),
        (-45, (0, 30)),
        (-1000, (0, 30)),
    ],
)
def test_multiplier_by_hand(exponent: int, expected: tuple[int, int]) -> None:
    assert Scale(20000, exponent).multiplier() == expected


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(1, (32767, 0)), (0, (20000, 0)), (-62, (20000, 62)), (-63, (0, 0))],
)
def test_multiplier64_by_hand(exponent: int, expected: tuple[int, int]) -> None:
    assert Scale(20000, exponent).multiplier64() == expected


def test_quantized_scale_by_hand() -> None:
    # one step of a tensor of range 14 in units of 1 is 2
    assert quantized_scale(ONE, 14, 7).value == pytest.approx(2.0, rel=2**-14)


@pytest.mark.parametrize("mantissa", [0, -16384, (1 << 14) - 1, 1 << 15])
def test_scale_with_a_mantissa_out_of_range_is_refused(mantissa: int) -> None:
    with pytest.raises(ValueError, match="mantissa"):
        Scale(mantissa, 0)


@pytest.mark.parametrize("exponent", [1 << 31, -(1 << 31) - 1])
def test_scale_with_an_exponent_out_of_range_is_refused(exponent: int) -> None:
    with pytest.raises(ValueError, match="exponent"):
        Scale(1 << 14, exponent)


def test_scale_beyond_16_bits_of_exponent_cannot_be_stored() -> None:
    assert Scale(1 << 14, 32767).is_storable and Scale(1 << 14, -32768).is_storable
    assert not Scale(1 << 14, 32768).is_storable
    assert not Scale(1 << 14, -32769).is_storable


@pytest.mark.parametrize("value", [0, -1])
def test_from_int_below_one_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Scale.from_int(value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_from_real_of_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Scale.from_real(value)


@quick
@given(value=st.floats(1e-300, 1e300))
def test_from_real_is_nearest(value: float) -> None:
    assert Scale.from_real(value).value == pytest.approx(value, rel=2**-15)


@quick
@given(a=scales, b=scales)
def test_operations_are_near_the_real_ones(a: Scale, b: Scale) -> None:
    assert a.mul(b).value == pytest.approx(a.value * b.value, rel=2**-14)
    assert a.recip().value == pytest.approx(1 / a.value, rel=2**-13)
    assert a.mul(b) == b.mul(a)
    assert a.mul(ONE) == a


@quick
@given(a=st.builds(Scale, st.integers(2**14, 2**15 - 1), st.integers(-30, 0)))
def test_multiplier_has_the_scale_s_value(a: Scale) -> None:
    m, sh = a.multiplier()
    assert m * 2.0**-sh == a.value
