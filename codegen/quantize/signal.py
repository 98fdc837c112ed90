# SPDX-License-Identifier: Apache-2.0
"""Features of signals as a user asks for them, and their integer form for a model (SPEC.md 15)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.errors import CalibrationError, QuantizeError
from codegen.graph import FloatGraph
from codegen.quantize.mfcc import FORM as MFCC_FORM
from codegen.quantize.mfcc import check_layout, checked_audio, parse_mfcc
from codegen.quantize.ranges import RAW_HEADROOM, FloatArray, frac_bits_for
from device.twin.mfcc import Mfcc
from device.twin.signal import (
    AXES_MAX,
    EXTRA_MAX,
    STATISTICS,
    WINDOW_MAX,
    Signal,
    WindowStats,
    signal_features,
)

STATS_FORM = f"window-stats:axes=A,window=N[,ddof=1], 1 <= A <= {AXES_MAX}, 2 <= N <= {WINDOW_MAX}"
FORM = f"{STATS_FORM}; or {MFCC_FORM}"
MAX_VALUES = 65535
_FINE = [STATISTICS.index("deviation"), STATISTICS.index("mean_absolute_difference")]


@dataclass(frozen=True)
class SignalChoice:
    """Window statistics to be taken by the device.

    Attributes:
        axes: of the sensors together; window: samples an axis; ddof: 0 or 1.
    """

    axes: int
    window: int
    ddof: int = 0

    @property
    def inputs(self) -> int:
        """Values in a raw sample."""
        return self.axes * self.window

    @property
    def outputs(self) -> int:
        """Features."""
        return len(STATISTICS) * self.axes


Choice = SignalChoice | Mfcc


def parse_signal(text: str) -> Choice:
    """Read a choice such as "window-stats:axes=6,window=125", or of MFCC (`parse_mfcc`).

    >>> parse_signal("window-stats:axes=6,window=125")
    SignalChoice(axes=6, window=125, ddof=0)

    Raises: QuantizeError.
    """
    kind, _, rest = text.partition(":")
    if kind == "mfcc":
        return parse_mfcc(text)
    pairs = dict(pair.partition("=")[::2] for pair in rest.split(",") if pair)
    known = {"axes": AXES_MAX, "window": WINDOW_MAX, "ddof": 1}
    numbers = {k: int(v) for k, v in pairs.items() if v.isascii() and v.isdigit() and len(v) < 6}
    wrong = (
        kind != "window-stats"
        or numbers.keys() != pairs.keys()
        or not {"axes", "window"} <= (pairs.keys() & known.keys())
    )
    if wrong or any(k not in known or v > known[k] for k, v in numbers.items()):
        form = STATS_FORM if kind == "window-stats" else FORM
        raise QuantizeError(f"features {text!r}", where="option features", expected=form)
    choice = SignalChoice(**numbers)
    if choice.axes < 1 or choice.window < 2 or choice.inputs > MAX_VALUES:
        raise QuantizeError(f"features {text!r}", where="option features", expected=STATS_FORM)
    return choice


def fit_signal(choice: SignalChoice, windows: FloatArray) -> WindowStats:
    """Grids of the signal, from calibration windows (N, inputs): room for eight times as much."""
    rows = windows.reshape(-1, choice.axes)
    largest = np.abs(rows).max(axis=0)
    frac_bits = np.array([frac_bits_for(float(a), RAW_HEADROOM) for a in largest], np.int16)
    coarse = WindowStats(choice.window, frac_bits, np.zeros(choice.axes, np.uint8), choice.ddof)
    found = signal_features(coarse, raw_windows(coarse, windows))
    found = found.reshape(-1, choice.axes, len(STATISTICS))
    widest = found[:, :, _FINE].max(axis=(0, 2)).astype(np.float64)
    room = [frac_bits_for(float(w), RAW_HEADROOM) for w in widest]
    extra = np.clip(room, 0, EXTRA_MAX).astype(np.uint8)
    return WindowStats(choice.window, frac_bits, extra, choice.ddof)


def signal_of(graph: FloatGraph, text: str, calibration: FloatArray) -> Signal:
    """The signal stage that options name, for a graph.

    Raises: QuantizeError if the graph reads something else; CalibrationError.
    """
    choice = check_choice(graph, text)
    windows = checked_windows(choice, calibration)
    if isinstance(choice, Mfcc):
        checked_audio(choice, windows)
        return choice
    if graph.front is not None:
        raise QuantizeError(
            "the network begins with convolutions",
            where="option features",
            expected="dense layers behind window statistics",
        )
    return fit_signal(choice, windows)


def check_choice(graph: FloatGraph, text: str) -> Choice:
    """A choice that fits the graph's inputs. Raises: QuantizeError."""
    choice = parse_signal(text)
    if isinstance(choice, Mfcc):
        check_layout(choice, graph)
        return choice
    if choice.outputs != graph.features:
        raise QuantizeError(
            f"{choice.outputs} features of {choice.axes} axes for a network of {graph.features}",
            where="option features",
            expected=f"axes={graph.features // len(STATISTICS)}"
            if graph.features % len(STATISTICS) == 0
            else f"a network of {len(STATISTICS)} features an axis",
        )
    return choice


def raw_windows(signal: Signal, windows: FloatArray) -> NDArray[np.int16]:
    """Windows (N, inputs) as the device gets them, int16."""
    scaled = np.floor(np.ldexp(windows.astype(np.float64), signal.raw_bits) + 0.5)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def features_of(signal: Signal, windows: FloatArray) -> FloatArray:
    """The device's features of N windows, float32 (N, outputs): exact multiples of their grids."""
    rows = np.asarray(windows, np.float32).reshape(len(windows), -1)
    found = signal_features(signal, raw_windows(signal, rows))
    return np.ldexp(found.astype(np.float64), -signal.feature_bits).astype(np.float32)


def checked_windows(choice: Choice, calibration: FloatArray) -> FloatArray:
    """Calibration windows as rows (N, inputs).

    Raises: CalibrationError.
    """
    x = np.asarray(calibration, np.float32)
    rows = x.reshape(len(x), -1) if x.ndim > 1 and x.size else x
    shape = (choice.window,) if isinstance(choice, Mfcc) else (choice.window, choice.axes)
    if rows.ndim != 2 or rows.shape[1] != choice.inputs or len(rows) < 2:
        raise CalibrationError(
            f"windows have shape {x.shape}",
            where="calibration",
            expected=f"at least 2 of shape {shape}",
        )
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = (int(n) for n in bad[0])
        raise CalibrationError(
            f"value {rows[row, column]}",
            where=f"calibration row {row}, column {column}",
            expected="finite numbers",
        )
    return rows
