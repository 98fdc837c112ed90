# SPDX-License-Identifier: Apache-2.0
"""Corrupt and hostile files are refused quickly, before they cost memory, naming what and where."""

import time

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, defs, numpy_helper
from onnx_files import matrix, model, node, two_layers
from refusals import MAX_SECONDS, changed, refusal

from codegen.errors import (
    BadWeightError,
    ExternalDataError,
    MalformedModelError,
    ModelImportError,
    ModelTooLargeError,
    UnsupportedModelError,
    UnsupportedOpsetError,
)
from codegen.importer import import_onnx, limits


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no graph"),
        (b"hello, this is not a model", "byte 2: unknown wire type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not protobuf"),
        (b"PK\x03\x04" + bytes(64), "file: a zip archive, as .hadapt, .pt and .keras"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5 file of Keras; expected an ONNX file"),
        (bytes(4) + b"TFL3" + bytes(64), "TensorFlow Lite"),
        (b"\x80\x04\x95" + bytes(64), "pickle"),
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
    nodes = [
        node("MatMul", "x w", "a"),
        node("Relu", "a", "p"),
        node("MatMul", "p v", "b"),
        node("Relu", "b", "q"),
        node("MatMul", "q u", "y"),
    ]
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
