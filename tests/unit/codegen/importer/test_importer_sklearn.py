# SPDX-License-Identifier: Apache-2.0
"""Files written by scikit-learn's converter; scikit-learn and onnxruntime are the oracles."""

from typing import Any

import numpy as np
import pytest
from onnx_files import Array, assert_close, run, softmax
from skl2onnx import to_onnx
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC

from codegen.graph import FloatGraph
from codegen.importer import import_onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS, DIGITS = load_digits(return_X_y=True)
X = ROWS[:300].astype(np.float32)
Y = DIGITS[:300]
TWO = Y < 2
WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
NO_MAPS = {"zipmap": False}


def mlp() -> MLPClassifier:
    """A small network, hardly trained: exactness is tested, not accuracy."""
    return MLPClassifier((6, 5), max_iter=3, random_state=0)


def convert(fitted: ClassifierMixin, x: Array, options: dict[str, Any] | None) -> bytes:
    """The converter's file."""
    data: bytes = to_onnx(fitted, x[:1], options=options).SerializeToString()
    return data


def check(fitted: ClassifierMixin, x: Array, options: dict[str, Any] | None = None) -> FloatGraph:
    """Import the converter's file; labels and probabilities must be scikit-learn's."""
    data = convert(fitted, x, options)
    graph = import_onnx(data)
    assert graph.class_names == tuple(str(name) for name in fitted.classes_)
    logits = graph.forward(x.astype(np.float32))
    labels = np.array(graph.class_names)[logits.argmax(axis=1)]
    outputs = run(data, x)
    np.testing.assert_array_equal(labels, outputs[0].astype(str))
    np.testing.assert_array_equal(labels, fitted.predict(x).astype(str))
    if options == NO_MAPS and hasattr(fitted, "predict_proba"):
        assert_close(softmax(logits), outputs[1].astype(np.float64))
    return graph


@pytest.mark.parametrize("options", [None, NO_MAPS, {"zipmap": "columns"}])
def test_mlp_in_each_output_form_matches(options: dict[str, Any] | None) -> None:
    graph = check(mlp().fit(X, Y), X, options)
    assert [layer.outputs for layer in graph.layers] == [6, 5, 10]


@pytest.mark.parametrize("options", [None, NO_MAPS])
def test_mlp_with_text_labels_matches(options: dict[str, Any] | None) -> None:
    check(mlp().fit(X, WORDS[Y]), X, options)


@pytest.mark.parametrize("options", [None, NO_MAPS])
@pytest.mark.parametrize("names", [np.arange(10), WORDS, np.arange(10) + 100.0])
def test_mlp_of_two_classes_becomes_two_logits(names: Array, options: dict[str, Any]) -> None:
    target = names[Y[TWO]]
    if names.dtype.kind == "f":
        target = target.astype(np.int64)
    graph = check(mlp().fit(X[TWO], target), X[TWO], options)
    assert graph.n_classes == 2


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler])
def test_scaler_in_front_becomes_the_normaliser(scaler: type[Any]) -> None:
    graph = check(make_pipeline(scaler(), mlp()).fit(X, Y), X, NO_MAPS)
    assert graph.normalizer is not None


def test_two_scalers_in_front_become_one_normaliser() -> None:
    graph = check(make_pipeline(StandardScaler(), MinMaxScaler(), mlp()).fit(X, Y), X, NO_MAPS)
    assert [layer.name for layer in graph.layers] == ["normalizer", "dense0", "dense1", "dense2"]


@pytest.mark.parametrize("options", [None, NO_MAPS])
def test_logistic_regression_becomes_one_dense_layer(options: dict[str, Any] | None) -> None:
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=20)).fit(X, Y)
    assert len(check(fitted, X, options).dense_layers) == 1


@pytest.mark.parametrize("options", [None, NO_MAPS])
def test_logistic_regression_of_two_classes_matches(options: dict[str, Any] | None) -> None:
    fitted = LogisticRegression(max_iter=20).fit(X[TWO], WORDS[Y[TWO]])
    graph = check(fitted, X[TWO], options)
    assert not graph.forward(X[TWO])[:, 0].any()


@pytest.mark.parametrize("classifier", [RidgeClassifier, LinearSVC])
@pytest.mark.parametrize("classes", [2, 10])
def test_linear_classifiers_decide_alike(classifier: type[Any], classes: int) -> None:
    some = classes > Y
    check(classifier().fit(X[some], Y[some]), X[some])


def test_double_pipeline_matches() -> None:
    wide = X.astype(np.float64)
    check(make_pipeline(StandardScaler(), mlp()).fit(wide, Y), wide, NO_MAPS)


def test_integer_pipeline_matches() -> None:
    whole = X.astype(np.int64)
    check(make_pipeline(StandardScaler(), mlp()).fit(whole, Y), whole, NO_MAPS)


def test_clipping_scaler_becomes_a_front() -> None:
    fitted = make_pipeline(MinMaxScaler(clip=True), mlp()).fit(X, Y)
    graph = check(fitted, X * 1.5, NO_MAPS)
    assert graph.front is not None and graph.front.nodes[-1].function == "clip"
