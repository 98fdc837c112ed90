# SPDX-License-Identifier: Apache-2.0
"""The twin's kernels against the kernel vectors, and against the reference on drawn inputs."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.twin import kernels, scale
from device.twin.kernels import IntArray
from device.twin.model import Arithmetic
from device.twin.scale import Scale
from tests.vectors import arithmetic as ar
from tests.vectors import generate

quick = settings(derandomize=True, deadline=None, max_examples=80)
scales = st.tuples(st.integers(2**14, 2**15 - 1), st.integers(-200, 200))
Case = dict[str, Any]


def pair(s: Scale) -> list[int]:
    return [s.mantissa, s.exponent]


def check_mix(c: Case) -> None:
    assert int(kernels.mix(np.array([c["x"]], np.uint32))[0]) == c["mix"]


def check_draws(c: Case) -> None:
    key, index = kernels.stream_key(c["seed"], c["step"], c["tensor"]), np.array([c["index"]])
    assert kernels.draw_u8(key, index).tolist() == [c["u8"]]
    assert kernels.draw_u16(key, index).tolist() == [c["u16"]]


def check_from_int(c: Case) -> None:
    assert pair(Scale.from_int(c["v"])) == c["scale"]


def check_mul(c: Case) -> None:
    assert pair(Scale(*c["a"]).mul(Scale(*c["b"]))) == c["product"]


def check_recip(c: Case) -> None:
    assert pair(Scale(*c["a"]).recip()) == c["reciprocal"]


def check_multiplier(c: Case) -> None:
    m, sh = Scale(*c["a"]).multiplier()
    assert [m, sh] == c["multiplier"]
    assert list(Scale(*c["a"]).multiplier64()) == c["multiplier64"]
    assert kernels.round_half_up(np.array([c["v"] * m]), sh).tolist() == [c["applied"]]


def check_quant(c: Case) -> None:
    values, lo = np.array([c["v"]]), bool(c["lo"])
    near, _ = kernels.quant_values(values, c["amax"], c["qmax"], lo)
    drawn, _ = kernels.quant_values(values, c["amax"], c["qmax"], lo, np.array([c["u"]]))
    assert (near.tolist(), drawn.tolist()) == ([c["nearest"]], [c["stochastic"]])


def check_fwht(c: Case) -> None:
    assert kernels.fwht(np.array([c["input"]]), c["order"]).tolist() == [c["output"]]


def check_dot(c: Case) -> None:
    for mode in ("tile", "every_add"):
        a = Arithmetic(tile_k=c["tile_k"], acc_bits=c["acc_bits"], saturation=mode)
        product = kernels.saturating_product(np.array([c["a"]]), np.array([c["b"]]), a)
        assert product.acc.tolist() == [[c[mode]["value"]]]
        assert [product.events, product.saturated] == [c[mode]["events"], c[mode]["saturated"]]


def check_loss(c: Case) -> None:
    d, p = kernels.loss_error(np.array([c["y"]]), np.array([c["label"]]), c["fy"])
    assert (p.tolist(), d.tolist()) == ([c["p"]], [c["d"]])


CHECKS = {
    "mix": check_mix,
    "draws": check_draws,
    "from_int": check_from_int,
    "mul": check_mul,
    "recip": check_recip,
    "multiplier": check_multiplier,
    "quant": check_quant,
    "fwht": check_fwht,
    "dot": check_dot,
    "loss": check_loss,
}


def check_file(kernel: str) -> None:
    """Every case of one kernel in the committed file."""
    cases = json.loads(generate.FILE.read_text())[kernel]
    assert len(cases) > 10
    for case in cases:
        CHECKS[kernel](case)


def test_vector_file_is_what_its_generator_writes() -> None:
    assert generate.FILE.read_text() == generate.render(), "run: python -m tests.vectors.generate"


@pytest.mark.parametrize("kernel", generate.KERNELS)
def test_kernel_matches_its_vectors(kernel: str) -> None:
    check_file(kernel)


# Reference tables by hand


def test_reference_table_of_exponentials_by_float() -> None:
    """2**15 / 2**(f/64) in double precision lies far enough from a half for every f."""
    assert [int(2**15 * 2.0 ** (-f / 64) + 0.5) for f in range(64)] == ar.EXP2
    assert ar.EXP2[0] == 32768 and ar.EXP2[32] == 23170  # 2**15 and 2**14.5


@pytest.mark.parametrize(("qmax", "m", "e"), [(7, 18725, -17), (15, 17476, -18), (127, 16513, -21)])
def test_reciprocals_of_the_ranges_are_nearest(qmax: int, m: int, e: int) -> None:
    """m 2**e = 1 / qmax as nearly as 15 bits can: |m qmax - 2**-e| <= qmax / 2."""
    assert (scale.INVERSE_QMAX[qmax].mantissa, scale.INVERSE_QMAX[qmax].exponent) == (m, e)
    assert 2 * abs(m * qmax - 2**-e) <= qmax


# Drawn inputs


@quick
@given(a=scales, b=scales, shift=st.integers(-100, 100), v=st.integers(1, 2**31 - 1))
def test_scale_operations_match_the_reference(
    a: tuple[int, int], b: tuple[int, int], shift: int, v: int
) -> None:
    assert tuple(pair(Scale(*a).mul(Scale(*b)))) == ar.mul(a, b)
    assert tuple(pair(Scale(*a).recip())) == ar.recip(a)
    assert tuple(pair(Scale(*a).pow2(shift))) == ar.pow2(a, shift)
    assert tuple(pair(Scale.from_int(v))) == ar.from_int(v)
    assert Scale(*a).multiplier() == ar.multiplier(a)
    assert Scale(*a).multiplier64() == ar.multiplier64(a)
    for qmax in (7, 15, 127):
        made = scale.quantized_scale(Scale(*a), v, qmax)
        assert tuple(pair(made)) == ar.qscale(a, v, qmax)


@quick
@given(
    amax=st.integers(1, 2**29),
    parts=st.lists(st.floats(-2, 2), min_size=1, max_size=20),
    qmax=st.sampled_from([7, 15, 127]),
    lo=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_quantiser_matches_the_reference(
    amax: int, parts: list[float], qmax: int, lo: bool, seed: int
) -> None:
    values = [int(part * amax) for part in parts]
    draws = [ar.draw8(ar.key(seed, 0, 0), i) for i in range(len(values))]
    near, clipped = kernels.quant_values(np.array(values), amax, qmax, lo)
    drawn, _ = kernels.quant_values(np.array(values), amax, qmax, lo, np.array(draws))
    assert near.tolist() == [ar.quant(v, amax, qmax, lo) for v in values]
    pairs = zip(values, draws, strict=True)
    assert drawn.tolist() == [ar.quant(v, amax, qmax, lo, u) for v, u in pairs]
    if not lo:
        assert clipped == sum(ar.clips(v, amax) for v in values)


@quick
@given(
    order=st.sampled_from([1, 4, 8, 16, 32, 64]),
    values=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=70),
)
def test_fwht_matches_the_reference(order: int, values: list[int]) -> None:
    assert kernels.fwht(np.array([values]), order).tolist() == [ar.fwht(values, order)]


@quick
@given(data=st.data(), size=st.integers(1, 80), acc_bits=st.sampled_from([8, 12, 16, 32]))
def test_product_matches_the_reference(data: st.DataObject, size: int, acc_bits: int) -> None:
    vectors = st.lists(st.integers(-7, 7), min_size=size, max_size=size)
    rows = st.lists(st.sampled_from([15, 15, 0, 7]), min_size=size, max_size=size)
    a, b = data.draw(rows), [data.draw(vectors), data.draw(vectors)]
    tile_k = data.draw(st.integers(1, 90))
    for mode in ("tile", "every_add"):
        arithmetic = Arithmetic(tile_k=tile_k, acc_bits=acc_bits, saturation=mode)
        product = kernels.saturating_product(np.array([a]), np.array(b), arithmetic)
        expected = [ar.dot(a, row, tile_k, acc_bits, mode) for row in b]
        assert product.acc.tolist() == [[value for value, _, _ in expected]]
        assert product.events == sum(events for _, events, _ in expected)
        assert product.saturated == sum(hit for _, _, hit in expected)
        bound = kernels.dot_bound(size, 15, 7, arithmetic)
        assert bound == ar.dot_bound(size, 15, 7, tile_k, acc_bits)
        assert np.abs(product.acc).max() <= bound


@quick
@given(
    y=st.lists(st.integers(-32768, 32767), min_size=1, max_size=30),
    fy=st.integers(0, 15),
    label=st.integers(0, 29),
)
def test_loss_matches_the_reference(y: list[int], fy: int, label: int) -> None:
    label %= len(y)
    d, p = kernels.loss_error(np.array([y]), np.array([label]), fy)
    assert p.tolist() == [ar.softmax(y, fy)]
    assert d.tolist() == [ar.loss_error(ar.softmax(y, fy), label)]


# Tests of the tests: a planted error is caught


right_mix, right_hadamard = kernels.mix, kernels.hadamard_matrix


def wrong_mix(words: kernels.UIntArray) -> kernels.UIntArray:
    """The lowest bit spoiled."""
    x = right_mix(words)
    return x ^ (x >> np.uint32(31))


def wrong_saturate(values: IntArray, bits: int) -> IntArray:
    """Symmetric instead of two's complement."""
    limit = (1 << (bits - 1)) - 1
    return np.clip(values, -limit, limit)


