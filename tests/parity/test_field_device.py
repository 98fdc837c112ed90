# SPDX-License-Identifier: Apache-2.0
"""A field device on the wire: packets in, state out, signatures checked; host and QEMU."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.ed25519 import ed25519_files
from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.harness.toolchain import find_toolchain
from device.packet import (
    KeyManifest,
    UpdateManifest,
    WireExemplar,
    build_key_packet,
    build_update_packet,
    class_id,
    encode_payload,
    key_id,
    read_packet,
    vendor_id,
)
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.faults.powercut.session import (
    RATE,
    RELEASE,
    ROOT,
    SPEC,
    VENDOR,
    Session,
    make_packet,
    make_session,
    public,
)
from tests.parity.models import make_model

CACHE = Path(__file__).parents[2] / ".cache" / "third_party"
DEFINES = ("HAD_FIELD=1", "HAD_GUARD_SLOTS=4U", "HAD_FLASH_BLOCK_BYTES=1024U")
MODEL = make_model(SPEC)


def open_field(
    work: Path,
    board_name: str,
    sanitize: bool = False,
    model: IntModel = MODEL,
    defines: tuple[str, ...] = DEFINES,
    folder: Path | None = None,
) -> FieldClient:
    """A device that was just made, with its own flash; its sources are those of a folder."""
    board = BOARDS[board_name]
    files = {**generate(model, board), **runtime_files(), **ed25519_files(CACHE)}
    folder = folder or work / f"{board_name}-{model.name}"
    if not folder.exists():
        write_folder(files, folder)
    firmware = build(
        folder,
        board,
        find_toolchain(board),
        work / "builds",
        opt="-O0" if board.is_host else "-O1",
        defines=defines,
        sanitize=sanitize,
    )
    backend = "host" if board.is_host else "qemu"
    return FieldClient(open_device(firmware, board, backend, count=False))


def close(device: FieldClient) -> None:
    """End the device's process."""
    device._transport.close()


@pytest.fixture
def device(work: Path) -> Iterator[FieldClient]:
    """A provisioned host build with sanitizers."""
    client = open_field(work, "host", sanitize=True)
    client.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    yield client
    close(client)


def states(model: IntModel) -> tuple[bytes, bytes]:
    """The state of a new device, and another one."""
    twin = TwinLearner(model)
    base = twin.export_state()
    twin.working.weights[-1].master[0] += 7
    twin.working.step = 5
    # Fewer samples of one class (its sums follow), a new one, and one whose sums alone have moved.
    prototypes = twin.working.prototypes
    prototypes.count[:2] = 2, 3
    prototypes.total[:2] //= 2
    np.clip(prototypes.total, -30, 30, out=prototypes.total)
    twin.commit()
    return base, twin.export_state()


BASE, RESULT = states(MODEL)
GOOD = make_packet(MODEL, BASE, RESULT, 2, [])


SHARE = "(count << 16) / before"


def test_wrong_expectation_of_sums_is_seen_by_the_result_digest(work: Path) -> None:
    """A planted error: the device expects a sixteenth of a sample too much."""
    folder = write_folder(
        {**generate(MODEL, BOARDS["host"]), **runtime_files(), **ed25519_files(CACHE)},
        work / "planted",
    )
    path = folder / "runtime" / "src" / "field/had_decoder.c"
    assert path.read_text().count(SHARE) == 1
    path.write_text(path.read_text().replace(SHARE, f"{SHARE} + 4096U"))
    device = open_field(work, "host", folder=folder)
    device.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    assert (device.packet_status(GOOD), device.field_info().reason) == (-9, 13)
    assert device.export_state() == BASE
    close(device)


def test_packet_brings_the_result(device: FieldClient) -> None:
    device.apply_packet(GOOD)
    assert device.export_state() == RESULT
    info = device.field_info()
    assert (info.sequence, info.reason, info.state_digest) == (2, 0, RESULT[-32:])
    assert device.reboot() and device.export_state() == RESULT


