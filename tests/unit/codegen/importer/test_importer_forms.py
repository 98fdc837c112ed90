# SPDX-License-Identifier: Apache-2.0
"""Every accepted spelling of a dense network gives onnxruntime's logits."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx_files import Array, assert_close, matrix, model, node, run, samples, two_layers

from codegen.graph import Affine, Dense, FloatGraph
from codegen.importer import import_onnx

W = matrix(4, 3, 1)
B = matrix(3, 0, 2)
V = matrix(4, 0, 3)
DENSE = node("Gemm", "d w b", "y")
WB = {"w": W, "b": B}


def check(file: ModelProto, batch: int = 8) -> FloatGraph:
    """Import the file and compare its logits with onnxruntime's."""
    data = file.SerializeToString()
    graph = import_onnx(data)
    x = samples(graph, batch)
    kinds: dict[int, type[np.generic]] = {
        TensorProto.DOUBLE: np.float64,
        TensorProto.INT64: np.int64,
    }
    x_type = file.graph.input[0].type.tensor_type.elem_type
    if x_type == TensorProto.INT64:
        x = np.round(x * 10).astype(np.float32)
    want = run(data, x.astype(kinds.get(x_type, np.float32)))[0]
    assert_close(graph.forward(x), want)
    return graph


GEMMS: dict[str, tuple[dict[str, Any], Array, Array | None]] = {
    "plain": ({}, W, B),
    "transposed": ({"transB": 1}, np.ascontiguousarray(W.T), B),
    "alpha": ({"alpha": -0.5}, W, B),
    "beta": ({"beta": 3.0}, W, B),
    "alpha_beta_transposed": ({"alpha": 2.0, "beta": 0.0, "transB": 1}, W.T.copy(), B),
    "row_bias": ({}, W, B[None, :]),
    "scalar_bias": ({}, W, np.array(0.5, np.float32)),
    "single_bias": ({"beta": 2.0}, W, np.array([0.5], np.float32)),
    "no_bias": ({"alpha": 0.1}, W, None),
    "attributes_written_out": ({"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}, W, B),
}


@pytest.mark.parametrize("form", GEMMS)
def test_gemm_in_any_form_matches(form: str) -> None:
    attributes, weight, bias = GEMMS[form]
    constants = {"w": weight} | ({} if bias is None else {"b": bias})
    inputs = "x w" if bias is None else "x w b"
    graph = check(model([node("Gemm", inputs, "y", **attributes)], constants))
    assert [type(layer) for layer in graph.layers] == [Dense]


@pytest.mark.parametrize("operands", ["m b", "b m"])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (1,), ()])
def test_matmul_with_bias_on_either_side_matches(operands: str, shape: tuple[int, ...]) -> None:
    bias = np.resize(B, shape).astype(np.float32)
    nodes = [node("MatMul", "x w", "m"), node("Add", operands, "y")]
    graph = check(model(nodes, {"w": W, "b": bias}))
    assert [type(layer) for layer in graph.layers] == [Dense]


def test_matmul_without_bias_matches() -> None:
    check(model([node("MatMul", "x w", "y")], {"w": W}))


NORMALISERS: dict[str, tuple[list[NodeProto], dict[str, Array]]] = {
    "sub_div": ([node("Sub", "x v", "s"), node("Div", "s t", "d")], {"t": np.abs(V) + 0.1}),
    "mul_add": ([node("Mul", "t x", "s"), node("Add", "v s", "d")], {"t": V - 1}),
    "scalar": ([node("Div", "x t", "d")], {"t": np.array(255.0, np.float32)}),
    "from_constant": ([node("Sub", "v x", "d")], {}),
    "neg": ([node("Neg", "x", "d")], {}),
    "zero_scale": (
        [node("Mul", "x t", "s"), node("Add", "s v", "d")],
        {"t": np.array([1, 0, 2, 0], np.float32)},
    ),
    "scaler": ([node("ml:Scaler", "x", "d", offset=[1.0, 2, 3, 4], scale=[0.5, 2, 1, 3])], {}),
    "scaler_of_one": ([node("ml:Scaler", "x", "d", offset=[1.0], scale=[0.5])], {}),
    "batch_norm": (
        [node("BatchNormalization", "x v u v t", "d", epsilon=1e-3)],
        {"u": V + 1, "t": np.abs(V)},
    ),
}


