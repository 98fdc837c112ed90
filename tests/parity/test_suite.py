# SPDX-License-Identifier: Apache-2.0
"""The model suite from file to firmware: quantized, planned, built, and equal to the twin."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from codegen.importer import import_onnx
from codegen.lower import lower
from codegen.quantize import QuantizeOptions, quantize
from device.twin.front import x0_of
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from device.twin.scale import Scale
from tests.parity.conftest import OpenBoard, OpenPair
from tests.suite.memory import memory_table
from tests.suite.models import SUITE

CALIBRATION = 24
# Of the features x0 carries, four bits each, the share of variance that the integers keep.
LEAST_CORRELATION = 0.96


@cache
def integer_model(name: str) -> IntModel:
    """A network of the suite with its last layer trainable, on calibration samples of its own."""
    entry = SUITE[name]
    graph = import_onnx(entry.build().SerializeToString())
    x = entry.samples(CALIBRATION, seed=1).reshape(CALIBRATION, -1)
    labels = np.arange(CALIBRATION) % graph.n_classes
    options = QuantizeOptions(Arithmetic(batch=8), train_last=1, exemplar_slots=12)
    return quantize(graph, x, labels, options)


def raw_of(name: str, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Raw samples that the model has not been calibrated on."""
    x = SUITE[name].samples(count, seed=2)
    return raw_samples(integer_model(name), x.reshape(count, -1))


@pytest.mark.parametrize("name", SUITE)
def test_integer_features_follow_the_float_ones(name: str) -> None:
    model, entry = integer_model(name), SUITE[name]
    graph = import_onnx(entry.build().SerializeToString())
    assert graph.front is not None
    x = entry.samples(12, seed=2)
    real = x.reshape(12, -1)
    if graph.normalizer is not None:
        real = graph.normalizer.forward(real)
    y = graph.front.forward(real)
    for dense in graph.dense_layers[:-1]:
        y = dense.forward(y.astype(np.float32))
    q = x0_of(model, raw_of(name, 12)) * model.input.scale.value
    assert np.corrcoef(q.reshape(-1), y.reshape(-1))[0, 1] > LEAST_CORRELATION


@pytest.mark.parametrize("name", SUITE)
def test_arena_is_within_a_tenth_of_its_lower_bound(name: str) -> None:
    plan = lower(integer_model(name))
    for arena in (plan.infer_arena, plan.arena):
        assert arena.bytes <= 1.1 * arena.lower_bound


def test_memory_table_is_that_of_the_code() -> None:
    page = Path(__file__).parents[2] / "benchmarks" / "results" / "memory.md"
    assert page.read_text() == memory_table({name: integer_model(name) for name in SUITE})


def run(pair: object, both: Callable[..., object], name: str, samples: int) -> None:
    """Inferences, a new class, training of the head, inferences."""
    raw = raw_of(name, samples)
    for one in raw[:2]:
        both("infer", one)
    both("add_class")
    for at, one in enumerate(raw):
        both("learn", one, at % 2)
    both("train_begin", 3, 2, [(0, Scale.from_real(0.1))], "balanced")
    both("train", 1 << 30)
    both("commit")
    both("infer", raw[0])
    both("infer", raw[1], 1)


@pytest.mark.parametrize("name", SUITE)
def test_host_build_equals_twin(name: str, open_pair: OpenPair) -> None:
    pair = open_pair(integer_model(name), opt="-O2")
    run(pair, pair.both, name, 3)
    pair.compare_states()


@pytest.mark.parametrize("name", ["cnn_1d", "branches", "ds_cnn"])
def test_firmware_in_the_emulator_equals_twin(name: str, open_board: OpenBoard) -> None:
    model = integer_model(name)
    twin, device = TwinLearner(model), open_board(model, "mps2-an386")
    raw = raw_of(name, 2)
    for learner in (twin, device):
        learner.learn(raw[0], 1)
        learner.train_begin(3, 2, [(0, Scale.from_real(0.1))], "balanced")
        learner.train(1 << 30)
        learner.commit()
    assert device.state_hash() == twin.state_hash()
    assert device.infer(raw[1])[0] == twin.infer(raw[1])[0]
