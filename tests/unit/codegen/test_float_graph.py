# SPDX-License-Identifier: Apache-2.0
"""The float graph: hand-worked inference, and the invariants it holds itself to."""

from collections.abc import Callable

import numpy as np
import pytest

from codegen.errors import GraphError, ShapeError
from codegen.graph import Affine, Dense, FloatGraph


def affine() -> Affine:
    """(x - [1, 2]) * [10, 0]."""
    return Affine("normalizer", np.array([1.0, 2.0]), np.array([10.0, 0.0]))


def hidden() -> Dense:
    """Three units, of which x = (1, 1) switches one off."""
    weight = np.array([[1.0, 2.0], [0.0, -1.0], [1.0, 1.0]])
    return Dense("hidden", weight, np.array([0.5, 0.0, -1.0]), "relu")


def head() -> Dense:
    """Two classes."""
    return Dense("head", np.array([[1.0, 1.0, 0.0], [0.0, 5.0, 2.0]]), np.array([0.0, -1.0]))


def graph() -> FloatGraph:
    """All three layers."""
    return FloatGraph("tiny", (2,), (affine(), hidden(), head()), ("no", "yes"))


def test_forward_matches_numbers_worked_by_hand() -> None:
    # (1.5, 7) -> (5, 0) -> (5.5, 0, 4) -> (5.5, 7);  (0, 0) -> (-10, 0) -> (0, 0, 0) -> (0, -1)
    logits = graph().forward(np.array([[1.5, 7.0], [0.0, 0.0]], dtype=np.float32))
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, [[5.5, 7.0], [0.0, -1.0]])


def test_trace_gives_the_output_of_every_layer() -> None:
    x = np.array([[1.5, 7.0]], dtype=np.float32)
    outputs = {layer.name: y.tolist() for layer, y in graph().trace(x)}
    assert outputs == {"normalizer": [[5, 0]], "hidden": [[5.5, 0, 4]], "head": [[5.5, 7]]}


def test_samples_may_keep_their_shape() -> None:
    flat = FloatGraph("tiny", (2, 1), (hidden(), head()))
    x = np.array([[1.5, 7.0]], dtype=np.float32)
    np.testing.assert_array_equal(flat.forward(x), flat.forward(x.reshape(1, 2, 1)))


@pytest.mark.parametrize(
    "x", [np.zeros((3, 3), np.float32), np.zeros(2, np.float32), np.zeros((1, 2), np.float64)]
)
def test_samples_of_another_shape_or_dtype_are_refused(x: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ShapeError, match=r"expected float32 of shape \(N, 2\)"):
        graph().forward(x)


def test_properties_describe_the_layers() -> None:
    tiny = graph()
    assert (tiny.features, tiny.n_classes, tiny.n_weights) == (2, 2, 3 * 2 + 3 + 2 * 3 + 2)
    assert tiny.normalizer is tiny.layers[0]
    assert tiny.dense_layers == tiny.layers[1:]
    assert FloatGraph("tiny", (2,), (hidden(), head())).normalizer is None


def test_arrays_are_private_and_read_only() -> None:
    weight = np.ones((2, 2), dtype=np.float32)
    layer = Dense("a", weight, np.zeros(2, dtype=np.float32))
    weight[0, 0] = 9.0
    assert layer.weight[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[0, 0] = 9.0


BROKEN: dict[str, tuple[Callable[[], object], str]] = {
    "no_layers": (lambda: FloatGraph("g", (2,), ()), "out of order"),
    "affine_only": (lambda: FloatGraph("g", (2,), (affine(),)), "out of order"),
    "affine_later": (lambda: FloatGraph("g", (2,), (head(), affine())), "out of order"),
    "relu_last": (lambda: FloatGraph("g", (2,), (hidden(),)), "layer hidden: .*activation"),
    "width": (lambda: FloatGraph("g", (3,), (hidden(), head())), "layer hidden: reads 2"),
    "inner_width": (lambda: FloatGraph("g", (2,), (hidden(), hidden(), head())), "reads 2 numbers"),
    "class_names": (
        lambda: FloatGraph("g", (2,), (hidden(), head()), ("a", "a")),
        "1 distinct class names; expected 2",
    ),
    "offset": (lambda: Affine("n", np.zeros(2), np.ones(3)), "offset has 2 elements and scale 3"),
    "offset_rank": (lambda: Affine("n", np.zeros((1, 2)), np.ones((1, 2))), "not a vector"),
    "bias": (lambda: Dense("d", np.ones((2, 3)), np.zeros(3)), r"bias has shape \(3,\)"),
    "weight": (lambda: Dense("d", np.ones((0, 3)), np.zeros(0)), r"weight has shape \(0, 3\)"),
    "name": (
        lambda: FloatGraph("g", (2,), (Dense("a-b", np.ones((2, 2)), np.zeros(2)),)),
        "C identifier",
    ),
    "not_finite": (
        lambda: FloatGraph("g", (2,), (Dense("d", np.full((2, 2), np.nan), np.zeros(2)),)),
        "layer d: a weight is NaN",
    ),
}


@pytest.mark.parametrize("form", BROKEN)
def test_broken_graph_is_refused(form: str) -> None:
    build, message = BROKEN[form]
    with pytest.raises(GraphError, match=message):
        build()
