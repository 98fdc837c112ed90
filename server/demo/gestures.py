# SPDX-License-Identifier: Apache-2.0
"""Files of the tutorial: python -m server.demo.gestures FOLDER.

Simulated windows of a wrist's acceleration, 16 readings of three axes in g: `gestures.onnx`, a
float network that knows still, shake and circle; `calibration.npz`, samples it was trained on, and
`base.npz`, the same without names, as the REST API takes them; `wave.npz`, samples of a gesture it
does not know; `test.npz`, test samples of all four.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.float_reference import TrainOptions, train_base

READINGS = 16
KNOWN, NEW = ("still", "shake", "circle"), "wave"
SWINGS = {  # cycles a window, and how far each axis swings
    "still": (0.0, (0.0, 0.0, 0.0)),
    "shake": (4.0, (1.5, 0.2, 0.2)),
    "circle": (1.0, (1.0, 1.0, 0.1)),
    "wave": (2.0, (0.2, 0.9, 0.9)),
}


def windows(gesture: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Made-up windows of a gesture: float32, shape (count, 3 * READINGS), in g."""
    cycles, swing = SWINGS[gesture]
    time = np.arange(READINGS) / READINGS
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1)) + np.array([0.0, np.pi / 2, np.pi / 4])
    speed = cycles * rng.uniform(0.9, 1.1, (count, 1, 1))
    force = np.array(swing) * rng.uniform(0.7, 1.3, (count, 1, 1))
    moved = force * np.sin(2 * np.pi * speed * time[None, :, None] + phase)
    gravity = np.array([0.0, 0.0, 1.0])
    noise = rng.normal(0, 0.1, (count, READINGS, 3))
    return np.asarray((moved + gravity + noise).reshape(count, -1), np.float32)


def write_gestures(folder: Path) -> None:
    """Write the five files into a folder, which is made if need be."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    x = np.concatenate([windows(gesture, 80, rng) for gesture in KNOWN])
    y = np.repeat(np.arange(len(KNOWN)), 80)
    normaliser = fit_normaliser(x)
    options = TrainOptions(hidden=(24,))
    params = train_base(normaliser.apply(x), y, len(KNOWN), options, seed=1)
    model = to_onnx(params, normaliser, name="gestures")
    (folder / "gestures.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "calibration.npz", x=x, y=y, class_names=np.array(KNOWN))
    np.savez(folder / "base.npz", x=x, y=y)
    np.savez(folder / "wave.npz", x=windows(NEW, 60, rng), y=np.array([NEW] * 60))
    names = (*KNOWN, NEW)
    test = np.concatenate([windows(gesture, 25, rng) for gesture in names])
    np.savez(folder / "test.npz", x=test, y=np.repeat(names, 25))


if __name__ == "__main__":
    write_gestures(Path(sys.argv[1]))
