# SPDX-License-Identifier: Apache-2.0
"""Elementary operations by hand, and their properties (SPEC.md 1 and 6.2)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.twin.kernels import (
    dot_bound,
    draw_u8,
    draw_u16,
    draw_words,
    fwht,
    hadamard_matrix,
    loss_error,
    mix,
    padded_size,
    quant,
    quant_values,
    round_half_up,
    saturate,
    saturating_product,
    softmax_q15,
    stream_key,
    widen,
)
from device.twin.model import Arithmetic
from device.twin.scale import ONE, Scale, quantized_scale, rhu

quick = settings(derandomize=True, deadline=None, max_examples=80)


# 1.1, 1.2


def test_rhu_of_halves_goes_up() -> None:
    values = np.array([-6, -5, -3, -2, -1, 0, 1, 2, 3, 5, 6])
    # quarters: -1.5, -1.25, -.75, -.5, -.25, 0, .25, .5, .75, 1.25, 1.5
    assert round_half_up(values, 2).tolist() == [-1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 2]
    assert round_half_up(values, 0).tolist() == values.tolist()
    assert [rhu(v, 2) for v in values.tolist()] == round_half_up(values, 2).tolist()


def test_rhu_with_a_shift_a_value() -> None:
    assert round_half_up(np.array([5, 5, 5]), np.array([0, 1, 2])).tolist() == [5, 3, 1]


def test_saturate_is_twos_complement() -> None:
    values = np.array([-129, -128, 0, 127, 128])
    assert saturate(values, 8).tolist() == [-128, -128, 0, 127, 127]


# 1.3


def test_mix_by_hand() -> None:
    # 0 stays; 2**16: the first step gives 0x00010001, times 0x7feb352d = 0x7feb352d + 0x352d0000
    assert mix(np.array([0], np.uint32)).tolist() == [0]
    x = 0x7FEB352D + 0x352D0000
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    assert mix(np.array([1 << 16], np.uint32)).tolist() == [x ^ x >> 16]


def test_draws_are_bytes_and_halves_of_words() -> None:
    key = stream_key(3, 4, 5)
    w = int(draw_words(key, np.array([2]))[0])
    by_byte = [w & 0xFF, w >> 8 & 0xFF, w >> 16 & 0xFF, w >> 24]
    assert draw_u8(key, np.arange(8, 12)).tolist() == by_byte
    assert draw_u16(key, np.arange(4, 6)).tolist() == [w & 0xFFFF, w >> 16]


def test_draws_wrap_around_the_words() -> None:
    last = draw_words(0xFFFFFFFF, np.array([0, 1]))
    assert last.tolist() == mix(np.array([0xFFFFFFFF, 0], np.uint32)).tolist()


@pytest.mark.parametrize(("seed", "step", "tensor"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 7, 3)])
def test_draws_are_even(seed: int, step: int, tensor: int) -> None:
    """Every byte value comes about equally often: chi-square of 65536 draws over 256 bins."""
    draws = draw_u8(stream_key(seed, step, tensor), np.arange(1 << 16))
    counts = np.bincount(draws, minlength=256)
    chi_square = float(((counts - 256) ** 2 / 256).sum())
    assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


def test_streams_of_neighbouring_tensors_and_steps_differ() -> None:
    keys = {stream_key(0, step, tensor) for step in range(64) for tensor in range(64)}
    assert len(keys) == 64 * 64


# 1.6


def test_quant_by_hand_nearest() -> None:
    # amax 14 to 7 steps: half a step is 1; 3 / 14 * 7 = 1.5
    values = np.array([-14, -13, -3, -1, 0, 1, 3, 13, 14, 15])
    q, clipped = quant_values(values, 14, 7, False)
    # r is floor(7 2**26 / 14) = 2**25 exactly, so halves go up: -1.5 to -1, -6.5 to -6
    assert q.tolist() == [-7, -6, -1, 0, 0, 1, 2, 7, 7, 7]
    assert clipped == 1


def test_quant_by_hand_stochastic() -> None:
    # 3 / 14 * 7 = 1.5: draws below 128 leave it at 1, others lift it to 2
    q, _ = quant_values(np.full(4, 3), 14, 7, False, np.array([0, 127, 128, 255]))
    assert q.tolist() == [1, 1, 2, 2]
    q, _ = quant_values(np.full(4, -3), 14, 7, False, np.array([0, 127, 128, 255]))
    assert q.tolist() == [-2, -2, -1, -1]


def test_quant_of_a_relu_tensor_by_hand() -> None:
    q, clipped = quant_values(np.array([-5, 0, 1, 2, 29, 30, 31]), 30, 15, True)
    # 1 / 30 * 15 = 0.5 goes up, 29 / 30 * 15 = 14.5 goes up
    assert q.tolist() == [0, 0, 1, 1, 15, 15, 15]
    assert clipped == 2  # -5 and 31


def test_quant_beyond_15_bits_clamps_what_the_shift_rounds_down() -> None:
    """amax 2**15 + 1 is cut by k = 1 to 2**14; -amax >> 1 is -2**14 - 1, one beyond it."""
    amax = 2**15 + 1
    q, clipped = quant_values(np.array([amax, -amax, -(2**15)]), amax, 7, False)
    assert (q.tolist(), clipped) == ([7, -7, -7], 1)


def test_quant_of_an_empty_range_is_zero_with_scale_one() -> None:
    result = quant(np.array([0, 0]), Scale(1 << 14, 3), 0, 7, False)
    assert (result.q.tolist(), result.scale, result.empty) == ([0, 0], ONE, True)


@quick
@given(
    amax=st.integers(1, 2**29),
    part=st.floats(-1, 1),
    qmax=st.sampled_from([7, 15, 127]),
    exponent=st.integers(-40, 10),
)
def test_quantised_value_lies_within_half_a_step(
    amax: int, part: float, qmax: int, exponent: int
) -> None:
    """|dequantize(quantize(v)) - v| <= scale / 2, but for the 15 bits that ranges keep."""
    source = Scale(1 << 14, exponent)
    v = int(part * amax)
    q = int(quant_values(np.array([v]), amax, qmax, False)[0][0])
    step = quantized_scale(source, amax, qmax).value
    lost_bits = 1 << max(0, amax.bit_length() - 15)
    slack = (lost_bits * 2 + amax * 2**-13) * source.value
    assert abs(q * step - v * source.value) <= step / 2 + slack
    assert abs(q) <= qmax


@quick
@given(amax=st.integers(1, 40000), qmax=st.sampled_from([7, 15, 127]), draw=st.integers(0, 255))
def test_ends_of_the_range_stay_in_range_for_any_draw(amax: int, qmax: int, draw: int) -> None:
    values = np.array([-amax, amax, -amax - 5, amax + 5])
    q, _ = quant_values(values, amax, qmax, False, np.full(4, draw))
    assert np.abs(q).max() <= qmax
    q, _ = quant_values(values, amax, qmax, True, np.full(4, draw))
    assert q.min() >= 0 and q.max() <= qmax


@pytest.mark.parametrize("amax", [7, 100, 1001, 32767, 100_000])
def test_stochastic_rounding_is_unbiased_within_its_draws(amax: int) -> None:
    """Over all 256 draws the mean lies 1/512 of a step below the exact value, on average.

    floor(x + u / 256), u = 0 .. 255, has the mean floor(256 x) / 256: it loses up to 1/256 of a
    step. The reciprocal r is less than 1 too small, which adds less than 2**15 / 2**26.
    """
    k = max(0, amax.bit_length() - 15)
    values = np.linspace(-amax, amax, 401).astype(np.int64)
    draws = np.arange(256)[:, None] + np.zeros_like(values)
    q, _ = quant_values(np.broadcast_to(values, draws.shape), amax, 7, False, draws)
    exact = (values >> k) / (amax >> k) * 7
    exact = np.clip(exact, -7, 7)
    error = q.mean(axis=0) - exact
    assert error.max() <= 2**-11
    assert error.min() >= -1 / 256 - 2**-11
    assert abs(error.mean()) <= 1 / 512


def test_widen_is_in_sixteenths_rounded_down() -> None:
    assert [widen(100, f) for f in (16, 17, 24, 32)] == [100, 106, 150, 200]


# 1.7


def test_fwht_by_hand() -> None:
    assert fwht(np.array([[1, 2, 3, 4]]), 4).tolist() == [[10, -2, -4, 0]]


def test_fwht_pads_with_zeros() -> None:
    assert fwht(np.array([[1, 2, 3, 4, 5]]), 4).tolist() == [[10, -2, -4, 0, 5, 5, 5, 5]]


def test_fwht_of_order_one_is_nothing() -> None:
    assert fwht(np.array([[1, 2, 3]]), 1).tolist() == [[1, 2, 3]]
    assert padded_size(3, 1) == 3


@pytest.mark.parametrize("order", [4, 8, 16, 32, 64])
def test_fwht_twice_is_the_input_times_its_order(order: int) -> None:
    v = np.random.default_rng(order).integers(-(2**20), 2**20, (3, 2 * order))
    assert np.array_equal(fwht(fwht(v, order), order), order * v)


@pytest.mark.parametrize("order", [4, 8, 16, 32, 64])
def test_fwht_grows_by_at_most_its_bits(order: int) -> None:
    worst = hadamard_matrix(order) * 32767
    assert np.abs(fwht(worst, order)).max() == 32767 * order


@pytest.mark.parametrize("order", [4, 16, 64])
def test_products_in_the_hadamard_domain_are_the_products_times_the_order(order: int) -> None:
    rng = np.random.default_rng(order)
    a, b = rng.integers(-99, 100, (4, 23)), rng.integers(-99, 100, (5, 23))
    assert np.array_equal(fwht(a, order) @ fwht(b, order).T, order * (a @ b.T))


# 1.8


def product(a: list[int], b: list[int], **options: object) -> tuple[int, int, int]:
    arithmetic = Arithmetic(**options)  # type: ignore[arg-type]
    result = saturating_product(np.array([a]), np.array([b]), arithmetic)
    return int(result.acc[0, 0]), result.events, result.saturated


def test_product_saturates_each_tile() -> None:
    # tiles of two: 49 + 49 = 98 fits 8 bits; of three: 147 becomes 127
    assert product([7] * 4, [7] * 4, tile_k=2) == (196, 2, 0)
    assert product([7] * 4, [7] * 4, tile_k=3) == (127 + 49, 2, 1)
    assert product([7] * 3, [-7] * 3, tile_k=3) == (-128, 1, 1)


def test_product_that_saturates_on_its_way_differs_between_the_modes() -> None:
    # 49, 98, 147, 98: as a sum 98; step by step 127 is reached, then 127 - 49 = 78
    a, b = [7, 7, 7, 7], [7, 7, 7, -7]
    assert product(a, b, tile_k=4) == (98, 1, 0)
    assert product(a, b, tile_k=4, saturation="every_add") == (78, 4, 1)


def test_product_with_wide_accumulators_is_exact() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-7, 8, (3, 100)), rng.integers(0, 16, (4, 100))
    for mode in ("tile", "every_add"):
        arithmetic = Arithmetic(acc_bits=32, saturation=mode)
        assert np.array_equal(saturating_product(a, b, arithmetic).acc, a @ b.T)


def test_dot_bound_is_the_smaller_of_tiles_and_terms() -> None:
    assert dot_bound(70, 15, 7, Arithmetic(tile_k=32)) == 3 * 128
    assert dot_bound(2, 15, 7, Arithmetic(tile_k=1)) == 2 * 105
    assert dot_bound(70, 15, 7, Arithmetic(acc_bits=32)) == 70 * 105


# 6.2


def test_softmax_of_equal_logits_is_even() -> None:
    assert softmax_q15(np.array([[5, 5, 5, 5]]), 8).tolist() == [[8192] * 4]
    assert softmax_q15(np.array([[-9]]), 8).tolist() == [[32768]]


def test_softmax_by_hand() -> None:
    """Logits 0 and -1 (256 in 2**-8): T = (256 23637 + 2**15) >> 16 = 92, so 1 and 28 of table 1.

    2**15 2**(-28/64) = 24196.6, halved and rounded half up: 12099 (24197 / 2 = 12098.5).
    S = 44867, R = floor(2**31 / S) = 47863; p = 44867 parts: 23931.5 and 8836.3.
    """
    assert softmax_q15(np.array([[0, -256]]), 8).tolist() == [[23932, 8836]]


def test_softmax_far_below_the_maximum_is_zero() -> None:
    # 16 halvings are 11.09: at 2**-8 below -2839 nothing is left
    p = softmax_q15(np.array([[0, -2837, -2860, -65535]]), 8)
    assert p[0, 2:].tolist() == [0, 0] and p[0, 1] in (0, 1)


@quick
@given(y=st.lists(st.integers(-32768, 32767), min_size=2, max_size=20), fy=st.integers(0, 15))
def test_softmax_is_near_the_real_one(y: list[int], fy: int) -> None:
    z = np.array(y) / 2.0**fy
    real = np.exp(z - z.max())
    real /= real.sum()
    p = softmax_q15(np.array([y]), fy)[0] / 32768
    # T is in 64ths of a halving: half of one is a factor of 2**(1 / 128), or 0.6 per cent
    assert np.abs(p - real).max() < 0.006


def test_loss_error_is_probability_minus_label() -> None:
    d, _ = loss_error(np.array([[5, 5, 5, 5]]), np.array([2]), 8)
    assert d.tolist() == [[8192, 8192, 8192 - 32768, 8192]]


def test_loss_error_is_clamped_to_16_bits() -> None:
    d, p = loss_error(np.array([[32767, -32768]]), np.array([1]), 0)
    assert (p.tolist(), d.tolist()) == ([[32768, 0]], [[32767, -32767]])