@pytest.mark.parametrize("form", NORMALISERS)
def test_normaliser_in_any_form_becomes_affine(form: str) -> None:
    nodes, constants = NORMALISERS[form]
    graph = check(model([*nodes, DENSE], WB | {"v": V} | constants))
    assert [type(layer) for layer in graph.layers] == [Affine, Dense]


def test_scaler_keeps_its_offset_and_scale_exactly() -> None:
    offset = np.array([1e6, -3.5, 0.1, 0], np.float32)
    scale = np.array([1e-3, 7, 0.3, 1], np.float32)
    scaler = node("ml:Scaler", "x", "d", offset=offset.tolist(), scale=scale.tolist())
    graph = import_onnx(model([scaler, DENSE], WB).SerializeToString())
    assert graph.normalizer is not None
    np.testing.assert_array_equal(graph.normalizer.offset, offset)
    np.testing.assert_array_equal(graph.normalizer.scale, scale)


def norm(source: str, target: str, **attributes: Any) -> NodeProto:
    """Batch norm over three channels with the constants of `norm_constants`."""
    return node("BatchNormalization", f"{source} g a m v", target, **attributes)


NORM_CONSTANTS = {
    "g": matrix(3, 0, 4),
    "a": matrix(3, 0, 5),
    "m": matrix(3, 0, 6),
    "v": np.abs(matrix(3, 0, 7)) + 0.1,
}
HEAD = {"w2": matrix(3, 2, 8), "b2": matrix(2, 0, 9)}
FOLDED: dict[str, list[NodeProto]] = {
    "before_relu": [norm("h", "n"), node("Relu", "n", "r"), node("Gemm", "r w2 b2", "y")],
    "after_relu": [node("Relu", "h", "r"), norm("r", "n"), node("Gemm", "n w2 b2", "y")],
    "twice": [norm("h", "n"), norm("n", "n2"), node("Relu", "n2", "r"), norm("r", "k"),
              norm("k", "k2"), node("Gemm", "k2 w2 b2", "y")],
    "no_relu": [norm("h", "n"), node("Gemm", "n w2 b2", "y")],
    "with_epsilon": [norm("h", "n", epsilon=0.5, momentum=0.1), node("Gemm", "n w2 b2", "y")],
    "on_logits": [norm("h", "y")],
    "scaled_logits": [node("Mul", "h g", "s"), node("Div", "s v", "t"), node("Neg", "t", "y")],
}  # fmt: skip


@pytest.mark.parametrize("form", FOLDED)
def test_scales_between_layers_are_folded_into_weights(form: str) -> None:
    constants = WB | NORM_CONSTANTS | (HEAD if "w2" in str(FOLDED[form]) else {})
    graph = check(model([node("Gemm", "x w b", "h"), *FOLDED[form]], constants))
    assert all(isinstance(layer, Dense) for layer in graph.layers)
    assert len(graph.layers) == (
        2 if "w2" in str(FOLDED[form]) and "Relu" in str(FOLDED[form]) else 1
    )


def test_bottleneck_without_an_activation_keeps_its_two_layers() -> None:
    narrow, wide = {"n": matrix(4, 1, 3)}, {"o": matrix(1, 8, 4)}
    graph = check(model([node("MatMul", "x n", "h"), node("MatMul", "h o", "y")], narrow | wide))
    assert [layer.outputs for layer in graph.layers] == [1, 8]


