# SPDX-License-Identifier: Apache-2.0
"""Networks as other tools write them: taken and right in float and integers, or refused by name."""

import numpy as np
import onnxruntime
import pytest
from onnx_files import softmax

from codegen.errors import UnsupportedModelError
from codegen.generate import generate
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from device.harness.boards import BOARDS
from device.twin.learner import TwinLearner, raw_samples
from tests.suite.strangers import REFUSED, TAKEN, Sheet

HALF = 2e-3  # of float16 sums, relative to the largest output
STEP = 1 / 255 / 2  # of the quantized probabilities


def samples(sheet: Sheet, count: int = 48) -> np.ndarray:
    """Samples with a level of their own, so that logits differ."""
    rng = np.random.default_rng(3)
    level = rng.normal(0, 0.6, (count, sheet.shape[0], *(1 for _ in sheet.shape[1:])))
    x = rng.normal(0, 1, (count, *sheet.shape)) + level
    return x.astype(np.float32)


def logits(graph: FloatGraph, x: np.ndarray) -> np.ndarray:
    return graph.forward(x.reshape(len(x), -1))


@pytest.mark.parametrize("name", TAKEN)
def test_float_graph_is_what_onnxruntime_computes(name: str) -> None:
    sheet = TAKEN[name]()
    x, data = samples(sheet), sheet.file().SerializeToString()
    wanted = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    got = logits(import_onnx(data), x)
    last = {node.op_type for node in sheet.nodes}
    if "LogSoftmax" in last or "Softmax" in last:
        got = softmax(got)
        got = np.log(got) if "LogSoftmax" in last else got
    scale = max(1.0, float(np.abs(wanted).max()))
    allowed = HALF if "float16" in name else STEP + 1e-5 if "QDQ" in name else 1e-5
    assert np.abs(got - wanted).max() <= allowed * scale


@pytest.mark.parametrize("name", TAKEN)
def test_integers_follow_the_float_graph_and_firmware_is_generated(name: str) -> None:
    sheet = TAKEN[name]()
    graph, x = import_onnx(sheet.file().SerializeToString()), samples(sheet)
    classes = np.arange(len(x)) % graph.n_classes
    made = quantize(graph, x, classes, QuantizeOptions())
    rows = x.reshape(len(x), -1)
    _, found = TwinLearner(made).infer_many(raw_samples(made, rows))
    wanted = logits(graph, x)
    assert np.corrcoef(found[:, : graph.n_classes].ravel(), wanted.ravel())[0, 1] > 0.9
    assert generate(made, BOARDS["mps2-an386"])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_by_name(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        import_onnx(build().file().SerializeToString())
    assert all((caught.value.what, caught.value.where, caught.value.expected))
