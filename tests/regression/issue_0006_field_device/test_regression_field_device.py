# SPDX-License-Identifier: Apache-2.0
"""Faults of field devices that were found by reading, each as it would have shown.

A device that did not start again after learning that followed an unsaved training session; commands
that answered "refused" but had changed something; a key packet after which no update could be
signed; a flash too small that only a later save would have found; a firmware with fewer guard slots
that did not start on the state of the one before.
"""

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.ed25519 import ed25519_files
from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.harness.firmware import Firmware
from device.harness.toolchain import find_toolchain
from device.packet import KeyManifest, build_key_packet, class_id, key_id
from tests.faults.powercut.session import RATE, RELEASE, ROOT, VENDOR, make_session, public
from tests.parity.test_field_device import CACHE, MODEL

BOOT_FAILED = 121
SMALL = ("HAD_FLASH_BLOCK_BYTES=1024U", "HAD_FLASH_BLOCKS=8U")
KLASS = class_id(VENDOR, MODEL.model_id)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    files = {**generate(MODEL, BOARDS["host"]), **runtime_files(), **ed25519_files(CACHE)}
    return write_folder(files, folder / "c")


def firmware_of(sources: Path, *defines: str) -> Firmware:
    host = BOARDS["host"]
    fixed = ("HAD_FIELD=1", "HAD_FLASH_FILE=1")
    return build(
        sources,
        host,
        find_toolchain(host),
        sources.parent / "builds",
        opt="-O0",
        defines=(*fixed, *defines),
        sanitize=True,
    )


def start(firmware: Firmware, folder: Path) -> FieldClient:
    return FieldClient(open_device(firmware, BOARDS["host"], "host", folder=folder))


def stop(device: FieldClient) -> None:
    device._transport.close()


@pytest.fixture
def device(sources: Path, tmp_path: Path) -> Iterator[FieldClient]:
    client = start(firmware_of(sources, "HAD_GUARD_SLOTS=4U", *SMALL), tmp_path)
    client.provision(VENDOR, KLASS, public(ROOT), public(RELEASE))
    yield client
    stop(client)


def status_of(device: FieldClient, command: int, payload: bytes) -> int:
    try:
        device._transport.exchange(command, payload, 10.0)
    except DeviceStatusError as error:
        return error.status
    return 0


def test_learning_after_a_session_without_checkpoint_survives(device: FieldClient) -> None:
    """TRAIN is not stored, but what follows it is: flash held the session as it had begun."""
    session = make_session()
    device.learn_x0(session.x0(0), 0)
    device.train_begin(3, 2, [(0, RATE)], "balanced")
    device.train(1 << 30)
    device.learn_x0(session.x0(1), 1)
    before = device.state_hash()
    assert device.reboot() == before


@pytest.mark.parametrize("place", ["import", "mid-step"])
def test_what_cannot_be_kept_now_changes_nothing(device: FieldClient, place: str) -> None:
    session = make_session()
    if place == "import":
        assert status_of(device, 0x0B, struct.pack("<I", device.info().state_bytes)) == 0
    else:
        device.learn_x0(session.x0(0), 0)
        device.train_begin(3, 2, [(0, RATE)], "balanced")
        device.train(1)
    before = device.field_info()
    sample = bytes([0, 0]) + session.samples[0][1]
    assert status_of(device, 0x26, sample) == -2
    assert status_of(device, 0x27, struct.pack("<HHH", 1, 2, 3)) == -2
    assert device.field_info() == before


def test_provisioning_in_the_middle_of_an_import_changes_nothing(
    sources: Path, tmp_path: Path
) -> None:
    device = start(firmware_of(sources, "HAD_GUARD_SLOTS=4U", *SMALL), tmp_path)
    assert status_of(device, 0x0B, struct.pack("<I", device.info().state_bytes)) == 0
    assert status_of(device, 0x22, VENDOR + KLASS + public(ROOT) + public(RELEASE)) == -2
    assert device.field_info().provisioned == 0
    stop(device)


def test_root_key_does_not_become_the_release_key(device: FieldClient) -> None:
    manifest = KeyManifest(1, VENDOR, KLASS, public(ROOT))
    packet = build_key_packet(manifest, ROOT.sign, key_id(public(ROOT)))
    assert (device.packet_status(packet), device.field_info().reason) == (-4, 5)
    assert device.field_info().sequence == 0


def test_flash_too_small_is_told_at_the_first_start(sources: Path, tmp_path: Path) -> None:
    firmware = firmware_of(sources, "HAD_FLASH_BLOCK_BYTES=512U", "HAD_FLASH_BLOCKS=2U")
    done = subprocess.run([firmware.elf], cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == BOOT_FAILED


def test_state_of_another_build_leaves_the_trust(sources: Path, tmp_path: Path) -> None:
    """Fewer guard slots than samples were kept: it starts from its tables, and says so."""
    session = make_session()
    device = start(firmware_of(sources, "HAD_GUARD_SLOTS=4U", *SMALL), tmp_path)
    fresh = device.state_hash()
    device.provision(VENDOR, KLASS, public(ROOT), public(RELEASE))
    for number in range(4):
        device.guard_add(*session.samples[number])
    device.guard_limits(1, 1, 1)
    stop(device)
    other = start(firmware_of(sources, "HAD_GUARD_SLOTS=2U", *SMALL), tmp_path)
    info = other.field_info()
    assert (info.reason, info.provisioned, info.reserved) == (19, 1, 0)
    assert other.state_hash() == fresh
    other.add_class()
    after = other.state_hash()
    assert other.reboot() == after and other.field_info().reason == 0
    stop(other)


def test_flash_whose_making_was_cut_short_starts(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "flash.bin").write_bytes(b"\xff" * 1500)
    device = start(firmware_of(sources, "HAD_GUARD_SLOTS=4U", *SMALL), tmp_path)
    device.add_class()
    after = device.state_hash()
    stop(device)
    again = start(firmware_of(sources, "HAD_GUARD_SLOTS=4U", *SMALL), tmp_path)
    assert again.state_hash() == after
    stop(again)
