# SPDX-License-Identifier: Apache-2.0
"""`make powercut`: power ends at every flash operation of a session of three tasks and an update.

    python -m benchmarks.powercut

Every cut, each torn in six ways, on the host with three kinds of flash, and in QEMU with one: what
`tests/faults/test_powercut.py` does for QEMU with a sample. Then kills of the process whose flash
is a file (`tests/faults/test_field_kill.py`), and how slots wear in a long life.
"""

import re
import struct
import tempfile
from pathlib import Path

import numpy as np

from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.field_client import FieldClient
from device.harness.toolchain import find_toolchain
from server.learning.firmwares import cache_folder, field_sources, write_once
from tests.faults.powercut.session import RATE, make_session
from tests.faults.test_field_kill import run_kills
from tests.faults.test_powercut import FLASHES, run_driver

RESULT = Path(__file__).parent / "results" / "powercut.md"
FOUND = re.compile(r"(\d+) operations, (\d+) flash operations, (\d+) cuts, (\d+) found")
QEMU = {"mps2-an385": "unit 8, two slots", "mps3-an547": "unit 4, three slots"}
HEAD = """# Power cuts

`make powercut`: a session of provisioning, guard, three tasks with training checkpoints and
commits, a rollback, a signed update and more samples (`tests/faults/powercut/`). Power ends at
every flash operation (a program unit or a block erase), each in six ways: before it, after it,
and torn at four places. After each the device starts from flash; it must find exactly the state
before or after the operation, go on, and end in the twin's state. A single failure ends the run.

| where | flash | operations | flash operations | cuts | found the new state |
| --- | --- | --- | --- | --- | --- |
"""

LIFE, SAMPLES = 1000, 5
KILLS = """
## Kills

Host build of layout `field`, flash in a file: {sessions} sessions of {operations} operations, the
process killed (SIGKILL) at a random moment of every operation until it is done. {kills} kills;
each start found the state before the operation or after it ({new} times after, with a change);
every session ended in the twin's state.
"""
WEAR = f"""
## Wear

{LIFE:,} sessions on one device, each {SAMPLES} samples, training with a checkpoint, a commit.
Samples go to the journal; the others are saves of a whole slot, which is erased then, every block
of it once. Last column: sessions until a slot has seen the 10,000 erases of the port's flash.

| slots | changes kept | saves | erases of each slot | sessions to endurance |
| --- | --- | --- | --- | --- |
"""


def run(board: str, flash: str, sample: int = 1) -> str:
    """All cuts. Returns: a row of the table. Raises: RuntimeError with the driver's words."""
    with tempfile.TemporaryDirectory() as folder:
        defines = (*FLASHES[flash], f"SAMPLE={sample}U")
        done = run_driver(Path(folder), defines, board_name=board)
    found = FOUND.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"{board}, {flash}: {done.stdout}{done.stderr}")
    where = "host" if board == "host" else f"QEMU {board}"
    return f"| {where} | {flash} | {' | '.join(found.groups())} |"


def kills(sessions: int = 25) -> str:
    """Kills of a process. Returns: a paragraph."""
    with tempfile.TemporaryDirectory() as folder:
        operations, count, new = run_kills(Path(folder), sessions)
    return KILLS.format(sessions=sessions, operations=operations, kills=count, new=new)


def wear(slots: int) -> str:
    """Erases of each slot after LIFE sessions. Returns: a row of the table."""
    session = make_session()
    host = BOARDS["host"]
    sources = write_once(field_sources(session.model, host, cache_folder()), cache_folder())
    defines = (f"HAD_STORE_SLOTS={slots}U", "HAD_FLASH_BLOCKS=6U", "HAD_FLASH_BLOCK_BYTES=1024U")
    firmware = build(
        sources, host, find_toolchain(host), cache_folder() / "builds", defines=defines
    )
    with tempfile.TemporaryDirectory() as folder:
        with open_device(firmware, host, "host", folder=Path(folder)) as transport:
            device = FieldClient(transport)
            changes = live(device)
            info = device.field_info()
        flash = (Path(folder) / "flash.bin").read_bytes()
    size = len(flash) // slots
    erases = [struct.unpack_from("<I", flash, at + 16)[0] for at in range(0, len(flash), size)]
    # A slot that was never written begins with the largest count that is known, plus one.
    if not 0 <= sum(erases) - info.saves <= slots or max(erases) != info.wear:
        raise RuntimeError(f"{slots} slots: {erases} erases, {info.saves} saves")
    lives = info.endurance * LIFE // info.wear
    return f"| {slots} | {changes:,} | {info.saves:,} | {erases} | {lives:,} |"


def live(device: FieldClient) -> int:
    """LIFE sessions, each SAMPLES samples, a checkpoint, a commit. Returns: changes kept."""
    rng = np.random.default_rng(1)
    size = make_session().model.x0_size
    for number in range(LIFE):
        for _ in range(SAMPLES):
            device.learn_x0(rng.integers(0, 16, size).astype(np.int8), int(rng.integers(2)))
        device.train_begin(number, 2, [(0, RATE)], "balanced")
        device.train(device.info().units_per_step)
        device.checkpoint()
        device.train(1 << 30)
        device.commit()
    return LIFE * (SAMPLES + 3)


def main() -> None:
    """Run all and write the table."""
    rows = [run("host", flash) for flash in FLASHES]
    rows += [run(board, flash) for board, flash in QEMU.items()]
    text = HEAD + "\n".join(rows) + "\n" + kills() + WEAR + "\n".join(map(wear, (2, 3))) + "\n"
    print(text)
    RESULT.write_text(text)


if __name__ == "__main__":
    main()
