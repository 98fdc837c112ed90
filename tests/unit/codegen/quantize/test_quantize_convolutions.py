# SPDX-License-Identifier: Apache-2.0
"""Convolutions taken out of the front and trained: `train_last` beyond the dense layers."""

from functools import cache

import numpy as np
import pytest

from codegen.errors import QuantizeError
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from device.twin.check import check_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from tests.suite.build import Net
from tests.suite.models import SUITE

# Of the features, four bits each behind trained convolutions, the share of variance kept.
LEAST_CORRELATION = 0.93
SHAPES = {"small": (3, 24), "long": (3, 250), "bounded": (3, 6, 7)}
SHAPES |= dict.fromkeys(("linear_sum", "difference", "long_way"), (3, 6))


def _mean(net: Net, x: str) -> str:
    return net.node("Flatten", net.node("GlobalAveragePool", x))


def linear_sum(net: Net) -> str:
    """A sum without a ReLU."""
    x = net.conv("x", 6, (3,))
    return _mean(net, net.node("Add", x, net.conv(x, 6, (3,), act="")))


def difference(net: Net) -> str:
    """A branch is taken away."""
    x = net.conv("x", 6, (3,))
    x = net.node("Sub", x, net.conv(x, 6, (3,), act=""))
    return _mean(net, net.node("Relu", x))


def long_way(net: Net) -> str:
    """A shortcut that is a ReLU behind a convolution: two branches, none of them a shortcut."""
    x = net.conv("x", 6, (3,))
    x = net.node("Add", net.conv(x, 6, (3,)), net.conv(x, 6, (3,), act=""))
    return _mean(net, net.node("Relu", x))


SUMS = {"linear_sum": linear_sum, "difference": difference, "long_way": long_way}


def small_net(name: str) -> FloatGraph:
    """A 1-D network that can be trained from its raw windows on."""
    net = Net(name, SHAPES[name], 3)
    if name == "bounded":
        return separable_net(net)
    if name in SUMS:
        return import_onnx(net.file(net.gemm(SUMS[name](net), 6, 4), 4).SerializeToString())
    x = net.conv("x", 8, (5,), bias=True)
    x = net.node("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.conv(x, 12, (3,))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return import_onnx(net.file(net.gemm(x, 12, 4), 4).SerializeToString())


def separable_net(net: Net) -> FloatGraph:
    """Convolution, depthwise and pointwise convolution, each with a ReLU6, and a mean."""
    x = net.relu6(net.conv("x", 8, (3, 3), act=""))
    x = net.relu6(net.conv(x, 16, (3, 3), 2, groups=8, act=""))
    x = net.relu6(net.conv(x, 12, (1, 1), act=""))
    x = net.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return import_onnx(net.file(net.gemm(x, 12, 4), 4).SerializeToString())


@cache
def graph_of(name: str) -> FloatGraph:
    if name in SHAPES:
        return small_net(name)
    return import_onnx(SUITE[name].build().SerializeToString())


def samples(name: str, count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    shape = SHAPES[name] if name in SHAPES else SUITE[name].shape
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 1, (count, *(1 for _ in shape)))
    x = level + np.cumsum(rng.normal(0, 1, (count, *shape)), axis=-1) / 2
    return x.reshape(count, -1).astype(np.float32)


def made(name: str, train_last: int, batch: int = 4) -> IntModel:
    options = QuantizeOptions(Arithmetic(batch=batch), train_last=train_last, exemplar_slots=12)
    labels = np.arange(16) % graph_of(name).n_classes
    return quantize(graph_of(name), samples(name, 16, 1), labels, options)


@pytest.mark.parametrize(
    ("name", "train_last", "front", "layers"),
    [
        ("small", 2, 3, 2),
        ("small", 3, 0, 3),
        ("cnn_1d", 3, 5, 3),
        ("ds_cnn", 3, 7, 3),
        ("bounded", 4, 0, 4),
    ],
)
def test_features_behind_trained_convolutions_follow_the_float_ones(
    name: str, train_last: int, front: int, layers: int
) -> None:
    model, graph = made(name, train_last), graph_of(name)
    check_model(model)
    assert (len(model.front), len(model.layers)) == (front, layers)
    x = samples(name, 8, 2)
    twin = TwinLearner(model)
    features, _ = twin.forward_x0(twin.x0_of(raw_samples(model, x)), twin.committed)
    real = [y for _, y in graph.trace(x)]
    assert graph.front is not None and graph.normalizer is None
    expected = real[-2] if len(graph.dense_layers) > 1 else graph.front.forward(x)
    got = np.corrcoef(features.reshape(-1), np.asarray(expected).reshape(-1))[0, 1]
    assert got > LEAST_CORRELATION


@pytest.mark.parametrize(
    ("name", "train_last", "reason"),
    [
        ("resnet8", 3, "cut the residual block that conv10 ends; expected one of 1, 4, 7, 9, 10"),
        ("linear_sum", 3, "add2 .add. has no ReLU"),
        ("difference", 3, "subtracts"),
        ("long_way", 2, "does not end a residual block"),
        ("ds_cnn", 11, "no layer before it"),
        ("cnn_1d", 4, "overlapping"),
        ("small", 4, "no layer before it"),
    ],
)
def test_what_cannot_be_trained_is_named(name: str, train_last: int, reason: str) -> None:
    with pytest.raises(QuantizeError, match=f"train_last is {train_last}.*{reason}"):
        made(name, train_last)


def test_too_many_pixels_for_the_batch_are_refused() -> None:
    with pytest.raises(QuantizeError, match="pixels times batch"):
        made("long", 3, batch=512)
    made("long", 2, batch=512)
