# SPDX-License-Identifier: Apache-2.0
"""Features of raw windows as an option of the quantizer."""

from dataclasses import replace

import numpy as np
import pytest

from codegen.errors import CalibrationError, CodegenError, QuantizeError
from codegen.graph import Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.signal import features_of, parse_signal
from device.twin.check import check_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel, ModelFormatError
from server.errors import InvalidInputError
from server.learning.quantizing import parse_options, raw_values
from tests.parity.signals import AXES, WINDOW, make_signal_model, windows


def graph_of(features: int) -> FloatGraph:
    """A head alone."""
    weight = np.random.default_rng(0).normal(0, 1, (3, features)).astype(np.float32)
    return FloatGraph("g", (features,), (Dense("d", weight, np.zeros(3, np.float32)),))


def test_quantize_features_are_those_of_floats_to_a_few_steps() -> None:
    model = make_signal_model()
    assert model.signal is not None
    x = windows(20, 9)
    by_axis = x.reshape(20, WINDOW, AXES)
    floats = np.stack(
        [
            by_axis.mean(1),
            by_axis.std(1),
            by_axis.min(1),
            by_axis.max(1),
            np.abs(np.diff(by_axis, axis=1)).mean(1),
        ],
        axis=2,
    ).reshape(20, -1)
    # samples are rounded to half a step before, and features to half a step (the deviation to one)
    step = np.ldexp(1.0, -model.signal.frac_bits.astype(int)).repeat(5)
    assert (np.abs(features_of(model.signal, x) - floats) <= 1.6 * step).all()


def test_quantize_with_features_classes_follow_the_float_network() -> None:
    model = make_signal_model()
    x = windows(300, 11)
    assert model.inputs == AXES * WINDOW
    assert model.stage_values == 5 * AXES
    assert TwinLearner(model).infer_many(raw_samples(model, x))[1].shape == (300, 4)
    back = IntModel.from_bytes(model.to_bytes())
    assert back.model_id == model.model_id


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("mean:axes=2,window=9", "window-stats:axes=A"),
        ("window-stats", "window-stats:axes=A"),
        ("window-stats:axes=3", "window-stats:axes=A"),
        ("window-stats:axes=3,window=1", "window-stats:axes=A"),
        ("window-stats:axes=3,window=2000", "window-stats:axes=A"),
        ("window-stats:axes=-3,window=20", "window-stats:axes=A"),
        ("window-stats:axes=3,window=20,size=1", "window-stats:axes=A"),
        ("window-stats:axes=3,window=20,ddof=2", "window-stats:axes=A"),
        ("window-stats:axes=2,window=20", "axes=3"),
    ],
)
def test_quantize_features_that_do_not_fit_are_refused_with_what_would(
    text: str, word: str
) -> None:
    with pytest.raises(QuantizeError, match=word):
        quantize(graph_of(15), windows(4, 1), None, QuantizeOptions(features=text))
    with pytest.raises(InvalidInputError, match=word):
        parse_options({"features": text})
        raw_values(graph_of(15), {"features": text})


def test_quantize_windows_of_another_shape_and_bad_values_are_refused() -> None:
    options = QuantizeOptions(features="window-stats:axes=3,window=20")
    with pytest.raises(CalibrationError, match=r"\(20, 3\)"):
        quantize(graph_of(15), windows(4, 1), None, options)
    x = np.zeros((4, 60), np.float32)
    x[2, 7] = np.nan
    with pytest.raises(CodegenError, match="row 2, column 7"):
        quantize(graph_of(15), x, None, options)


def test_signal_stage_of_a_model_from_outside_is_checked() -> None:
    model = make_signal_model()
    assert model.signal is not None
    assert parse_signal("window-stats:axes=3,window=37").inputs == model.inputs
    for changes in ({"window": 1}, {"ddof": 2}, {"kind": "fft"}, {"window": "x"}):
        with pytest.raises(ModelFormatError, match="signal"):
            check_model(replace(model, signal=replace(model.signal, **changes)))
