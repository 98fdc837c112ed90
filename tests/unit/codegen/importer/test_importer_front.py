# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks mean what onnxruntime computes, however they are written down."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_files import matrix, model, node
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from codegen.errors import ModelImportError
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from tests.suite.models import SUITE

Array = Any
RNG = np.random.default_rng(7)


def agree(file: onnx.ModelProto, x: Array) -> FloatGraph:
    """Import a file and hold its logits against onnxruntime's, to float32's rounding."""
    data = file.SerializeToString()
    graph = import_onnx(data)
    expected = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    got = graph.forward(x.reshape(len(x), -1))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    return graph


@pytest.mark.parametrize("name", SUITE)
def test_network_of_the_suite_matches_onnxruntime(name: str) -> None:
    entry = SUITE[name]
    graph = agree(entry.build(), entry.samples(3))
    assert graph.front is not None


def image(nodes: list[Any], constants: dict[str, Array], shape: tuple[int, ...]) -> Any:
    """A file whose input is an image; "w" and "b" make three logits of its last tensor "f"."""
    if "y" not in nodes[-1].output:
        nodes = [*nodes, node("Gemm", "f w b", "y")]
    return model(nodes, constants, x=("N", *shape))


def sample(shape: tuple[int, ...], count: int = 4) -> Array:
    return np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)


def weights(*shape: int) -> Array:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


HEAD = {"b": matrix(3, 0)}
K, K2 = weights(5, 2, 3, 3), weights(4, 5, 1, 1)


def channels_last() -> onnx.ModelProto:
    """As tf2onnx writes a Keras network: NHWC, a transpose around every window."""
    nodes = [
        node("Transpose", "x", "n1", perm=[0, 3, 1, 2]),
        node("Conv", "n1 k", "c1", pads=[1, 1, 1, 1]),
        node("Transpose", "c1", "h1", perm=[0, 2, 3, 1]),
        node("Add", "h1 kb", "a1"),
        node("Relu", "a1", "r1"),
        node("Transpose", "r1", "n2", perm=[0, 3, 1, 2]),
        node("MaxPool", "n2", "p2", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "p2", "h2", perm=[0, 2, 3, 1]),
        node("MatMul", "h2 m", "d2"),
        node("Add", "d2 mb", "e2"),
        node("Relu", "e2", "r2"),
        node("Reshape", "r2 flat", "f"),
    ]
    constants = {
        "k": K,
        "kb": matrix(5, 0),
        "m": weights(5, 4),
        "mb": matrix(4, 0),
        "flat": ints(-1, 3 * 4 * 4),
        "w": weights(48, 3),
        **HEAD,
    }
    return image(nodes, constants, (6, 8, 2))


def shape_chain() -> onnx.ModelProto:
    """Flatten as PyTorch writes view(x.size(0), -1)."""
    nodes = [
        node("Conv", "x k", "c"),
        node("Relu", "c", "r"),
        node("Shape", "r", "s"),
        node("Gather", "s zero", "g", axis=0),
        node("Unsqueeze", "g axes", "u"),
        node("Concat", "u minus", "t", axis=0),
        node("Reshape", "r t", "f"),
    ]
    constants = {
        "k": K,
        "zero": np.array(0, np.int64),
        "axes": ints(0),
        "minus": ints(-1),
        "w": weights(5 * 4 * 6, 3),
        **HEAD,
    }
    return image(nodes, constants, (2, 6, 8))


def padded() -> onnx.ModelProto:
    """An explicit Pad before a convolution, behind a normaliser of each channel."""
    nodes = [
        node("Sub", "x mean", "s"),
        node("Div", "s dev", "d"),
        node("Pad", "d pads", "p"),
        node("Conv", "p k", "c", strides=[2, 2]),
        node("Relu", "c", "r"),
        node("ReduceMean", "r axes", "f", keepdims=0),
    ]
    constants = {
        "mean": matrix(2, 0).reshape(2, 1, 1),
        "dev": np.array([1.5, 0.3], np.float32).reshape(2, 1, 1),
        "pads": ints(0, 0, 0, 1, 0, 0, 2, 1),
        "k": K,
        "axes": ints(2, 3),
        "w": weights(5, 3),
        **HEAD,
    }
    return image(nodes, constants, (2, 6, 8))


def conv_head() -> onnx.ModelProto:
    """Logits by a convolution of one pixel, then Flatten."""
    nodes = [
        node("Conv", "x k", "c", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "g"),
        node("Conv", "g k2 b2", "l"),
        node("Flatten", "l", "y"),
    ]
    constants = {"k": K, "k2": K2, "b2": matrix(4, 0)}
    return model(nodes, constants, x=("N", 2, 7, 8))


