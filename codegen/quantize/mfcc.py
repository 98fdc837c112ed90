# SPDX-License-Identifier: Apache-2.0
"""MFCC as a user asks for them (SPEC.md 15.2), with the refusal of what cannot be."""

from collections.abc import Mapping

import numpy as np

from codegen.errors import CalibrationError, QuantizeError
from codegen.graph import FloatGraph
from codegen.quantize.ranges import FloatArray
from device.twin.mfcc import (
    AUDIO_BITS,
    FFT_SIZES,
    FLOOR_BITS,
    MEL_SCALES,
    MELS_MAX,
    RATE_MAX,
    SAMPLES_MAX,
    Mfcc,
    empty_band,
)

FORM = (
    "mfcc:rate=HZ,window=SAMPLES[,frame=,step=,fft=,mels=,low=,high=,coefficients=,floor=,mel=,"
    "full_scale=]"
)
WHOLE = ("rate", "window", "frame", "step", "fft", "mels", "low", "high", "coefficients")
FULL_SCALES = {"1": AUDIO_BITS, "32768": 0}
FLOOR_LOW, FLOOR_HIGH = 1e-9, 1.0
_FRAME_MS = 40
_AMPLITUDE_MAX = 2.0


def parse_mfcc(text: str) -> Mfcc:
    """Read a choice such as "mfcc:rate=8000,window=8000"; the rest has the usual values.

    >>> parse_mfcc("mfcc:rate=8000,window=8000").frames
    49

    Raises: QuantizeError that names what cannot be, and what would be right.
    """
    pairs = _pairs(text)
    numbers = {name: _whole(name, pairs[name]) for name in WHOLE if name in pairs}
    for name in ("rate", "window"):
        if name not in numbers:
            raise _wrong(f"features {text!r} without {name}", FORM)
    rate = _bounded("rate", numbers["rate"], 2, RATE_MAX)
    frame = _bounded("frame", numbers.get("frame", rate * _FRAME_MS // 1000), 2, FFT_SIZES[-1])
    fft = numbers.get("fft", next(size for size in FFT_SIZES if size >= frame))
    if fft not in FFT_SIZES:
        raise _wrong(f"fft={fft}", f"a power of two, {FFT_SIZES[0]} to {FFT_SIZES[-1]}")
    if frame > fft:
        raise _wrong(f"a frame of {frame} samples for fft={fft}", f"frame of at most {fft}")
    mels = _bounded("mels", numbers.get("mels", 40), 1, MELS_MAX)
    high = _bounded("high", numbers.get("high", rate // 2), 1, rate // 2)
    choice = Mfcc(
        rate=rate,
        window=_window(numbers["window"], frame),
        frame=frame,
        step=_bounded("step", numbers.get("step", max(1, frame // 2)), 1, SAMPLES_MAX),
        fft=fft,
        mels=mels,
        low=_bounded("low", numbers.get("low", min(20, high - 1)), 0, high - 1),
        high=high,
        coefficients=_bounded("coefficients", numbers.get("coefficients", min(10, mels)), 1, mels),
        floor=_floor(pairs.get("floor", "1e-6")),
        mel=_one_of("mel", pairs.get("mel", MEL_SCALES[0]), MEL_SCALES),
        frac_bits=np.array([_full_scale(pairs.get("full_scale", "1"))], np.int16),
    )
    if choice.outputs > SAMPLES_MAX:
        raise _wrong(f"{choice.outputs} features", f"at most {SAMPLES_MAX}: a larger step")
    band = empty_band(choice)
    if band is not None:
        what = f"no FFT bin lies in mel band {band} of {mels}"
        raise _wrong(what, "fewer mels, a larger fft or a wider range")
    return choice


def check_layout(choice: Mfcc, graph: FloatGraph) -> None:
    """The network must read the features frame by frame. Raises: QuantizeError."""
    shape = tuple(n for n in graph.input_shape if n != 1)
    frames = tuple(n for n in (choice.frames, choice.coefficients) if n != 1)
    if choice.outputs != graph.features:
        raise _wrong(
            f"{choice.frames} frames of {choice.coefficients} coefficients for a network of "
            f"{graph.features} inputs",
            f"{graph.features} features: another window, step or coefficients",
        )
    planar = graph.front is not None and graph.front.planar and graph.front.channels > 1
    if planar or (len(shape) > 1 and shape != frames):
        raise _wrong(
            f"the network reads {graph.input_shape}, not frame by frame",
            f"inputs of shape {frames}, one channel or coefficients last",
        )


def checked_audio(choice: Mfcc, rows: FloatArray) -> FloatArray:
    """Calibration signals (N, window) of the amplitude that the choice says.

    Raises: CalibrationError.
    """
    largest = float(np.abs(rows).max())
    if choice.frac_bits[0] == AUDIO_BITS and largest > _AMPLITUDE_MAX:
        raise CalibrationError(
            f"an audio sample of {largest:g}",
            where="calibration",
            expected="amplitudes in [-1, 1], or full_scale=32768 for 16-bit integers",
        )
    if choice.frac_bits[0] == 0 and 0 < largest <= 1:
        raise CalibrationError(
            f"no audio sample beyond {largest:g}",
            where="calibration",
            expected="16-bit integers, or full_scale=1 for amplitudes in [-1, 1]",
        )
    return rows


def _pairs(text: str) -> Mapping[str, str]:
    known = {*WHOLE, "floor", "mel", "full_scale"}
    pairs: dict[str, str] = {}
    for part in text.partition(":")[2].split(","):
        name, _, value = part.partition("=")
        if name in pairs or name not in known:
            twice = "twice" if name in pairs else "unknown"
            raise _wrong(f"features {text!r}: {name!r} is {twice}", FORM)
        pairs[name] = value
    return pairs


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise _wrong(f"{name}={text}", "a whole number")
    return int(text)


def _bounded(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise _wrong(f"{name}={value}", f"{name} in {low} .. {high}")
    return value


def _window(window: int, frame: int) -> int:
    if window < frame:
        raise _wrong(
            f"a window of {window} samples, shorter than a frame of {frame}",
            f"window in {frame} .. {SAMPLES_MAX}",
        )
    return _bounded("window", window, frame, SAMPLES_MAX)


def _floor(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not FLOOR_LOW <= value <= FLOOR_HIGH:
        raise _wrong(f"floor={text}", f"a number in {FLOOR_LOW:g} .. {FLOOR_HIGH:g}")
    return round(value * 2.0**FLOOR_BITS)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _wrong(f"{name}={value}", " or ".join(known))
    return value


def _full_scale(text: str) -> int:
    return FULL_SCALES[_one_of("full_scale", text, tuple(FULL_SCALES))]


def _wrong(what: str, expected: str) -> QuantizeError:
    return QuantizeError(what, where="option features", expected=expected)
