# SPDX-License-Identifier: Apache-2.0
"""Residual blocks taken out of the front and trained (SPEC.md 14.6), from float networks on."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.lower import lower
from codegen.quantize import QuantizeOptions, quantize, trained_counts
from codegen.quantize.tail import ConvSource, trainable_tail
from device.twin.check import check_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from device.twin.scale import Scale
from device.twin.state import initial_state
from device.twin.work import step_rows
from server.learning.explaining import explain_layers
from tests.suite.build import Net

CLASSES = 4
Floats = NDArray[np.floating]


def random_net(seed: int) -> tuple[FloatGraph, tuple[int, ...]]:
    """Blocks in a row, 1-D or 2-D, behind a convolution or at the samples; what can be trained."""
    rng = np.random.default_rng(seed)
    net = Net(f"blocks{seed}", (3, 8) if seed % 2 else (3, 5, 6), seed)
    kernel, point = ((3,), (1,)) if seed % 2 else ((3, 3), (1, 1))
    x, layers = "x", [1]
    for _ in range(int(rng.integers(0, 2))):
        x = net.conv(x, 4, kernel)
        layers.append(1)
    for _ in range(int(rng.integers(1, 3))):
        project, same = bool(rng.integers(2)), net.channels[x]
        channels = int(rng.integers(3, 6)) if project else same
        depth, stride = int(rng.integers(1, 3)) + project, 1 + int(project and rng.integers(2))
        y = x
        for at in range(depth):
            last = at + 1 == depth
            groups = net.channels[y] if rng.integers(3) == 0 and not last else 1
            out = net.channels[y] if groups > 1 else channels
            y = net.conv(
                y, out, kernel, stride if at == 0 else 1, groups=groups, act="" if last else "Relu"
            )
        short = net.conv(x, channels, point, stride, act="", norm=False) if project else x
        x = net.node("Add", *((y, short) if rng.integers(2) else (short, y)))
        x = net.relu6(x) if rng.integers(3) == 0 else net.node("Relu", x)
        layers.append(depth + project)
    channels = net.channels[x]
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    graph = import_onnx(net.file(net.gemm(x, channels, CLASSES), CLASSES).SerializeToString())
    head, *others = layers
    return graph, tuple(head + int(n) for n in (0, *np.cumsum(others[::-1])))


def samples(graph: FloatGraph, count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 1, (count, 1))
    return (level + rng.normal(0, 1, (count, graph.features))).astype(np.float32)


def made(graph: FloatGraph, train_last: int, **arithmetic: int) -> IntModel:
    options = QuantizeOptions(
        Arithmetic(**{"batch": 4, **arithmetic}), train_last=train_last, exemplar_slots=24
    )
    x = samples(graph, 48, 1)
    return quantize(graph, x, np.arange(48) % CLASSES, options)


@pytest.mark.parametrize(
    "seed", [0, 1, 2, 3, *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 60))]
)
def test_random_blocks_are_trained_from_the_float_network_on(seed: int) -> None:
    graph, counts = random_net(seed)
    assert trained_counts(graph) == counts
    model = made(graph, counts[-1])
    check_model(model)
    assert not model.front and len(model.layers) == counts[-1]
    assert IntModel.from_bytes(model.to_bytes()).model_id == model.model_id
    assert [(op.rows, op.units) for op in lower(model).operations] == step_rows(model)
    x = samples(graph, 24, 2)
    twin = TwinLearner(model)
    features, _ = twin.forward_x0(twin.x0_of(raw_samples(model, x)), twin.committed)
    assert graph.front is not None
    expected = graph.front.forward(x)
    assert np.corrcoef(features.reshape(-1), expected.reshape(-1))[0, 1] > 0.9
    rows = explain_layers(model, initial_state(model), x, graph)
    assert [row["kind"] for row in rows].count("shortcut") == sum(v.side for v in model.layers)
    assert all(row["error"] < 0.5 for row in rows)


@dataclass
class Reference:
    """A training step in float, a layer's map of values being the matrix of its convolution."""

    sources: list[ConvSource]
    shortcuts: bool = True

    def gradients(
        self, x: Floats, labels: NDArray[np.integer], head: Floats, bias: Floats
    ) -> list[Floats]:
        """Of the mean cross-entropy, by the weights (O, K) of every convolution."""
        inputs, masks, made = {0: x}, {}, []
        for at, source in enumerate(self.sources):
            given = inputs[at - 1 if source.side else at]
            y = source.node.linear([given.reshape(-1, *source.shape.in_shape)]).reshape(len(x), -1)
            if source.span is not None:
                first = at - source.span
                y = y + (made[first + 1] if self._side(first) else inputs[first])
            made.append(y)
            if not source.side:
                above = at + (2 if self._side(at) else 1)
                masks[above] = y > 0
                inputs[above] = source.after(y)
        logits = inputs[len(self.sources)] @ head.T + bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(x)), labels] -= 1
        errors = {len(self.sources): p / len(x) @ head}  # by input
        out: list[Floats] = [np.zeros(0)] * len(self.sources)
        sums: dict[int, Floats] = {}
        for at in reversed(range(len(self.sources))):
            source = self.sources[at]
            own = at - 1 if source.side else at
            if source.side:
                d = sums.pop(at)
            else:
                d = errors.pop(at + (2 if self._side(at) else 1))
                d = self._through_pool(source, d) * masks[at + (2 if self._side(at) else 1)]
            if source.span is not None and self.shortcuts:
                first = at - source.span
                if self._side(first):
                    sums[first + 1] = d
                else:
                    errors[first] = errors.get(first, 0) + d
            elif source.span is not None and self._side(at - source.span):
                sums[at - source.span + 1] = 0 * d
            out[at] = self._by_weight(source, inputs[own], d)
            errors[own] = errors.get(own, 0) + d @ self._matrix(source).T
        return out

    def _side(self, at: int) -> bool:
        return at + 1 < len(self.sources) and self.sources[at + 1].side

    def _through_pool(self, source: ConvSource, d: Floats) -> Floats:
        """Only the mean over all pixels is used here."""
        if source.pool is None:
            return d
        return np.tile(d / source.shape.pixels, source.shape.pixels)

    def _matrix(self, source: ConvSource) -> Floats:
        """(values read, values made) of the convolution without its bias."""
        size = source.shape.in_values
        eye = np.vstack([np.eye(size), np.zeros(size)]).reshape(-1, *source.shape.in_shape)
        y = source.node.linear([eye]).reshape(size + 1, -1)
        return np.asarray(y[:-1] - y[-1])

    def _by_weight(self, source: ConvSource, x: Floats, d: Floats) -> Floats:
        node, found = source.node, np.zeros(source.weight.size)
        for k in range(source.weight.size):
            one = np.zeros(source.weight.size, np.float32)
            one[k] = 1
            unit = type(node)(
                **{
                    **{f: getattr(node, f) for f in node.__dataclass_fields__},
                    "weight": one.reshape(node.weight.shape),
                    "bias": np.zeros_like(node.bias),
                }
            )
            y = unit.linear([x.reshape(-1, *source.shape.in_shape)])
            found[k] = (y.reshape(len(x), -1) * d).sum()
        return found.reshape(source.weight.shape)


