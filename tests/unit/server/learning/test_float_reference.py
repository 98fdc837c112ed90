# SPDX-License-Identifier: Apache-2.0
"""The float trainer: its gradient against finite differences, no code in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.learning import float_reference as reference
from server.learning.float_reference import Layer, TrainOptions


def small_network(seed: int, sizes: tuple[int, ...] = (5, 7, 4)) -> reference.Params:
    """A network with biases, so that no gradient is zero by chance."""
    generator = np.random.default_rng(seed)
    return tuple(
        Layer(layer.weight, generator.normal(0, 0.3, layer.bias.shape).astype(np.float32))
        for layer in reference.init_params(sizes, generator)
    )


def batch(seed: int, count: int = 6, features: int = 5, classes: int = 3):
    """x float32 (count, features), y int64 (count,)."""
    generator = np.random.default_rng([seed, 7])
    x = generator.normal(0, 1, (count, features)).astype(np.float32)
    return x, generator.integers(0, classes, count)


def loss_in_double(weights, biases, x, y, n_classes: int) -> float:
    """Mean cross-entropy, sample by sample in float64: no code in common with the trainer."""
    total = 0.0
    for row, label in zip(x.astype(np.float64), y, strict=True):
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            row = weight @ row + bias
            if index < len(weights) - 1:
                row = np.where(row > 0, row, 0.0)
        shares = np.exp(row[:n_classes])
        total -= np.log(shares[label] / shares.sum())
    return total / len(y)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_train_step_gradient_equals_finite_differences(seed: int) -> None:
    params, (x, y) = small_network(seed), batch(seed)
    weights = [layer.weight.astype(np.float64) for layer in params]
    biases = [layer.bias.astype(np.float64) for layer in params]
    after, loss = reference.train_step(params, x, y, 1.0, 3)
    assert loss == pytest.approx(loss_in_double(weights, biases, x, y, 3), rel=1e-5)
    tensors = [(w, p.weight - a.weight) for w, p, a in zip(weights, params, after, strict=True)]
    tensors += [(b, p.bias - a.bias) for b, p, a in zip(biases, params, after, strict=True)]
    for tensor, gradient in tensors:
        numeric = np.zeros_like(tensor)
        for index in np.ndindex(tensor.shape):
            kept, step = tensor[index], 1e-5
            tensor[index] = kept + step
            above = loss_in_double(weights, biases, x, y, 3)
            tensor[index] = kept - step
            numeric[index] = (above - loss_in_double(weights, biases, x, y, 3)) / (2 * step)
            tensor[index] = kept
        # A ReLU input within `step` of zero would make the difference wrong; seeds have none.
        np.testing.assert_allclose(gradient, numeric, atol=2e-5)


def test_train_step_unused_outputs_and_frozen_layers_stay() -> None:
    params, (x, y) = small_network(1, (5, 7, 6, 4)), batch(1)
    after, _ = reference.train_step(params, x, y, 0.5, 3, first_trained=1)
    assert after[0] is params[0]
    assert (after[1].weight != params[1].weight).any()
    assert (after[2].weight[3] == params[2].weight[3]).all()
    assert after[2].bias[3] == params[2].bias[3]
    assert (after[2].weight[:3] != params[2].weight[:3]).any()


def test_train_step_weight_decay_adds_its_share_of_the_weight() -> None:
    params, (x, y) = small_network(2), batch(2)
    plain, _ = reference.train_step(params, x, y, 0.5, 3)
    decayed, _ = reference.train_step(params, x, y, 0.5, 3, weight_decay=0.1)
    for start, one, other in zip(params, plain, decayed, strict=True):
        np.testing.assert_allclose(one.weight - other.weight, 0.05 * start.weight, atol=1e-6)
        assert (one.bias == other.bias).all()


def test_train_step_keeps_float32() -> None:
    params, (x, y) = small_network(3), batch(3)
    after, _ = reference.train_step(params, x, y, 0.1, 3, weight_decay=1e-4)
    assert {a.dtype for layer in after for a in (layer.weight, layer.bias)} == {
        np.dtype(np.float32)
    }


def test_add_classes_leaves_old_logits_and_adds_zeros() -> None:
    params, (x, _) = small_network(4), batch(4)
    grown = reference.forward(reference.add_classes(params, 2), x)
    np.testing.assert_array_equal(grown[:, :4], reference.forward(params, x))
    assert (grown[:, 4:] == 0).all()


def test_predict_fewer_classes_ignores_the_other_outputs() -> None:
    head = Layer(np.zeros((3, 2), np.float32), np.array([1, 1, 9], np.float32))
    x = np.zeros((1, 2), np.float32)
    assert reference.predict((head,), x).tolist() == [2]
    assert reference.predict((head,), x, 2).tolist() == [0]


def test_init_params_variance_is_two_over_inputs() -> None:
    (layer,) = reference.init_params((200, 300), np.random.default_rng(0))
    assert layer.weight.var() == pytest.approx(2 / 200, rel=0.03)
    assert not layer.bias.any()


def test_batches_cover_every_sample_once() -> None:
    found = reference.batches(70, 32, np.random.default_rng(0))
    assert [len(rows) for rows in found] == [32, 32, 6]
    assert sorted(np.concatenate(found)) == list(range(70))


def test_rate_drops_at_each_milestone() -> None:
    options = TrainOptions(lr=0.1, milestones=(2, 4), lr_drop=0.5)
    assert [options.rate(epoch) for epoch in range(6)] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_train_base_same_seed_same_bits() -> None:
    x, y = batch(5, count=40)
    options = TrainOptions(hidden=(6,), epochs=3, milestones=(2,))
    one = reference.train_base(x, y, 3, options, seed=1)
    two = reference.train_base(x, y, 3, options, seed=1)
    other = reference.train_base(x, y, 3, options, seed=2)
    assert all((a.weight == b.weight).all() for a, b in zip(one, two, strict=True))
    assert (one[0].weight != other[0].weight).any()
