# SPDX-License-Identifier: Apache-2.0
"""hadapt init: the network that it draws, what it refuses, and that integers learn from it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from codegen.importer import import_onnx
from server.cli import app

RUN = CliRunner()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 samples of four classes, 3 x 2 features."""
    random = np.random.default_rng(0)
    y = np.arange(120) % 4
    x = random.normal(2.0, 1.0, (120, 3, 2)).astype(np.float32)
    x[np.arange(120), y % 3, y // 3] += 5
    np.savez(tmp_path / "first.npz", x=x, y=y, x_test=x[:40], y_test=y[:40])
    return tmp_path / "first.npz"


def draw(data: Path, *more: str) -> tuple[int, str, Path]:
    """Exit code, both outputs, and the file."""
    output = data.parent / "drawn.onnx"
    found = RUN.invoke(app, ["init", "--data", str(data), "-o", str(output), *more])
    return found.exit_code, found.output, output


def test_network_has_the_widths_and_the_normaliser_of_the_samples(data: Path) -> None:
    code, text, output = draw(data, "--hidden", "8,5", "--classes", "0-2", "--json")
    assert code == 0, text
    assert json.loads(text) == {
        "features": 6,
        "classes": 3,
        "layers": "6-8-5-3",
        "file": str(output),
    }
    graph = import_onnx(output.read_bytes())
    assert [layer.weight.shape for layer in graph.dense_layers] == [(8, 6), (5, 8), (3, 5)]
    with np.load(data) as arrays:
        x = arrays["x"][arrays["y"] < 3].reshape(-1, 6)
    assert graph.normalizer is not None
    normal = graph.normalizer.forward(x)
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=1e-4)


def test_seed_draws_the_weights(data: Path) -> None:
    drawn = [draw(data, "--seed", seed)[2].read_bytes() for seed in ("1", "1", "2")]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--hidden", "8,,5"), "--hidden: 8,,5; expected widths from 1 to 65535 with commas"),
        (("--hidden", "0"), "--hidden: 0; expected widths"),
        (("--classes", "0"), "one class, 0; expected samples of at least two classes"),
        (("--classes", "7"), "There are no rows of classes 7"),
    ],
)
def test_what_cannot_be_drawn_is_said(data: Path, more: tuple[str, ...], text: str) -> None:
    code, said, output = draw(data, *more)
    assert code in (1, 2) and text in " ".join(said.split())
    assert not output.exists()


@pytest.mark.long
def test_integers_learn_from_the_drawn_network(data: Path) -> None:
    _, _, drawn = draw(data, "--hidden", "16", "--classes", "0-2")
    model, learned = drawn.with_suffix(".hadapt"), drawn.with_name("learned.hadapt")
    rows = ["--data", str(data), "--classes", "0-2"]
    assert RUN.invoke(app, ["quantize", str(drawn), *rows, "-o", str(model)]).exit_code == 0
    steps = ["--steps", "300", "--learning-rate", "0.1", "-o", str(learned), "--json"]
    found = RUN.invoke(app, ["learn", str(model), *rows, *steps])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert said["before"]["accuracy"] < 0.7 < 0.9 < said["after"]["accuracy"]
