# SPDX-License-Identifier: Apache-2.0
"""Tables of an MFCC stage (SPEC.md 15.2), made from their formulas; the twin makes its own."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import cos, exp, floor, log, log2, log10, pi, sin, sqrt
from typing import Any

from codegen.emit.literals import table
from device.twin.mfcc import Mfcc

_ONE = 1 << 15
_FLOOR_ONE = 1 << 43
_LOG_STEPS = 64
_TIE = 2.0**-20


@dataclass(frozen=True)
class MfccTables:
    """Constants of had_mfcc, by the names of SPEC.md 15.2: V, S, b, R, G, D, and q + 10 - F."""

    hann: list[int]
    sine: list[int]
    edge: list[int]
    rise: list[int]
    logarithm: list[int]
    cosine: list[int]
    shift: int

    @property
    def bytes(self) -> int:
        """Flash that the tables take."""
        tables = (self.hann, self.sine, self.edge, self.rise, self.logarithm, self.cosine)
        return 2 * sum(len(t) for t in tables)


def mfcc_tables(signal: Mfcc) -> MfccTables:
    """All tables of a stage."""
    size, frame = signal.fft, signal.frame
    hann = [_sample((1 - cos(2 * pi * i / frame)) / 2) for i in range(frame // 2 + 1)]
    sine = [_sample(sin(2 * pi * k / size)) for k in range(3 * size // 4)]
    logarithm = [_nearest(_ONE * log2(1 + i / _LOG_STEPS)) for i in range(_LOG_STEPS + 1)]
    edge, rise = _bands(signal)
    cosine, bits = _cosines(signal)
    return MfccTables(hann, sine, edge, rise, logarithm, cosine, bits + 10 - _out_bits(signal))


def mfcc_lines(signal: Mfcc) -> list[str]:
    """Definitions for hadapt_tables.c."""
    t = mfcc_tables(signal)
    parts: tuple[tuple[str, str, list[int], str], ...] = (
        ("int16_t", "hann", t.hann, "first half of the Hann window"),
        ("int16_t", "sine", t.sine, "three quarters of a sine"),
        ("uint16_t", "edge", t.edge, "first bins of the segments between mel edges"),
        ("uint16_t", "rise", t.rise, "weights of the bins, rising"),
        ("uint16_t", "logarithm", t.logarithm, "log2 of 1 to 2"),
        ("int16_t", "cosine", t.cosine, f"DCT, {signal.coefficients} rows of {signal.mels}"),
    )
    lines: list[str] = []
    for kind, name, values, note in parts:
        head = f"static const {kind} signal_{name}[{len(values)}U]"
        lines += table(head, values, f"signal: {note}")
    sizes = ("window", "frame", "step", "fft", "mels", "coefficients")
    return [
        *lines,
        "const had_mfcc had_signal = {",
        *(f"    .{name} = signal_{name}," for _, name, _, _ in parts),
        f"    .floor = {signal.floor}U,",
        *(f"    .{name} = {getattr(signal, name)}U," for name in sizes),
        f"    .shift = {t.shift}U,",
        "};",
        f"#define SCRATCH HAD_MFCC_SCRATCH_BYTES({signal.fft}U, {signal.mels}U)",
        f'_Static_assert(SCRATCH == {signal.scratch_bytes}U, "scratch as planned");',
        "",
    ]


def mfcc_manifest(signal: Mfcc) -> dict[str, Any]:
    """What manifest.json says of it."""
    names = ("kind", "rate", "window", "frame", "step", "fft", "mels", "low", "high")
    more = ("coefficients", "mel", "floor")
    return {
        **{name: getattr(signal, name) for name in (*names, *more)},
        "floor_bits": 43,
        "order": "value t is sample t (SPEC.md 15.2)",
    }


def _nearest(value: float) -> int:
    return floor(value + 0.5 + _TIE)


def _sample(value: float) -> int:
    return min(32767, _nearest(_ONE * value))


def _edges(signal: Mfcc) -> list[float]:
    """Edges of the bands in Hz, equally spaced in mels."""
    to_mel, to_hertz = _SCALES[signal.mel]
    low, high = to_mel(signal.low), to_mel(signal.high)
    step = (high - low) / (signal.mels + 1)
    return [to_hertz(low + step * s) for s in range(signal.mels + 2)]


_Scale = Callable[[float], float]
_SCALES: dict[str, tuple[_Scale, _Scale]] = {
    "htk": (
        lambda f: 2595 * log10(1 + f / 700),
        lambda m: 700 * (10 ** (m / 2595) - 1),
    ),
    "slaney": (
        lambda f: 3 * f / 200 if f < 1000 else 15 + 27 * log(f / 1000) / log(6.4),
        lambda m: 200 * m / 3 if m < 15 else 1000 * exp((m - 15) * log(6.4) / 27),
    ),
}


def _bands(signal: Mfcc) -> tuple[list[int], list[int]]:
    """First bin of every segment, and the rising weight of every bin from the first edge on."""
    hertz = _edges(signal)
    bins = [float(Fraction(k * signal.rate, signal.fft)) for k in range(signal.fft // 2 + 1)]
    edge = [next(k for k, f in enumerate(bins) if f >= h - _TIE) for h in hertz[:-1]]
    edge.append(next((k for k, f in enumerate(bins) if f >= hertz[-1] - _TIE), len(bins) - 1))
    rise = []
    for s in range(signal.mels + 1):
        width = hertz[s + 1] - hertz[s]
        rise += [_nearest(_ONE * (bins[k] - hertz[s]) / width) for k in range(edge[s], edge[s + 1])]
    return edge, rise


def _cosines(signal: Mfcc) -> tuple[list[int], int]:
    """D, row by row, and q."""
    mels = signal.mels
    bits = floor(log2(32767 / (log(2) * sqrt(2 / mels))))
    values = []
    for j in range(signal.coefficients):
        unit = 2.0**bits * log(2) * sqrt((1 if j == 0 else 2) / mels)
        turns = [pi * j * (2 * m + 1) / (2 * mels) for m in range(mels)]
        values += [_nearest(unit * cos(angle)) for angle in turns]
    return values, bits


def _out_bits(signal: Mfcc) -> int:
    """F."""
    widest = sqrt(signal.mels) * max(13.0, log(_FLOOR_ONE / signal.floor))
    return min(10, floor(log2(32767 / widest)))