SHAPED: dict[str, tuple[list[NodeProto], dict[str, Array]]] = {
    "flatten": ([node("Flatten", "x", "d")], {}),
    "flatten_negative": ([node("Flatten", "x", "d", axis=-3)], {}),
    "reshape": ([node("Reshape", "x s", "d")], {"s": np.array([-1, 12])}),
    "reshape_copy": ([node("Reshape", "x s", "d")], {"s": np.array([0, -1])}),
    "reshape_in_parts": (
        [node("Reshape", "x s", "p"), node("Reshape", "p t", "d")],
        {"s": np.array([0, 0, -1]), "t": np.array([0, 12])},
    ),
    "squeeze": (
        [node("Reshape", "x s", "p"), node("Squeeze", "p a", "d")],
        {"s": np.array([0, 1, -1]), "a": np.array([1])},
    ),
    "unsqueeze": (
        [node("Unsqueeze", "x a", "p"), node("Flatten", "p", "d")],
        {"a": np.array([-1, 1])},
    ),
    "transpose_of_ones": (
        [node("Transpose", "x", "p", perm=[0, 2, 3, 1]), node("Flatten", "p", "d")],
        {},
    ),
    "from_shape": (
        [
            node("Shape", "x", "full"),
            node("Gather", "full zero", "n"),
            node("Unsqueeze", "n axis", "n1"),
            node("Cast", "n1", "n2", to=TensorProto.INT64),
            node("Concat", "n2 rest", "s", axis=0),
            node("Reshape", "x s", "d"),
        ],
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])},
    ),
    "from_shape_slice": (
        [
            node("Shape", "x", "full"),
            node("Slice", "full begin end", "n"),
            node("Concat", "n rest", "s", axis=0),
            node("Reshape", "x s", "d"),
        ],
        {"begin": np.array([0]), "end": np.array([1]), "rest": np.array([12])},
    ),
    "from_shape_range": (
        [
            node("Shape", "x", "n", start=0, end=1),
            node("Concat", "n rest", "s", axis=0),
            node("Reshape", "x s", "d", allowzero=1),
        ],
        {"rest": np.array([12])},
    ),
    "channel_offset": (
        [node("Sub", "x c", "p"), node("Flatten", "p", "d")],
        {"c": np.array([0.5, 1, 2], np.float32).reshape(1, 1, 3, 1)},
    ),
    "channel_norm": (
        [node("BatchNormalization", "x c c c c", "p"), node("Flatten", "p", "d")],
        {"c": np.array([2.5], np.float32)},
    ),
}


@pytest.mark.parametrize("batch", ["N", 1, 5])
@pytest.mark.parametrize("form", SHAPED)
def test_samples_of_any_shape_are_flattened(form: str, batch: str | int) -> None:
    nodes, constants = SHAPED[form]
    weights = {"w": matrix(12, 3, 1), "b": B}
    file = model([*nodes, DENSE], weights | constants, x=(batch, 1, 3, 4))
    graph = check(file, batch if isinstance(batch, int) else 8)
    assert graph.input_shape == (1, 3, 4)
    assert graph.features == 12


WEIGHT_CHAINS: dict[str, tuple[list[NodeProto], dict[str, Array]]] = {
    "transpose": ([node("Transpose", "t", "w")], {"t": W.T.copy()}),
    "transpose_perm": ([node("Transpose", "t", "w", perm=[1, 0])], {"t": W.T.copy()}),
    "identity": ([node("Identity", "t", "w")], {"t": W}),
    "cast": ([node("Cast", "t", "w", to=TensorProto.FLOAT)], {"t": W.astype(np.float64)}),
    "half": ([node("Cast", "t", "w", to=TensorProto.FLOAT)], {"t": W.astype(np.float16)}),
    "reshape": ([node("Reshape", "t s", "w")], {"t": W.reshape(-1), "s": np.array([4, -1])}),
    "concat": ([node("Concat", "t t2", "w", axis=1)], {"t": W[:, :1], "t2": W[:, 1:]}),
    "slice": (
        [node("Slice", "t lo hi ax st", "w")],
        {
            "t": np.repeat(W, 2, axis=1),
            "lo": np.array([5]),
            "hi": np.array([-9]),
            "ax": np.array([1]),
            "st": np.array([-2]),
        },
    ),
    "gather": ([node("Gather", "t i", "w", axis=1)], {"t": W, "i": np.array([2, -3, 1])}),
    "scaled": (
        [node("Mul", "t q", "p"), node("Sub", "p q", "o"), node("Div", "o q", "w")],
        {"t": W, "q": np.array([2, 3, 4], np.float32)},
    ),
    "normed": (
        [node("Mul", "t t", "sq"), node("Sqrt", "sq", "a"), node("Reciprocal", "a", "w")],
        {"t": W + 3},
    ),
    "product": ([node("MatMul", "t u", "w")], {"t": matrix(4, 4, 5), "u": W}),
    "squeeze": (
        [node("Unsqueeze", "t a", "p"), node("Squeeze", "p a", "w")],
        {"t": W, "a": np.array([1])},
    ),
    "neg_add": ([node("Neg", "t", "n"), node("Add", "n t2", "w")], {"t": W, "t2": W * 3}),
}


@pytest.mark.parametrize("form", WEIGHT_CHAINS)
def test_weights_computed_from_constants_are_folded(form: str) -> None:
    nodes, constants = WEIGHT_CHAINS[form]
    check(model([*nodes, node("Gemm", "x w b", "y")], {"b": B} | constants))