def wrong_hadamard(order: int) -> IntArray:
    """The rows in reverse order."""
    return np.asarray(right_hadamard(order)[::-1])


@pytest.mark.parametrize("error", [-1, 1])
def test_vectors_catch_an_error_in_any_entry_of_the_table_of_powers(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    for entry in range(1, 64):
        table = np.array(ar.EXP2)
        table[entry] += error
        monkeypatch.setattr(kernels, "exp2_table", lambda table=table: table)
        with pytest.raises(AssertionError):
            check_file("loss")


@pytest.mark.parametrize(
    ("module", "name", "wrong", "kernel"),
    [
        (kernels, "mix", wrong_mix, "draws"),
        (kernels, "saturate", wrong_saturate, "dot"),
        (kernels, "hadamard_matrix", wrong_hadamard, "fwht"),
        (kernels, "round_half_up", lambda v, s: np.asarray(v) >> s, "multiplier"),
        (scale, "rhu", lambda v, s: v >> s, "mul"),
        (scale, "rhu", lambda v, s: v >> s, "from_int"),
        (scale, "_carry", lambda m, e: Scale(m - (m == 1 << 15), e), "recip"),
    ],
)
def test_vectors_catch_a_planted_error(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, wrong: Any, kernel: str
) -> None:
    check_file(kernel)
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises((AssertionError, ValueError)):
        check_file(kernel)


def test_vectors_catch_a_quantiser_that_forgets_its_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.quant_values

    def wrong(
        values: IntArray, amax: int, qmax: int, lo: bool, draws: IntArray | None = None
    ) -> tuple[IntArray, int]:
        """Division by amax without the cut to 15 bits."""
        if amax < 1 << 15:
            return right(values, amax, qmax, lo, draws)
        bits = 23 if qmax == 127 else 26
        offset = 1 << (bits - 1) if draws is None else draws << (bits - 8)
        inside = np.clip(values, 0 if lo else -amax, amax)
        return (inside * ((qmax << bits) // amax) + offset) >> bits, 0

    monkeypatch.setattr(kernels, "quant_values", wrong)
    with pytest.raises(AssertionError):
        check_file("quant")