def dense_residual() -> onnx.ModelProto:
    """No window at all: a residual connection and a hidden sigmoid between dense layers."""
    nodes = [
        node("Gemm", "x w1 b1", "h"),
        node("Relu", "h", "r"),
        node("Gemm", "r w2 b1", "g"),
        node("Sigmoid", "g", "s"),
        node("Add", "s r", "a"),
        node("Relu", "a", "f"),
    ]
    constants = {"w1": weights(6, 7), "w2": weights(7, 7), "b1": matrix(7, 0)}
    return image(nodes, {**constants, "w": weights(7, 3), **HEAD}, (6,))


def silu() -> onnx.ModelProto:
    """x * sigmoid(x), a ceil-mode pool, Clip that is no ReLU6, a pool before the ReLU."""
    nodes = [
        node("Conv", "x k", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "c s", "m"),
        node("MaxPool", "m", "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Clip", "p low high", "q"),
        node("Elu", "q", "e"),
        node("GlobalMaxPool", "e", "g"),
        node("Relu", "g", "r"),
        node("Flatten", "r", "f"),
    ]
    bounds = {"low": np.float32(-0.4), "high": np.float32(0.7)}
    constants = {k: np.asarray(v) for k, v in bounds.items()} | {"k": K, "w": weights(5, 3)}
    return image(nodes, {**constants, **HEAD}, (2, 7, 9))


def relu_of_input() -> onnx.ModelProto:
    """ReLU where no dense layer is, before and after scales."""
    nodes = [
        node("Relu", "x", "r"),
        node("Gemm", "r w1 b1", "h"),
        node("Relu", "h", "q"),
        node("Mul", "q b1", "m"),
        node("Relu", "m", "f"),
    ]
    constants = {"w1": weights(6, 7), "b1": matrix(7, 0)}
    return image(nodes, {**constants, "w": weights(7, 3), **HEAD}, (6,))


FORMS: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "channels_last": (channels_last, (6, 8, 2)),
    "shape_chain": (shape_chain, (2, 6, 8)),
    "padded": (padded, (2, 6, 8)),
    "conv_head": (conv_head, (2, 7, 8)),
    "dense_residual": (dense_residual, (6,)),
    "silu": (silu, (2, 7, 9)),
    "relu_of_input": (relu_of_input, (6,)),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_matches_onnxruntime(form: str) -> None:
    build, shape = FORMS[form]
    agree(build(), sample(shape))


def test_transposes_leave_no_node() -> None:
    graph = agree(channels_last(), sample((6, 8, 2)))
    assert graph.front is not None and not graph.front.planar
    assert [n.kind for n in graph.front.nodes] == ["conv", "max", "conv"]
    assert all(n.relu for n in graph.front.nodes if n.kind == "conv")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples for onnxruntime's quantizer, one at a time."""

    def __init__(self, x: Array) -> None:
        self.rest: Iterator[dict[str, Array]] = iter([{"x": one[None]} for one in x])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.rest, None)


