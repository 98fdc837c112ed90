# SPDX-License-Identifier: Apache-2.0
"""The networks that learn on this machine: float32 is the reference's, simulations do as told."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy.learners import HostLearner, Schedule, softmax
from benchmarks.accuracy.networks import Network, Optimiser
from benchmarks.accuracy.quantisers import (
    ONE,
    Operand,
    best_shares,
    fwht,
    largest,
    logarithmic,
    nibbles_product,
    product,
    quantised,
)
from benchmarks.accuracy.simulations import HDQT, SIMULATIONS, Simulation
from server.learning.base_model import Normaliser
from server.learning.float_reference import init_params, train_step

PLAIN = Normaliser(np.zeros(12, np.float32), np.ones(12, np.float32))


def network(simulation: Simulation, optimiser: Optimiser | None = None) -> Network:
    """12-16-8-3 with one class to come."""
    params = init_params([12, 16, 8, 3], np.random.default_rng(1))
    return Network(params, PLAIN, 4, simulation, optimiser or Optimiser(), 5)


def batch(rows: int = 32) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.normal(size=(rows, 12)).astype(np.float32), random.integers(0, 3, rows)


def step(net: Network, x: np.ndarray, y: np.ndarray, rate: float) -> None:
    error = softmax(net.forward(net.store(x)))
    error[np.arange(len(y)), y] -= 1
    net.backward(error, rate)


def test_float_network_takes_the_steps_of_the_float_reference() -> None:
    net, (x, y) = network(Simulation()), batch()
    params = init_params([12, 16, 8, 3], np.random.default_rng(1))
    for _ in range(5):
        step(net, x, y, 0.1)
        params, _ = train_step(params, x, y, 0.1, 3)
    for layer, (weight, bias) in enumerate(zip(net._weights, net._biases, strict=True)):
        rows = len(params[layer].weight)
        np.testing.assert_allclose(weight[:rows], params[layer].weight, atol=1e-6)
        np.testing.assert_allclose(bias[:rows], params[layer].bias, atol=1e-6)


def test_momentum_and_decay_follow_their_recurrence() -> None:
    net, (x, y) = network(Simulation(), Optimiser(0.9, 0.01)), batch()
    plain = network(Simulation())
    before = plain._weights[0].copy()
    step(plain, x, y, 1.0)
    gradient = before - plain._weights[0]
    step(net, x, y, 0.1)
    first = gradient + np.float32(0.01) * before
    np.testing.assert_allclose(net._weights[0], before - 0.1 * first, atol=1e-6)
    np.testing.assert_allclose(net._momenta[0], first, atol=1e-6)


@pytest.mark.parametrize("name", sorted(SIMULATIONS))
def test_every_arithmetic_learns_a_separable_task(name: str) -> None:
    net, (x, y) = network(SIMULATIONS[name]), batch(64)
    x[np.arange(64), y] += 4
    net.calibrate(x)
    for _ in range(120):
        step(net, x, y, 0.1)
    found = net.infer(net.store(x))[1].argmax(axis=1)
    assert (found == y).mean() > 0.9, name


def test_saturating_product_of_tiles_by_hand() -> None:
    a = Operand(np.full((1, 40), 7, np.float32), ONE)
    minus = Operand(-a.q, ONE)
    # 32 * 49 and 8 * 49, both beyond 8 bits
    assert product(a, a, 32, 8)[0, 0] == 127 + 127
    assert product(a, minus, 32, 8)[0, 0] == -256
    assert product(a, a, 32, 32)[0, 0] == 40 * 49
    scaled = Operand(a.q, np.array([[2, 3]], np.float32))  # a scale a tile
    assert product(scaled, a, 32, 8)[0, 0] == 2 * 127 + 3 * 127


def test_scales_of_blocks_are_powers_of_two_that_hold_them() -> None:
    values = np.array([[0.3, -0.6, 5, 0]], np.float32)
    np.testing.assert_array_equal(largest(values, "block", 2), [[1, 8]])
    found = quantised(values, largest(values, "block", 2), 7, "nearest", None, tile=2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.q, [[2, -4, 4, 0]])


def test_transform_twice_is_order_times_its_input() -> None:
    x = np.arange(32, dtype=np.float32).reshape(2, 16)
    np.testing.assert_array_equal(fwht(fwht(x, 8), 8), 8 * x)


def test_logarithmic_and_stochastic_rounding_have_no_bias() -> None:
    random = np.random.default_rng(3)
    values = np.repeat(np.array([[0.001, -0.03, 0.4, 0.7, 1.0]], np.float32), 40000, axis=0)
    top = np.ones((1, 1), np.float32)
    found = logarithmic(values, top, random)
    np.testing.assert_allclose(found.mean(axis=0), values[0], atol=0.004)
    assert len(np.unique(np.abs(found))) <= 8  # zero and seven powers: four bits with the sign
    both = quantised(values, top, 7, "stochastic", random)
    np.testing.assert_allclose((both.q * both.step).mean(axis=0), values[0], atol=0.004)


def test_distillation_keeps_old_outputs_where_only_new_samples_are_drawn() -> None:
    x, y = batch(90)
    x[np.arange(90), y] += 4
    old, new = y < 2, y == 2
    kept = {}
    for method in ("finetune", "lwf"):
        params = init_params([12, 16, 8, 2], np.random.default_rng(1))
        net = Network(params, PLAIN, 3, Simulation(), Optimiser(), 5)
        for _ in range(100):
            error = softmax(net.forward(x[old]))
            error[np.arange(old.sum()), y[old]] -= 1
            net.backward(error, 0.1)
        learner = HostLearner(net, method, 20, Schedule(20, 16, 0.02))
        learner.start(x[old], y[old])
        before = net.infer(x[old])[1]
        learner.learn(x[new], y[new], 3, 0)
        kept[method] = np.abs(softmax(net.infer(x[old])[1][:, :2]) - softmax(before)).mean()
        assert (learner.predict(x[new], 0) == 2).mean() > 0.5, method
    assert kept["lwf"] < kept["finetune"]


@pytest.mark.parametrize("first", [0, 1])
def test_grown_network_learns_in_its_block_and_head_alone(first: int) -> None:
    net, (x, y) = network(Simulation(), Optimiser(0.9, 0.01)), batch()
    net.reserve(first, 5)
    before = net.infer(x)[1]
    net.grow()
    net.begin_session()
    np.testing.assert_allclose(net.infer(x)[1], before, atol=1e-6)  # the head reads zeros so far
    start = [w.copy() for w in net._weights]
    assert [len(w) for w in start] == ([21, 13, 4] if first == 0 else [16, 13, 4])
    for _ in range(3):
        step(net, x, y, 0.1)
    moved = [a != b for a, b in zip(start, net._weights, strict=True)]
    for index in (0, 1):
        rows = slice(-5, None) if index >= first else slice(0, 0)
        own = slice(-5, None) if index > first else slice(None)
        assert moved[index][rows, own].any() == (index >= first)
        moved[index][rows, own] = False
        assert not moved[index].any()
    assert moved[-1][:3].any()
    assert not net._biases[0][:16].any()


def test_nibbles_product_is_exact_where_no_tile_saturates() -> None:
    random = np.random.default_rng(3)
    x = random.integers(-127, 128, (5, 40)).astype(np.float32)
    w = Operand(random.integers(-7, 8, (3, 40)).astype(np.float32), ONE)
    exact = x.astype(np.int64) @ w.q.astype(np.int64).T
    found = nibbles_product(x, np.float32(0.5), w, 32, 16)
    np.testing.assert_array_equal(found, exact * 0.5)
    assert (nibbles_product(x, np.float32(0.5), w, 32, 8) != exact * 0.5).any()


def test_best_shares_clips_where_one_value_stands_alone() -> None:
    even = np.linspace(-7, 7, 15, dtype=np.float32)
    alone = np.append(np.tile(np.linspace(-4, 4, 15), 20), 7).astype(np.float32)
    shares = [best_shares(v[None], np.array([[7]], np.float32)).item() for v in (even, alone)]
    assert shares[0] == 1
    assert shares[1] < 0.65


def test_average_of_masters_is_the_mean_on_their_grid() -> None:
    net, (x, y) = network(replace(HDQT, average=0.5)), batch()
    net.calibrate(x)
    net.begin_session()
    seen = []
    for number in range(4):
        step(net, x, y, 0.1)
        if net.averages_from(number, 4):
            net.add_average()
            seen.append(net.params()[0].weight)
    net.end_average()
    assert len(seen) == 2
    grid = net._steps[0]
    assert grid is not None
    np.testing.assert_allclose(net.params()[0].weight, np.mean(seen, axis=0), atol=grid.max())


def test_x0_in_float_is_not_rounded_in_the_first_product() -> None:
    net, (x, _) = network(replace(HDQT, stored="none", acc_bits=32)), batch()
    net.calibrate(x)
    first = net._product(net.store(x), 0, net._how)
    view = quantised(net._weights[0], largest(net._weights[0], "row"), 7, "nearest", net._random)
    np.testing.assert_allclose(first, x @ (view.q * view.step).T, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"stored_bits": 8}, {"x_range": 0.5}, {"weight_clip": 0.0}, {"weight_levels": 127}]
)
def test_option_of_the_forward_pass_changes_it(changes: dict[str, float]) -> None:
    outputs = []
    for how in (HDQT, replace(HDQT, **changes)):
        net, (x, _) = network(how), batch()
        net.calibrate(x)
        outputs.append(net.infer(net.store(x))[1])
    assert np.isfinite(outputs[1]).all()
    assert (outputs[0] != outputs[1]).any()
