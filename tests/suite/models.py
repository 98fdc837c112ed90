# SPDX-License-Identifier: Apache-2.0
"""The model suite: networks of the sizes of MLPerf Tiny and a 1-D one, built from code.

Weights are seeded, not trained: what is tested is that a network is taken, computed and fits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.suite.build import Net


@dataclass(frozen=True)
class Entry:
    """A network of the suite: how to build it, and the shape of one sample."""

    build: Callable[[], onnx.ModelProto]
    shape: tuple[int, ...]

    def samples(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Random samples (count, *shape) with some structure, normalised."""
        rng = np.random.default_rng(seed)
        level = rng.normal(0, 0.6, (count, *(1 for _ in self.shape)))
        noise = rng.normal(0, 1, (count, *self.shape))
        return (level + np.cumsum(noise, axis=-1) / np.sqrt(self.shape[-1]) + noise).astype(
            np.float32
        )


def resnet8(seed: int = 1) -> onnx.ModelProto:
    """ResNet-8 on 32 x 32 x 3, CIFAR-10: three stacks of one block, 16, 32 and 64 channels."""
    net = Net("resnet8", (3, 32, 32), seed)
    x = net.conv("x", 16, (3, 3))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = net.conv(x, channels, (3, 3), stride)
        y = net.conv(y, channels, (3, 3), act="")
        short = x if stride == 1 else net.conv(x, channels, (1, 1), stride, act="", norm=False)
        x = net.node("Relu", net.node("Add", y, short))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.file(net.gemm(x, 64, 10), 10)


def ds_cnn(seed: int = 2) -> onnx.ModelProto:
    """DS-CNN (small) on 49 x 10 MFCC features, keyword spotting: 64 channels."""
    net = Net("ds_cnn", (1, 49, 10), seed)
    x = net.conv("x", 64, (10, 4), (2, 2), pad=(4, 1, 5, 2))
    for _ in range(4):
        x = net.conv(x, 64, (3, 3), groups=64)
        x = net.conv(x, 64, (1, 1))
    x = net.node("AveragePool", x, kernel_shape=[25, 5])
    x = net.node("Flatten", x)
    return net.file(net.gemm(x, 64, 12), 12)


def mobilenet(seed: int = 3, side: int = 96) -> onnx.ModelProto:
    """MobileNetV1 of width 1/4 on 96 x 96 x 3, visual wake words, with ReLU6."""
    net = Net("mobilenet", (3, side, side), seed)
    x = net.relu6(net.conv("x", 8, (3, 3), 2, pad=(0, 0, 1, 1), act=""))
    plan = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *(((128, 1),) * 5), (256, 2))
    for channels, stride in (*plan, (256, 1)):
        same = net.channels[x]
        pad = (1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1)
        x = net.relu6(net.conv(x, same, (3, 3), stride, pad, groups=same, act=""))
        x = net.relu6(net.conv(x, channels, (1, 1), act=""))
    x = net.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return net.file(net.gemm(x, 256, 2), 2)


def cnn_1d(seed: int = 4) -> onnx.ModelProto:
    """A 1-D network on 128 samples of 6 axes, with pools and a hidden dense layer."""
    net = Net("cnn_1d", (6, 128), seed)
    x = net.conv("x", 16, (5,), bias=True)
    x = net.node("MaxPool", x, kernel_shape=[2], strides=[2])
    x = net.conv(x, 24, (5,), 2)
    x = net.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    x = net.conv(x, 24, (3,), dilation=2)
    x = net.node("Flatten", x)
    x = net.gemm(x, 24 * 16, 32, "Relu")
    return net.file(net.gemm(x, 32, 6), 6)


def branches(seed: int = 5) -> onnx.ModelProto:
    """What the others leave out: concat, every kind of activation, grouped and dilated windows."""
    net = Net("branches", (4, 12, 10), seed)
    a = net.conv("x", 8, (3, 3), groups=2, act="HardSwish")
    b = net.conv("x", 6, (3, 3), dilation=2, act="LeakyRelu", norm=False)
    x = net.node("Concat", a, b, axis=1)
    net.channels[x] = 14
    gate = net.node("Sigmoid", net.conv(x, 14, (1, 1), act=""))
    x = net.node("Add", x, gate)
    x = net.conv(x, 12, (3, 3), (2, 1), act="Tanh")
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Relu", net.node("Sub", x, net.conv(x, 12, (1, 1), act="")))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.file(net.gemm(x, 12, 5), 5)


def autoencoder(
    seed: int = 6, sizes: tuple[int, ...] = (640, 128, 128, 128, 128, 8)
) -> onnx.ModelProto:
    """The anomaly detector: 640 inputs, layers of 128, 8 in the middle, and back."""
    net = Net("autoencoder", (sizes[0],), seed)
    x = "x"
    widths = [*sizes, *reversed(sizes[:-1])]
    for inputs, outputs in pairwise(widths[:-1]):
        x = net.gemm(x, inputs, outputs, "Relu")
    return net.file(net.gemm(x, widths[-2], widths[-1]), widths[-1])


AUTOENCODER = Entry(autoencoder, (640,))
"""It has no classes to learn: inference only (SPEC.md 17)."""
SUITE = {
    "resnet8": Entry(resnet8, (3, 32, 32)),
    "ds_cnn": Entry(ds_cnn, (1, 49, 10)),
    "mobilenet": Entry(mobilenet, (3, 96, 96)),
    "cnn_1d": Entry(cnn_1d, (6, 128)),
    "branches": Entry(branches, (4, 12, 10)),
}
