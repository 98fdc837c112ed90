# SPDX-License-Identifier: Apache-2.0
"""Inference-only models through the engine and the command line (SPEC.md 17)."""

import dataclasses
import json
from pathlib import Path
from threading import Event as Never

import numpy as np
import pytest
from typer.testing import CliRunner

from server.cli import app
from server.errors import HadaptError, InvalidInputError, ModelRejectedError
from server.learning.engine import HadaptEngine
from server.learning.ports import Calibration, DeviceTask
from tests.suite.models import AUTOENCODER
from tests.suite.networks import NETWORKS, samples

ALONE = {"inference_only": True}
ENTRY = NETWORKS["labels"]
X = samples(ENTRY, 60, 1)


@pytest.fixture(scope="module")
def engine() -> HadaptEngine:
    return HadaptEngine()


@pytest.fixture(scope="module")
def made(engine: HadaptEngine) -> bytes:
    onnx = ENTRY.build().SerializeToString()
    return engine.quantize(onnx, Calibration(X, None), ALONE).data


def test_import_without_the_flag_says_what_to_pass(engine: HadaptEngine) -> None:
    for entry in (AUTOENCODER, NETWORKS["regressor"], NETWORKS["labels"], NETWORKS["embedding"]):
        with pytest.raises(ModelRejectedError, match="inference_only"):
            engine.import_model(entry.build().SerializeToString())


def test_small_autoencoder_without_labels_is_no_classifier(engine: HadaptEngine) -> None:
    entry = NETWORKS["autoencoder"]
    onnx, x = entry.build().SerializeToString(), samples(entry, 20, 1)
    with pytest.raises(InvalidInputError, match=r"24 outputs for as many inputs.*inference_only"):
        engine.quantize(onnx, Calibration(x, None), {})
    labels = np.arange(20) % 24
    assert engine.quantize(onnx, Calibration(x, labels), {}).max_classes == 28


def test_import_with_the_flag_has_no_classes(engine: HadaptEngine) -> None:
    found = engine.import_model(AUTOENCODER.build().SerializeToString(), ALONE)
    assert (found.feature_count, found.class_count, found.class_names) == (640, 0, None)


def test_options_of_learning_are_refused(engine: HadaptEngine) -> None:
    onnx = ENTRY.build().SerializeToString()
    with pytest.raises(InvalidInputError, match="max_classes"):
        engine.import_model(onnx, {**ALONE, "max_classes": 9})


def test_training_is_refused_by_name(engine: HadaptEngine, made: bytes) -> None:
    tasks = (
        lambda: engine.check_update(made, "replay", None, {}),
        lambda: engine.predict(made, b"", "replay", X, Never()),
        lambda: engine.costs(made, "mps2-an386"),
        lambda: engine.export_onnx(made, b"", "qdq", ()),
    )
    for task in tasks:
        with pytest.raises(InvalidInputError, match="inference-only: nothing in it learns"):
            task()


def test_report_states_scale_and_error(engine: HadaptEngine) -> None:
    onnx = ENTRY.build().SerializeToString()
    report = engine.quantize(onnx, Calibration(X, None), ALONE).report
    assert report["kind"] == "inference-only"
    assert 0 < report["output_error"] < 0.02
    assert report["output_range"] == pytest.approx(127 * report["output_scale"])


def test_explain_ends_in_the_output(engine: HadaptEngine, made: bytes) -> None:
    onnx = ENTRY.build().SerializeToString()
    rows = engine.explain(made, b"", onnx, X, "mps2-an386")
    assert [row["kind"] for row in rows] == ["input", "conv", "table", "conv", "table"]
    assert all(row["error"] < 0.03 and row["instructions"] > 0 for row in rows)


def test_device_test_is_bit_exact_and_refuses_training(engine: HadaptEngine, made: bytes) -> None:
    y = np.zeros(4, np.int64)
    task = DeviceTask(made, b"", "microbit", X[:4], y, train_steps=0, seed=1, timeout_s=60.0)
    report = engine.device_test(task, Never())
    assert report.bit_exact and report.instructions["inference"] > 0
    with pytest.raises(InvalidInputError, match="no training"):
        engine.device_test(dataclasses.replace(task, train_steps=1), Never())


def test_other_layouts_are_refused(engine: HadaptEngine, made: bytes) -> None:
    with pytest.raises(HadaptError, match="one layout"):
        engine.generate(made, b"", "microbit", "zephyr")


def test_commands_take_an_autoencoder(tmp_path: Path) -> None:
    entry = NETWORKS["autoencoder"]
    onnx, data = tmp_path / "ae.onnx", tmp_path / "calib.npz"
    model, out = tmp_path / "ae.hadapt", tmp_path / "fw.zip"
    onnx.write_bytes(entry.build().SerializeToString())
    np.savez(data, x=samples(entry, 40, 1))

    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        return result.exit_code, result.output

    code, text = call("quantize", onnx, "--data", data, "-o", model)
    assert code != 0 and "--inference-only" in " ".join(text.split())
    code, text = call("quantize", onnx, "--data", data, "-o", model, "--inference-only", "--json")
    assert code == 0 and "output_scale" in text
    code, text = call("generate", model, "--board", "microbit", "-o", out)
    assert code == 0 and out.is_file()
    code, text = call("emulate", model, "-b", "microbit", "--data", data, "--rows", 2, "--json")
    assert code == 0 and json.loads(text[text.index("[") :])[0]["bit_exact"] is True
    code, text = call("explain", model, "--json")
    assert code == 0 and '"conv"' in text
    code, text = call("report", model, "--board", "microbit")
    assert code == 0
    code, text = call("learn", model, "--data", data, "-o", tmp_path / "b.hadapt")
    assert code != 0 and "inference-only" in text
