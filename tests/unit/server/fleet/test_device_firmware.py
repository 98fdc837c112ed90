# SPDX-License-Identifier: Apache-2.0
"""Emulated devices swap their firmware, and keep what they have learned or refuse the swap."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.layouts import FIELD
from device.harness.build import build
from device.harness.elf import flash_image
from device.harness.toolchain import find_toolchain
from device.packet import state_digest
from server.errors import InvalidInputError
from server.fleet.device_memory import Memory
from server.fleet.field_device import VENDOR_DOMAIN, FieldDevice
from server.fleet.firmware_image import Identity, identity_of, make_image
from server.learning.firmwares import cache_folder, device_board, field_sources, write_once
from tests.unit.server.fleet.test_fleet_device import BOARD, Place, place

__all__ = ["place"]


def binary(device: FieldDevice, opt: str = "-Os") -> bytes:
    """Another build of the device's field firmware than the one it has."""
    board = device.board
    sources = write_once(field_sources(device.model, board, cache_folder()), cache_folder())
    made = build(sources, board, find_toolchain(board), cache_folder() / "builds", opt=opt)
    return made.elf.read_bytes() if board.is_host else flash_image(made.elf, board.code_origin)


def identity(device: FieldDevice) -> Identity:
    return identity_of(VENDOR_DOMAIN, device.board.name, FIELD, device.model.model_id)


def image(place: Place, device: FieldDevice, sequence: int = 1, opt: str = "-Os") -> bytes:
    return make_image(binary(device, opt), sequence, identity(device), place.key)


@pytest.mark.parametrize("board", ["host", BOARD])
def test_new_firmware_keeps_what_was_learned_and_takes_packets(
    place: Place, board: str, tmp_path: Path
) -> None:
    device = place.device(board=board)
    device.apply(place.packet(1))
    learned = device.memory.learner
    taken = device.take(image(place, device))
    assert taken["state_digest"] == state_digest(place.learned.state).hex()
    assert device.memory.learner == learned
    device.memory.save(tmp_path)
    restarted = FieldDevice(
        place.base.int_model, Memory.load(tmp_path) or device.memory, board, device.keys,
        cache_folder(),
    )  # fmt: skip
    assert restarted.memory == device.memory
    with restarted.running() as client:
        assert client.state_hash() == learned.state_hash
    assert restarted.apply(place.packet(2, back=True)) == state_digest(place.base.state).hex()
    assert restarted.install(image(place, device)) == taken["image_digest"], "the same is harmless"
    with pytest.raises(InvalidInputError, match="sequence 1, the last was 1"):
        restarted.install(image(place, device, opt="-O1"))


def wrong_board(place: Place, device: FieldDevice) -> bytes:
    other = identity_of(VENDOR_DOMAIN, BOARD, FIELD, device.model.model_id)
    return make_image(binary(device), 1, other, place.key)


def wrong_model(place: Place, device: FieldDevice) -> bytes:
    return make_image(binary(device), 1, replace(identity(device), model_id=bytes(16)), place.key)


def other_tables(place: Place, device: FieldDevice) -> bytes:
    """It says that it is of this model, but is not: only a start shows it."""
    changed = binary(device).replace(device.model.model_id, bytes(16))
    return make_image(changed, 1, identity(device), place.key)


def no_firmware(place: Place, device: FieldDevice) -> bytes:
    return make_image(b"#!/bin/sh\nexit 3\n", 1, identity(device), place.key)


REFUSALS: dict[str, tuple[str, Callable[[Place, FieldDevice], bytes]]] = {
    "board": ("firmware for another board or layout", wrong_board),
    "model": ("firmware for another model", wrong_model),
    "tables": ("would lose what the device has learned .*another model", other_tables),
    "program": ("does not start", no_firmware),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_firmware_that_does_not_fit_is_refused_and_changes_nothing(place: Place, name: str) -> None:
    text, make = REFUSALS[name]
    device = place.device()
    device.apply(place.packet(1))
    before = device.memory
    with pytest.raises(InvalidInputError, match=text):
        device.take(make(place, device))
    assert device.memory == before


def test_firmware_signed_by_a_stranger_is_refused(place: Place) -> None:
    device = place.device(keys=[bytes(32)])
    with pytest.raises(InvalidInputError, match="not trusted"):
        device.take(image(place, device))
    assert device_board("host") == device.board
