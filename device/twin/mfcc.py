# SPDX-License-Identifier: Apache-2.0
"""Mel-frequency cepstral coefficients of audio in integers (SPEC.md 15.2).

The tables are made here from their formulas; those of the C are made by `codegen.emit.mfcc`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FFT_SIZES = (64, 128, 256, 512, 1024)
MELS_MAX = 128
SAMPLES_MAX = 65535
RATE_MAX = 1_000_000
MEL_SCALES = ("htk", "slaney")
FLOOR_BITS = 43
FLOOR_MIN, FLOOR_MAX = 1 << 13, 1 << FLOOR_BITS
AUDIO_BITS = 15
ONE = 1 << 15
LOG_BITS = 10
FEATURE_BITS_MAX = 10
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Mfcc:
    """MFCC of one channel of audio (SPEC.md 15.2).

    Attributes:
        rate: Hz; low, high: ends of the mel bands, Hz.
        window: samples of the signal; frame, step: samples; fft: points, a power of two.
        mels: bands; coefficients: of them, from the first.
        floor: added to every band's energy, times 2**43.
        mel: scale of the bands, htk or slaney.
        frac_bits: int16, shape (1,): raw = round(sample * 2**frac_bits); 15 where full scale is 1.
    """

    rate: int
    window: int
    frame: int
    step: int
    fft: int
    mels: int
    low: int
    high: int
    coefficients: int
    floor: int
    mel: str
    frac_bits: NDArray[np.int16]
    kind: str = "mfcc"

    @property
    def frames(self) -> int:
        """T."""
        return 1 + (self.window - self.frame) // self.step

    @property
    def inputs(self) -> int:
        """Samples of the signal."""
        return self.window

    @property
    def outputs(self) -> int:
        """Features: C a frame, frame by frame."""
        return self.frames * self.coefficients

    @property
    def scratch_bytes(self) -> int:
        """Working memory of a frame on the device: N int32 and M int16."""
        return 4 * self.fft + 2 * self.mels

    @property
    def raw_bits(self) -> NDArray[np.int16]:
        """Fractional bits of every raw value, shape (inputs,)."""
        return np.repeat(self.frac_bits, self.window)

    @property
    def out_bits(self) -> int:
        """F: fractional bits of every feature."""
        widest = np.sqrt(self.mels) * max(13.0, float(np.log(2.0**FLOOR_BITS / self.floor)))
        return min(FEATURE_BITS_MAX, int(np.floor(np.log2(32767 / widest))))

    @property
    def feature_bits(self) -> NDArray[np.int16]:
        """Fractional bits of every feature, shape (outputs,)."""
        return np.full(self.outputs, self.out_bits, np.int16)


def mfcc_features(signal: Mfcc, raw: NDArray[np.integer]) -> NDArray[np.int16]:
    """Features (N, outputs) of raw signals (N, window)."""
    rows = np.asarray(raw, np.int64)
    starts = np.arange(signal.frames) * signal.step
    at = starts[:, None] + np.arange(signal.frame)
    found = [_cepstrum(signal, _energies(signal, _power(signal, row[at]))) for row in rows]
    shape = (len(rows), signal.outputs)
    return np.array(found, np.int16).reshape(shape)


def mel_edges(signal: Mfcc) -> Float64:
    """h_0 .. h_(M+1) of SPEC.md 15.2, in Hz."""
    ends = np.array([signal.low, signal.high], np.float64)
    if signal.mel == "htk":
        low, high = 2595 * np.log10(1 + ends / 700)
        return 700 * (10 ** (np.linspace(low, high, signal.mels + 2) / 2595) - 1)
    low, high = np.where(
        ends < 1000, 3 * ends / 200, 15 + 27 * np.log(np.maximum(ends, 1) / 1000) / np.log(6.4)
    )
    mels = np.linspace(low, high, signal.mels + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))


def band_weights(signal: Mfcc) -> Int64:
    """Weights (bands, N/2) of every bin's power in every band, times 2**15."""
    h = mel_edges(signal)
    f = np.arange(signal.fft // 2) * (signal.rate / signal.fft)
    weights = np.zeros((signal.mels + 2, signal.fft // 2), np.int64)
    for k, hertz in enumerate(f):
        if h[0] <= hertz < h[-1]:
            s = int(np.searchsorted(h, hertz, side="right")) - 1
            rise = int(_nearest(ONE * (hertz - h[s]) / (h[s + 1] - h[s])))
            weights[s, k], weights[s + 1, k] = ONE - rise, rise
    return weights[1:-1]


def empty_band(signal: Mfcc) -> int | None:
    """The first band, from 0, in which no bin has weight; None if there is none."""
    empty = np.flatnonzero(~band_weights(signal).any(axis=1))
    return int(empty[0]) if len(empty) else None


def _rounded(values: Int64, shift: int) -> Int64:
    """rhu of SPEC.md 1.1; `device.twin.kernels` cannot be had here, for it imports the model."""
    return np.asarray((values + (1 << (shift - 1))) >> shift, np.int64)


def _nearest(values: Float64) -> Int64:
    """rn of SPEC.md 15.2."""
    return np.floor(values + (0.5 + 2.0**-20)).astype(np.int64)


def _table(values: Float64) -> Int64:
    return np.minimum(_nearest(ONE * values), 32767)


def _turn(re: Int64, im: Int64, k: Int64, size: int) -> tuple[Int64, Int64]:
    """(re, im) times exp(-2 pi i k / size), k along the last axis."""
    sine = _table(np.sin(2 * np.pi * np.arange(size) / size))
    c, s = sine[(k + size // 4) % size], sine[k]
    turned_re = _rounded(re * c + im * s, 15)
    turned_im = _rounded(im * c - re * s, 15)
    quarter = k == size // 4
    turned_re = np.where(k == 0, re, np.where(quarter, im, turned_re))
    return turned_re, np.where(k == 0, im, np.where(quarter, -re, turned_im))


def _power(signal: Mfcc, frames: Int64) -> Int64:
    """P_k (frames, N/2) of samples (frames, L); P_0 is not made and stays 0."""
    size, half = signal.fft, signal.fft // 2
    angle = 2 * np.pi * np.arange(signal.frame) / signal.frame
    y = np.zeros((len(frames), size), np.int64)
    y[:, : signal.frame] = _rounded(frames * _table((1 - np.cos(angle)) / 2), 10)
    re, im = _transform(y[:, 0::2], y[:, 1::2], size)
    k = np.arange(1, half // 2 + 1)
    mirror = half - k
    a_re, a_im = re[:, k] + re[:, mirror], im[:, k] - im[:, mirror]
    b_re, b_im = im[:, k] + im[:, mirror], re[:, mirror] - re[:, k]
    t_re, t_im = _turn(b_re, b_im, k, size)
    power = np.zeros((len(frames), half), np.int64)
    power[:, mirror] = _rounded((a_re - t_re) ** 2 + (a_im - t_im) ** 2, 14)
    power[:, k] = _rounded((a_re + t_re) ** 2 + (a_im + t_im) ** 2, 14)
    return power


def _transform(re: Int64, im: Int64, size: int) -> tuple[Int64, Int64]:
    """DFT along the last axis, by halves: even elements, odd elements, butterflies."""
    length = re.shape[-1]
    if length == 1:
        return re, im
    even = _transform(re[..., 0::2], im[..., 0::2], size)
    odd = _transform(re[..., 1::2], im[..., 1::2], size)
    k = np.arange(length // 2) * (size // length)
    t_re, t_im = _turn(*odd, k, size)
    return (
        np.concatenate([even[0] + t_re, even[0] - t_re], axis=-1),
        np.concatenate([even[1] + t_im, even[1] - t_im], axis=-1),
    )


def _energies(signal: Mfcc, power: Int64) -> Int64:
    """E_m (frames, M)."""
    return power @ band_weights(signal).T + signal.floor


def _logarithm(energies: Int64) -> Int64:
    """l_m: log2(E 2**-43) with 10 fractional bits."""
    table = _nearest(ONE * np.log2(1 + np.arange(65) / 64))
    bits = np.array([int(e).bit_length() - 1 for e in energies.ravel()]).reshape(energies.shape)
    v = np.where(bits > 16, energies >> np.maximum(bits - 16, 0), energies << (16 - bits).clip(0))
    i, r = (v >> 10) & 63, v & 1023
    fraction = table[i] + _rounded((table[i + 1] - table[i]) * r, 10)
    return _rounded(((bits - FLOOR_BITS) << 15) + fraction, 15 - LOG_BITS)


def _cepstrum(signal: Mfcc, energies: Int64) -> Int64:
    """Features (frames, C) of energies (frames, M)."""
    mels, j = signal.mels, np.arange(signal.coefficients)[:, None]
    q = int(np.floor(np.log2(32767 / (np.log(2) * np.sqrt(2 / mels)))))
    scale = np.where(j == 0, np.sqrt(1 / mels), np.sqrt(2 / mels)) * np.log(2)
    m = np.arange(1, mels + 1)
    cosine = _nearest(2.0**q * scale * np.cos(np.pi * j * (2 * m - 1) / (2 * mels)))
    total = _logarithm(energies) @ cosine.T
    return np.clip(_rounded(total, q + LOG_BITS - signal.out_bits), -32768, 32767)
