# SPDX-License-Identifier: Apache-2.0
"""Models that take features of raw windows themselves (SPEC.md 15)."""

from typing import Any

import numpy as np

from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from device.twin.model import IntModel

AXES, WINDOW, CLASSES = 3, 37, 4


def windows(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Float windows (count, WINDOW * AXES): axes of unlike size and offset."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, WINDOW, AXES)) * rng.uniform(0.1, 1, (count, 1, AXES))
    x = x * np.array([1.0, 0.02, 9.0]) + np.array([0.0, 1.0, -3.0])
    return x.reshape(count, -1).astype(np.float32)


def make_signal_model(ddof: int = 0) -> IntModel:
    """A small network behind window statistics."""
    rng = np.random.default_rng(4)
    features = 5 * AXES
    layers = (
        Affine("n", rng.normal(0, 0.3, features), rng.uniform(0.2, 0.5, features)),
        Dense("d0", rng.normal(0, 0.4, (12, features)), rng.normal(0, 0.1, 12), "relu"),
        Dense("d1", rng.normal(0, 0.5, (CLASSES, 12)), np.zeros(CLASSES)),
    )
    graph = FloatGraph(f"signal{ddof}", (features,), layers)
    text = f"window-stats:axes={AXES},window={WINDOW},ddof={ddof}"
    labels = np.arange(40) % CLASSES
    return quantize(graph, windows(40, 1), labels, QuantizeOptions(features=text, max_classes=6))
