# SPDX-License-Identifier: Apache-2.0
"""What the quantizer refuses, and that it says where."""

import numpy as np
import pytest
from numpy.typing import NDArray
from quantize_graphs import graph_of, normal_samples, random_graph, random_weights

from codegen.errors import CalibrationError, QuantizeError, ShapeError
from codegen.graph import Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize, trained_counts

GRAPH = random_graph(6, 5, 3)
X = normal_samples(20, 6)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (QuantizeOptions(max_classes=2), "max_classes is 2"),
        (QuantizeOptions(max_classes=251), "max_classes is 251"),
        (QuantizeOptions(train_last=0), "train_last is 0"),
        (QuantizeOptions(train_last=3), "train_last is 3"),
        (QuantizeOptions(exemplar_slots=2), "exemplar_slots is 2"),
        (QuantizeOptions(staging_slots=0), "staging_slots 0"),
        (QuantizeOptions(exemplar_slots=65535, staging_slots=1), "65535"),
        (QuantizeOptions(per_class_limit=-1), "per_class_limit is -1"),
        (QuantizeOptions(per_class_limit=65536), "per_class_limit is 65536"),
    ],
)
def test_options_out_of_range_are_refused(options: QuantizeOptions, what: str) -> None:
    with pytest.raises(QuantizeError, match=what) as error:
        quantize(GRAPH, X, None, options)
    assert error.value.where == "options"


def test_hidden_layer_without_relu_stays_frozen_with_all_below_it() -> None:
    """Regression: a factorised layer ended in an internal fault."""
    first, second, third = (
        Dense(layer.name, layer.weight, layer.bias, activation)
        for layer, activation in zip(
            random_graph(6, 5, 4, 3).dense_layers, ("relu", None, None), strict=True
        )
    )
    graph = FloatGraph("graph", (6,), (first, second, third))
    made = quantize(graph, X)
    assert [layer.name for layer in made.frozen] == ["dense_0", "dense_1"]
    assert trained_counts(graph) == (1,)
    with pytest.raises(QuantizeError, match="nothing follows layer dense_1 .*1 .the head. to 1"):
        quantize(graph, X, None, QuantizeOptions(train_last=2))


@pytest.mark.parametrize(("outputs", "reserved"), [(246, 250), (248, 250), (250, 250)])
def test_model_of_nearly_all_classes_gets_the_rows_that_are_left(
    outputs: int, reserved: int
) -> None:
    """Regression: four more than 248 were refused, though nobody had asked for them."""
    assert QuantizeOptions().classes_for(outputs) == reserved


def test_model_of_more_outputs_than_classes_is_refused_as_such() -> None:
    """Regression: for the 640 outputs of an autoencoder "640 to 250" was expected."""
    with pytest.raises(QuantizeError, match="640 outputs; expected.* an autoencoder"):
        quantize(random_graph(6, 5, 640), X)


def test_options_at_their_limits_are_taken() -> None:
    options = QuantizeOptions(
        max_classes=250, train_last=1, exemplar_slots=3, staging_slots=65532, per_class_limit=1
    )
    model = quantize(GRAPH, X, None, options)
    assert (model.max_classes, len(model.frozen), len(model.layers)) == (250, 1, 1)
    assert (model.exemplar_slots, model.staging_slots, model.per_class_limit) == (3, 65532, 1)


def test_options_for_a_single_class_reserve_a_second_row() -> None:
    """Regression: one class and max_classes 1 made a model outside SPEC.md 2 (C of 2 to 250)."""
    graph = random_graph(6, 5, 1)
    with pytest.raises(QuantizeError, match="max_classes is 1"):
        quantize(graph, X, None, QuantizeOptions(max_classes=1))
    assert quantize(graph, X, np.zeros(20, np.int64)).max_classes == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_calibration_that_is_not_finite_names_row_and_column(value: float) -> None:
    bad = X.copy()
    bad[7, 3] = value
    bad[9, 1] = value
    with pytest.raises(CalibrationError) as error:
        quantize(GRAPH, bad)
    assert error.value.where == "calibration row 7, column 3"
    assert error.value.details == {"row": 7, "column": 3}


