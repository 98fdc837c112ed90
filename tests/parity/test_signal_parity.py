# SPDX-License-Identifier: Apache-2.0
"""Features of raw windows (SPEC.md 15): the C equals the twin, alone and in a session."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.generate import generate
from device.harness.boards import BOARDS
from device.harness.client import DeviceClient
from device.harness.devices import HostTransport
from device.harness.errors import DeviceError
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from device.twin.signal import signal_features
from server.learning.firmwares import build_firmware, emulated_device
from tests.parity.conftest import OpenDevice, OpenPair
from tests.parity.models import random_raw
from tests.parity.sessions import run_session
from tests.parity.signals import make_signal_model, windows
from tests.parity.workshop import Mutation, Workshop


def raw_windows(model: IntModel) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Windows as they come, random ones far beyond, and those at the ends of 16 bits."""
    usual = raw_samples(model, windows(6, 2))
    ends = np.full((3, model.inputs), 32767, np.int16)
    ends[1] = -32768
    ends[2, ::2] = -32768
    still = np.full((1, model.inputs), -77, np.int16)
    return np.concatenate([usual, random_raw(model, 12, 3), ends, still])


def test_features_of_the_host_build_equal_twin(open_host: OpenDevice) -> None:
    model = make_signal_model(ddof=1)
    raw = raw_windows(model)
    device = open_host(model, sanitize=True, change=lambda _: generate(model, BOARDS["host"], True))
    _check_features(model, device, device._transport, raw)


def test_features_of_a_cortex_m0_equal_twin(tmp_path: Path) -> None:
    model = make_signal_model()
    firmware = build_firmware(model, BOARDS["microbit"], tmp_path, trace=True)
    with emulated_device(firmware, BOARDS["microbit"]) as (device, transport):
        _check_features(model, device, transport, raw_windows(model))


def _check_features(model: IntModel, device: DeviceClient, transport: Any, raw: Any) -> None:
    assert model.signal is not None
    expected = signal_features(model.signal, raw)
    for sample, features in zip(raw, expected, strict=True):
        device.infer(sample)
        assert np.frombuffer(transport.traces[0], "<i2").tolist() == features.tolist()


def test_session_on_raw_windows_equals_twin(open_pair: OpenPair) -> None:
    run_session(open_pair(make_signal_model()), seed=3, steps=2)


SOURCE = "had_window_stats.c"
MUTATIONS = tuple(
    Mutation(SOURCE, old, new)
    for old, new in (
        ("t * spec->axes + axis", "axis * spec->window + t"),
        ("x < before ? before - x : x - before", "x < before ? 0 : x - before"),
        ("(int32_t)(n + 2U", "(int32_t)(2U"),
        ("n - spec->ddof", "n - 1U"),
        ("square - (uint64_t)r * r > r ? 1U : 0U", "0U"),
        ("+ n - 1U) / (2U * (n - 1U))", "+ n - 1U) / (2U * n)"),
        ("x > s.most ? x : s.most", "x > s.most ? x : s.least"),
        ("value > HALF_RANGE - 1U ? HALF_RANGE - 1U : value", "value"),
    )
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Of builds that send what every layer makes."""
    return Workshop(tmp_path_factory.mktemp("signal"), make_signal_model(), "host", trace=True)


@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=lambda n: f"{MUTATIONS[n].old}")
def test_planted_error_in_the_features_is_seen(number: int, workshop: Workshop) -> None:
    assert _differs(workshop, workshop.planted(MUTATIONS[number], number))


def test_features_without_an_error_do_not_differ(workshop: Workshop) -> None:
    assert not _differs(workshop, workshop.sound())


def _differs(workshop: Workshop, elf: Path) -> bool:
    with HostTransport(elf) as transport:
        try:
            raw = raw_windows(workshop.model)
            _check_features(workshop.model, DeviceClient(transport), transport, raw)
        except (AssertionError, DeviceError):
            return True
    return False
