# SPDX-License-Identifier: Apache-2.0
"""The front of convolutions: plain Python, twin and C agree, and planted errors are seen."""

from pathlib import Path

import numpy as np
import pytest

from codegen.lower import lower
from device.harness.client import DeviceClient
from device.harness.devices import HostTransport
from device.harness.errors import DeviceError
from device.twin.check import check_model
from device.twin.front import run_front
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.parity.conftest import OpenPair
from tests.parity.fronts import make_front_model, make_witness
from tests.parity.models import random_raw
from tests.parity.sessions import plain, run_session
from tests.parity.workshop import Mutation, Workshop
from tests.vectors import front as reference

KINDS = {"conv", "average", "max", "add", "concat", "table"}
SEEDS = range(10)


def test_random_fronts_have_every_kind_and_obey_the_rules() -> None:
    models = [make_front_model(seed) for seed in SEEDS]
    for model in models:
        check_model(model)
    assert {node.kind for model in models for node in model.front} == KINDS
    assert {model.input.planar for model in models} == {True, False}


@pytest.mark.parametrize("seed", range(24))
def test_front_of_the_twin_equals_plain_python(seed: int) -> None:
    model = make_front_model(seed, nodes=5)
    x = np.random.default_rng(seed).integers(-127, 128, (2, model.inputs))
    got = run_front(model.front, x)
    assert [reference.run(model.front, row) for row in x.tolist()] == got.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_front_survives_its_bytes(seed: int) -> None:
    model = make_front_model(seed)
    back = IntModel.from_bytes(model.to_bytes())
    assert back.to_bytes() == model.to_bytes()
    assert [node.kernel for node in back.front] == [node.kernel for node in model.front]


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_session_behind_a_front_equals_twin(seed: int, open_pair: OpenPair) -> None:
    model = make_front_model(seed, frozen=seed % 3 == 2)
    run_session(open_pair(model, sanitize=True), seed=seed, steps=1)


@pytest.mark.parametrize("seed", SEEDS[7:])
def test_inference_behind_a_deep_front_equals_twin(seed: int, open_pair: OpenPair) -> None:
    pair = open_pair(make_front_model(seed, nodes=25), sanitize=True)
    for sample in random_raw(pair.model, 12, seed):
        pair.both("infer", sample)
        pair.both("infer", sample, 1)


def test_elementwise_nodes_work_in_place() -> None:
    plans = [lower(make_front_model(seed, nodes=25)) for seed in SEEDS]
    vectors = [len(plan.infer_arena.placements) for plan in plans]
    assert any(count < 25 + 5 for count in vectors)


MUTATIONS = tuple(
    Mutation(file, old, new)
    for file, old, new in (
        ("had_conv.c", "at->kernel_width + j) * inputs", "at->kernel_width) * inputs"),
        ("had_conv.c", "o / outputs * inputs", "o % outputs * inputs"),
        ("had_conv.c", "node->acc_shift[o]) *", "node->acc_shift[0]) *"),
        ("had_conv.c", "y += node->bias[o]", "y += node->bias[0]"),
        ("had_conv.c", "paired * terms, at", "0U * terms, at"),
        ("had_conv.c", "value += step", "value += 1"),
        ("had_window.h", "stride_width, w->pad_left", "stride_width, w->pad_top"),
        ("had_window.h", "i * w->dilation_height", "i * w->dilation_width"),
        ("had_window.h", "/ dilation + 1U", "/ dilation"),
        ("had_window.h", "nonnegative != 0U ? 0", "nonnegative == 0U ? 0"),
        ("had_pool.c", "node->acc_shift) *", "(node->acc_shift + 1U)) *"),
        ("had_pool.c", "int8_t most = INT8_MIN", "int8_t most = 0"),
        ("had_elementwise.c", "c * pixels + p", "p * stage->inputs + c"),
        ("had_elementwise.c", "b[i] * node->mult_b", "b[i] * node->mult_a"),
        ("had_elementwise.c", "+ node->first", "+ 0"),
        ("had_elementwise.c", "x[i] + 128", "x[i] + 127 + (x[i] < -126)"),
    )
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Of a graph in which every kind of window occurs."""
    return Workshop(tmp_path_factory.mktemp("front"), make_witness(), "host")


@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=lambda n: f"{MUTATIONS[n].old}")
def test_planted_error_in_the_front_is_seen(number: int, workshop: Workshop) -> None:
    assert _differs(workshop, workshop.planted(MUTATIONS[number], number))


def test_without_an_error_nothing_differs(workshop: Workshop) -> None:
    assert not _differs(workshop, workshop.sound())


def _differs(workshop: Workshop, elf: Path) -> bool:
    twin = TwinLearner(workshop.model)
    with HostTransport(elf) as transport:
        device = DeviceClient(transport)
        raw = random_raw(workshop.model, 12, 3)
        try:
            return any(plain(twin.infer(one)) != plain(device.infer(one)) for one in raw)
        except DeviceError:
            return True
