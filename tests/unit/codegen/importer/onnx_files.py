# SPDX-License-Identifier: Apache-2.0
"""Builds small ONNX files, and runs them in onnxruntime, which is the oracle of these tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from codegen.graph import FloatGraph

Array = NDArray[Any]
Shape = Sequence[int | str | None]
ML = "ai.onnx.ml"


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node, its tensors given as words; "-" leaves an input out; "ml:" marks the domain."""
    domain, _, name = operator.rpartition(":")
    return helper.make_node(
        name,
        ["" if word == "-" else word for word in inputs.split()],
        outputs.split(),
        name=f"{name}_{outputs.split()[0]}",
        domain=ML if domain else "",
        **attributes,
    )


def model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Array] | None = None,
    *,
    x: Shape = ("N", 4),
    outputs: Mapping[str, Shape | None] | None = None,
    x_type: int = TensorProto.FLOAT,
    y_type: int = TensorProto.FLOAT,
    opset: int = 21,
    ml: int = 3,
    ir: int = 10,
) -> ModelProto:
    """A model with input "x" and, unless told otherwise, output "y", a matrix."""
    named = {"y": ("N", None)} if outputs is None else outputs
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", x_type, x)],
        [helper.make_tensor_value_info(name, y_type, shape) for name, shape in named.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML, ml)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def matrix(rows: int, columns: int, seed: int = 0) -> Array:
    """Normal numbers, float32; a vector if there are no columns."""
    shape = (rows, columns) if columns else (rows,)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_layers() -> ModelProto:
    """A valid file with 4 features, 5 hidden units and 3 classes; the start of many tests."""
    nodes = [
        node("Gemm", "x w0 b0", "h", transB=1),
        node("Relu", "h", "r"),
        node("MatMul", "r w1", "m"),
        node("Add", "m b1", "y"),
    ]
    constants = {"w0": matrix(5, 4, 1), "b0": matrix(5, 0, 2)}
    constants |= {"w1": matrix(5, 3, 3), "b1": matrix(3, 0, 4)}
    return model(nodes, constants)


def run(data: bytes, x: Array) -> list[Any]:
    """What onnxruntime computes, quietly, on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    result: list[Any] = session.run(None, {session.get_inputs()[0].name: x})
    return result


def samples(graph: FloatGraph, count: int = 8, seed: int = 9) -> Array:
    """Normal samples in the file's shape, float32 (count, *input_shape)."""
    shape = (count, *graph.input_shape)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(logits: Array) -> Array:
    """Probabilities, float64."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def assert_close(got: Array, want: Array) -> None:
    """Equal up to float32 rounding, relative to the largest number."""
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * (1.0 + float(np.abs(want).max())))
