# SPDX-License-Identifier: Apache-2.0
"""Kernels carry contracts that Frama-C proves, and that depend on their saturations."""

import pytest

from device.harness.overflow import CONV, HEADER, SOURCE, STATISTICS, missing, prove

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.mark.timeout(900)
def test_kernels_are_proved_not_to_overflow() -> None:
    proof = prove()
    assert proof.holds, proof.open_goals
    assert proof.goals > 140


@pytest.mark.parametrize(
    ("function", "file", "old", "new"),
    [
        ("tile", SOURCE, "return had_saturate_acc(acc)", "return acc"),
        ("had_saturate_s16", HEADER, "had_clamp(v, INT16_MIN, INT16_MAX)", "v"),
        pytest.param(
            "output_of",
            CONV,
            "(y < INT16_MIN ? INT16_MIN : (y > INT16_MAX ? INT16_MAX : y))",
            "y",
            marks=pytest.mark.long,
        ),
        ("saturated", STATISTICS, "value > HALF_RANGE - 1U ? HALF_RANGE - 1U : value", "value"),
    ],
)
def test_kernel_without_its_saturation_is_not_proved(
    function: str, file: str, old: str, new: str
) -> None:
    proof = prove((function,), (file, old, new))
    assert not proof.holds
    assert all(function in goal for goal in proof.open_goals)


def test_facts_about_shifts_hold() -> None:
    for k in range(31):
        assert 1 <= 1 << k <= 1073741824
        assert k == 0 or 1 << (k - 1) <= 536870912
        for v in (0, 1, 2**k - 1, 2**k, 2**31 - 1, -1, -(2**k), -(2**k) - 1, -(2**31)):
            shifted = v >> k
            assert 0 <= shifted <= v if v >= 0 else v <= shifted <= -1
            assert 2**26 * (v >> 26) <= v < 2**26 * (v >> 26) + 2**26
            assert v << 18 == 262144 * v