def cosine(a: Floats, b: Floats) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("seed", [7, pytest.param(10, marks=pytest.mark.long)])
def test_steps_follow_the_float_gradient_through_both_branches(seed: int) -> None:
    """Sum of integer steps from one state; a reference without shortcuts is further away."""
    graph, counts = random_net(seed)
    model = made(graph, counts[-1], batch=16, acc_bits=16)
    twin = TwinLearner(model)
    stored = [(s.exemplar.x0, s.exemplar.label) for s in twin.memory.samples]
    x = np.array([x0 for x0, _ in stored]) * model.input.scale.value
    labels = np.array([label for _, label in stored])
    moved = [np.zeros(v.master.shape) for v in model.layers]
    for draw in range(12):
        twin.rollback()
        twin.train_begin(draw, 1, [(0, Scale.from_real(0.02))], "balanced")
        twin.train(1 << 30)
        for total, w, v in zip(moved, twin.working.weights, model.layers, strict=True):
            total += (v.master - w.master) * v.row_factor[:, None] * v.scale.value
    sources, head = trainable_tail(graph.front)[0], graph.dense_layers[-1]
    both = Reference(sources).gradients(x, labels, head.weight, head.bias)
    one = Reference(sources, False).gradients(x, labels, head.weight, head.bias)
    assert all(cosine(m, g) > 0.75 for m, g in zip(moved, both, strict=False))
    assert cosine(moved[0], one[0]) < 0.5  # the errors of both branches arrive below the blocks
