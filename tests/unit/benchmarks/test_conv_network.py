# SPDX-License-Identifier: Apache-2.0
"""The float32 arm of training through convolutions: its gradients, and the graph it becomes."""

import numpy as np
import pytest

from benchmarks.accuracy.conv_network import (
    Block,
    BlockPlan,
    Conv,
    ConvNetwork,
    ConvPlan,
    fresh,
    graph_of,
    with_rows,
)
from benchmarks.accuracy.learners import HostLearner, Schedule

SHAPE = (6, 5, 3)
PLANS: dict[str, tuple[ConvPlan | BlockPlan, ...]] = {
    "chain": (ConvPlan(4, (3, 2), (2, 1), (1, 0)), ConvPlan(5, (1, 1))),
    "separable": (ConvPlan(4, (1, 1)), ConvPlan(4, (3, 3), pad=(1, 1), depthwise=True)),
    "blocks": (ConvPlan(4, (3, 3), pad=(1, 1)), BlockPlan(4), BlockPlan(6, (2, 2))),
}


def _convs(part: Conv | Block) -> list[Conv]:
    if isinstance(part, Conv):
        return [part]
    return [*part.main, *([] if part.side is None else [part.side])]


def made(name: str) -> tuple[ConvNetwork, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    network = fresh(SHAPE, PLANS[name], 3, 1)
    for part in network.convs:
        for conv in _convs(part):
            conv.bias += np.float32(0.1)
    return network, np.random.default_rng(2).normal(0, 1, (2, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("name", PLANS)
def test_gradients_equal_finite_differences(name: str) -> None:
    network, x = made(name)
    error = np.random.default_rng(3).normal(0, 1, (2, 3)).astype(np.float32)
    network.forward(x)
    d = error @ network.head
    for part in reversed(network.convs):
        d, moves = part.backward(d)
        for values, gradient in moves:
            at = tuple(np.random.default_rng(4).integers(0, values.shape))
            kept, sides = values[at], []
            for side in (1, -1):
                values[at] = kept + side * np.float32(2e-3)
                sides.append(float((network.forward(x) * error).sum()))
            values[at] = kept
            assert (sides[0] - sides[1]) / 4e-3 == pytest.approx(float(gradient[at]), abs=0.05)
        network.forward(x)


@pytest.mark.parametrize("name", PLANS)
def test_graph_of_the_network_computes_what_it_does(name: str) -> None:
    network, x = made(name)
    graph = graph_of(network, SHAPE, name)
    (*_, (_, logits)) = graph.trace(x.reshape(len(x), -1))
    np.testing.assert_allclose(logits, network.forward(x), rtol=1e-3, atol=1e-3)


def test_learner_of_the_table_trains_the_last_block_alone() -> None:
    network, _ = made("blocks")
    x = np.random.default_rng(5).normal(0, 1, (24, *SHAPE)).astype(np.float32)
    copy = with_rows(network, 5, 4)  # the projecting block's three convolutions and the head
    learner = HostLearner(copy, "replay", 12, Schedule(1, 4, 0.02))  # type: ignore[arg-type]
    learner.start(x[:12], np.arange(12) % 3)
    learner.learn(x[12:], np.arange(12) % 2 + 3, 5, 1)
    assert learner.predict(x, 0).shape == (24,)
    moved = [
        not np.array_equal(a.weight, b.weight)
        for old, new in zip(network.convs, copy.convs, strict=True)
        for a, b in zip(_convs(old), _convs(new), strict=True)
    ]
    assert moved == [False] * 3 + [True] * 3
