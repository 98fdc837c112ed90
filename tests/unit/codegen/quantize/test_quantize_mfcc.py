# SPDX-License-Identifier: Apache-2.0
"""MFCC as an option of the quantizer."""

from dataclasses import replace

import numpy as np
import pytest

from codegen.errors import CalibrationError, QuantizeError
from codegen.graph import Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from codegen.quantize.mfcc import parse_mfcc
from codegen.quantize.signal import features_of
from device.twin.check import check_model
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel, ModelFormatError
from server.errors import InvalidInputError
from server.learning.quantizing import parse_options, raw_values
from tests.parity.audio import SHORT, SMALL, audio, image_graph, make_mfcc_model


def graph_of(features: int) -> FloatGraph:
    """A head alone."""
    weight = np.random.default_rng(0).normal(0, 0.1, (3, features)).astype(np.float32)
    return FloatGraph("g", (features,), (Dense("d", weight, np.zeros(3, np.float32)),))


def test_quantize_with_mfcc_takes_audio_and_keeps_its_bytes() -> None:
    model = make_mfcc_model()
    assert (model.inputs, model.stage_values) == (700, 10 * 5)
    back = IntModel.from_bytes(model.to_bytes())
    assert back.model_id == model.model_id
    raw = raw_samples(model, audio(3, 700, 5))
    assert np.abs(raw).max() > 1000
    classes, _ = TwinLearner(back).infer_many(raw)
    assert classes.tolist() == TwinLearner(model).infer_many(raw)[0].tolist()


@pytest.mark.parametrize(
    ("shape", "planar", "channels"),
    [((1, 5, 6), True, 1), ((5, 6, 1), False, 1), ((5, 6), False, 6)],
)
def test_quantize_with_mfcc_convolutions_read_frames_and_coefficients(
    shape: tuple[int, ...], planar: bool, channels: int
) -> None:
    graph = image_graph(shape, planar, channels)
    x = audio(60, 500, 3)
    model = quantize(graph, x, None, QuantizeOptions(features=SHORT, train_last=1))
    assert model.signal is not None
    classes, _ = TwinLearner(model).infer_many(raw_samples(model, x))
    logits = graph.forward(features_of(model.signal, x))
    assert np.mean(classes == logits.argmax(1)) > 0.9


@pytest.mark.parametrize(
    ("shape", "channels"), [((1, 6, 5), 1), ((6, 5), 6), ((5, 2, 3), 1)], ids=str
)
def test_quantize_networks_that_read_mfcc_in_another_order_are_refused(
    shape: tuple[int, ...], channels: int
) -> None:
    graph = image_graph(shape, True, channels)
    with pytest.raises(QuantizeError, match=r"not frame by frame; expected .*\(5, 6\)"):
        quantize(graph, audio(4, 500, 3), None, QuantizeOptions(features=SHORT))


def test_mfcc_leave_out_what_is_usual() -> None:
    usual = parse_mfcc("mfcc:rate=16000,window=16000")
    assert (usual.frame, usual.step, usual.fft, usual.mels) == (640, 320, 1024, 40)
    assert (usual.low, usual.high, usual.coefficients, usual.mel) == (20, 8000, 10, "htk")
    assert usual.floor == round(1e-6 * 2**43)


