# SPDX-License-Identifier: Apache-2.0
"""Models that take MFCC of raw audio themselves (SPEC.md 15.2), and made-up audio."""

import numpy as np
from numpy.typing import NDArray

from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.mfcc import parse_mfcc
from device.twin.arithmetic import Arithmetic
from device.twin.mfcc import Mfcc
from device.twin.model import IntModel

SMALL = (
    "mfcc:rate=4000,window=700,frame=150,step=61,fft=256,mels=17,low=60,high=1900,coefficients=5"
)
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
