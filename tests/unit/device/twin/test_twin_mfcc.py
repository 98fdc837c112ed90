# SPDX-License-Identifier: Apache-2.0
"""MFCC of the twin (SPEC.md 15.2) against the usual definition in float64.

The bound on the error is derived, not tuned: the energies of a frame may be off by what the integer
tables and roundings add as noise, and the logarithm carries that into every band.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.emit.mfcc import mfcc_tables
from codegen.quantize.mfcc import parse_mfcc
from device.twin.mfcc import Mfcc, band_weights, mfcc_features
from tests.parity.audio import audio

Float64 = NDArray[np.float64]
USUAL = "mfcc:rate=8000,window=8000,frame=320,step=160,fft=512,mels=40,low=20,high=4000"


def triangles(signal: Mfcc) -> Float64:
    """Mel filters (bands, N/2 + 1), of height 1."""
    if signal.mel == "htk":
        to_mel = lambda f: 1127 * np.log1p(f / 700)  # noqa: E731
        to_hertz = lambda m: 700 * np.expm1(m / 1127)  # noqa: E731
    else:
        step = np.log(6.4) / 27
        to_mel = lambda f: f * 0.015 if f < 1000 else 15 + np.log(f / 1000) / step  # noqa: E731
        to_hertz = lambda m: np.where(  # noqa: E731
            m < 15, m / 0.015, 1000 * np.exp(step * (m - 15))
        )
    h = to_hertz(np.linspace(to_mel(signal.low), to_mel(signal.high), signal.mels + 2))
    f = np.fft.rfftfreq(signal.fft, 1 / signal.rate)
    up = (f - h[:-2, None]) / (h[1:-1] - h[:-2])[:, None]
    down = (h[2:, None] - f) / (h[2:] - h[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down))


def float_mfcc(signal: Mfcc, x: Float64) -> tuple[Float64, Float64, Float64]:
    """Coefficients, band energies with the floor, and bounds of their error, of one signal."""
    n = np.arange(signal.frame)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / signal.frame)
    frames = np.lib.stride_tricks.sliding_window_view(x, signal.frame)[:: signal.step] * window
    power = np.abs(np.fft.rfft(frames, signal.fft)) ** 2
    weights = triangles(signal)
    energies = power @ weights.T + signal.floor * 2.0**-43
    m, j = np.arange(signal.mels) + 0.5, np.arange(signal.coefficients)[:, None]
    dct = np.cos(np.pi * j * m / signal.mels) * np.sqrt(2 / signal.mels)
    dct[0] /= np.sqrt(2)
    found = np.log(energies) @ dct.T
    return found, energies, _bound(signal, frames, power, weights, energies, dct)


def _bound(
    signal: Mfcc, frames: Float64, power: Float64, weights: Float64, energies: Float64, dct: Float64
) -> Float64:
    """The most that a coefficient can be off, shape (frames, C), a worst case of every rounding.

    Window: half a step of 2**-15 a sample, times the unwindowed sample (at most 1), and half a step
    of the grid 2**-20. Each of the log2(N) turns rounds by sqrt(1/2) of that step in a number, and
    its sine and cosine by 2**-16 each. So |X| is off by at most d, and |X|^2 by 2 |X| d + d^2 and
    half a step of 2**-28; weights by 2**-16.
    """
    stages = np.log2(signal.fft)
    total = np.abs(frames).sum(1)[:, None]
    d = signal.frame * (2.0**-16 + 2.0**-21)
    d = d + stages * total * 2.0**-15.5 + signal.fft * 2.0**-21.5
    off = (2 * np.sqrt(power) * d + d * d + 2.0**-29) @ weights.T + power.sum(1)[:, None] * 2.0**-16
    # ln(1 +- r): from below not defined beyond 1, but the energy never falls below the floor
    low = np.maximum(energies - off, signal.floor * 2.0**-43)
    logs = np.maximum(np.log(energies + off) - np.log(energies), np.log(energies) - np.log(low))
    # the table of logarithms and its rounding: 2**-14 + 2**-11 of log2; the cosines: half a step
    q = np.floor(np.log2(32767 / (np.log(2) * np.sqrt(2 / signal.mels))))
    cosines = np.abs(np.log2(energies)).sum(1)[:, None] * 2.0 ** (-q - 1)
    fine = (logs + (2.0**-14 + 2.0**-11) * np.log(2)) @ np.abs(dct).T
    return fine + cosines + 2.0 ** (-signal.out_bits - 1)


def made_up(signal: Mfcc) -> dict[str, Float64]:
    """Signals by name, on the grid of 16 bits."""
    rng = np.random.default_rng(0)
    n = signal.window
    t = np.arange(n) / signal.rate
    chirp = np.sin(2 * np.pi * (0.02 * signal.rate * t + 0.2 * signal.rate * t * t))
    signals = {
        "noise": rng.normal(0, 0.2, n),
        "soft noise": rng.normal(0, 0.002, n),
        "tone": 0.99 * np.sin(2 * np.pi * 0.055 * signal.rate * t),
        "chirp": 0.9 * chirp,
        "chirp in noise": 0.3 * chirp + rng.normal(0, 0.003, n),
        "silence": np.zeros(n),
        "clipped": np.clip(3 * chirp, -1, 32767 / 32768),
    }
    return {name: np.clip(np.rint(x * 2**15), -32768, 32767) / 2**15 for name, x in signals.items()}


@pytest.mark.parametrize(
    "text",
    [
        USUAL,
        "mfcc:rate=16000,window=4000,frame=1000,fft=1024,mels=64,mel=slaney,coefficients=20",
        "mfcc:rate=8000,window=900,frame=64,fft=64,mels=6,low=0,coefficients=6,floor=1e-4",
    ],
)
def test_mfcc_differ_from_float64_by_less_than_their_roundings(text: str) -> None:
    signal = parse_mfcc(text)
    for name, x in made_up(signal).items():
        expected, _, bound = float_mfcc(signal, x)
        raw = np.rint(x * 2**15).astype(np.int16)
        found = mfcc_features(signal, raw[None])[0].reshape(expected.shape)
        error = np.abs(found * 2.0**-signal.out_bits - expected)
        assert (error <= bound).all(), (name, float((error / bound).max()))


def test_mfcc_of_signals_with_noise_are_off_by_two_steps_at_most() -> None:
    # what is seen where no band is 60 dB below another; steps of 2**-8
    signal = parse_mfcc(USUAL)
    for name, x in made_up(signal).items():
        if name in ("tone", "chirp", "clipped"):
            continue
        expected, _, _ = float_mfcc(signal, x)
        raw = np.rint(x * 2**15).astype(np.int16)
        found = mfcc_features(signal, raw[None])[0].reshape(expected.shape)
        assert np.abs(found - expected * 2**signal.out_bits).max() <= 2.0, name


def test_mfcc_bound_fails_where_a_rounding_is_ten_times_as_coarse() -> None:
    signal = parse_mfcc(USUAL)
    x = made_up(signal)["noise"]
    expected, _, bound = float_mfcc(signal, x)
    raw = (np.rint(x * 2**15).astype(np.int64) // 2048 * 2048).astype(np.int16)
    found = mfcc_features(signal, raw[None])[0].reshape(expected.shape)
    assert (np.abs(found * 2.0**-signal.out_bits - expected) > bound).any()


@pytest.mark.parametrize("mel", ["htk", "slaney"])
@pytest.mark.parametrize(
    ("rate", "fft", "mels"), [(8000, 512, 40), (16000, 1024, 23), (999, 64, 5)]
)
def test_mfcc_tables_of_the_generator_and_the_twin_are_equal(
    mel: str, rate: int, fft: int, mels: int
) -> None:
    text = f"mfcc:rate={rate},window={fft},frame={fft - 3},fft={fft},mels={mels},mel={mel}"
    signal = parse_mfcc(text + ",coefficients=5")
    tables = mfcc_tables(signal)
    weights = np.zeros((mels + 2, fft // 2 + 1), int)
    rise = iter(tables.rise)
    for s in range(mels + 1):
        for k in range(tables.edge[s], tables.edge[s + 1]):
            weights[s + 1, k] = next(rise)
            weights[s, k] += 2**15 - weights[s + 1, k]
    assert weights[1:-1, : fft // 2].tolist() == band_weights(signal).tolist()
    assert np.abs(weights[1:-1] / 2**15 - triangles(signal)).max() <= 2.0**-16 + 1e-5


def test_mfcc_are_frame_by_frame_and_louder_means_more_of_the_first() -> None:
    signal = parse_mfcc("mfcc:rate=8000,window=1600,frame=320,step=320")
    x = audio(1, 320, 8)[0]
    quiet = np.concatenate([x * 2.0**-k for k in range(5)])
    found = mfcc_features(signal, np.rint(quiet * 16384)[None].astype(int))[0].reshape(5, 10)
    assert (np.diff(found[:, 0]) < 0).all()
