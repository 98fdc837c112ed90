# SPDX-License-Identifier: Apache-2.0
"""MFCC of raw audio (SPEC.md 15.2): the C equals the twin, alone, in firmware and in a session."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.quantize.mfcc import parse_mfcc
from codegen.quantize.signal import raw_windows
from device.harness.boards import BOARDS
from device.twin.learner import raw_samples
from device.twin.mfcc import Mfcc
from device.twin.signal import signal_features
from server.learning.firmwares import build_firmware, emulated_device
from tests.parity.audio import SMALL, audio, make_mfcc_image_model, make_mfcc_model
from tests.parity.conftest import OpenPair
from tests.parity.mfcc_program import build_program, run_program
from tests.parity.sessions import run_session

# Every size of FFT, frames of odd and full length, both mel scales, few and many bands.
OPTIONS = (
    SMALL,
    "mfcc:rate=8000,window=8000",
    "mfcc:rate=8000,window=1000,frame=1000,fft=1024,mels=64,coefficients=33,floor=1e-9",
    "mfcc:rate=16000,window=1300,frame=400,step=401,fft=512,mels=40,mel=slaney,coefficients=13",
    "mfcc:rate=11025,window=129,frame=127,step=1,fft=128,mels=7,low=0,coefficients=7",
    "mfcc:rate=1000,window=64,frame=64,step=9,fft=64,mels=1,low=0,high=500,floor=1",
    "mfcc:rate=48000,window=3000,frame=1024,mels=128,low=300,coefficients=128,full_scale=32768",
)


def raw_audio(signal: Mfcc) -> NDArray[np.int16]:
    """Signals as they come, and those that lie at the ends of what can be."""
    n = signal.window
    rng = np.random.default_rng(5)
    usual = raw_windows(signal, audio(6, n, 2) * 2.0 ** (15 - int(signal.frac_bits[0])))
    noise = rng.integers(-32768, 32768, (2, n))
    ends = np.full((6, n), 32767)
    ends[1] = -32768
    ends[2, ::2] = -32768
    ends[3] = 0
    ends[4] = np.where(np.arange(n) % 37 == 5, -32768, 0)
    ends[5] = rng.integers(-1, 2, n)
    clipped = np.sign(np.sin(np.arange(n) * 0.31)) * 32767
    return np.concatenate([usual, noise, ends, clipped[None]]).astype(np.int16)


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_mfcc_of_the_c_equal_twin(number: int, tmp_path: Path) -> None:
    signal = parse_mfcc(OPTIONS[number])
    raw = raw_audio(signal)
    found = run_program(build_program(signal, tmp_path / "c"), signal, raw)
    assert found is not None, "the sanitizers found an error"
    assert found.tolist() == signal_features(signal, raw).tolist(), OPTIONS[number]


LONG = pytest.mark.long
OTHERS = ("mps2-an386", "mps3-an547", "riscv-virt")


@pytest.mark.parametrize("board", ["microbit", *(pytest.param(b, marks=LONG) for b in OTHERS)])
def test_mfcc_of_emulated_boards_equal_twin(board: str, tmp_path: Path) -> None:
    # 16 KB of RAM hold 700 samples and a spectrum of 128 points beside the learner, not a second
    model = make_mfcc_model(
        "mfcc:rate=4000,window=700,frame=120,fft=128,mels=17,coefficients=5", batch=4
    )
    assert model.signal is not None
    raw = raw_samples(model, audio(4, model.inputs, 3))
    expected = signal_features(model.signal, raw)
    firmware = build_firmware(model, BOARDS[board], tmp_path, trace=True)
    with emulated_device(firmware, BOARDS[board]) as (device, transport):
        for sample, features in zip(raw, expected, strict=True):
            device.infer(sample)
            assert np.frombuffer(transport.traces[0], "<i2").tolist() == features.tolist()


def test_session_on_raw_audio_behind_convolutions_equals_twin(open_pair: OpenPair) -> None:
    run_session(open_pair(make_mfcc_image_model()), seed=3, steps=2)


RFFT, MFCC = "signal/had_rfft.c", "signal/had_mfcc.c"
MUTATIONS = (
    (RFFT, "i < back ? i : back", "i < back ? i : back - 1U"),
    (RFFT, "(1 << 9)) >> 10", "0) >> 10"),
    (RFFT, "#define ROUND (1 << 14)", "#define ROUND 0"),
    (RFFT, "bit = half >> 1", "bit = half >> 2"),
    (RFFT, "re * c + im * s", "re * c - im * s"),
    (RFFT, "im_low * c - re_low * s", "im_low * c - re_low * c"),
    (RFFT, "{v.im, -v.re}", "{-v.im, v.re}"),
    (RFFT, "{a[7], -a[6]}", "{-a[7], a[6]}"),
    (RFFT, "b[1] = a[1] - t.im", "b[1] = a[1] + t.im"),
    (RFFT, "spec->fft / (2U * h)", "spec->fft / (4U * h)"),
    (RFFT, "h <= quarter", "h < quarter"),
    (RFFT, "k <= quarter", "k < quarter"),
    (RFFT, "(int64_t)middle * 4", "(int64_t)middle * 2"),
    (RFFT, "(1U << 13)", "(0U << 13)"),
    (RFFT, "z0[1] - z1[1]}", "z0[1] + z1[1]}"),
    (MFCC, "(low >> 16) * weight) << 16", "(low >> 16) * weight) << 15"),
    (MFCC, "(uint32_t)power[1] * weight", "0U * weight"),
    (MFCC, "+ 512U) >> 10", ") >> 10"),
    (MFCC, "(log + 16) >> 5", "log >> 5"),
    (MFCC, "table[i + 1U] - table[i]", "table[i] - table[i]"),
    (MFCC, "next = spec->floor", "next = 0U"),
    (MFCC, "word >>= step", "word >>= 1"),
    (MFCC, "<< 15) - rising", "<< 15) + rising"),
    (MFCC, "cosine + j * spec->mels", "cosine + j * spec->coefficients"),
    (MFCC, "((int64_t)1 << (spec->shift - 1U))", "0"),
    (MFCC, "at += spec->step", "at += spec->frame"),
)


# A build each: some of every function in the short form, the others in the long one.
SHORT, REST = MUTATIONS[::3], [change for change in MUTATIONS if change not in MUTATIONS[::3]]


@pytest.mark.parametrize("changes", [SHORT, pytest.param(REST, marks=LONG)], ids=["some", "rest"])
def test_planted_errors_in_the_mfcc_are_seen(
    changes: tuple[tuple[str, str, str], ...], tmp_path: Path
) -> None:
    signal = parse_mfcc(SMALL)
    raw = raw_audio(signal)
    expected = signal_features(signal, raw).tolist()
    for number, change in enumerate(changes):
        elf = build_program(signal, tmp_path / str(number), change, sanitize=False)
        found = run_program(elf, signal, raw)
        assert found is None or found.tolist() != expected, change
