# SPDX-License-Identifier: Apache-2.0
"""What follows the logits is cut off, and the class names in it are kept."""

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx_files import Array, assert_close, matrix, model, node, run, samples, softmax

from codegen.errors import MalformedModelError, UnsupportedModelError
from codegen.importer import import_onnx

DENSE = node("Gemm", "x w b", "z")
WB = {"w": matrix(4, 3, 1), "b": matrix(3, 0, 2)}
NAMES = np.array(["walk", "run", "sit"], dtype=object)
Y = {"y": ("N", 3)}


def labelled(nodes: list[NodeProto], outputs: dict[str, tuple[str | int, ...]]) -> ModelProto:
    """A file whose outputs are the integer or string results of the nodes."""
    names = numpy_helper.from_array(NAMES, "names")
    file = model([DENSE, *nodes], WB, outputs=outputs, y_type=TensorProto.INT64)
    file.graph.initializer.append(names)
    return file


@pytest.mark.parametrize(("axis", "opset"), [(None, 11), (1, 11), (None, 13), (-1, 13), (1, 21)])
def test_softmax_tail_leaves_logits(axis: int | None, opset: int) -> None:
    tail = node("Softmax", "z", "y", **({} if axis is None else {"axis": axis}))
    data = model([DENSE, tail], WB, outputs=Y, opset=opset).SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    assert_close(softmax(graph.forward(x)), run(data, x)[0].astype(np.float64))
    assert graph.class_names is None


def test_log_softmax_tail_leaves_logits() -> None:
    data = model([DENSE, node("LogSoftmax", "z", "y")], WB, outputs=Y).SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    assert_close(np.log(softmax(graph.forward(x))), run(data, x)[0].astype(np.float64))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("source", ["z", "p"])
def test_argmax_tail_leaves_logits(keepdims: int, source: str) -> None:
    nodes = [DENSE, node("Softmax", "z", "p")] if source == "p" else [DENSE]
    nodes.append(node("ArgMax", source, "y", axis=1, keepdims=keepdims))
    shape = ("N", 1) if keepdims else ("N",)
    file = model(nodes, WB, outputs={"y": shape}, y_type=TensorProto.INT64)
    data = file.SerializeToString()
    graph = import_onnx(data)
    x = samples(graph, 50)
    np.testing.assert_array_equal(graph.forward(x).argmax(1), run(data, x)[0].reshape(-1))


def test_logits_read_by_softmax_argmax_and_output_are_one_output() -> None:
    nodes = [DENSE, node("Softmax", "z", "p"), node("ArgMax", "z", "i", axis=-1)]
    file = model(nodes, WB, outputs={"z": ("N", 3), "p": ("N", 3)})
    file.graph.output.append(helper.make_tensor_value_info("i", TensorProto.INT64, ("N", 1)))
    data = file.SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    logits, probabilities, index = run(data, x)
    assert_close(graph.forward(x), logits)
    assert_close(softmax(graph.forward(x)), probabilities.astype(np.float64))
    np.testing.assert_array_equal(graph.forward(x).argmax(1), index.reshape(-1))


def label_tail() -> list[NodeProto]:
    """Class names by index, as scikit-learn's converter writes them."""
    return [
        node("ArgMax", "z", "i", axis=1),
        node("ml:ArrayFeatureExtractor", "names i", "l"),
        node("Reshape", "l flat", "y"),
    ]


def with_flat(file: ModelProto) -> ModelProto:
    """Adds the target shape of `label_tail`, and makes output "y" a string."""
    file.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "flat"))
    file.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    return file


def test_names_by_array_feature_extractor_are_kept() -> None:
    file = with_flat(labelled(label_tail(), {"y": ("N",)}))
    data = file.SerializeToString()
    graph = import_onnx(data)
    assert graph.class_names == ("walk", "run", "sit")
    x = samples(graph, 20)
    assert [graph.class_names[i] for i in graph.forward(x).argmax(1)] == run(data, x)[0].tolist()


LABEL_ENCODERS: dict[str, tuple[dict[str, object], int]] = {
    "keys": ({"keys_int64s": [2, 1, 0], "values_strings": ["sit", "run", "walk"]}, 3),
    "classes": ({"classes_strings": ["walk", "run", "sit"]}, 1),
    "tensors": (
        {
            "keys_tensor": numpy_helper.from_array(np.array([0, 1, 2])),
            "values_tensor": numpy_helper.from_array(NAMES),
        },
        4,
    ),
}


@pytest.mark.parametrize("form", LABEL_ENCODERS)
def test_names_by_label_encoder_are_kept(form: str) -> None:
    attributes, version = LABEL_ENCODERS[form]
    nodes = [
        DENSE,
        node("ArgMax", "z", "i", axis=1, keepdims=0),
        node("ml:LabelEncoder", "i", "y", **attributes),
    ]
    file = model(nodes, WB, outputs={"y": ("N",)}, y_type=TensorProto.STRING, ml=version)
    data = file.SerializeToString()
    graph = import_onnx(data)
    assert graph.class_names == ("walk", "run", "sit")
    x = samples(graph, 20)
    assert [graph.class_names[i] for i in graph.forward(x).argmax(1)] == run(data, x)[0].tolist()