def test_calibration_beyond_float32_names_row_and_column() -> None:
    """Regression: the cast to float32 warned, which is an error where warnings are."""
    bad = X.astype(np.float64)
    bad[4, 5] = 1e300
    with pytest.raises(CalibrationError, match="row 4, column 5"):
        quantize(GRAPH, bad)  # type: ignore[arg-type]


def test_calibration_that_overflows_in_the_normaliser_names_row_and_column() -> None:
    graph = graph_of(random_weights((6, 5, 3)), (np.zeros(6), np.full(6, 1e30)))
    bad = X.copy()
    bad[2, 1] = 1e20
    with pytest.raises(CalibrationError, match="row 2, column 1"):
        quantize(graph, bad)


@pytest.mark.parametrize("count", [0, 1])
def test_calibration_of_too_few_samples_is_refused(count: int) -> None:
    with pytest.raises(CalibrationError, match="at least 2"):
        quantize(GRAPH, X[:count])


@pytest.mark.parametrize("shape", [(20, 5), (20,), (20, 6, 1)])
def test_calibration_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        quantize(GRAPH, np.ones(shape, np.float32))


def test_calibration_of_nothing_but_zeros_is_refused() -> None:
    """Regression: a model was made whose smallest step is 2**-15 and that saturates on anything."""
    with pytest.raises(CalibrationError, match="zero"):
        quantize(GRAPH, np.zeros((20, 6), np.float32))
    offset = graph_of(random_weights((6, 5, 3)), (np.ones(6), np.ones(6)))
    with pytest.raises(CalibrationError, match="zero"):
        quantize(offset, np.ones((20, 6), np.float32))


@pytest.mark.parametrize(
    "labels",
    [np.zeros(19, np.int64), np.zeros((20, 1), np.int64), np.zeros(20), np.zeros(20, bool)],
)
def test_labels_of_another_form_are_refused(labels: NDArray[np.integer]) -> None:
    with pytest.raises(CalibrationError, match=r"integers of shape \(20,\)") as error:
        quantize(GRAPH, X, labels)
    assert error.value.where == "calibration labels"


@pytest.mark.parametrize("label", [-1, 3])
def test_label_that_is_no_class_names_its_row(label: int) -> None:
    labels = np.zeros(20, np.int64)
    labels[11] = label
    with pytest.raises(CalibrationError, match="row 11") as error:
        quantize(GRAPH, X, labels)
    assert error.value.expected == "0 to 2"


@pytest.mark.parametrize("train_last", [1, 2])
def test_layer_whose_outputs_leave_16_bits_is_named(train_last: int) -> None:
    """Regression: the grid was cut at whole numbers and the layer saturated without a word."""
    weights = random_weights((6, 5, 3))
    weights[1] = weights[1][0] * 1e6, weights[1][1]
    with pytest.raises(QuantizeError, match="largest output") as error:
        quantize(graph_of(weights), X, None, QuantizeOptions(train_last=train_last))
    assert error.value.where == "layer dense_1"


def test_layer_whose_outputs_vanish_in_the_finest_grid_is_named() -> None:
    weights = [(w * 1e-6, b * 0) for w, b in random_weights((6, 5, 3))]
    with pytest.raises(QuantizeError) as error:
        quantize(graph_of(weights), X)
    assert error.value.where == "layer dense_0"


def test_untrained_head_of_zeros_is_taken() -> None:
    weights = random_weights((6, 5, 3))
    weights[1] = weights[1][0] * 0, weights[1][1] * 0
    model = quantize(graph_of(weights), X)
    assert not model.layers[-1].master.any() and model.layers[-1].out_frac_bits == 15
