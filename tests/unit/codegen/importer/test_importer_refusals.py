# SPDX-License-Identifier: Apache-2.0
"""Models of a form that is not supported are refused, naming node or tensor."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx_files import matrix, model, node, two_layers
from refusals import changed, refusal

from codegen.errors import (
    MalformedModelError,
    ModelImportError,
    ModelTooLargeError,
    UnsupportedModelError,
    UnsupportedOperatorError,
    UnsupportedShapeError,
)
from codegen.importer import import_onnx, supported_operators

UNSUPPORTED: dict[str, NodeProto] = {
    "ConvTranspose": node("ConvTranspose", "x w", "y"),
    "Cos": node("Cos", "x", "y"),
    "Loop": helper.make_node("Loop", ["", "", "x"], ["y"], body=two_layers().graph),
    "If": helper.make_node(
        "If", ["x"], ["y"], then_branch=two_layers().graph, else_branch=two_layers().graph
    ),
    "com.microsoft.FusedGemm": helper.make_node(
        "FusedGemm", ["x", "w"], ["y"], domain="com.microsoft"
    ),
    "ai.onnx.ml.TreeEnsembleClassifier": node("ml:TreeEnsembleClassifier", "x", "y"),
    "No_such_Thing": helper.make_node("No\nsuch*Thing", ["x"], ["y"]),
}


@pytest.mark.parametrize("operator", UNSUPPORTED)
def test_unsupported_operator_is_refused_by_name(operator: str) -> None:
    file = model([UNSUPPORTED[operator]], {"w": matrix(4, 3)})
    file.opset_import.add(domain="com.microsoft", version=1)
    name = UNSUPPORTED[operator].name or "#0"
    error = refusal(file.SerializeToString(), UnsupportedOperatorError, "is not supported")
    assert isinstance(error, UnsupportedOperatorError)
    assert (error.node, error.operator) == (name, operator)
    assert error.supported == supported_operators()
    assert error.details["operator"] == operator


def test_subgraph_in_a_known_operator_is_refused() -> None:
    def change(file: ModelProto) -> None:
        file.graph.node[1].attribute.append(helper.make_attribute("body", file.graph))

    refusal(changed(change), UnsupportedModelError, "node Relu_r .*body holds a subgraph")


def test_local_function_is_refused_even_under_a_known_name() -> None:
    body = [node("Neg", "a", "b")]
    relu = helper.make_function("", "Relu", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    data = changed(lambda file: file.functions.append(relu))
    refusal(data, UnsupportedModelError, "node Relu_r: calls the local function Relu")


def test_sparse_initialisers_are_refused() -> None:
    data = changed(lambda file: file.graph.sparse_initializer.add())
    refusal(data, UnsupportedModelError, "sparse")


def rewire(index: int, inputs: str) -> Callable[[ModelProto], None]:
    """Gives a node of `two_layers` other inputs."""

    def change(file: ModelProto) -> None:
        file.graph.node[index].input[:] = inputs.split()

    return change


def test_cycle_is_refused() -> None:
    refusal(changed(rewire(0, "m w0 b0")), MalformedModelError, "node Gemm_h.*cycle")


def test_node_that_reads_itself_is_refused() -> None:
    refusal(changed(rewire(1, "r")), MalformedModelError, "node Relu_r.*cycle")


def test_nodes_out_of_order_are_sorted() -> None:
    """ONNX forbids it; onnxruntime's float16 converter does it, and onnxruntime runs it."""
    x = matrix(6, 4)
    data = changed(lambda file: file.graph.node.insert(0, file.graph.node.pop(2)))
    wanted = import_onnx(two_layers().SerializeToString()).forward(x)
    np.testing.assert_array_equal(import_onnx(data).forward(x), wanted)


def test_undefined_tensor_is_refused_by_name() -> None:
    data = changed(rewire(3, "m nowhere"))
    refusal(data, MalformedModelError, "node Add_y .*tensor nowhere")


