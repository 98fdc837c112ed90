# SPDX-License-Identifier: Apache-2.0
"""Files that are corrupt, hostile or of another kind are refused quickly, naming what and where."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper
from onnx_files import matrix, model, node, two_layers

from codegen.errors import (
    BadWeightError,
    ExternalDataError,
    MalformedModelError,
    ModelImportError,
    ModelTooLargeError,
    UnsupportedModelError,
    UnsupportedOperatorError,
    UnsupportedOpsetError,
    UnsupportedShapeError,
)
from codegen.importer import import_onnx, limits, supported_operators

MAX_SECONDS = 2.0
"""Of processor time, so that a busy machine does not matter."""


def refusal(data: bytes, kind: type[ModelImportError], message: str) -> ModelImportError:
    """Import must fail within the time limit, with this kind of error and message."""
    begin = time.process_time()
    with pytest.raises(kind, match=message) as caught:
        import_onnx(data)
    assert time.process_time() - begin < MAX_SECONDS
    assert type(caught.value) is kind
    assert all(caught.value.to_dict()[key] for key in ("code", "what", "where", "expected"))
    return caught.value


def changed(change: Callable[[ModelProto], Any]) -> bytes:
    """The bytes of `two_layers` after a change."""
    file = two_layers()
    change(file)
    return file.SerializeToString()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no graph"),
        (b"hello, this is not a model", "byte 2: unknown wire type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not protobuf"),
        (two_layers().SerializeToString()[:-7], "byte .* past the end"),
        (b"\x08" + b"\xff" * 20, "too long"),
        (b"\x0b" * 50, "unknown wire type"),
        (b"\x3a\x04\x0a\x02\x0a\x00", "IR version|no graph|ir_version"),
    ],
)
def test_bytes_that_are_no_model_are_refused(data: bytes, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(ModelImportError, match=message):
        import_onnx(data)
    assert time.process_time() - begin < MAX_SECONDS


def test_file_over_the_limit_is_refused_unread() -> None:
    data = bytes(limits.MAX_FILE_BYTES + 1)
    error = refusal(data, ModelTooLargeError, "file bytes")
    assert error.details["limit"] == limits.MAX_FILE_BYTES


def test_millions_of_empty_messages_are_refused_before_parsing() -> None:
    graph = b"\x0a\x00" * (8 * 2**20)
    length = bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7 & 0x7F | 0x80])
    length += bytes([len(graph) >> 14 & 0x7F | 0x80, len(graph) >> 21])
    refusal(b"\x3a" + length + graph, ModelTooLargeError, "protobuf fields")


def test_deep_nesting_is_refused() -> None:
    data = b""
    for _ in range(60):  # graph inside attribute inside node inside graph ...
        for tag in (0x32, 0x2A, 0x0A):
            data = bytes([tag]) + _varint(len(data)) + data
    refusal(b"\x3a" + _varint(len(data)) + data, ModelTooLargeError, "nested messages")


def _varint(value: int) -> bytes:
    head = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return head + _varint(value >> 7) if value > 0x7F else head


def test_too_many_nodes_are_refused() -> None:
    nodes = [node("Relu", "x", f"r{i}") for i in range(limits.MAX_NODES + 1)]
    data = model(nodes).SerializeToString()
    refusal(data, ModelTooLargeError, "4097 nodes")


def external(file: ModelProto) -> None:
    """Point the first weights to a file of the host."""
    tensor = file.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def test_external_data_is_refused_by_name() -> None:
    error = refusal(changed(external), ExternalDataError, "tensor w0")
    assert error.details == {"tensor": "w0"}
    assert "passwd" not in str(error)


def test_external_data_in_an_attribute_is_refused() -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    nodes = [node("Constant", "", "b", value=tensor), node("Gemm", "x w b", "y")]
    data = model(nodes, {"w": matrix(4, 3)}).SerializeToString()
    refusal(data, ExternalDataError, "value of node Constant_b")


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([2**40, 2**40], "elements"),
        ([2**31, 0], "elements"),
        ([2**23], "elements"),
        ([1] * 9, "9 dimensions"),
    ],
)
def test_absurd_shape_is_refused_before_allocation(dims: list[int], message: str) -> None:
    data = changed(lambda file: file.graph.initializer[0].dims.__setitem__(slice(None), dims))
    refusal(data, ModelTooLargeError, f"tensor w0: .*{message}")


@pytest.mark.parametrize(
    ("dims", "message"), [([-5, -4], "negative"), ([5, 5], "80 bytes of data"), ([5], "80 bytes")]
)
def test_shape_that_contradicts_the_data_is_refused(dims: list[int], message: str) -> None:
    data = changed(lambda file: file.graph.initializer[0].dims.__setitem__(slice(None), dims))
    refusal(data, MalformedModelError, message)


def test_data_stored_twice_is_refused() -> None:
    data = changed(lambda file: file.graph.initializer[0].float_data.extend([0.0] * 20))
    refusal(data, MalformedModelError, "tensor w0: .*stored once")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (2.0**61, "2.3.*e.18")],
)
def test_bad_weight_is_refused_with_tensor_and_index(value: float, shown: str) -> None:
    weight = matrix(5, 4, 1)
    weight[3, 2] = value

    def change(file: ModelProto) -> None:
        file.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))

    error = refusal(changed(change), BadWeightError, rf"tensor w0: element \[3, 2\] is {shown}")
    assert error.details["index"] == [3, 2]


def test_bad_attribute_is_refused() -> None:
    nodes = [
        node("ml:Scaler", "x", "d", offset=[0.0], scale=[float("nan")]),
        node("MatMul", "d w", "y"),
    ]
    data = model(nodes, {"w": matrix(4, 3)}).SerializeToString()
    refusal(data, BadWeightError, r"scale of node Scaler_d .*\[0\]")


def test_weights_that_overflow_when_folded_are_refused() -> None:
    big = np.full((4, 3), 1e17, np.float32)
    nodes = [node("MatMul", "x w", "m"), node("Mul", "m k", "n"), node("Mul", "n k", "y")]
    data = model(nodes, {"w": big, "k": np.array([1e17] * 3, np.float32)}).SerializeToString()
    refusal(data, BadWeightError, "folded into node MatMul_m")


@pytest.mark.parametrize(
    ("domain", "version", "message"),
    [
        (0, 6, "opset 6 of domain ai.onnx; expected opset 7 to 28"),
        (0, 29, "opset 29"),
        (0, -1, "opset -1"),
        (0, 2**62, "opset 4611686018427387904"),
        (1, 6, "opset 6 of domain ai.onnx.ml; expected opset 1 to 5"),
    ],
)
def test_opset_out_of_range_is_refused(domain: int, version: int, message: str) -> None:
    data = changed(lambda file: setattr(file.opset_import[domain], "version", version))
    refusal(data, UnsupportedOpsetError, message)


def test_opset_range_is_known_to_the_installed_onnx() -> None:
    assert defs.onnx_opset_version() >= limits.MAX_OPSET


@pytest.mark.parametrize("version", [0, 2, 15, 2**40])
def test_ir_version_out_of_range_is_refused(version: int) -> None:
    data = changed(lambda file: setattr(file, "ir_version", version))
    refusal(data, UnsupportedModelError, "IR version")


def test_two_versions_of_one_domain_are_refused() -> None:
    data = changed(lambda file: file.opset_import.add(domain="ai.onnx", version=20))
    refusal(data, MalformedModelError, "two versions of domain ai.onnx")


def test_missing_operator_set_is_refused() -> None:
    data = changed(lambda file: file.ClearField("opset_import"))
    refusal(data, MalformedModelError, "no operator set")


UNSUPPORTED: dict[str, NodeProto] = {
    "Conv": node("Conv", "x w", "y"),
    "Tanh": node("Tanh", "x", "y"),
    "Loop": helper.make_node("Loop", ["", "", "x"], ["y"], body=two_layers().graph),
    "If": helper.make_node(
        "If", ["x"], ["y"], then_branch=two_layers().graph, else_branch=two_layers().graph
    ),
    "com.microsoft.FusedGemm": helper.make_node(
        "FusedGemm", ["x", "w"], ["y"], domain="com.microsoft"
    ),
    "ai.onnx.ml.TreeEnsembleClassifier": node("ml:TreeEnsembleClassifier", "x", "y"),
    "No?such?Thing": helper.make_node("No\nsuch*Thing", ["x"], ["y"]),
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


def test_nodes_out_of_order_are_refused() -> None:
    data = changed(lambda file: file.graph.node.insert(0, file.graph.node.pop(2)))
    refusal(data, MalformedModelError, "out of order")


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
    error = refusal(data, UnsupportedOperatorError, r"\?/ \?include \?x\?\?A+\.\.\. is not")
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
        r"node Add_y \(Add\): joins two computed tensors",
    ),
    "product": ([GEMM, node("Mul", "h h", "y")], UnsupportedModelError, "Mul_y.*joins"),
    "gated": ([GEMM, node("Gemm", "x w h", "y")], UnsupportedModelError, "Gemm_y.*joins"),
    "concat": ([GEMM, node("Concat", "h x", "y", axis=1)], UnsupportedModelError, "Concat_y"),
    "slice": (
        [GEMM, node("Slice", "h one two one", "y")],
        UnsupportedModelError,
        "Slice_y.*no result of a classifier",
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
    "relu_of_input": (
        [node("Relu", "x", "r"), node("Gemm", "r w b", "y")],
        UnsupportedModelError,
        "node Relu_r: Relu does not follow",
    ),
    "relu_after_fold": (
        [GEMM, node("Relu", "h", "r"), node("Mul", "r b", "m"), node("Relu", "m", "n"),
         node("MatMul", "n u", "y")],
        UnsupportedModelError,
        "node Relu_n: Relu does not follow",
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
    refusal(data, UnsupportedModelError, "Mul_m.*integer input")


def doubling(count: int) -> list[NodeProto]:
    """Each node doubles a constant: 2^count elements from a small file."""
    chain = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(count)]
    return [*chain, node("MatMul", f"x c{count}", "y")]


def test_constants_that_grow_without_bound_are_refused() -> None:
    data = model(doubling(60), {"c0": matrix(4, 4)}).SerializeToString()
    refusal(data, ModelTooLargeError, "computed from constants|elements")


def test_products_that_grow_without_bound_are_refused() -> None:
    nodes = [node("MatMul", f"c{i} c0", f"c{i + 1}") for i in range(200)]
    nodes.append(node("MatMul", "x c200", "y"))
    constants = {"c0": np.eye(512, dtype=np.float32)}
    data = model(nodes, constants, x=("N", 512)).SerializeToString()
    refusal(data, ModelTooLargeError, "products of constants")


def test_outer_sum_of_constants_is_refused_before_allocation() -> None:
    nodes = [node("Add", "c r", "s"), node("MatMul", "x s", "y")]
    constants = {"c": matrix(2**18, 1), "r": matrix(1, 2**18)}
    data = model(nodes, constants).SerializeToString()
    refusal(data, ModelTooLargeError, "node Add_s")


def test_gather_of_many_indices_is_refused_before_allocation() -> None:
    nodes = [node("Gather", "c i", "s"), node("MatMul", "x s", "y")]
    constants = {"c": matrix(4, 2**16), "i": np.zeros(2**16, np.int64)}
    data = model(nodes, constants).SerializeToString()
    refusal(data, ModelTooLargeError, "node Gather_s")


def test_constants_that_contradict_each_other_are_refused() -> None:
    nodes = [node("Gather", "c i", "s"), node("MatMul", "x s", "y")]
    constants = {"c": matrix(4, 3), "i": np.array([9, 9, 9, 9])}
    data = model(nodes, constants).SerializeToString()
    refusal(data, MalformedModelError, "node Gather_s .*contradict")


def test_layers_that_share_huge_weights_are_refused() -> None:
    nodes = [node("MatMul", "x w", "t0")]
    nodes += [node("MatMul", f"t{i} w", f"t{i + 1}") for i in range(1000)]
    data = model(nodes, {"w": matrix(1024, 1024)}, x=("N", 1024), outputs={"t1000": ("N", 1024)})
    refusal(data.SerializeToString(), ModelTooLargeError, "weights and outputs of nodes")


def test_long_chain_on_wide_samples_is_refused() -> None:
    nodes = [node("Neg", "x", "t0")] + [node("Neg", f"t{i}", f"t{i + 1}") for i in range(4000)]
    nodes.append(node("MatMul", "t4000 w", "y"))
    data = model(nodes, {"w": matrix(2**16, 2)}, x=("N", 2**16)).SerializeToString()
    refusal(data, ModelTooLargeError, "weights and outputs of nodes")


@pytest.mark.parametrize("operator", ["Identity", "Transpose", "Neg"])
def test_long_chain_on_big_constants_is_refused(operator: str) -> None:
    nodes = [node(operator, f"c{i}", f"c{i + 1}") for i in range(4000)]
    nodes.append(node("MatMul", "x c4000", "y"))
    data = model(nodes, {"c0": matrix(1024, 1024)}, x=("N", 1024)).SerializeToString()
    refusal(data, ModelTooLargeError, "elements computed from constants")


def test_long_chain_of_scales_behind_big_weights_is_quick() -> None:
    nodes = [node("MatMul", "x w", "t0")]
    nodes += [node("Neg", f"t{i}", f"t{i + 1}") for i in range(4000)]
    outputs = {"t4000": ("N", 64)}
    data = model(nodes, {"w": matrix(2**14, 64)}, x=("N", 2**14), outputs=outputs)
    begin = time.process_time()
    assert import_onnx(data.SerializeToString()).n_classes == 64
    assert time.process_time() - begin < MAX_SECONDS


def test_largest_file_is_read_in_time() -> None:
    weights = {"w": matrix(2048, 1024), "v": matrix(1024, 2048), "u": matrix(2048, 1024)}
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "a v", "b"), node("MatMul", "b u", "y")]
    data = model(nodes, weights, x=("N", 2048)).SerializeToString()
    assert len(data) < limits.MAX_FILE_BYTES
    begin = time.process_time()
    assert import_onnx(data).n_weights > 3 * 2**21
    assert time.process_time() - begin < MAX_SECONDS


def test_packed_dimensions_by_the_million_are_refused() -> None:
    dims, name = b"\x01" * 2**24, b"\x42\x02b0"
    tensor = b"\x0a" + _varint(len(dims)) + dims + b"\x10\x01" + name
    graph = b"\x2a" + _varint(len(tensor)) + tensor
    file = two_layers()
    file.graph.initializer.pop(1)
    data = file.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph
    refusal(data, ModelTooLargeError, "tensor b0: 16777216 dimensions")