def quantized(name: str, per_channel: bool) -> bytes:
    """A network of the suite as onnxruntime's quantize_static leaves it."""
    entry = SUITE[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "q.onnx"
        quantize_static(
            entry.build(),
            str(path),
            Reader(entry.samples(20, 3)),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", ["cnn_1d", "resnet8"])
def test_quantized_model_keeps_its_scales_and_its_hidden_relu(name: str, per_channel: bool) -> None:
    data = quantized(name, per_channel)
    operators = [n.op_type for n in onnx.load_from_string(data).graph.node]
    assert "Relu" not in operators and "QuantizeLinear" in operators
    graph = import_onnx(data)
    assert graph.front is not None
    nodes = graph.front.nodes
    assert any(n.relu for n in nodes) and any(n.limit is not None for n in nodes)
    entry = SUITE[name]
    x = entry.samples(16)
    expected = onnxruntime.InferenceSession(data).run(None, {"x": x})[0]
    got = graph.forward(x.reshape(16, -1))
    # Rounding to 8 bits between layers is left out here: noise, a mean of 1 % of the range at most.
    largest = np.abs(expected).max()
    assert np.abs(got - expected).mean() < 0.01 * largest
    bare = replace(graph.front, nodes=tuple(replace(n, relu=False) for n in nodes))
    lost = replace(graph, front=bare).forward(x.reshape(16, -1))
    assert np.abs(lost - expected).mean() > 0.05 * largest  # what losing a ReLU would do


GEMM_Q = [
    node("QuantizeLinear", "x s z", "q"),
    node("DequantizeLinear", "q s2 z", "d"),
    node("Gemm", "d w b", "y"),
]
IMAGE = (2, 6, 8)
CONV = node("Conv", "x k", "c")
FLAT = node("Flatten", "c", "f")
REFUSED: dict[str, tuple[list[Any], str]] = {
    "three_axes": ([node("Conv", "x k3", "c"), FLAT], "Conv_c.*dimensions"),
    "wrong_channels": ([node("Conv", "x k2", "c"), FLAT], "Conv_c.*channels"),
    "odd_groups": ([node("Conv", "x k", "c", group=3), FLAT], "Conv_c.*groups"),
    "window_too_big": ([node("Conv", "x big", "c"), FLAT], "Conv_c.*fits"),
    "absurd_stride": ([node("Conv", "x k", "c", strides=[9999, 1]), FLAT], "Conv_c.*fits"),
    "negative_pads": ([node("Conv", "x k", "c", pads=[-1, 0, 0, 0]), FLAT], "Conv_c.*negative"),
    "absurd_pads": ([node("Conv", "x k", "c", pads=[4000] * 4), FLAT], "Conv_c.*at most"),
    "ragged_average": (
        [node("AveragePool", "x", "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), FLAT],
        "AveragePool_c.*different sizes",
    ),
    "reflected_pad": (
        [node("Pad", "x pads", "p", mode="reflect"), node("Conv", "p k", "c"), FLAT],
        "Pad_p.*zeros",
    ),
    "padded_pool": (
        [node("Pad", "x pads", "p"), node("MaxPool", "p", "c", kernel_shape=[2, 2]), FLAT],
        "MaxPool_c.*padded",
    ),
    "channels_shuffled": (
        [
            node("Reshape", "x split", "a"),
            node("Transpose", "a", "t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "t join", "j"),
            node("Conv", "j k", "c"),
            FLAT,
        ],
        "Conv_c.*transpose cannot be removed",
    ),
    "branches_of_two_sizes": ([CONV, node("Add", "c x", "a"), node("Flatten", "a", "f")], "Add_a"),
    "product_of_branches": ([CONV, node("Mul", "c x", "m"), node("Flatten", "m", "f")], "Mul_m"),
    "conv_of_computed_weights": (
        [CONV, node("Conv", "x c", "d"), node("Flatten", "d", "f")],
        "Conv_d.*joins",
    ),
    "logits_through_tanh": (
        [CONV, FLAT, node("Gemm", "f w b", "g"), node("Tanh", "g", "y")],
        "node Tanh_y: the logits do not come straight",
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_network_that_cannot_be_taken_is_refused_by_node(form: str) -> None:
    nodes, message = REFUSED[form]
    constants = {
        "k": K,
        "k2": weights(5, 3, 3, 3),
        "k3": weights(5, 2, 3, 3, 3),
        "big": weights(5, 2, 9, 9),
        "pads": ints(0, 0, 1, 1, 0, 0, 1, 1),
        "split": ints(-1, 2, 2, 3, 8),
        "join": ints(-1, 2, 6, 8),
        "w": weights(120, 3),
        **HEAD,
    }
    used = {name for n in nodes for name in n.input}
    kept = {k: v for k, v in constants.items() if k in used | {"w", "b"}}
    data = image(nodes, kept, IMAGE).SerializeToString()
    with pytest.raises(ModelImportError, match=message):
        import_onnx(data)


def test_grid_that_changes_between_quantize_and_dequantize_is_refused() -> None:
    constants = {
        "s": np.float32(0.1),
        "s2": np.float32(0.2),
        "z": np.uint8(7),
        "w": matrix(4, 3),
        "b": matrix(3, 0),
    }
    file = model(GEMM_Q, {k: np.asarray(v) for k, v in constants.items()})
    with pytest.raises(ModelImportError, match="DequantizeLinear_d.*another scale"):
        import_onnx(file.SerializeToString())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_bad_kernel_weight_is_refused(value: float) -> None:
    bad = K.copy()
    bad[1, 0, 2, 1] = value
    constants = {"k": bad, "w": weights(120, 3), **HEAD}
    data = image([CONV, FLAT], constants, IMAGE).SerializeToString()
    with pytest.raises(ModelImportError, match=r"tensor k: element \[1, 0, 2, 1\]"):
        import_onnx(data)


def test_free_spatial_axis_is_refused_by_name() -> None:
    file = image([CONV, FLAT], {"k": K, "w": weights(120, 3), **HEAD}, IMAGE)
    file.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, "height", 8])
    )
    with pytest.raises(ModelImportError, match=r"dimension 2 \(height\) is not fixed"):
        import_onnx(file.SerializeToString())


def test_bytes_decide_the_graph() -> None:
    data = SUITE["branches"].build().SerializeToString()
    first, second = import_onnx(data), import_onnx(data)
    assert first.front is not None and second.front is not None
    assert [n.name for n in first.front.nodes] == [n.name for n in second.front.nodes]