def test_undefined_output_is_refused_by_name() -> None:
    data = changed(lambda file: setattr(file.graph.output[0], "name", "nowhere"))
    refusal(data, MalformedModelError, "graph outputs: reads tensor nowhere")


def test_tensor_defined_twice_is_refused() -> None:
    data = changed(lambda file: file.graph.node[1].output.__setitem__(0, "h"))
    refusal(data, MalformedModelError, r"node Relu_r \(Relu\): defines tensor h again")


def test_initialiser_given_twice_is_refused() -> None:
    data = changed(lambda file: file.graph.initializer.append(file.graph.initializer[0]))
    refusal(data, MalformedModelError, "tensor w0: initialiser is given twice")


def test_input_given_twice_is_refused() -> None:
    data = changed(lambda file: file.graph.input.append(file.graph.input[0]))
    refusal(data, MalformedModelError, "input x")


def test_name_that_is_not_utf8_is_refused() -> None:
    data = two_layers().SerializeToString().replace(b"Relu_r", b"Rel\xff_r")
    refusal(data, MalformedModelError, "not UTF-8")


def test_hostile_names_are_shown_harmlessly() -> None:
    name = '*/ #include "x"\n' + "A" * 5000
    data = changed(lambda file: setattr(file.graph.node[1], "op_type", name))
    error = refusal(data, UnsupportedOperatorError, r"_/ _include _x__A+\.\.\. is not")
    assert len(str(error)) < 1000


def test_two_inputs_are_refused_by_name() -> None:
    file = model([node("Gemm", "x w z", "y")], {"w": matrix(4, 3)})
    file.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3]))
    refusal(file.SerializeToString(), UnsupportedModelError, "2 inputs: x, z")


def test_output_without_input_is_refused() -> None:
    data = model([node("Identity", "w", "y")], {"w": matrix(4, 3)}).SerializeToString()
    refusal(data, UnsupportedModelError, "0 inputs")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("N", "width"), r"input x: dimension 1 \(width\) is not fixed"),
        (("N", 2, None), r"dimension 2 \(unnamed\) is not fixed"),
        (("N", 0), "dimension 1"),
        ((4,), "1 dimensions"),
        ((), "0 dimensions"),
    ],
)
def test_input_shape_that_is_not_fixed_is_refused(shape: tuple[Any, ...], message: str) -> None:
    data = model([node("Relu", "x", "y")], x=shape).SerializeToString()
    refusal(data, UnsupportedShapeError, message)


def test_huge_input_is_refused() -> None:
    data = model([node("Flatten", "x", "y")], x=("N", 2**30, 2**30)).SerializeToString()
    refusal(data, ModelTooLargeError, "features")


def test_text_input_is_refused() -> None:
    data = model([node("Identity", "x", "y")], x_type=TensorProto.STRING).SerializeToString()
    refusal(data, UnsupportedModelError, "input x: element type")