def test_names_by_zip_map_are_kept() -> None:
    nodes = [
        DENSE,
        node("Softmax", "z", "p"),
        node("ml:ZipMap", "p", "y", classlabels_strings=["walk", "run", "sit"]),
    ]
    file = model(nodes, WB)
    key = TensorProto.STRING
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    sequence = helper.make_sequence_type_proto(helper.make_map_type_proto(key, value))
    file.graph.output[0].type.CopyFrom(sequence)
    assert import_onnx(file.SerializeToString()).class_names == ("walk", "run", "sit")


def binary(nodes: list[NodeProto], z: Array | None = None) -> ModelProto:
    """A file with one number behind the hidden layer."""
    constants = WB | {"w1": matrix(3, 1, 5) if z is None else z, "one": np.array(1, np.float32)}
    hidden = [DENSE, node("Relu", "z", "r"), node("MatMul", "r w1", "s")]
    return model([*hidden, *nodes], constants)


def test_sigmoid_of_one_number_becomes_two_logits() -> None:
    data = binary([node("Sigmoid", "s", "y")]).SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    logits = graph.forward(x)
    assert graph.n_classes == 2
    assert not logits[:, 0].any()
    assert_close(softmax(logits)[:, 1:], run(data, x)[0].astype(np.float64))


def test_sigmoid_after_squeeze_becomes_two_logits() -> None:
    nodes = [node("Squeeze", "s last", "q"), node("Sigmoid", "q", "y")]
    file = binary(nodes)
    file.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    del file.graph.output[0].type.tensor_type.shape.dim[1]
    data = file.SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    assert_close(softmax(graph.forward(x))[:, 1], run(data, x)[0].astype(np.float64))


def test_sigmoid_with_its_complement_becomes_two_logits() -> None:
    nodes = [
        node("Sigmoid", "s", "p"),
        node("Sub", "one p", "q"),
        node("Concat", "q p", "y", axis=1),
    ]
    data = binary(nodes).SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    assert_close(softmax(graph.forward(x)), run(data, x)[0].astype(np.float64))


def test_probabilities_in_the_wrong_order_are_refused() -> None:
    nodes = [
        node("Sigmoid", "s", "p"),
        node("Sub", "one p", "q"),
        node("Concat", "p q", "y", axis=1),
    ]
    with pytest.raises(UnsupportedModelError, match=r"Concat_y.*1 - p and p"):
        import_onnx(binary(nodes).SerializeToString())


def test_columns_of_scores_are_one_model() -> None:
    nodes = [DENSE, node("Softmax", "z", "p")]
    nodes += [node("Slice", f"p k{i} k{i + 1} k1", f"c{i}") for i in range(3)]
    numbers = {f"k{i}": np.array([i]) for i in range(4)}
    outputs = {f"c{i}": ("N", 1) for i in range(3)}
    data = model(nodes, WB | numbers, outputs=outputs).SerializeToString()
    graph = import_onnx(data)
    x = samples(graph)
    columns = np.hstack(run(data, x)).astype(np.float64)
    assert_close(softmax(graph.forward(x)), columns)


BAD_TAILS: dict[str, tuple[list[NodeProto], str]] = {
    "softmax_inside": (
        [node("Softmax", "z", "p"), node("MatMul", "p v", "y")],
        r"node MatMul_y \(MatMul\): reads the result of node Softmax_p",
    ),
    "softmax_over_batch": ([node("Softmax", "z", "y", axis=0)], "along axis 0"),
    "softmax_twice": (
        [node("Softmax", "z", "p"), node("Softmax", "p", "y")],
        "reads the result of node Softmax_p",
    ),
    "argmax_over_batch": ([node("ArgMax", "z", "y")], "along axis 0"),
    "several_sigmoids": ([node("Sigmoid", "z", "y")], "Sigmoid_y.*several labels"),
    "relu_on_logits": ([node("Relu", "z", "y")], "Relu_y.*without an activation after it"),
    "difference_of_outputs": (
        [node("Softmax", "z", "p"), node("Sub", "z p", "y")],
        "Sub_y.*joins two computed tensors",
    ),
}


@pytest.mark.parametrize("form", BAD_TAILS)
def test_tail_that_changes_the_decision_is_refused_by_name(form: str) -> None:
    nodes, message = BAD_TAILS[form]
    y_type = TensorProto.INT64 if "argmax" in form else TensorProto.FLOAT
    constants = WB | {"v": matrix(3, 3, 6)}
    file = model([DENSE, *nodes], constants, outputs={"y": (None, None)}, y_type=y_type)
    with pytest.raises(UnsupportedModelError, match=message):
        import_onnx(file.SerializeToString())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "2 or more class labels"),
        (["a", "b", "c", "d"], "4 or more class labels"),
        (["a", "b", "a"], "same name"),
        (["a", "", "c"], "class 1 is empty"),
        (["a", "b", "c\n"], "class 2 is empty, too long or not printable"),
        (["a", "b" * 101, "c"], "class 1 is empty, too long or not printable"),
    ],
)
def test_unusable_class_names_are_refused(names: list[str], message: str) -> None:
    file = with_flat(labelled(label_tail(), {"y": ("N",)}))
    table = numpy_helper.from_array(np.array(names, dtype=object), "names")
    file.graph.initializer[2].CopyFrom(table)
    with pytest.raises(MalformedModelError, match=message):
        import_onnx(file.SerializeToString())


def test_single_number_without_sigmoid_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="two or more classes, or one sigmoid"):
        import_onnx(binary([node("Identity", "s", "y")]).SerializeToString())
