# SPDX-License-Identifier: Apache-2.0
"""Inputs, weights and samples of extreme size give sound models, or a refusal that says why."""

import numpy as np
import pytest
from quantize_graphs import Array, graph_of, normal_samples, random_weights

from codegen.graph import Affine, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.stage import input_grid
from device.twin.check import check_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel

X = normal_samples(150, 12)
SIZES = (12, 9, 4)
EXTREMES = [1e-37, 1e-12, 1e-3, 1e3, 1e12, 1e37]


def agreement(graph: FloatGraph, x: Array, train_last: int | None = None) -> float:
    """Share of samples of which model and graph say the same class; the model must be sound."""
    model = quantize(graph, x, None, QuantizeOptions(train_last=train_last))
    check_model(model)
    classes = TwinLearner(model).infer_many(raw_samples(model, x))[0]
    return float((classes == graph.forward(x).argmax(axis=1)).mean())


def learns(model: IntModel, x: Array) -> None:
    """Learning on such a model works."""
    learner = TwinLearner(model)
    for raw in raw_samples(model, x)[:6]:
        learner.learn(raw, 1)
    learner.commit()


@pytest.mark.parametrize("train_last", [None, 1])
@pytest.mark.parametrize("size", EXTREMES)
def test_inputs_of_any_size_with_a_normaliser(size: float, train_last: int | None) -> None:
    """Regression: offsets overflowed float32 at 1e-37."""
    x = (X * size).astype(np.float32)
    graph = graph_of(random_weights(SIZES), (np.full(12, 0.2 * size), np.full(12, 1 / size)))
    assert agreement(graph, x, train_last) >= 0.85


@pytest.mark.parametrize("train_last", [None, 1])
@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_inputs_of_any_size_that_the_first_weights_undo(
    size: float, train_last: int | None
) -> None:
    """Regression: weights below 1e-12 became zero."""
    weights = random_weights(SIZES)
    weights[0] = weights[0][0] / size, weights[0][1]
    assert agreement(graph_of(weights), (X * size).astype(np.float32), train_last) >= 0.85


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_hidden_outputs_of_any_size_between_frozen_layers(size: float) -> None:
    """Regression: the grid of a frozen layer was cut to 0 to 15 bits without need."""
    weights = random_weights((12, 9, 8, 4))
    weights[0] = weights[0][0] * size, weights[0][1] * size
    weights[1] = weights[1][0] / size, weights[1][1]
    assert agreement(graph_of(weights), X, train_last=1) >= 0.85


def test_feature_that_the_normaliser_drops_changes_nothing() -> None:
    graph = graph_of(random_weights(SIZES), (np.zeros(12), np.r_[0.0, np.ones(11)]))
    model = quantize(graph, X)
    raw = raw_samples(model, X)
    other = raw.copy()
    other[:, 0] = 32767
    assert (model.input.mult[0], model.input.shift[0]) == (0, 0)
    twin = TwinLearner(model)
    assert np.array_equal(twin.infer_many(raw)[1], twin.infer_many(other)[1])


def test_constant_feature_is_taken() -> None:
    x = X.copy()
    x[:, 4] = 3.0
    assert agreement(graph_of(random_weights(SIZES)), x) >= 0.85


def test_equal_samples_are_taken() -> None:
    x = np.ones((10, 12), np.float32)
    assert agreement(graph_of(random_weights(SIZES)), x) == 1.0


def test_samples_that_kill_a_layer_are_taken() -> None:
    weights = random_weights(SIZES)
    weights[0] = weights[0][0], np.full(9, -100.0)
    for train_last in (None, 1):
        graph = graph_of(weights)
        assert agreement(graph, X, train_last) == 1.0
        learns(quantize(graph, X, None, QuantizeOptions(train_last=train_last)), X)


def test_layer_of_zero_weights_is_taken() -> None:
    weights = [(w * 0, b) for w, b in random_weights(SIZES)]
    for train_last in (None, 1):
        assert agreement(graph_of(weights), X, train_last) == 1.0


def test_biases_far_beyond_the_products_are_held_by_the_grid() -> None:
    """Regression: a bias that its layer's outputs cancel was cut to 32 bits."""
    weights = random_weights(SIZES, bias=0.0)
    first = weights[0][0].copy()
    first[:, 0] = -1000.0
    x = np.sign(X)  # exact in 4 bits, so the products cancel the biases
    x[:, 0] = 1.0
    weights[0] = first, np.full(9, 1000.0)
    model = quantize(graph_of(weights), x)
    layer = model.layers[0]
    assert np.abs(layer.bias).max() < 2**31 - 1
    grid = 2.0 ** (layer.out_frac_bits + 16)
    assert np.allclose(layer.bias / grid, 1000.0, atol=1e-3)


def test_negative_normaliser_scale_is_taken() -> None:
    graph = graph_of(random_weights(SIZES), (np.zeros(12), np.full(12, -0.3)))
    model = quantize(graph, X)
    assert (model.input.mult < 0).all()
    assert agreement(graph, X) >= 0.85


def test_samples_of_one_class_are_taken() -> None:
    model = quantize(graph_of(random_weights(SIZES)), X, np.zeros(150, np.int64))
    check_model(model)
    learns(model, X)


def test_two_samples_are_enough() -> None:
    graph = graph_of(random_weights(SIZES))
    model = quantize(graph, X[:2], np.array([0, 3]))
    check_model(model)
    assert [(e.label, e.rank) for e in model.exemplars] == [(0, 0), (3, 0)]


def test_zero_of_every_feature_fits_16_bits() -> None:
    """The raw grid holds the offsets too, also where they are far beyond the samples."""
    far = Affine("far", np.full(12, -3e4, np.float32), np.full(12, 1e-4, np.float32))
    stage, *_ = input_grid(far, X)
    assert np.abs(stage.zero - np.ldexp(-3e4, stage.raw_frac_bits)).max() <= 0.5
