# SPDX-License-Identifier: Apache-2.0
"""Products with a constant matrix."""

from collections.abc import Sequence

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedModelError, UnsupportedShapeError
from codegen.importer.operators.arguments import (
    Arguments,
    constant,
    float_signal,
    optional_constant,
    per_sample,
    signal,
)
from codegen.importer.operators.select import through_selection
from codegen.importer.operators.window import pointwise
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import DenseStep, Prediction, Signal, Value

_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC")


def matmul(node: SourceNode, args: Arguments) -> Value:
    """MatMul of samples, as rows, with a constant matrix or vector; of each pixel's channels."""
    x = float_signal(node, args)
    matrix = constant(node, args, 1)
    if len(x.shape) > 1 and matrix.ndim == 2:
        return pointwise(node, x, matrix)
    x = _rows(node, x)
    if matrix.ndim not in (1, 2):
        raise UnsupportedShapeError(
            f"constant of {matrix.ndim} dimensions", where=node.label, expected="a matrix"
        )
    weight = matrix.reshape(matrix.shape[0], -1).T.astype(np.float64)
    outputs = weight.shape[:1] if matrix.ndim == 2 else ()
    return _dense(node, x, weight, np.zeros(weight.shape[0]), outputs)


def gemm(node: SourceNode, args: Arguments) -> Value:
    """Gemm: alpha * x B + beta * C, with B and C constant."""
    x = _rows(node, float_signal(node, args))
    if node.integer("transA", 0):
        raise UnsupportedModelError(
            "transposes the samples", where=node.label, expected="transA = 0"
        )
    matrix = constant(node, args, 1)
    if matrix.ndim != 2:
        raise UnsupportedShapeError(
            f"constant of {matrix.ndim} dimensions", where=node.label, expected="a matrix"
        )
    weight = matrix if node.integer("transB", 0) else matrix.T
    addend = optional_constant(node, args, 2)
    c = np.zeros(1) if addend is None else addend
    outputs = (weight.shape[0],)
    bias = node.number("beta", 1.0) * per_sample(node, c, outputs)
    return _dense(node, x, node.number("alpha", 1.0) * weight.astype(np.float64), bias, outputs)


def linear_classifier(node: SourceNode, args: Arguments) -> Sequence[Value]:
    """ai.onnx.ml LinearClassifier: a dense layer with labels.

    Softmax of the logits gives its probabilities, except for LOGISTIC over three classes or more:
    that keeps the order of the scores, so that the logits still decide alike.
    """
    x = _rows(node, signal(node, args))
    transform = node.text("post_transform", "NONE")
    if transform not in _TRANSFORMS:
        raise UnsupportedModelError(
            f"post_transform {transform}",
            where=node.label,
            expected="one of " + ", ".join(_TRANSFORMS),
        )
    labels = class_labels(node, ("classlabels_strings", "classlabels_ints"))
    weight, bias = _coefficients(node, x.size)
    if transform == "LOGISTIC" and _are_opposite(weight, bias):
        weight, bias = weight[1:], bias[1:]
    logits = _dense(node, x, weight, bias, (weight.shape[0],))
    if weight.shape[0] == 1 and len(labels) == 2:
        logits = two_logits(node, logits)
    if logits.size != len(labels):
        raise MalformedModelError(
            f"{logits.size} rows of coefficients for {len(labels)} labels",
            where=node.label,
            expected="one row a label, or one row for two labels",
        )
    return (
        Prediction(logits, "label", node.label, labels),
        Prediction(logits, "scores", node.label),
    )


def linear_regressor(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml LinearRegressor: a dense layer, a row a target.

    Raises: UnsupportedModelError for transforms of the result.
    """
    x = _rows(node, signal(node, args))
    if node.text("post_transform", "NONE") != "NONE":
        raise UnsupportedModelError(
            f"post_transform {node.text('post_transform', 'NONE')}",
            where=node.label,
            expected="NONE",
        )
    weight, bias = _coefficients(node, x.size)
    return _dense(node, x, weight, bias, (weight.shape[0],))


def _are_opposite(weight: Array, bias: Array) -> bool:
    """Whether two rows score -z and z, of which the file takes the sigmoid of each."""
    opposite = np.array_equal(weight[:1], -weight[1:]) and np.array_equal(bias[:1], -bias[1:])
    return len(weight) == 2 and opposite


def two_logits(node: SourceNode, z: Signal) -> Signal:
    """Logits (0, z): softmax of them gives (1 - sigmoid(z), sigmoid(z)) exactly."""
    lift = np.array([[0.0], [1.0]])
    return Signal(DenseStep(z.step, lift, np.zeros(2), node.name, absorbed=True), (2,))


def class_labels(node: SourceNode, names: Sequence[str]) -> tuple[str, ...]:
    """The labels under whichever of the attributes is there. Raises: MalformedModelError."""
    for name in names:
        values = node.attributes.get(name)
        if isinstance(values, tuple) and values:
            return tuple(str(value) for value in values)
    raise MalformedModelError("no class labels", where=node.label, expected=" or ".join(names))


def _rows(node: SourceNode, x: Signal) -> Signal:
    if len(x.shape) != 1:
        raise UnsupportedShapeError(
            f"samples of shape {list(x.shape)}", where=node.label, expected="a Flatten first"
        )
    return x


def _dense(
    node: SourceNode, x: Signal, weight: Array, bias: Array, shape: tuple[int, ...]
) -> Signal:
    if weight.shape[1] != x.size or not weight.size:
        raise UnsupportedShapeError(
            f"weights for {weight.shape[1]} features and {weight.shape[0]} outputs",
            where=node.label,
            expected=f"{x.size} features and at least one output",
        )
    source, weight, bias = through_selection(x.step, x.in_order(weight), bias)
    return Signal(DenseStep(source, weight, bias, node.name), shape)


def _coefficients(node: SourceNode, features: int) -> tuple[Array, Array]:
    flat = node.numbers("coefficients")
    if flat is None or not flat.size or flat.size % features:
        raise MalformedModelError(
            f"{0 if flat is None else flat.size} coefficients for {features} features",
            where=node.label,
            expected="a whole number of rows",
        )
    weight = flat.astype(np.float64).reshape(-1, features)
    intercepts = node.numbers("intercepts")
    bias = np.zeros(len(weight)) if intercepts is None else intercepts.astype(np.float64)
    if bias.shape != weight.shape[:1]:
        raise MalformedModelError(
            f"{bias.size} intercepts", where=node.label, expected=f"{len(weight)}"
        )
    return weight, bias
