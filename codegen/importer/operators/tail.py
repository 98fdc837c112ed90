# SPDX-License-Identifier: Apache-2.0
"""What follows the logits: probabilities, decisions, class names. None of it reaches the device."""

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedModelError, UnsupportedShapeError
from codegen.importer.operators.arguments import (
    Arguments,
    argument,
    constant,
    float_signal,
    integers,
)
from codegen.importer.operators.cut import cut
from codegen.importer.operators.dense import class_labels, two_logits
from codegen.importer.operators.reduce import one_place
from codegen.importer.operators.select import select
from codegen.importer.source import SourceNode
from codegen.importer.values import Constant, Prediction, Signal, Value

_CLASS_AXES = (1, -1)


def softmax(node: SourceNode, args: Arguments) -> Value:
    """Softmax and LogSoftmax over the classes."""
    x = _logits(node, args)
    default = -1 if node.opset >= 13 else 1
    _check_axis(node, default)
    return Prediction(x, "scores", node.label)


def sigmoid(node: SourceNode, args: Arguments) -> Value:
    """Sigmoid of a single number: the probability of class 1 of two."""
    z = float_signal(node, args)
    if z.size != 1:
        raise UnsupportedModelError(
            f"sigmoid of {z.size} numbers (a hidden layer or several labels at once)",
            where=node.label,
            expected="Relu inside the network; at its end Softmax, or one sigmoid for two classes",
        )
    return Prediction(two_logits(node, z), "positive", node.label)


def argmax(node: SourceNode, args: Arguments) -> Value:
    """ArgMax over the classes, of logits or of anything ordered like them."""
    value = argument(node, args, 0)
    if isinstance(value, Prediction) and value.kind == "scores":
        logits = value.logits
    else:
        logits = _logits(node, args)
    _check_axis(node, 0)
    return Prediction(logits, "index", node.label)


