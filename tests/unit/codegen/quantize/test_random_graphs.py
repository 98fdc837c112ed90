# SPDX-License-Identifier: Apache-2.0
"""Random networks: floats as onnxruntime, integers within their scales, C as the twin."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codegen.float_front import FloatNode
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from codegen.scales import layer_scales
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from device.twin.state import initial_state
from device.twin.trace import trace
from server.learning.diffing import Run, first_difference, layers_of
from server.learning.firmwares import cache_folder
from server.learning.learner_data import LearnerData, initial_exemplars
from tests.suite.random_nets import RandomNet
from tests.suite.tolerance import expected, tolerance

EXAMPLES = int(os.environ.get("HADAPT_GRAPHS", "12"))
FLOAT_TOLERANCE = 1e-4  # of float32 sums, relative to the largest logit


def build(seed: int, steps: int) -> tuple[bytes, FloatGraph, Any]:
    """A random file, what the importer makes of it, and samples (24, features)."""
    net = RandomNet(seed)
    file = net.file(steps).SerializeToString()
    x = np.random.default_rng(seed + 1).normal(0, 1, (24, *net.shape)).astype(np.float32)
    return file, import_onnx(file), x


def made(seed: int, steps: int) -> tuple[FloatGraph, IntModel, Any]:
    """The same, quantized."""
    _, graph, x = build(seed, steps)
    flat = x.reshape(len(x), -1)
    return graph, quantize(graph, flat, np.arange(24) % 3, QuantizeOptions()), flat


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.integers(0, 10**6), st.integers(1, 7))
def test_random_graph_floats_equal_onnxruntime_and_integers_stay_within_their_scales(
    seed: int, steps: int
) -> None:
    file, graph, x = build(seed, steps)
    session = onnxruntime.InferenceSession(file)
    wanted = session.run(None, {"x": x})[0]
    flat = x.reshape(len(x), -1)
    difference = np.abs(graph.forward(flat) - wanted).max()
    assert difference <= FLOAT_TOLERANCE * max(1.0, np.abs(wanted).max())
    model = quantize(graph, flat, None, QuantizeOptions())
    _check_nodes(graph, model, flat)


def _check_nodes(
    graph: FloatGraph, model: IntModel, x: Any, scales: list[float] | None = None
) -> None:
    state = initial_state(model)
    layers = list(trace(model, state, raw_samples(model, x)))
    scales = scales or layer_scales(graph, model, state)
    sources = list(graph.front.nodes) if graph.front else []
    for at, node in enumerate(model.front):
        steps = [scales[i] for i in node.sources]
        reads = zip(node.sources, node.in_shapes, steps, strict=True)
        inputs = [layers[i].q.reshape(-1, *shape) * step for i, shape, step in reads]
        source = sources[at] if at < len(sources) else _rescale(node.in_shapes[0])
        step = scales[at + 1]
        got = layers[at + 1].q.reshape(-1, *node.out_shape) * step
        error = np.abs(got - expected(node, source, inputs, step))
        allowed = tolerance(node, source, inputs, steps, step)
        assert (error <= allowed).all(), (
            graph.name,
            node.name,
            node.kind,
            float((error - allowed).max()),
        )


def _rescale(shape: tuple[int, int, int]) -> FloatNode:
    """The change of scale that the quantizer adds behind a pool or a table."""
    return FloatNode("concat", "rescale", (0,), (shape,), shape)


def test_tolerance_of_a_node_finds_a_wrong_multiplier() -> None:
    graph, model, x = made(5, 5)
    scales = layer_scales(graph, model, initial_state(model))
    _check_nodes(graph, model, x)
    at = next(i for i, node in enumerate(model.front) if node.kind == "conv")
    wrong = model.front[at].mult.copy()
    wrong[0] += wrong[0] // 16
    nodes = list(model.front)
    nodes[at] = replace(nodes[at], mult=wrong)
    with pytest.raises(AssertionError, match="conv"):
        _check_nodes(graph, replace(model, front=tuple(nodes)), x, scales)


@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.long)])
def test_random_graph_in_c_equals_twin_layer_by_layer(seed: int) -> None:
    _, model, x = made(seed, 9)
    assert model.front
    twin = TwinLearner(model)
    data = LearnerData(twin.export_state(), twin.state_hash(), initial_exemplars(model))
    runs = [Run(model, data, name) for name in ("twin", "host")]
    rows, found = first_difference(*(layers_of(run, x, cache_folder()) for run in runs))
    assert found is None
    assert len(rows) > 8
