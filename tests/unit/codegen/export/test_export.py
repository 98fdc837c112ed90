# SPDX-License-Identifier: Apache-2.0
"""Both ONNX forms in onnxruntime against the twin."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from codegen.errors import ExportError
from codegen.export import (
    export_exact,
    export_network_exact,
    export_qdq,
)
from codegen.graph import Affine, Dense, FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.inference import quantize_inference
from device.twin.inference import run as run_network
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from tests.parity.convs import CONV_SPECS, RESIDUAL_SPECS, make_conv_model
from tests.parity.models import random_raw
from tests.suite.networks import NETWORKS, samples
from tests.suite.random_nets import RandomNet


@dataclass(frozen=True)
class Case:
    """A random network and how it is quantized."""

    sizes: tuple[int, ...]
    arithmetic: dict[str, Any] = field(default_factory=dict)
    train_last: int | None = None
    normalized: bool = False
    nonnegative: bool = False
    fine_inference: bool = False


CASES = {
    "plain": Case((20, 13, 7)),
    "nonnegative": Case((20, 13, 7), nonnegative=True),
    "every_add": Case((20, 13, 7), {"saturation": "every_add"}, normalized=True),
    "one_frozen_of_two": Case((45, 40, 7), {"acc_bits": 12}, train_last=1, normalized=True),
    "one_frozen_of_three": Case((45, 40, 30, 7), {"tile_k": 8, "master_bits": 8}, train_last=2),
    "wide_accumulator": Case((100, 64, 30), {"acc_bits": 32}, normalized=True),
    "no_hadamard": Case((33, 9, 4), {"order": 1, "tile_k": 5}),
    "head_only": Case((16, 5)),
    "fine": Case((45, 40, 30, 7), {"tile_k": 8}, train_last=2, fine_inference=True),
    "fine_whole": Case((20, 13, 7), normalized=True, fine_inference=True),
}


def _float_graph(case: Case, rng: np.random.Generator) -> FloatGraph:
    layers: list[Affine | Dense] = []
    if case.normalized:
        offset = rng.normal(0, 3, case.sizes[0]).astype(np.float32)
        scale = rng.uniform(0.1, 4, case.sizes[0]).astype(np.float32)
        layers.append(Affine("normalizer", offset, scale))
    pairs = list(zip(case.sizes, case.sizes[1:], strict=False))
    for number, (inputs, outputs) in enumerate(pairs):
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        bias = rng.normal(0, 0.3, outputs).astype(np.float32)
        last = number + 1 == len(pairs)
        layers.append(Dense(f"dense_{number}", weight, bias, None if last else "relu"))
    return FloatGraph("random", (case.sizes[0],), tuple(layers))


def _model_and_samples(case: Case) -> tuple[IntModel, NDArray[np.float32], FloatGraph]:
    rng = np.random.default_rng(7)
    graph = _float_graph(case, rng)
    x = rng.normal(0, 1, (200, case.sizes[0])).astype(np.float32)
    if case.nonnegative:
        x = np.abs(x)
    if graph.normalizer:
        x = x / graph.normalizer.scale + graph.normalizer.offset
    labels = rng.integers(0, case.sizes[-1], len(x))
    options = QuantizeOptions(
        Arithmetic(**case.arithmetic),
        train_last=case.train_last,
        fine_inference=case.fine_inference,
    )
    return quantize(graph, x, labels, options), x, graph


def _run(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, {"features": x}))


@pytest.mark.parametrize("name", CASES)
def test_export_exact_in_onnxruntime_equals_twin(name: str) -> None:
    model, x, _ = _model_and_samples(CASES[name])
    beyond = x * np.float32(1.7)  # also values outside the calibrated ranges
    classes, logits = TwinLearner(model).infer_many(raw_samples(model, beyond))
    got_logits, got_classes = _run(export_exact(model), beyond)
    np.testing.assert_array_equal(got_logits, logits)
    np.testing.assert_array_equal(got_classes, classes)


@pytest.mark.parametrize("name", CASES)
def test_export_qdq_in_onnxruntime_follows_the_twin(name: str) -> None:
    model, x, _ = _model_and_samples(CASES[name])
    _, logits = TwinLearner(model).infer_many(raw_samples(model, x))
    got = _run(export_qdq(model), x)[0]
    correlation = np.corrcoef(got.ravel(), logits.ravel())[0, 1]
    assert correlation > 0.97  # saturating tiles are what it leaves out


def test_export_writes_ir_10_and_opset_21() -> None:
    model, _, _ = _model_and_samples(CASES["plain"])
    for exported in (export_exact(model), export_qdq(model)):
        assert exported.ir_version == 10
        assert [(o.domain, o.version) for o in exported.opset_import] == [("", 21)]


def test_export_exact_same_model_gives_same_bytes() -> None:
    model, _, _ = _model_and_samples(CASES["plain"])
    first, second = export_exact(model), export_exact(model)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_export_exact_every_add_of_a_long_product_is_refused() -> None:
    model, _, _ = _model_and_samples(Case((2100, 2), {"saturation": "every_add"}))
    with pytest.raises(ExportError, match="2100 terms"):
        export_exact(model)


@pytest.mark.parametrize("seed", range(6))
def test_export_exact_of_a_random_front_equals_twin(seed: int) -> None:
    net = RandomNet(seed)
    graph = import_onnx(net.file(6).SerializeToString())
    x = np.random.default_rng(seed).normal(0, 1, (24, graph.features)).astype(np.float32)
    model = quantize(graph, x, np.arange(24) % 3, QuantizeOptions())
    beyond = x * np.float32(1.7)
    classes, logits = TwinLearner(model).infer_many(raw_samples(model, beyond))
    got_logits, got_classes = _run(export_exact(model), beyond)
    np.testing.assert_array_equal(got_logits, logits)
    np.testing.assert_array_equal(got_classes, classes)


@pytest.mark.parametrize("name", NETWORKS)
def test_export_exact_of_an_inference_only_model_equals_twin(name: str) -> None:
    entry = NETWORKS[name]
    graph = import_onnx(entry.build().SerializeToString(), inference_only=True)
    x = samples(entry, 40, 1)
    model = quantize_inference(graph, x)
    outputs = run_network(model, raw_samples(model, x))
    (exact,) = _run(export_network_exact(model), x)
    np.testing.assert_array_equal(exact, outputs)


TRAINED = {spec.name: spec for spec in (*CONV_SPECS, *RESIDUAL_SPECS)}


@pytest.mark.parametrize("name", TRAINED)
def test_export_exact_of_trained_convolutions_equals_twin(name: str) -> None:
    model = make_conv_model(TRAINED[name])
    x = np.ldexp(random_raw(model, 6, 9).astype(np.float32), -model.raw_bits.astype(int))
    classes, logits = TwinLearner(model).infer_many(raw_samples(model, x))
    assert logits.any()
    got_logits, got_classes = _run(export_exact(model), x.astype(np.float32))
    np.testing.assert_array_equal(got_logits, logits)
    np.testing.assert_array_equal(got_classes, classes)