@pytest.mark.parametrize(
    ("changes", "what", "expected"),
    [
        ({"rate": None}, "without rate", "mfcc:rate=HZ"),
        ({"window": None}, "without window", "mfcc:rate=HZ"),
        ({"window": 99}, "99 samples, shorter than a frame of 100", "window in 100 .. 65535"),
        ({"window": 65536}, "window=65536", "100 .. 65535"),
        ({"frame": 1}, "frame=1;", "2 .. 1024"),
        ({"rate": 48000, "frame": None}, "frame=1920", "2 .. 1024"),
        ({"fft": 300}, "fft=300", "a power of two, 64 to 1024"),
        ({"fft": 2048}, "fft=2048", "a power of two, 64 to 1024"),
        ({"fft": 64}, "a frame of 100 samples for fft=64", "frame of at most 64"),
        ({"step": 0}, "step=0", "1 .. 65535"),
        ({"mels": 129}, "mels=129", "1 .. 128"),
        ({"mels": 100}, "no FFT bin lies in mel band", "fewer mels, a larger fft"),
        ({"high": 2001}, "high=2001", "1 .. 2000"),
        ({"low": 2000}, "low=2000", "0 .. 1999"),
        ({"coefficients": 13}, "coefficients=13", "1 .. 12"),
        ({"floor": "0"}, "floor=0", "1e-09 .. 1"),
        ({"floor": "nan"}, "floor=nan", "1e-09 .. 1"),
        ({"floor": "soft"}, "floor=soft", "a number in"),
        ({"mel": "bark"}, "mel=bark", "htk or slaney"),
        ({"full_scale": 2}, "full_scale=2", "1 or 32768"),
        ({"step": "x"}, "step=x", "a whole number"),
        ({"step": -4}, "step=-4", "a whole number"),
        ({"hop": 3}, "'hop' is unknown", "mfcc:rate=HZ"),
        ({"window": 65535, "step": 1}, "features", "at most 65535: a larger step"),
        ({"step": 50}, "9 frames of 6 coefficients for a network of 30", "30 features"),
    ],
    ids=str,
)
def test_mfcc_options_that_cannot_be_are_refused_by_name(
    changes: dict[str, object], what: str, expected: str
) -> None:
    parts = dict(part.split("=") for part in SHORT.partition(":")[2].split(","))
    parts.update({k: str(v) for k, v in changes.items()})
    text = "mfcc:" + ",".join(f"{k}={v}" for k, v in parts.items() if v != "None")
    with pytest.raises(QuantizeError) as caught:
        quantize(graph_of(30), audio(4, 500, 1), None, QuantizeOptions(features=text))
    assert caught.value.where == "option features"
    assert what in str(caught.value) and expected in str(caught.value), str(caught.value)
    with pytest.raises(InvalidInputError, match="Option features"):
        parse_options({"features": text})
        raw_values(graph_of(30), {"features": text})


def test_mfcc_option_given_twice_is_refused() -> None:
    with pytest.raises(QuantizeError, match="'mels' is twice"):
        parse_mfcc(SHORT + ",mels=12")


def test_quantize_audio_of_another_length_or_amplitude_is_refused() -> None:
    options = QuantizeOptions(features=SHORT)
    x = audio(4, 500, 3)
    with pytest.raises(CalibrationError, match=r"at least 2 of shape \(500,\)"):
        quantize(graph_of(30), x[:, :499], None, options)
    with pytest.raises(CalibrationError, match="full_scale=32768"):
        quantize(graph_of(30), x * 32768, None, options)
    integers = QuantizeOptions(features=SHORT + ",full_scale=32768")
    with pytest.raises(CalibrationError, match="full_scale=1 "):
        quantize(graph_of(30), x, None, integers)


def test_quantize_audio_as_integers_gives_the_same_features() -> None:
    x = audio(4, 500, 3)
    floats, integers = parse_mfcc(SHORT), parse_mfcc(SHORT + ",full_scale=32768")
    assert (features_of(floats, x) == features_of(integers, x * 32768)).all()


def test_mfcc_stage_of_a_model_from_outside_is_checked() -> None:
    model = make_mfcc_model()
    assert model.signal == parse_mfcc(SMALL)
    wrong = {"kind": "fft", "rate": 0, "fft": 300, "frame": 257, "window": 149, "step": 0,
             "mels": 200, "coefficients": 18, "low": 1900, "high": 2001, "floor": 0,
             "mel": "bark", "frac_bits": np.array([3], np.int16)}  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(ModelFormatError, match="signal"):
            check_model(replace(model, signal=replace(model.signal, **{name: value})))
    assert model.signal is not None
    few = {"fft": 128, "frame": 128, "window": 677, "mels": 100}  # as many frames
    with pytest.raises(ModelFormatError, match="band"):
        check_model(replace(model, signal=replace(model.signal, **few)))
