# SPDX-License-Identifier: Apache-2.0
"""Residual blocks in the twin (SPEC.md 14.6): whole steps against the page in plain integers."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from device.twin.check import check_model
from device.twin.exemplars import draw_batch, rows_of
from device.twin.learner import TwinLearner
from device.twin.model import IntModel, ModelFormatError
from device.twin.residual import Error, below, follows, join, reads
from device.twin.scale import Scale
from tests.parity.convs import RESIDUAL_SPECS, make_conv_model
from tests.vectors import arithmetic as ar
from tests.vectors import network as ref
from tests.vectors import residual as page

SPECS = {spec.name: spec for spec in RESIDUAL_SPECS}
RATE = Scale.from_real(0.05)


def pair(scale: Scale) -> ar.ScalePair:
    return scale.mantissa, scale.exponent


def page_of(model: IntModel, weights: list[Any]) -> page.Walk:
    a, zeros = model.arithmetic, list[int]()
    layers = [
        ref.Layer(v.row_factor.tolist(), pair(v.scale), v.out_frac_bits, v.x_range, v.w_range)
        for v in model.layers
    ]
    net = ref.Network(
        a.order, a.tile_k, a.acc_bits, a.saturation, a.master_bits, a.batch,
        zeros, zeros, zeros, 1, False, pair(model.input.scale), model.x0_signed, [], layers,
    )  # fmt: skip
    places = [page.Place(asdict(v.conv) if v.conv else None, v.side, v.adds) for v in model.layers]
    copies = [ref.Weights(w.master.tolist(), w.bias.tolist()) for w in weights]
    return page.Walk(net, places, copies)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(
    ("seed", "steps"), [(3, 1), *(pytest.param(s, 3, marks=pytest.mark.long) for s in range(4, 9))]
)
def test_steps_equal_the_page(name: str, seed: int, steps: int) -> None:
    model = make_conv_model(SPECS[name], seed)
    check_model(model)
    twin = TwinLearner(model)
    before = twin.working.copy()
    walk = page_of(model, twin.working.weights)
    twin.train_begin(seed, steps, [(0, RATE)], "balanced")
    for step in range(steps):
        place = (seed, step, "balanced", 0)
        x0, labels = rows_of(twin.memory, draw_batch(twin.memory, model.arithmetic.batch, *place))
        given = ref.Activation(x0.tolist(), pair(model.input.scale), 7 if model.x0_signed else 15)
        y = walk.forward(given)
        fy, classes = model.layers[-1].out_frac_bits, model.n_classes
        d = page.softmax_errors(y, labels.tolist(), classes, fy)
        walk.backward(d, classes, ref.Step(seed, step, pair(RATE)))
        done = twin.session.done if twin.session else 0
        while twin.session and twin.session.done == done:
            twin.train(1)
        for mine, theirs in zip(twin.working.weights, walk.weights, strict=True):
            assert mine.master.tolist() == theirs.master and mine.bias.tolist() == theirs.bias
    for old, new in zip(before.weights, twin.working.weights, strict=True):
        assert (old.master != new.master).any() and (old.bias != new.bias).any()


@pytest.mark.parametrize("seed", range(20))
def test_two_errors_meet_as_on_the_page(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, plain = [], []
    for _ in range(2):
        bits = int(rng.choice([1, 5, 15]))
        d = np.clip(rng.integers(-(1 << bits), (1 << bits) + 1, (3, 5)), -32768, 32767)
        scale = Scale(int(rng.integers(1 << 14, 1 << 15)), int(rng.integers(-40, -20)))
        errors.append(Error.of(d * (seed % 5 > 0), scale))
        plain.append(page.Error(errors[-1].d.tolist(), pair(scale), errors[-1].largest))
        seed += 1
    got, want = join(*errors), page.join(*plain)
    assert (got.d.tolist(), pair(got.scale), got.largest) == (want.d, want.s, want.t)
    real = sum(e.d * e.scale.value for e in errors)
    coarse = max(e.scale.value * e.largest for e in errors) * 2.0**-13
    assert np.abs(got.d * got.scale.value - real).max() <= 1.5 * coarse


def test_who_reads_what() -> None:
    layers = make_conv_model(SPECS["residual"]).layers  # 0, block 1 2 3, block 4 5, head 6
    at = range(len(layers))
    assert [reads(layers, i) for i in at] == [0, 1, 1, 3, 4, 5, 6]
    assert [below(layers, i) for i in at] == [-1, 0, 0, 1, 3, 4, 5]
    assert [follows(layers, i) for i in (0, 1, 3, 4, 5)] == [1, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("index", "changes", "rule"),
    [
        (3, {"adds": 0}, "place of the shortcut"),
        (3, {"adds": 4}, "adds of trainable layer 3"),
        (3, {"adds": "1"}, "adds of trainable layer 3"),
        (3, {"adds": None}, "a side layer without a block"),
        (5, {"adds": 3}, "adds of trainable layer 5"),
        (6, {"adds": 6}, "block of trainable layer 6"),
        (4, {"adds": 4}, "adds of trainable layer 5"),
        (2, {"out_frac_bits": 3}, "output grid of the shortcut"),
        (2, {"relu": True}, "relu of trainable layer 2"),
        (2, {"side": 1}, "side of trainable layer 2"),
        (0, {"side": True}, "first trainable layer is a side layer"),
        (6, {"side": True}, "relu of trainable layer 6|head|input size|master"),
    ],
)
def test_broken_blocks_are_refused(index: int, changes: dict[str, Any], rule: str) -> None:
    model = make_conv_model(SPECS["residual"])
    layers = list(model.layers)
    layers[index] = replace(layers[index], **changes)
    with pytest.raises(ModelFormatError, match=rule):
        check_model(replace(model, layers=tuple(layers)))


def test_bytes_of_a_model_with_blocks_read_back() -> None:
    for spec in SPECS.values():
        model = make_conv_model(spec)
        assert IntModel.from_bytes(model.to_bytes()).to_bytes() == model.to_bytes()
