# SPDX-License-Identifier: Apache-2.0
"""Explain and diff on a network with every kind of node, against onnxruntime and planted errors."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import server.learning.firmwares as firmwares
from codegen.errors import GraphError
from codegen.generate import generate
from codegen.graph import Dense, FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from codegen.scales import device_form, layer_scales
from device.harness.boards import BOARDS, Board
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from device.twin.state import initial_state
from device.twin.trace import trace
from server.learning.diffing import (
    Lesson,
    Run,
    first_difference,
    layers_of,
    states_differ,
    training_differs,
)
from server.learning.explaining import explain_layers, float_layers, instructions_of
from server.learning.learner_data import LearnerData, initial_exemplars
from tests.suite.build import Net
from tests.suite.models import SUITE

ENTRY = SUITE["branches"]


@dataclass(frozen=True)
class Case:
    """The network, its file, samples, and its integer model."""

    file: bytes
    graph: FloatGraph
    x: NDArray[np.float32]
    model: IntModel

    @property
    def learner(self) -> LearnerData:
        """The learner as shipped."""
        twin = TwinLearner(self.model)
        return LearnerData(twin.export_state(), twin.state_hash(), initial_exemplars(self.model))


@pytest.fixture(scope="module")
def case() -> Case:
    """The network of the suite in which every kind of node occurs."""
    file = ENTRY.build().SerializeToString()
    graph = import_onnx(file)
    x = ENTRY.samples(48).reshape(48, -1)
    labels = np.arange(48) % graph.n_classes
    return Case(file, graph, x, quantize(graph, x, labels, QuantizeOptions()))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds")


def test_float_layers_end_in_what_onnxruntime_makes_of_the_file(case: Case) -> None:
    session = onnxruntime.InferenceSession(case.file)
    expected = session.run(None, {"x": case.x.reshape(-1, *ENTRY.shape)})[0]
    count = len(case.model.front) + 1 + len(case.model.layers)
    layers = float_layers(case.graph, case.x, count)
    assert len(layers) == count
    np.testing.assert_allclose(layers[-1], expected, rtol=1e-4, atol=1e-5)


def test_trace_ends_in_the_learners_logits(case: Case) -> None:
    raw = raw_samples(case.model, case.x)
    *_, last = trace(case.model, initial_state(case.model), raw)
    np.testing.assert_array_equal(last.q, TwinLearner(case.model).infer_many(raw)[1])


def test_scales_of_8_bit_layers_are_those_that_fit_the_floats_best(case: Case) -> None:
    state = initial_state(case.model)
    made = list(trace(case.model, state, raw_samples(case.model, case.x)))
    steps = layer_scales(case.graph, case.model, state)
    floats = float_layers(case.graph, case.x, len(made))
    for layer, step, real in zip(made, steps, floats, strict=True):
        best = float((real * layer.q).sum() / np.square(layer.q).sum())
        # a fit of noise levels of a few percent on thousands of values: well below a percent
        assert abs(best / step - 1) < (0.01 if layer.qmax == 127 else 0.08), layer.name


def test_explain_shows_shapes_costs_and_errors(case: Case) -> None:
    rows = explain_layers(case.model, initial_state(case.model), case.x, case.graph)
    assert {row["kind"] for row in rows} == {
        *("input", "conv", "table", "concat", "add", "max", "average", "head")
    }
    assert all(row["error"] < 0.1 for row in rows)
    first = next(row for row in rows if row["kind"] == "conv")
    node = next(node for node in case.model.front if node.name == first["name"])
    assert first["macs"] == np.prod(node.out_shape[:2]) * node.weight.size
    assert rows[-1]["shape"] == [5]
    assert rows[-1]["macs"] == 5 * 12


def test_explain_samples_beyond_the_range_are_seen_as_clipped(case: Case) -> None:
    state = initial_state(case.model)
    calm = explain_layers(case.model, state, case.x, None)[0]
    loud = explain_layers(case.model, state, case.x * 6, None)[0]
    v = np.abs(ENTRY.samples(48)) * 6
    inside = float(np.abs(case.x).max())
    assert calm["clipped"] < 0.01
    # the range is a little narrower than the largest sample of the calibration
    assert loud["clipped"] == pytest.approx(float((v > inside).mean()), abs=0.05)
    assert calm["error"] is None
    assert calm["step"] is None


def test_explain_a_learner_that_has_learned_is_compared_with_its_own_weights(case: Case) -> None:
    state = initial_state(case.model)
    rng = np.random.default_rng(3)
    shape = state.weights[-1].master.shape
    state.weights[-1].master[:] = rng.integers(-9000, 9000, shape)
    learned = explain_layers(case.model, state, case.x, case.graph)[-1]
    first = explain_layers(case.model, initial_state(case.model), case.x, case.graph)[-1]
    assert learned["float_range"] != first["float_range"]
    assert learned["error"] < 0.2


@pytest.mark.parametrize("train_last", [2, 3, 4])
def test_explain_compares_trained_convolutions_with_the_float_ones(train_last: int) -> None:
    """Their pools belong to them; steps, weights and errors are the float layers'."""
    net = Net("chain", (2, 6, 5), 4)
    x = net.relu6(net.conv("x", 6, (3, 3), act=""))
    x = net.conv(x, 6, (3, 3), groups=6)
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("ReduceMean", net.conv(x, 8, (1, 1)), axes=[2, 3], keepdims=0)
    graph = import_onnx(net.file(net.gemm(x, 8, 3), 3).SerializeToString())
    samples = np.random.default_rng(1).normal(0, 1, (48, 60)).astype(np.float32)
    options = QuantizeOptions(Arithmetic(batch=4), train_last=train_last, exemplar_slots=6)
    model = quantize(graph, samples, np.arange(48) % 3, options)
    state = initial_state(model)
    rows = explain_layers(model, state, samples, graph)
    assert [row["kind"] for row in rows].count("trained conv") == train_last - 1
    assert all(row["error"] < 0.4 for row in rows)
    for weights in state.weights[:-1]:
        weights.master[:] = weights.master // 2
        weights.bias[:] = weights.bias // 2
    learned = explain_layers(model, state, samples, graph)[-2]
    assert learned["float_range"][1] < 0.6 * rows[-2]["float_range"][1]
    other = SUITE["ds_cnn"].build().SerializeToString()
    with pytest.raises(GraphError):
        explain_layers(model, state, samples, import_onnx(other))