GEMM = node("Gemm", "x w b", "h")
REFUSED_FORMS: dict[str, tuple[list[NodeProto], type[ModelImportError], str]] = {
    "residual": (
        [GEMM, node("Relu", "h", "r"), node("Add", "r h", "y")],
        UnsupportedModelError,
        "node Add_y: the logits do not come straight from a dense layer",
    ),
    "product": ([GEMM, node("Mul", "h x", "y")], UnsupportedModelError, "Mul_y.*joins"),
    "gated": ([GEMM, node("Gemm", "x w h", "y")], UnsupportedModelError, "Gemm_y.*joins"),
    "concat": ([GEMM, node("Concat", "h x", "y", axis=1)], UnsupportedModelError, "Concat_y"),
    "slice": (
        [GEMM, node("Slice", "h one two one", "y")],
        UnsupportedModelError,
        "output of shape \\[1\\] a sample",
    ),
    "constant_over_signal": (
        [GEMM, node("Div", "b h", "y")],
        UnsupportedModelError,
        "Div_y.*divides by a computed tensor",
    ),
    "division_by_zero": (
        [GEMM, node("Div", "h zeros", "y")],
        MalformedModelError,
        "Div_y.*feature 1 by zero",
    ),
    "function_of_signal": (
        [GEMM, node("Sqrt", "h", "y")],
        UnsupportedModelError,
        "Sqrt of a computed tensor",
    ),
    "transposed_samples": (
        [node("Gemm", "x w b", "y", transA=1)],
        UnsupportedModelError,
        "Gemm_y.*transposes the samples",
    ),
    "scaled_relu_last": (
        [GEMM, node("Relu", "h", "r"), node("Mul", "r b", "y")],
        UnsupportedModelError,
        "node Mul_y: the logits do not come straight",
    ),
    "no_layer": ([node("Identity", "x", "y")], UnsupportedModelError, "graph outputs: the logits"),
    "shape_output": (
        [GEMM, node("Shape", "h", "y")],
        UnsupportedModelError,
        "output y: is constant",
    ),
    "missing_input": ([node("Gemm", "x", "y")], MalformedModelError, "passes onnx.checker"),
    "wrong_type": ([GEMM, node("Cast", "h", "y", to=11)], MalformedModelError, "inference"),
    "training_norm": (
        [GEMM, node("BatchNormalization", "h b b b u1", "y q r", training_mode=1)],
        UnsupportedModelError,
        "BatchNormalization_y.*training mode",
    ),
    "mask_of_dropout": (
        [GEMM, node("Dropout", "h", "d mask"), node("Cast", "mask", "y", to=1)],
        UnsupportedModelError,
        "Cast_y.*reads mask",
    ),
    "lost_batch": (
        [GEMM, node("Reshape", "h flat", "y")],
        UnsupportedShapeError,
        "Reshape_y.*batch on axis 0",
    ),
    "batch_of_one": (
        [node("Reshape", "x row", "r"), node("Gemm", "r w b", "y")],
        UnsupportedShapeError,
        "Reshape_r.*batch on axis 0",
    ),
    "flattened_batch": (
        [GEMM, node("Flatten", "h", "y", axis=0)],
        UnsupportedShapeError,
        "Flatten_y.*axis 0",
    ),
    "transposed": ([GEMM, node("Transpose", "h", "y")], UnsupportedShapeError, "Transpose_y"),
    "outer": ([GEMM, node("Add", "h wide", "y")], UnsupportedShapeError, "Add_y.*broadcasts"),
    "integer": ([node("Cast", "x", "y", to=7)], UnsupportedModelError, "Cast_y.*another type"),
    "wrong_width": ([node("MatMul", "x u", "y")], UnsupportedShapeError, "MatMul_y.*4 features"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED_FORMS)
def test_network_of_another_form_is_refused_by_name(form: str) -> None:
    nodes, kind, message = REFUSED_FORMS[form]
    constants = {
        "w": matrix(4, 3),
        "b": matrix(3, 0),
        "u": matrix(3, 3),
        "u1": np.abs(matrix(3, 0)),
        "zeros": np.array([1, 0, 1], np.float32),
        "wide": matrix(5, 3),
        "one": np.array([1]),
        "two": np.array([2]),
        "flat": np.array([-1, 1]),
        "row": np.array([1, -1]),
    }
    file = model(nodes, constants, outputs={"y": (None, None)})
    if form in ("shape_output", "integer"):
        file.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    refusal(file.SerializeToString(), kind, message)


def test_outputs_of_different_tensors_are_refused() -> None:
    data = changed(
        lambda file: file.graph.output.append(
            helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 5])
        )
    )
    refusal(data, UnsupportedModelError, "outputs y, r are computed from different tensors")


def test_integer_arithmetic_on_samples_is_refused() -> None:
    nodes = [node("Mul", "x k", "m"), node("Cast", "m", "c", to=1), node("MatMul", "c w", "y")]
    constants = {"k": np.array([2]), "w": matrix(4, 3)}
    data = model(nodes, constants, x_type=TensorProto.INT64).SerializeToString()
    refusal(data, UnsupportedModelError, "Mul_m.*calculates with integers")
