# SPDX-License-Identifier: Apache-2.0
"""Files to try the `hadapt` command with: python -m server.demo.example FOLDER.

From scikit-learn's digits: `digits.onnx`, a float network that knows 0 to 5; `calib.npz`, samples
it was trained on; `new.npz`, samples of 6 and 7; `test.npz`, test samples of 0 to 7.
"""

import sys
from pathlib import Path

import numpy as np

from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import DIGITS, load
from server.learning.float_reference import TrainOptions, train_base

BASE_CLASSES, ALL_CLASSES = 6, 8


def write_example(folder: Path) -> None:
    """Write the four files into a folder, which is made if need be."""
    data = load(DIGITS)
    folder.mkdir(parents=True, exist_ok=True)
    base = data.y_train < BASE_CLASSES
    new = (data.y_train >= BASE_CLASSES) & (data.y_train < ALL_CLASSES)
    test = data.y_test < ALL_CLASSES
    x, y = data.x_train[base], data.y_train[base]
    normaliser = fit_normaliser(x)
    params = train_base(normaliser.apply(x), y, BASE_CLASSES, TrainOptions(hidden=(32,)), seed=1)
    model = to_onnx(params, normaliser, name="digits")
    (folder / "digits.onnx").write_bytes(model.SerializeToString())
    np.savez(folder / "calib.npz", x=x, y=y)
    np.savez(folder / "new.npz", x=data.x_train[new], y=data.y_train[new])
    np.savez(folder / "test.npz", x=data.x_test[test], y=data.y_test[test])


if __name__ == "__main__":
    write_example(Path(sys.argv[1]))
