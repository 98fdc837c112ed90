# SPDX-License-Identifier: Apache-2.0
"""The field device of `hadapt generate --layout field`, built by its own Makefile, is killed at
random moments (SIGKILL): flash.bin then holds the state before the operation or after it, and the
session goes on to the twin's end.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from codegen.generate import write_folder
from device.harness.boards import BOARDS
from device.harness.devices import HostTransport
from device.harness.errors import DeviceError
from device.harness.field_client import FieldClient
from server.learning.firmwares import cache_folder, field_sources
from tests.faults.powercut.session import Session, make_session
from tests.parity.test_field_device import operate

HOST = BOARDS["host"]
LONGEST_DELAY_S = 0.004
Held = tuple[bytes, int, int, int]


def make_device(folder: Path) -> Path:
    """firmware.elf of the session's model, by the folder's Makefile."""
    files = field_sources(make_session().model, HOST, cache_folder())
    write_folder(files, folder)
    done = subprocess.run(
        ["make", "OPT=-O1"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "firmware.elf"


def held(device: FieldClient) -> Held:
    """What a started device has: all of it must come from flash."""
    info = device.field_info()
    return device.state_hash(), info.sequence, info.provisioned, info.reserved


def start(elf: Path, folder: Path) -> tuple[HostTransport, FieldClient]:
    """A process on the flash of a folder."""
    transport = HostTransport(elf, folder)
    return transport, FieldClient(transport)


def expected(elf: Path, folder: Path, session: Session) -> list[Held]:
    """What flash holds before the first operation, and after each: a run that nobody kills."""
    transport, device = start(elf, folder)
    found = [held(device)]
    for kind, argument in session.operations:
        operate(device, session, kind, argument)
        device.reboot()
        found.append(held(device))
    transport.close()
    return found


def kill_at_random(transport: HostTransport, delay_s: float) -> threading.Timer:
    """Kill the process and all that belongs to it after a while."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(transport._process.pid, signal.SIGKILL)

    timer = threading.Timer(delay_s, kill)
    timer.start()
    return timer


def killed_session(
    elf: Path, folder: Path, session: Session, states: list[Held], rng: random.Random
) -> tuple[int, int]:
    """A session, a kill in every operation. Returns: kills, and how many found the new state."""
    kills = new = 0
    at = 0
    while at < len(session.operations):
        transport, device = start(elf, folder)
        assert held(device) == states[at], f"before operation {at}"
        timer = kill_at_random(transport, rng.random() * LONGEST_DELAY_S)
        answered = False
        with suppress(DeviceError):
            operate(device, session, *session.operations[at])
            answered = True
        timer.join()
        transport.close()
        transport, device = start(elf, folder)
        found = held(device)
        transport.close()
        assert found in states[at : at + 2], f"after a kill in operation {at}"
        kills += 1
        changed = states[at] != states[at + 1]
        if found == states[at + 1] and (changed or answered):
            new += changed
            at += 1
        else:
            assert not answered, f"operation {at} was answered, and lost"
    return kills, new


def run_kills(folder: Path, sessions: int, seed: int = 1) -> tuple[int, int, int]:
    """Kill all through sessions. Returns: operations, kills, how many found the new state."""
    elf = make_device(folder / "sources")
    session = make_session()
    reference = folder / "reference"
    reference.mkdir()
    states = expected(elf, reference, session)
    assert states[-1][0] == session.twin.state_hash()
    rng = random.Random(seed)
    kills = new = 0
    for number in range(sessions):
        place = folder / str(number)
        place.mkdir()
        counts = killed_session(elf, place, session, states, rng)
        kills, new = kills + counts[0], new + counts[1]
    return len(session.operations), kills, new


@pytest.mark.skipif(not shutil.which("cc"), reason="the folder's Makefile calls cc")
def test_killed_device_finds_the_old_or_the_new_state(tmp_path: Path) -> None:
    operations, kills, new = run_kills(tmp_path, 1)
    assert kills >= operations and 0 < new < kills
