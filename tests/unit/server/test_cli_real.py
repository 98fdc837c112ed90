# SPDX-License-Identifier: Apache-2.0
"""The hadapt command as a process, on the real engine: digits from ONNX to an emulated board."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import DIGITS, load
from server.learning.float_reference import TrainOptions, train_base

ROOT = Path(__file__).parents[3]
BOARD = "nrf52832:ram=48K"  # a part with less memory, on the emulated board of its core


def hadapt(folder: Path, *arguments: str) -> Any:
    """Run a command that must succeed; its JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HADAPT_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-m", "server.cli", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model of the digits 0 to 3, and their data."""
    made = tmp_path_factory.mktemp("cli")
    data = load(DIGITS)
    base = data.y_train < 4
    x, y = data.x_train[base], data.y_train[base]
    normaliser = fit_normaliser(x)
    options = TrainOptions(hidden=(16,), epochs=8, milestones=())
    params = train_base(normaliser.apply(x), y, 4, options, seed=1)
    (made / "m.onnx").write_bytes(to_onnx(params, normaliser).SerializeToString())
    np.savez(
        made / "digits.npz",
        x_train=data.x_train,
        y_train=data.y_train,
        x_test=data.x_test,
        y_test=data.y_test,
    )
    return made


def test_cli_digits_from_onnx_to_learned_class_on_a_board(folder: Path) -> None:
    imported = hadapt(folder, "import", "m.onnx")
    assert (imported["features"], imported["classes"]) == (64, 4)
    made = hadapt(folder, "quantize", "m.onnx", "--data", "digits.npz", "--classes", "0-3")
    assert made["report"]["calibration_accuracy"] > 0.9

    learned = hadapt(
        folder, "learn", "model.hadapt", "--data", "digits.npz", "--classes", "4", "-o", "m2.hadapt"
    )
    assert learned["new_classes"] == ["4"]
    assert learned["after"]["accuracy"] > 0.85
    assert learned["after"]["per_class"]["4"] > 0.85

    report = hadapt(
        folder, "emulate", "m2.hadapt", "-b", BOARD, "--data", "digits.npz", "--train-steps", "2"
    )[0]
    assert report["bit_exact"] is True
    assert report["state_hash"] == report["details"]["host_state_hash"]
    assert report["details"]["delivered_hash_equals_update"] is True
    assert report["instructions"]["training_step"] > report["instructions"]["inference"] > 0
