# SPDX-License-Identifier: Apache-2.0
"""Models that take MFCC of raw audio themselves (SPEC.md 15.2), and made-up audio."""

import numpy as np
from numpy.typing import NDArray

from codegen.float_front import FloatFront, FloatNode
from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.mfcc import parse_mfcc
from device.twin.arithmetic import Arithmetic
from device.twin.mfcc import Mfcc
from device.twin.model import IntModel

SMALL = (
    "mfcc:rate=4000,window=700,frame=150,step=61,fft=256,mels=17,low=60,high=1900,coefficients=5"
)
SHORT = "mfcc:rate=4000,window=500,frame=100,step=100,mels=12,coefficients=6"  # 5 x 6 features
CLASSES = 4


def audio(count: int, samples: int, seed: int) -> NDArray[np.float32]:
    """Signals (count, samples) in [-1, 1]: tones, chirps and noise, soft and loud."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / samples
    rows = np.empty((count, samples))
    for i in range(count):
        pitch, bend = rng.uniform(5, samples / 8), rng.uniform(0, samples / 8) * (i % 2)
        phase = 2 * np.pi * (pitch * t + bend * t * t)
        rows[i] = np.sin(phase) + 0.4 * np.sin(2 * phase) + rng.normal(0, 10 ** -(i % 4), samples)
        rows[i] *= 10 ** rng.uniform(-3, 0.1)
    return np.clip(rows, -1, 1).astype(np.float32)


def make_mfcc_model(text: str = SMALL, hidden: int = 12, batch: int = 8) -> IntModel:
    """A small network behind MFCC."""
    signal: Mfcc = parse_mfcc(text)
    rng = np.random.default_rng(4)
    features = signal.outputs
    layers = (
        Affine("n", rng.normal(0, 1, features), rng.uniform(0.1, 0.3, features)),
        Dense("d0", rng.normal(0, 0.3, (hidden, features)), rng.normal(0, 0.1, hidden), "relu"),
        Dense("d1", rng.normal(0, 0.5, (CLASSES, hidden)), np.zeros(CLASSES)),
    )
    graph = FloatGraph("audio", (features,), layers)
    labels = np.arange(24) % CLASSES
    arithmetic = Arithmetic(batch=batch)
    chosen = QuantizeOptions(features=text, max_classes=6, arithmetic=arithmetic)
    return quantize(graph, audio(24, signal.window, 1), labels, chosen)


def image_graph(shape: tuple[int, ...], planar: bool, channels: int) -> FloatGraph:
    """A 3 x 3 convolution on 5 x 6 features, or 3 x 1 on 5 of 6 channels, and a head."""
    rng = np.random.default_rng(0)
    size = (5, 30 // 5 // channels, channels)
    weight = rng.normal(0, 0.3, (4, 3, min(3, size[1]), channels)).astype(np.float32)
    pad = (1, 1 if size[1] > 1 else 0)
    conv = FloatNode("conv", "c0", (0,), (size,), (*size[:2], 4), weight,
                     np.zeros(4, np.float32), weight.shape[1:3], pad=pad, relu=True)  # fmt: skip
    front = FloatFront((conv,), size[0] * size[1], channels, planar)
    dense = Dense("d", rng.normal(0, 0.1, (3, conv.outputs)), np.zeros(3))
    return FloatGraph("image", shape, (dense,), front=front)


def make_mfcc_image_model() -> IntModel:
    """A frozen convolution over frames and coefficients, and a head."""
    labels = np.arange(24) % 3
    options = QuantizeOptions(features=SHORT, train_last=1, max_classes=6)
    return quantize(image_graph((1, 5, 6), True, 1), audio(24, 500, 1), labels, options)