@pytest.mark.parametrize("train_last", [1, 2])
def test_explain_features_that_the_quantizer_has_centred_and_spread(train_last: int) -> None:
    rng = np.random.default_rng(5)
    x = (rng.normal(0, 1, (200, 12)) * rng.uniform(0.05, 3, 12) + rng.uniform(2, 9, 12)).astype(
        np.float32
    )
    first = Dense("d0", rng.normal(0, 0.4, (10, 12)), rng.normal(0, 1, 10), "relu")
    second = Dense("d1", rng.normal(0, 0.4, (4, 10)), rng.normal(0, 0.2, 4))
    graph = FloatGraph("spread", (12,), (first, second))
    model = quantize(graph, x, np.arange(200) % 4, QuantizeOptions(train_last=train_last))
    assert model.input.zero.any() == (train_last == 2)  # eight bits do without
    rows = explain_layers(model, initial_state(model), x, graph)
    assert [row["kind"] for row in rows] == [
        "input",
        "frozen" if train_last == 1 else "hidden",
        "head",
    ]
    assert all(row["error"] < 0.25 for row in rows)
    session = float_layers(graph, x, 3)
    moved = float_layers(device_form(graph, model), x, 3)
    np.testing.assert_allclose(moved[-1], session[-1], rtol=1e-2, atol=2e-2)
    other = replace(graph, layers=(replace(first, weight=first.weight * 1.3), second))
    with pytest.raises(GraphError, match="others"):
        explain_layers(model, initial_state(model), x, other)


def test_explain_refuses_the_float_model_of_another(case: Case) -> None:
    other = import_onnx(SUITE["cnn_1d"].build().SerializeToString())
    with pytest.raises(GraphError, match="expected the float model"):
        layer_scales(other, case.model, initial_state(case.model))
    scaled = replace(case.model.front[0], mult=case.model.front[0].mult // 3)
    changed = replace(case.model, front=(scaled, *case.model.front[1:]))
    with pytest.raises(GraphError, match="weights are others"):
        layer_scales(case.graph, changed, initial_state(changed))


def test_instructions_of_layers_add_up_to_those_of_the_inference(case: Case, cache: Path) -> None:
    counts = instructions_of(case.model, BOARDS["mps2-an385"], cache, case.x)
    assert len(counts) == 1 + len(case.model.front) + len(case.model.layers)
    assert min(counts) > 100
    firmware = firmwares.build_firmware(case.model, BOARDS["mps2-an385"], cache)
    with firmwares.emulated_device(firmware, BOARDS["mps2-an385"]) as (device, _):
        device.infer(raw_samples(case.model, case.x[:1])[0])
        whole = device.instructions()
    assert whole is not None
    assert 0 < whole - sum(counts) < 200  # entry, before the first layer


@pytest.mark.parametrize(
    "execution",
    ["host", *(pytest.param(b, marks=pytest.mark.long) for b in ("mps3-an547", "riscv-virt"))],
)
def test_diff_twin_and_host_are_equal_layer_by_layer_and_step_by_step(
    case: Case, cache: Path, execution: str
) -> None:
    runs = [Run(case.model, case.learner, name) for name in ("twin", execution)]
    rows, found = first_difference(*(layers_of(run, case.x[:4], cache) for run in runs))
    assert found is None
    assert len(rows) == 1 + len(case.model.front) + len(case.model.layers)
    lesson = Lesson(case.x[:12], np.arange(12) % 5, steps=2, seed=3)
    assert training_differs(*runs, lesson, cache) is None


def test_diff_names_the_layer_and_the_field_of_an_error_planted_in_the_c(
    case: Case, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(model: IntModel, board: Board, trace: bool = False) -> dict[str, bytes]:
        files = generate(model, board, trace)
        path, old = "runtime/src/front/had_pool.c", b"int8_t most = INT8_MIN"
        assert old in files[path]
        return {**files, path: files[path].replace(old, b"int8_t most = 90")}

    monkeypatch.setattr(firmwares, "generate", planted)
    runs = [Run(case.model, case.learner, name) for name in ("twin", "host")]
    rows, found = first_difference(*(layers_of(run, case.x[:4], cache) for run in runs))
    assert found is not None
    assert (found["kind"], found["reason"]) == ("max", "values differ")
    assert found["b"] >= 90
    assert [row["equal"] for row in rows] == [True] * (len(rows) - 1) + [False]
    lesson = Lesson(case.x[:12], np.arange(12) % 5, steps=2, seed=3)
    trained = training_differs(*runs, lesson, cache)
    assert trained is not None
    assert (trained["step"], trained["field"]) == (0, "prototype sums")


def test_diff_two_states_names_field_and_position(case: Case) -> None:
    twin = TwinLearner(case.model)
    before = twin.export_state()
    assert states_differ(case.model, before, before) is None
    twin.working.weights[-1].master[2, 7] += 1
    found = states_differ(case.model, before, twin.export_state(working=True))
    assert found is not None
    assert found["field"] == f"masters of {case.model.layers[-1].name}"
    assert (found["position"], found["b"] - found["a"]) == ([2, 7], 1)