CONSTANT_NODES = {
    "value": node("Constant", "", "b", value=numpy_helper.from_array(B, "b")),
    "value_float": node("Constant", "", "b", value_float=0.25),
    "value_floats": node("Constant", "", "b", value_floats=B.tolist()),
}


@pytest.mark.parametrize("form", CONSTANT_NODES)
def test_constant_nodes_are_read(form: str) -> None:
    nodes = [CONSTANT_NODES[form], node("MatMul", "x w", "m"), node("Add", "m b", "y")]
    check(model(nodes, {"w": W}))


def test_nodes_without_effect_disappear() -> None:
    nodes = [
        node("Identity", "x", "i"),
        node("Gemm", "i w b", "h"),
        node("Relu", "h", "r"),
        node("Relu", "r", "r2"),
        node("Dropout", "r2", "o mask"),
        node("Cast", "o", "d", to=TensorProto.FLOAT),
        node("Gemm", "d w2 b2", "y"),
    ]
    graph = check(model(nodes, WB | HEAD))
    assert [layer.name for layer in graph.layers] == ["dense0", "dense1"]
    assert [layer.activation for layer in graph.dense_layers] == ["relu", None]


def test_double_model_is_taken_in_float32() -> None:
    nodes = [node("Sub", "x v", "d"), DENSE]
    wide = {name: array.astype(np.float64) for name, array in (WB | {"v": V}).items()}
    check(model(nodes, wide, x_type=TensorProto.DOUBLE, y_type=TensorProto.DOUBLE))


def test_double_input_cast_to_float_matches() -> None:
    nodes = [node("Cast", "x", "d", to=TensorProto.FLOAT), DENSE]
    check(model(nodes, WB, x_type=TensorProto.DOUBLE))


def test_integer_input_cast_to_float_matches() -> None:
    nodes = [
        node("Flatten", "x", "f"),
        node("Cast", "f", "d", to=TensorProto.FLOAT),
        DENSE,
    ]
    check(model(nodes, WB, x=("N", 2, 2), x_type=TensorProto.INT64))


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 19, 21, 22, 24, 28])
def test_any_opset_of_the_range_matches(opset: int) -> None:
    nodes = [
        node("Flatten", "x", "f"),
        norm4("f", "n"),
        node("Gemm", "n w b", "h"),
        node("Relu", "h", "r"),
        node("Dropout", "r", "o"),
        node("MatMul", "o w2", "m"),
        node("Add", "m b2", "y"),
    ]
    constants = WB | HEAD | {"p": V, "q": np.abs(V) + 0.5}
    check(model(nodes, constants, opset=opset, ir=14 if opset > 24 else 10))


def norm4(source: str, target: str) -> NodeProto:
    """Batch norm over four channels."""
    return node("BatchNormalization", f"{source} p p p q", target)


@pytest.mark.parametrize("opset", [11, 12])
def test_axes_as_attributes_before_opset_13_are_read(opset: int) -> None:
    nodes = [node("Unsqueeze", "x", "p", axes=[1]), node("Squeeze", "p", "d", axes=[1]), DENSE]
    check(model(nodes, WB, opset=opset))


def test_initialisers_listed_as_inputs_are_weights() -> None:
    file = two_layers()
    file.ir_version = 3
    file.opset_import[0].version = 8
    for tensor in file.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        file.graph.input.append(value)
    check(file)


def test_unused_parts_are_ignored() -> None:
    file = two_layers()
    file.graph.node.append(node("Exp", "h", "unused"))
    file.graph.initializer.append(numpy_helper.from_array(np.array([np.nan], np.float32), "junk"))
    file.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.INT8, [99]))
    assert import_onnx(file.SerializeToString()).n_classes == 3


def test_layers_report_the_nodes_they_came_from() -> None:
    graph = import_onnx(two_layers().SerializeToString())
    assert [layer.origin for layer in graph.layers] == ["Gemm_h", "MatMul_m"]


def test_same_bytes_give_the_same_graph() -> None:
    data = two_layers().SerializeToString()
    first, second = import_onnx(data), import_onnx(data)
    assert first.source_sha256 == second.source_sha256 != ""
    for a, b in zip(first.dense_layers, second.dense_layers, strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)
        np.testing.assert_array_equal(a.bias, b.bias)
