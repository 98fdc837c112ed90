# SPDX-License-Identifier: Apache-2.0
"""Requests that no client of ours would send: refused, and harmless. Run with sanitizers."""

import struct

import numpy as np
import pytest

from device.harness.client import DeviceClient
from device.harness.errors import DeviceStatusError
from tests.parity.conftest import OpenDevice
from tests.parity.models import SPECS, make_model

COMMANDS = range(1, 0x12)
X0_BYTES = 8


@pytest.fixture
def device(open_host: OpenDevice) -> DeviceClient:
    """A device with signed x0 of 16 values."""
    spec = next(s for s in SPECS if s.name == "head")
    return open_host(make_model(spec), sanitize=True)


def send(device: DeviceClient, command: int, payload: bytes) -> int:
    """Status of a raw request."""
    try:
        device._transport.exchange(command, payload, 10.0)
    except DeviceStatusError as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (0x00, b"", -7),
        (0x12, b"", -7),
        (0x7E, b"", -7),
        (0x01, b"\0", -4),
        (0x02, b"\0", -4),
        (0x02, b"\2\0" + bytes(32), -1),
        (0x02, b"\0\1" + bytes(32), -1),
        (0x03, b"\xc8\0" + bytes(32), -1),
        (0x03, b"\0\2" + bytes(32), -1),
        (0x05, struct.pack("<IIBBH", 1, 1, 0, 0, 0), -1),
        (0x05, struct.pack("<IIBBH", 1, 1, 0, 1, 0), -4),
        (0x05, struct.pack("<IIBBHIHh", 1, 0, 0, 1, 0, 0, 16384, -20), -1),
        (0x05, struct.pack("<IIBBHIHh", 1, 1, 2, 1, 0, 0, 16384, -20), -1),
        (0x05, struct.pack("<IIBBHIHh", 1, 1, 0, 1, 1, 0, 16384, -20), -1),
        (0x05, struct.pack("<IIBBHIHh", 1, 1, 0, 1, 0, 0, 16383, -20), -1),
        (0x05, struct.pack("<IIBBHIHh", 1, 1, 0, 1, 0, 0, 32768, -20), -1),
        (0x05, struct.pack("<IIBBHIHh", 1, 1, 0, 1, 0, 1, 16384, -20), -1),
        (0x05, struct.pack("<IIBBH", 1, 1, 0, 5, 0) + bytes(40), -1),
        (0x06, struct.pack("<I", 5), -2),
        (0x0A, struct.pack("<IHBB", 0, 4, 2, 0), -1),
        (0x0A, struct.pack("<IHBB", 1 << 30, 4, 0, 0), -1),
        (0x0A, struct.pack("<IHBB", 0xFFFFFFFF, 4, 0, 0), -1),
        (0x0A, struct.pack("<IHBB", 0, 65535, 0, 0), -8),
        (0x0B, struct.pack("<I", 7), -4),
        (0x0C, b"abc", -2),
        (0x0D, b"", -2),
        (0x0E, struct.pack("<BBH", 0, 0, 0x8000) + bytes(X0_BYTES), -1),
        (0x0E, struct.pack("<BBH", 9, 0, 0) + bytes(X0_BYTES), -1),
        (0x0E, struct.pack("<BBH", 0, 0, 7) + b"\x80" + bytes(X0_BYTES - 1), -1),
        (0x0E, struct.pack("<BBH", 0, 0, 7) + b"\x08" + bytes(X0_BYTES - 1), -1),
        (0x0F, struct.pack("<H", 65535), -1),
        (0x10, b"\2", -1),
        (0x11, b"\0\0\x08" + bytes(X0_BYTES - 1), -1),
    ],
)
def test_request_that_is_wrong_is_refused_with_its_status(
    device: DeviceClient, command: int, payload: bytes, status: int
) -> None:
    before = device.state_hash()
    assert send(device, command, payload) == status
    assert device.state_hash() == before


def test_requests_of_random_bytes_are_harmless(device: DeviceClient) -> None:
    rng = np.random.default_rng(1)
    lengths = [0, 1, 2, 4, 7, 8, 10, 12, 20, 34, 44, 60]
    for _ in range(1500):
        command = int(rng.choice(COMMANDS))
        length = int(rng.choice(lengths))
        payload = bytearray(rng.integers(0, 256, length, np.uint8).tobytes())
        if command == 0x06:
            payload = bytearray(struct.pack("<I", int(rng.integers(0, 5000))))
        if command == 0x05 and length >= 8:
            payload[4:8] = struct.pack("<I", int(rng.integers(0, 9)))
        send(device, command, bytes(payload))
    device.rollback()
    assert device.info().staged == 0


def test_schedule_of_extreme_exponents_is_harmless(device: DeviceClient) -> None:
    for exponent in (-32768, 32767):
        request = struct.pack("<IIBBHIHh", 1, 2, 0, 1, 0, 0, 32767, exponent)
        assert send(device, 0x05, request) == 0
        device.train(1 << 20)
        device.rollback()


def test_commands_during_an_open_import_are_refused(device: DeviceClient) -> None:
    total = device.info().state_bytes
    assert send(device, 0x0B, struct.pack("<I", total)) == 0
    for command, payload in ((0x04, b""), (0x07, b""), (0x09, b""), (0x03, bytes(34))):
        assert send(device, command, payload) == -2
    assert send(device, 0x02, bytes(34)) == 0
    assert send(device, 0x0C, bytes(total)) == 0
    assert send(device, 0x0C, b"x") == -4
    assert send(device, 0x0D, b"") == -2
    assert send(device, 0x09, b"") == 0
