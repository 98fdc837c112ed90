# SPDX-License-Identifier: Apache-2.0
"""Base models: trained on real digits, exported, and read by onnxruntime and by our importer."""

import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import LogisticRegression

from codegen.importer import import_onnx
from server.learning.base_model import Normaliser, fit_normaliser, to_onnx
from server.learning.datasets import Dataset, load
from server.learning.float_reference import Params, TrainOptions, forward, predict, train_base


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits of scikit-learn."""
    return load("digits")


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> tuple[Params, Normaliser]:
    """A 64-32-10 network of the digits."""
    normaliser = fit_normaliser(digits.x_train)
    x = normaliser.apply(digits.x_train)
    return train_base(x, digits.y_train, 10, TrainOptions(hidden=(32,)), seed=0), normaliser


def run_onnx(model, x):
    """Output of onnxruntime on rows x."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]


def test_train_base_digits_is_as_good_as_logistic_regression(digits: Dataset, trained) -> None:
    params, normaliser = trained
    peer = LogisticRegression(C=0.1, max_iter=500).fit(
        normaliser.apply(digits.x_train), digits.y_train
    )
    theirs = peer.score(normaliser.apply(digits.x_test), digits.y_test)
    ours = np.mean(predict(params, normaliser.apply(digits.x_test)) == digits.y_test)
    assert ours > 0.95
    assert ours > theirs - 0.01


def test_to_onnx_digits_gives_our_logits_in_onnxruntime(digits: Dataset, trained) -> None:
    params, normaliser = trained
    model = to_onnx(params, normaliser)
    assert (model.ir_version, model.opset_import[0].version) == (10, 21)
    expected = forward(params, normaliser.apply(digits.x_test))
    np.testing.assert_allclose(run_onnx(model, digits.x_test), expected, rtol=1e-4, atol=1e-4)
    one = run_onnx(model, digits.x_test[:1])
    np.testing.assert_allclose(one, expected[:1], rtol=1e-4, atol=1e-4)


def test_to_onnx_softmax_gives_probabilities(digits: Dataset, trained) -> None:
    params, normaliser = trained
    shares = run_onnx(to_onnx(params, normaliser, softmax=True), digits.x_test)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    logits = forward(params, normaliser.apply(digits.x_test))
    np.testing.assert_array_equal(shares.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("softmax", [False, True])
def test_to_onnx_is_read_by_the_importer(digits: Dataset, trained, softmax: bool) -> None:
    params, normaliser = trained
    graph = import_onnx(to_onnx(params, normaliser, softmax=softmax).SerializeToString())
    assert graph.features == 64
    expected = forward(params, normaliser.apply(digits.x_test))
    np.testing.assert_allclose(graph.forward(digits.x_test), expected, rtol=1e-3, atol=1e-3)


def test_to_onnx_same_arguments_same_bytes(trained) -> None:
    params, normaliser = trained
    assert to_onnx(params, normaliser) == to_onnx(params, normaliser)
    one = to_onnx(params).SerializeToString(deterministic=True)
    assert one == to_onnx(params).SerializeToString(deterministic=True)


def test_fit_normaliser_still_feature_is_not_blown_up() -> None:
    x = np.array([[0, 5, 1], [10, 5, 1.01], [20, 5, 1]], np.float32)
    found = fit_normaliser(x)
    np.testing.assert_allclose(found.mean, x.mean(axis=0))
    spread = x[:, 0].std()
    np.testing.assert_allclose(found.scale, [spread, spread / 10, spread / 10], rtol=1e-6)
    assert (fit_normaliser(np.ones((3, 2), np.float32)).scale == 1).all()


def test_fit_normaliser_units_of_their_own_keep_small_features() -> None:
    generator = np.random.default_rng(0)
    unit = np.array([0.2, 1, 3, 300, 0], np.float32)
    x = (generator.standard_normal((500, 5)) * unit).astype(np.float32)
    deviation = fit_normaliser(x, 0.5).apply(x).std(axis=0)
    np.testing.assert_allclose(deviation, [1, 1, 1, 1, 0], atol=1e-5)


def test_fit_normaliser_one_kind_of_feature_is_not_blown_up() -> None:
    generator = np.random.default_rng(0)
    unit = np.array([0.01, 1, 1.5, 2, 0], np.float32)
    x = (generator.standard_normal((500, 5)) * unit).astype(np.float32)
    scale = fit_normaliser(x, 0.5).scale
    np.testing.assert_allclose(scale[[0, 4]], 0.5 * x.std(axis=0).max(), rtol=1e-5)


def test_fit_normaliser_features_of_one_unit_keep_their_floor_where_most_keep_still() -> None:
    generator = np.random.default_rng(3)
    spread = np.where(np.arange(40) < 2, 0.3, 0.01)
    x = (0.5 + spread * generator.uniform(-1, 1, (200, 40))).astype(np.float32)
    scale = fit_normaliser(x, 0.5).scale
    np.testing.assert_allclose(scale[2:], 0.5 * scale[:2].max(), rtol=1e-6)
