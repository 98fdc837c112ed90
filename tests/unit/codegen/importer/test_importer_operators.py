# SPDX-License-Identifier: Apache-2.0
"""The page of operators is what the importer does, and what is taken computes what it should."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from device.twin.learner import TwinLearner, raw_samples
from tests.suite.build import Net
from tests.suite.operators import CASES, LAYOUTS, page, verdict

PAGE = Path(__file__).parents[4] / "docs" / "operators.md"
REFUSED = {"ConvTranspose", "LSTM", "Mul of two tensors", "Resize"}


def test_page_of_operators_is_that_of_the_code() -> None:
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_takes_all_but_what_is_refused_by_name(layout: str) -> None:
    refused = {name: verdict(name, layout) for name in CASES if name in REFUSED}
    assert all(reason.startswith("node ") for reason in refused.values())
    table = page().split("| pattern |")[0].splitlines()
    assert {line.split(" | ")[0][2:] for line in table if "node " in line} == REFUSED


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 9)])
@pytest.mark.parametrize(("operator", "first"), [("Add", True), ("Add", False), ("Sub", True)])
def test_branch_around_a_convolution_of_the_samples(
    shape: tuple[int, ...], operator: str, first: bool
) -> None:
    """The samples come channel by channel, what they are added to pixel by pixel."""
    net, kernel = Net("branch", shape, 1), (3,) * (len(shape) - 1)
    y = net.conv("x", 3, kernel, act="")
    y = net.node("Relu", net.node(operator, *(("x", y) if first else (y, "x"))))
    flat = net.node("Flatten", net.conv(y, 4, kernel))
    file = net.file(net.gemm(flat, 4 * int(np.prod(shape[1:])), 3), 3)
    x = np.random.default_rng(7).normal(0, 1, (24, *shape)).astype(np.float32)
    data = file.SerializeToString()
    graph = import_onnx(data)
    expected = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    assert np.abs(graph.forward(x.reshape(24, -1)) - expected).max() <= 1e-5
    made = quantize(graph, x.reshape(24, -1), np.arange(24) % 3, QuantizeOptions())
    twin = TwinLearner(made)
    _, logits = twin.infer_many(raw_samples(made, x.reshape(24, -1)))
    assert np.corrcoef(logits[:, :3].ravel(), graph.forward(x.reshape(24, -1)).ravel())[0, 1] > 0.9
