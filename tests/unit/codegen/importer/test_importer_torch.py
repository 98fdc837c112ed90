# SPDX-License-Identifier: Apache-2.0
"""Files written by PyTorch's two exporters; PyTorch's own results are the oracle.

The files and their results are in tests/fixtures/onnx, with the script that made them.
"""

from pathlib import Path

import numpy as np
import pytest
from onnx import load_from_string
from onnx_files import assert_close, run, softmax

from codegen.importer import import_onnx

FIXTURES = Path(__file__).parents[3] / "fixtures" / "onnx"
FILES = sorted(path.stem for path in FIXTURES.glob("torch_*.onnx"))
LAYERS = {
    "batch_norm": ["normalizer", "dense0", "dense1", "dense2"],
    "normalised": ["normalizer", "dense0", "dense1"],
    "channels": ["normalizer", "dense0", "dense1"],
    "binary": ["dense0", "dense1"],
}
TAILS = {
    "batch_norm": softmax,
    "normalised": lambda logits: np.log(softmax(logits)),
    "channels": np.asarray,
    "binary": lambda logits: softmax(logits)[:, 1:],
}


def test_fixtures_of_both_exporters_are_there() -> None:
    assert len(FILES) == 4 * len(LAYERS)


@pytest.mark.parametrize("file", FILES)
def test_file_names_neither_producer_nor_path(file: str) -> None:
    model = load_from_string((FIXTURES / f"{file}.onnx").read_bytes())
    assert not model.producer_name
    assert not model.metadata_props
    assert b".py" not in model.SerializeToString()


@pytest.mark.parametrize("file", FILES)
def test_file_of_pytorch_gives_its_results(file: str) -> None:
    data = (FIXTURES / f"{file}.onnx").read_bytes()
    network = next(name for name in LAYERS if name in file)
    with np.load(FIXTURES / "expected.npz") as expected:
        x, want = expected[f"{file}.x"], expected[f"{file}.y"]
    graph = import_onnx(data)
    assert [layer.name for layer in graph.layers] == LAYERS[network]
    got = np.asarray(TAILS[network](graph.forward(x)), dtype=np.float64)
    assert_close(got, want.astype(np.float64))


@pytest.mark.parametrize("file", [name for name in FILES if name.endswith("free")])
def test_file_of_pytorch_agrees_with_onnxruntime(file: str) -> None:
    data = (FIXTURES / f"{file}.onnx").read_bytes()
    network = next(name for name in LAYERS if name in file)
    graph = import_onnx(data)
    x = np.random.default_rng(0).standard_normal((5, *graph.input_shape)).astype(np.float32)
    got = np.asarray(TAILS[network](graph.forward(x)), dtype=np.float64)
    assert_close(got, run(data, x)[0].astype(np.float64))
