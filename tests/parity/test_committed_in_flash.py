# SPDX-License-Identifier: Apache-2.0
"""Devices that keep the committed masters in flash alone (SPEC.md 12.5) give the twin's bits.

The sessions are those of builds that keep them in RAM; every commit, checkpoint and rollback goes
through flash. What power cuts do to such builds is in tests/faults/test_powercut.py.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from codegen.field import Field
from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.field_client import FieldClient
from device.harness.firmware import Firmware
from device.harness.toolchain import find_toolchain
from device.packet import class_id
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from tests.faults.powercut.session import RELEASE, ROOT, VENDOR, make_packet, public
from tests.parity.models import METHOD_SPECS, SPECS, ModelSpec, make_model, random_raw
from tests.parity.sessions import SCHEDULE, Pair, run_correction_session, run_session
from tests.parity.test_expansion import growing
from tests.parity.test_expansion import run as run_growing
from tests.parity.test_field_device import BASE, MODEL, RESULT
from tests.parity.test_guard import CLASS_FELL, OFF, state, with_guard

CHANGE = Callable[[dict[str, bytes]], dict[str, bytes]]
_SPECS = {spec.name: spec for spec in (*SPECS, *METHOD_SPECS)}


def spec(name: str) -> ModelSpec:
    """A specification of tests/parity/models.py."""
    return _SPECS[name]


def firmware_of(
    model: IntModel, work: Path, change: CHANGE = dict, board_name: str = "host"
) -> Firmware:
    """A field device whose flash is memory, with sanitizers on the host."""
    board = BOARDS[board_name]
    field = Field(guard_slots=4, flash_in_file=False, committed_in_flash=True)
    files = {**generate(model, board, field=field), **runtime_files()}
    # Signatures are not looked at here: another test checks them on the device's own code.
    files["port/verify_ed25519.c"] = VERIFY
    folder = write_folder(change(files), work / f"in-flash-{model.name}-{board_name}")
    opt, host = ("-O0" if board.is_host else "-O1"), board.is_host
    tools = find_toolchain(board)
    return build(folder, board, tools, work / "builds", opt=opt, sanitize=host)


VERIFY = b"""#include "hadapt/trust.h"
had_status had_port_verify(const uint8_t key[HAD_KEY_BYTES],
                           const uint8_t signature[HAD_SIGNATURE_BYTES], const uint8_t *message,
                           uint32_t bytes) {
    (void)key;
    (void)signature;
    (void)message;
    (void)bytes;
    return HAD_OK;
}
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Devices end with the test."""
    with ExitStack() as devices:
        yield devices


def start(firmware: Firmware, stack: ExitStack, board_name: str = "host") -> FieldClient:
    """A device that was just made."""
    board = BOARDS[board_name]
    backend = "host" if board.is_host else "qemu"
    return FieldClient(stack.enter_context(open_device(firmware, board, backend)))


def pair_of(model: IntModel, work: Path, stack: ExitStack, change: CHANGE = dict) -> Pair:
    """A twin and a device."""
    return Pair(model, TwinLearner(model), start(firmware_of(model, work, change), stack))


def test_session_with_rollback_equals_the_twin(work: Path, stack: ExitStack) -> None:
    """8-bit masters of odd sizes; the tables' masters come back first, the slot's later."""
    pair = pair_of(make_model(spec("odd")), work, stack)
    for seed in (1, 2):
        run_session(pair, seed)
        pair.both("train_begin", seed, 2, SCHEDULE, "balanced")
        pair.both("train", 60)
        pair.both("export_state")
        pair.both("rollback")
        pair.both("import_state", pair.both("export_state"))
        assert pair.device.reboot() == pair.twin.state_hash()  # type: ignore[attr-defined]


@pytest.mark.long
def test_correction_session_equals_the_twin(work: Path, stack: ExitStack) -> None:
    run_correction_session(pair_of(make_model(spec("bic")), work, stack), 3)


def test_network_that_grows_equals_the_twin(work: Path, stack: ExitStack) -> None:
    run_growing(pair_of(growing("der"), work, stack))


@pytest.mark.parametrize("board", ["host", "mps2-an385"])
def test_guard_and_packets_are_as_with_a_copy_in_ram(
    board: str, work: Path, stack: ExitStack
) -> None:
    device = start(firmware_of(MODEL, work, board_name=board), stack, board)
    device.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    with_guard(device, 999, OFF, OFF)
    raw = random_raw(MODEL, 5, 4)
    before = device.state_hash(), device.export_state(), answers(device, raw)
    assert device.packet_status(make_packet(MODEL, BASE, state("swapped"), 2, [])) == -9
    assert device.field_info().reason == CLASS_FELL
    assert (device.state_hash(), device.export_state(), answers(device, raw)) == before
    device.guard_limits(OFF, OFF, OFF)
    device.apply_packet(make_packet(MODEL, BASE, RESULT, 2, []))
    assert device.export_state() == RESULT != BASE
    now = device.state_hash(), answers(device, raw)
    assert (device.reboot(), answers(device, raw)) == now


def answers(device: FieldClient, raw: object) -> list[list[int]]:
    """Logits of some samples."""
    return [logits.tolist() for logits in device.infer_many(raw)[1]]  # type: ignore[arg-type]


PLANTED = {
    "biases are passed over": (
        b"at += masters_of(below) * MASTER_BYTES + 4U * (uint32_t)below->outputs;",
        b"at += masters_of(below) * MASTER_BYTES;",
    ),
    "the working masters stay in a rollback": (
        b"layer, 0U, masters_of(layer));",
        b"layer, 0U, 0U);",
    ),
    "the address is not told after a save": (
        b"had_committed_lies(image->learner, ar.committed_at);",
        b"",
    ),
}


SHORT = "the working masters stay in a rollback"


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[pytest.mark.long] * (f != SHORT)) for f in PLANTED]
)
def test_planted_error_is_seen(fault: str, work: Path, stack: ExitStack) -> None:
    right, wrong = PLANTED[fault]

    def plant(files: dict[str, bytes]) -> dict[str, bytes]:
        joined = {name: b" ".join(text.split()) for name, text in files.items()}
        hit = [n for n in files if n.endswith(".c") and right in joined[n]]
        assert len(hit) == 1
        return {**files, hit[0]: replaced(files[hit[0]], right, wrong)}

    model = make_model(spec("plain"))
    pair = pair_of(model, work / fault.replace(" ", "-"), stack, plant)
    with pytest.raises(AssertionError):
        run_session(pair, 1)
        run_session(pair, 2)
        pair.both("export_state")


def replaced(text: bytes, right: bytes, wrong: bytes) -> bytes:
    """Replace a statement, however its lines are broken."""
    pattern = re.compile(rb"\s+".join(re.escape(word) for word in right.split()))
    assert len(pattern.findall(text)) == 1
    return pattern.sub(wrong, text)