def test_every_flipped_bit_is_refused_and_changes_nothing(device: FieldClient) -> None:
    """The whole packet, bit by bit; a flip in the announced lengths included."""
    before = device.state_hash()
    for bit in range(8 * len(GOOD)):
        bad = bytearray(GOOD)
        bad[bit // 8] ^= 1 << (bit % 8)
        assert device.packet_status(bytes(bad)) in (-4, -9), f"bit {bit}"
    assert (device.state_hash(), device.export_state()) == (before, BASE)
    assert device.packet_status(GOOD) == 0


def test_every_truncation_and_extension_is_refused(device: FieldClient) -> None:
    for end in range(0, len(GOOD), 3):
        assert device.packet_status(GOOD[:end]) == -4, end
    assert device.packet_status(GOOD + b"\0") == -4
    assert device.export_state() == BASE


def signed(manifest: UpdateManifest, payload: bytes, key: Ed25519PrivateKey = RELEASE) -> bytes:
    """A packet by any key."""
    return build_update_packet(manifest, payload, key.sign, key_id(public(key)))


def refusals() -> dict[str, tuple[bytes, int, int]]:
    """Packets that are well-made but not for this device: packet, status, reason."""
    packet = read_packet(GOOD)
    m, payload = packet.manifest, packet.payload
    assert isinstance(m, UpdateManifest)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
    forged = GOOD.replace(packet.signature, stranger.sign(packet.signed))
    other = vendor_id("other.example")
    return {
        "strange key": (signed(m, payload, stranger), -9, 2),
        "forged": (forged, -9, 4),
        "root key": (signed(m, payload, ROOT), -4, 5),
        "vendor": (signed(replace(m, vendor=other), payload), -9, 6),
        "class": (signed(replace(m, klass=other), payload), -9, 7),
        "base": (signed(replace(m, base=bytes(32)), payload), -9, 9),
        "size": (signed(replace(m, size=m.size + 1), payload), -9, 9),
        "result": (signed(replace(m, result=bytes(32)), payload), -9, 13),
    }


@pytest.mark.parametrize("name", refusals())
def test_packet_for_another_is_refused_with_its_reason(device: FieldClient, name: str) -> None:
    packet, status, reason = refusals()[name]
    assert device.packet_status(packet) == status
    assert device.field_info().reason == reason
    assert (device.export_state(), device.field_info().sequence) == (BASE, 0)


def test_replayed_and_older_packets_are_refused(device: FieldClient) -> None:
    device.apply_packet(GOOD)
    back = make_packet(MODEL, RESULT, BASE, 1, [])
    for packet in (GOOD, back):
        assert (device.packet_status(packet), device.field_info().reason) == (-9, 8)
    device.reboot()
    assert device.packet_status(back) == -9
    assert device.export_state() == RESULT


def test_uncommitted_learning_is_not_overwritten(device: FieldClient) -> None:
    session = make_session()
    device.learn_x0(session.x0(0), 0)
    before = device.state_hash()
    assert (device.packet_status(GOOD), device.field_info().reason) == (-2, 15)
    assert device.state_hash() == before
    device.rollback()
    assert device.packet_status(GOOD) == 0


def test_release_key_is_replaced_by_the_root_only(device: FieldClient) -> None:
    new = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
    manifest = KeyManifest(1, VENDOR, class_id(VENDOR, MODEL.model_id), public(new))
    by_release = build_key_packet(manifest, RELEASE.sign, key_id(public(RELEASE)))
    assert (device.packet_status(by_release), device.field_info().reason) == (-4, 5)
    device.apply_packet(build_key_packet(manifest, ROOT.sign, key_id(public(ROOT))))
    assert (device.packet_status(GOOD), device.field_info().reason) == (-9, 2)
    update = read_packet(GOOD)
    assert isinstance(update.manifest, UpdateManifest)
    assert device.packet_status(signed(update.manifest, update.payload, new)) == 0


def test_device_without_keys_takes_no_packet(work: Path) -> None:
    device = open_field(work, "host", sanitize=True)
    assert device.packet_status(GOOD) == -2
    close(device)


def test_second_provisioning_is_refused(device: FieldClient) -> None:
    with pytest.raises(DeviceStatusError, match="-2"):
        device.provision(VENDOR, VENDOR, public(ROOT), public(RELEASE))


@pytest.mark.parametrize("board", ["host", "mps2-an385"])
def test_session_with_reboots_ends_in_the_twins_state(work: Path, board: str) -> None:
    """Every operation of the power-cut session, a reboot after each, on the wire."""
    session = make_session()
    device = open_field(work, board, sanitize=board == "host")
    for kind, argument in session.operations:
        operate(device, session, kind, argument)
        if kind != "t":
            device.reboot()
    assert device.state_hash() == session.twin.state_hash()
    assert device.field_info().wear > 1
    close(device)


def operate(device: FieldClient, session: Session, kind: str, argument: int) -> None:
    """One operation of the session."""
    if kind == "v":
        device.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    elif kind == "g":
        device.guard_add(*session.samples[argument])
    elif kind == "m":
        device.guard_limits(1000, 1000, 0xFFFF)
    elif kind == "a":
        device.add_class()
    elif kind == "l":
        device.learn_x0(session.x0(argument), session.samples[argument][0])
    elif kind == "b":
        device.train_begin(argument, session.steps, [(0, RATE)], "balanced")
    elif kind == "t":
        units = device.info().units_per_step
        device.train(units)
        device.checkpoint()
        device.reboot()
    elif kind == "c":
        device.commit()
    elif kind == "r":
        device.rollback()
    else:
        device.apply_packet(session.packet)


def test_payload_beyond_the_device_is_refused(device: FieldClient) -> None:
    """More exemplars than free slots: the device gives back what it had."""
    many = [WireExemplar(0, rank, bytes(3)) for rank in range(10, 40)]
    assert len(encode_payload(MODEL, BASE, RESULT, many)) > 0
    assert device.packet_status(make_packet(MODEL, BASE, RESULT, 2, many)) == -4
    assert device.field_info().reason == 10
    assert device.export_state() == BASE


@pytest.mark.parametrize("coding", range(5))
def test_exemplars_arrive_in_every_coding(
    device: FieldClient, coding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coder chooses one; a device reads them all."""
    monkeypatch.setattr("device.packet.payload._best_coding", lambda *_: coding)
    packed = [bytes((0x1F, 0x79, 0x0E)), bytes((0xF9, 0x00, 0x77)), bytes(3)]
    sent = [WireExemplar(0, rank, data) for rank, data in enumerate(packed)]
    packet = make_packet(MODEL, BASE, RESULT, 2, sent)
    assert device.packet_status(packet) == 0, device.field_info().why
    held = [device.get_exemplar(i) for i in range(device.info().samples)]
    assert [e for e in held if e[0] == 0][:3] == [
        (0, rank, data) for rank, data in enumerate(packed)
    ]


def by_hand(coding: int, values: str) -> bytes:
    """A packet that changes no weights and brings one exemplar, its values given as bits."""
    fields = 2 * len(MODEL.layers) + 2
    bits = "0" * fields + "10000000" + "1" + "0" * 15 + values
    bits += "0" * (-len(bits) % 8)
    stream = bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
    payload = encode_payload(MODEL, BASE, BASE)[:8] + bytes((1, 0, coding, 0)) + stream
    manifest = replace(
        read_packet(GOOD).manifest, result=BASE[-32:], payload_digest=sha256(payload).digest()
    )
    return signed(manifest, payload)


def test_exemplar_values_that_no_nibble_holds_are_refused(device: FieldClient) -> None:
    assert not MODEL.x0_signed
    sound = "1" * 14 + "0" + "0" * 5  # 14 and five zeros, k = 0
    cases = {
        "beyond a nibble": (1, "1" * 16 + "0" + "0" * 5),
        "cut short": (1, "1" * 14 + "0"),
        "no coding": (5, sound),
    }
    for name, (coding, values) in cases.items():
        assert device.packet_status(by_hand(coding, values)) == -4, name
        assert device.field_info().reason == 10, name
    assert device.packet_status(by_hand(1, sound)) == 0
    assert device.get_exemplar(device.info().samples - 1) == (1, 1, bytes((14, 0, 0)))