def zip_map(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml ZipMap: scores, or the logits themselves, by class name."""
    scores = argument(node, args, 0)
    if not isinstance(scores, Signal):
        scores = _prediction(node, args, 0, ("scores",)).logits
    elif len(scores.shape) != 1:
        scores = _logits(node, args)
    labels = class_labels(node, ("classlabels_strings", "classlabels_int64s"))
    _check_count(node, labels, scores)
    return Prediction(scores, "map", node.label, labels)


def normalizer(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml Normalizer of class scores, which keeps their order."""
    return _prediction(node, args, 0, ("scores",))


def array_feature_extractor(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml ArrayFeatureExtractor: names by index, one column of the scores, or features."""
    table = argument(node, args, 0)
    if isinstance(table, Signal) and len(table.shape) == 1:
        x = float_signal(node, args)
        return select(node, x, integers(node, constant(node, args, 1).reshape(-1)))
    if isinstance(table, Constant):
        index = _prediction(node, args, 1, ("index",))
        labels = tuple(_label(item) for item in table.array.reshape(-1)[: index.logits.size + 1])
        _check_count(node, labels, index.logits)
        return Prediction(index.logits, "label", node.label, labels)
    scores = _prediction(node, args, 0, ("scores",))
    columns = integers(node, constant(node, args, 1).reshape(-1))
    if len(columns) != 1 or not 0 <= columns[0] < scores.logits.size:
        raise UnsupportedModelError(
            f"takes columns {list(columns)[:8]}", where=node.label, expected="one class column"
        )
    return Prediction(scores.logits, "column", node.label)


def label_encoder(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml LabelEncoder: other names for the classes."""
    value = _prediction(node, args, 0, ("index", "label"))
    table = _label_table(node)
    known = value.labels or tuple(str(i) for i in range(value.logits.size))
    missing = [label for label in known if label not in table]
    if missing:
        raise MalformedModelError(
            f"no entry for class {missing[0]!a}", where=node.label, expected="one a class"
        )
    labels = tuple(table[label] for label in known)
    return Prediction(value.logits, "label", node.label, labels)


def imputer(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml Imputer: samples are integers, of which none is missing. Nothing to do.

    Raises: UnsupportedModelError if it replaces a number instead of NaN.
    """
    replaced = node.attributes.get("replaced_value_float", float("nan"))
    if not isinstance(replaced, float) or replaced == replaced:
        raise UnsupportedModelError(
            f"replaces {replaced}", where=node.label, expected="an imputer of missing values (NaN)"
        )
    return float_signal(node, args)


def gather(node: SourceNode, args: Arguments) -> Value:
    """Gather: columns of samples that are vectors, or one place of a signal's last axis."""
    x = float_signal(node, args)
    index = constant(node, args, 1)
    rank = 1 + len(x.shape)
    axis = node.integer("axis", 0)
    places = integers(node, index)
    if axis in (1, 1 - rank) and rank == 2 and index.ndim == 1:
        return select(node, x, places)
    if axis in (2, -1) and rank == 3 and len(places) == 1:
        return one_place(node, x, places[0], keep=index.ndim == 1)
    raise UnsupportedModelError(
        f"Gather along axis {axis} of samples of shape {list(x.shape)}",
        where=node.label,
        expected="columns of vectors, or one step of (channels, steps)",
    )


def slice_scores(node: SourceNode, args: Arguments) -> Value:
    """Slice: one column of the scores, as a separate output; or a part of a tensor."""
    value = argument(node, args, 0)
    if isinstance(value, Signal):
        return cut(node, float_signal(node, args), args)
    scores = _prediction(node, args, 0, ("scores",))
    axes = node.numbers("axes") if node.opset < 10 else constant(node, args, 3)
    if axes is None or any(axis not in _CLASS_AXES for axis in integers(node, axes)):
        raise UnsupportedModelError(
            "cuts the batch", where=node.label, expected="a slice along the classes"
        )
    return Prediction(scores.logits, "column", node.label)


def concat_scores(node: SourceNode, args: Arguments) -> Value:
    """Concat of 1 - p and p: the two probabilities of a sigmoid head."""
    kinds = [value.kind if isinstance(value, Prediction) else None for value in args]
    first, last = args[0], args[-1]
    if (
        kinds != ["negative", "positive"]
        or not isinstance(first, Prediction)
        or not isinstance(last, Prediction)
        or first.logits is not last.logits
    ):
        raise UnsupportedModelError(
            "joins several tensors",
            where=node.label,
            expected="a plain stack of layers; at its end 1 - p and p of one sigmoid",
        )
    _check_axis(node, 0)
    return Prediction(last.logits, "scores", node.label)


def _logits(node: SourceNode, args: Arguments) -> Signal:
    x = float_signal(node, args)
    if len(x.shape) != 1:
        raise UnsupportedShapeError(
            f"samples of shape {list(x.shape)}", where=node.label, expected="one logit a class"
        )
    return x


def _check_axis(node: SourceNode, default: int) -> None:
    axis = node.integer("axis", default)
    if axis not in _CLASS_AXES:
        raise UnsupportedModelError(
            f"works along axis {axis}", where=node.label, expected="the class axis, 1"
        )


def _prediction(
    node: SourceNode, args: Arguments, index: int, kinds: tuple[str, ...]
) -> Prediction:
    value = argument(node, args, index)
    if not isinstance(value, Prediction) or value.kind not in kinds:
        raise UnsupportedModelError(
            f"input {index} is no result of a classifier",
            where=node.label,
            expected=f"the {' or '.join(kinds)} of a softmax, sigmoid, argmax or linear classifier",
        )
    return value


def _check_count(node: SourceNode, labels: tuple[str, ...], logits: Signal) -> None:
    if len(labels) != logits.size:
        raise MalformedModelError(
            f"{len(labels)} or more class labels", where=node.label, expected=f"{logits.size}"
        )


def _label(item: object) -> str:
    """A class label as text; whole floats, which scikit-learn makes of them, as integers."""
    number = getattr(item, "item", lambda: item)()
    if isinstance(number, float) and number.is_integer():
        return str(int(number))
    return str(number)


def _label_table(node: SourceNode) -> dict[str, str]:
    classes = node.strings("classes_strings")
    if classes is not None:
        return {str(i): name for i, name in enumerate(classes)}
    keys, values = _labels_of(node, "keys"), _labels_of(node, "values")
    if len(keys) != len(values):
        raise MalformedModelError(
            f"{len(keys)} keys and {len(values)} values",
            where=node.label,
            expected="as many values as keys",
        )
    return dict(zip(keys, values, strict=True))


def _labels_of(node: SourceNode, prefix: str) -> tuple[str, ...]:
    for suffix in ("_strings", "_int64s", "_floats", "_tensor"):
        items = node.attributes.get(prefix + suffix)
        if isinstance(items, np.ndarray):
            return tuple(_label(item) for item in items.reshape(-1))
        if isinstance(items, tuple):
            return tuple(_label(item) for item in items)
    raise MalformedModelError(f"no {prefix}", where=node.label, expected=f"{prefix} of the table")
