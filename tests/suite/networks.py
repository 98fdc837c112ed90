# SPDX-License-Identifier: Apache-2.0
"""Small networks that put out no classes: what inference-only models are for."""

from collections.abc import Callable

import numpy as np
import onnx

from tests.suite.build import Net
from tests.suite.models import Entry, autoencoder


def regressor() -> onnx.ModelProto:
    """One number of a window of three axes."""
    net = Net("regressor", (3, 24), 11)
    x = net.conv("x", 8, (5,), 2)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.file(net.gemm(x, 8, 1), 1)


def labels() -> onnx.ModelProto:
    """Four labels at once: a sigmoid each."""
    net = Net("labels", (10,), 12)
    x = net.gemm("x", 10, 12, "Tanh")
    return net.file(net.node("Sigmoid", net.gemm(x, 12, 4)), 4)


def embedding() -> onnx.ModelProto:
    """A vector of an image, behind a residual block and a ReLU."""
    net = Net("embedding", (3, 8, 8), 13)
    x = net.conv("x", 8, (3, 3))
    x = net.node("Relu", net.node("Add", net.conv(x, 8, (3, 3), act=""), x))
    x = net.node("Flatten", net.node("GlobalMaxPool", x))
    return net.file(net.gemm(x, 8, 6, "Relu"), 6)


def image() -> onnx.ModelProto:
    """An image of an image: two channels of scores a pixel, channels first."""
    net = Net("image", (2, 6, 5), 14)
    a = net.conv("x", 4, (3, 3))
    b = net.conv(a, 4, (3, 3), dilation=2, act="HardSwish")
    x = net.node("Concat", a, b, axis=1)
    net.channels[x] = 8
    x = net.conv(x, 2, (1, 1), act="", norm=False)
    net.nodes[-1].output[0] = "y"
    return _of_shape(net, [2, 6, 5])


def _of_shape(net: Net, shape: list[int]) -> onnx.ModelProto:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        net.nodes,
        net.name,
        [value("x", onnx.TensorProto.FLOAT, ["N", *net.shape])],
        [value("y", onnx.TensorProto.FLOAT, ["N", *shape])],
        net.constants,
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def small_autoencoder() -> onnx.ModelProto:
    """The suite's autoencoder in small."""
    return autoencoder(sizes=(24, 12, 3))


BUILDERS: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "autoencoder": (small_autoencoder, (24,)),
    "regressor": (regressor, (3, 24)),
    "labels": (labels, (10,)),
    "embedding": (embedding, (3, 8, 8)),
    "image": (image, (2, 6, 5)),
}
NETWORKS = {name: Entry(*entry) for name, entry in BUILDERS.items()}


def samples(entry: Entry, count: int, seed: int) -> np.ndarray:
    """Samples as rows."""
    return entry.samples(count, seed).reshape(count, -1)
