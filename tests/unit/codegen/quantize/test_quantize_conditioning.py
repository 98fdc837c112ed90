# SPDX-License-Identifier: Apache-2.0
"""Features far from zero, or of unlike spread, cost the integer model no accuracy."""

import numpy as np
import pytest
from quantize_graphs import Array, graph_of, normal_samples, random_graph, random_weights

from codegen.graph import FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.conditioning import forms
from device.twin.learner import TwinLearner, raw_samples

FEATURES, CLASSES = 32, 6


def agreement(graph: FloatGraph, x: Array, options: QuantizeOptions | None = None) -> float:
    model = quantize(graph, x, None, options)
    got = TwinLearner(model).infer_many(raw_samples(model, x))[0]
    return float((got == graph.forward(x).argmax(axis=1)).mean())


def seen_through(offset: float, spread: Array, normalised: bool) -> tuple[FloatGraph, Array]:
    """A network for normal features that reads `offset + spread * features` instead."""
    (weight, bias), *rest = random_weights((FEATURES, 16, CLASSES))
    x = normal_samples(200, FEATURES)
    weights = [(weight / spread, bias - (weight / spread).sum(axis=1) * offset), *rest]
    keep = (np.zeros(FEATURES), np.ones(FEATURES)) if normalised else None
    return graph_of(weights, keep), (offset + spread * x).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 5.0, -40.0])
def test_forms_compute_the_same_function(offset: float) -> None:
    spread = np.linspace(0.5, 2.0, FEATURES).astype(np.float32)
    graph, x = seen_through(offset, spread, normalised=True)
    expected = graph.forward(x)
    for form in forms(graph, x):
        assert np.allclose(form.forward(x), expected, atol=2e-3 * np.abs(expected).max())


def test_features_that_are_dropped_or_never_vary_stay_finite() -> None:
    weights = random_weights((4, 3))
    graph = graph_of(weights, (np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 0.5])))
    x = normal_samples(50, 4)
    x[:, 1] = 7.0
    for form in forms(graph, x):
        assert np.allclose(form.forward(x), graph.forward(x), atol=1e-4)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("train_last", [None, 1])
@pytest.mark.parametrize("offset", [4.0, -4.0])
def test_features_far_from_zero_lose_nothing(
    offset: float, train_last: int | None, normalised: bool
) -> None:
    plain, x = seen_through(0.0, np.ones(FEATURES, np.float32), normalised)
    options = QuantizeOptions(train_last=train_last)
    least = agreement(plain, x, options) - 0.03
    far, x = seen_through(offset, np.ones(FEATURES, np.float32), normalised)
    assert agreement(far, x, options) >= least


def test_features_of_unlike_spread_lose_little() -> None:
    spread = np.where(np.arange(FEATURES) % 2, 1.0, 0.05).astype(np.float32)
    least = agreement(*seen_through(0.0, np.ones(FEATURES, np.float32), False)) - 0.1
    assert agreement(*seen_through(0.0, spread, False)) >= least


def test_a_graph_that_reads_well_conditioned_features_is_taken_as_it_is() -> None:
    model = quantize(random_graph(FEATURES, 16, CLASSES), normal_samples(200, FEATURES))
    assert not model.input.zero.any() and len(set(model.input.mult.tolist())) == 1
