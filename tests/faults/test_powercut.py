# SPDX-License-Identifier: Apache-2.0
"""Power ends at every flash operation of a session of three tasks and an update: nothing is lost.

The driver is C (powercut/powercut.c) and runs in one process; the end of the session is the twin's.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import qemu_command
from device.harness.toolchain import find_toolchain
from tests.faults.powercut.session import make_session, session_header

DRIVERS = Path(__file__).parent / "powercut"
LEFT_OUT = ("port/main.c", "port/marks.c")
FIELD = ("HAD_FIELD=1", "HAD_FLASH_FAULTS=1", "HAD_GUARD_SLOTS=4U", "HAD_FLASH_BLOCK_BYTES=1024U")
# Program unit, blocks, slots: two slots and three, small units and large ones.
FLASHES = {
    "unit 8, two slots": ("HAD_FLASH_PROGRAM_BYTES=8U", "HAD_FLASH_BLOCKS=8U"),
    "unit 4, three slots": (
        "HAD_FLASH_PROGRAM_BYTES=4U",
        "HAD_FLASH_BLOCKS=6U",
        "HAD_STORE_SLOTS=3U",
    ),
    "unit 64, two slots": ("HAD_FLASH_PROGRAM_BYTES=64U", "HAD_FLASH_BLOCKS=4U"),
}
# The committed masters in flash alone (SPEC.md 12.5): the same cuts lead to the same states.
IN_FLASH = ("HAD_COMMITTED_IN_FLASH=1", "HAD_LONGEST_ROW=6U")
FLASHES["unit 8, two slots, committed in flash"] = FLASHES["unit 8, two slots"] + IN_FLASH
Change = Callable[[dict[str, bytes]], dict[str, bytes]]


def run_driver(
    folder: Path,
    flash: tuple[str, ...],
    change: Change = dict,
    board_name: str = "host",
    driver: str = "powercut.c",
) -> subprocess.CompletedProcess[str]:
    """Build the driver with the runtime and run it, on the host or in QEMU."""
    session = make_session()
    board = BOARDS[board_name]
    files = {**generate(session.model, board), **runtime_files()}
    files = {n: c for n, c in files.items() if n not in LEFT_OUT}
    files[driver] = (DRIVERS / driver).read_bytes()
    files["powercut_session.h"] = session_header(session).encode()
    write_folder(change(files), folder / "sources")
    firmware = build(
        folder / "sources",
        board,
        find_toolchain(board),
        folder / "builds",
        opt="-O2",
        defines=FIELD + flash,
    )
    command = [str(firmware.elf)] if board.is_host else qemu_command(firmware.elf, board)
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )


# The short form cuts each kind of flash once, and either place of the committed masters.
ALSO_LONG = "unit 8, two slots"


@pytest.mark.parametrize(
    "flash", [pytest.param(f, marks=[pytest.mark.long] * (f == ALSO_LONG)) for f in FLASHES]
)
def test_every_cut_leaves_the_old_or_the_new_state(
    flash: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    done = run_driver(tmp_path, FLASHES[flash])
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{flash}: {done.stdout}")
    found = re.search(r"(\d+) cuts, (\d+) found", done.stdout)
    assert found is not None
    record_property("cuts", int(found[1]))
    assert int(found[1]) >= 10_000 or "64" in flash
    assert 0 < int(found[2]) < int(found[1])


@pytest.mark.parametrize("board", ["mps2-an385", "mps3-an547"])
def test_cuts_in_qemu_leave_the_old_or_the_new_state(board: str, tmp_path: Path) -> None:
    """A sample of the same cuts on emulated cores: M3 and M55."""
    flash = FLASHES["unit 8, two slots"]
    done = run_driver(tmp_path, (*flash, "SAMPLE=19U"), board_name=board)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{board}: {done.stdout}")
    found = re.search(r"(\d+) cuts, (\d+) found", done.stdout)
    assert found is not None and int(found[1]) > 100 and 0 < int(found[2]) < int(found[1])


PLANTED = {
    "the current slot is overwritten": (
        "runtime/src/field/had_store.c",
        b"uint32_t index = store->current == HAD_STORE_NONE ? 0U : store->current + 1U;",
        b"uint32_t index = store->current == HAD_STORE_NONE ? 0U : store->current;",
    ),
    "a record's check sum is not looked at": (
        "runtime/src/field/had_journal.c",
        b"had_load_u32(record->payload + record->bytes) == record_crc(store, record);",
        b"record_crc(store, record) != 1U;",
    ),
    "the place behind a torn record is used": (
        "runtime/src/field/had_journal.c",
        b"erased != 0U ? store->journal_at : store->slot_bytes;",
        b"erased < 2U ? store->journal_at : store->slot_bytes;",
    ),
    "a session forgets its place": (
        "runtime/src/field/had_archive.c",
        b"        session->done = place->done;",
        b"        session->done = 0U;",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_driver_finds_a_planted_fault(fault: str, tmp_path: Path) -> None:
    name, right, wrong = PLANTED[fault]

    def plant(files: dict[str, bytes]) -> dict[str, bytes]:
        assert files[name].count(right) == 1
        return {**files, name: files[name].replace(right, wrong)}

    done = run_driver(tmp_path, FLASHES["unit 8, two slots"], plant)
    assert done.returncode == 1 and done.stdout.startswith("FAILED: "), done.stdout


def test_flash_that_fails_for_a_while_loses_no_committed_masters(tmp_path: Path) -> None:
    flash = FLASHES["unit 8, two slots, committed in flash"]
    done = run_driver(tmp_path, flash, driver="unread.c")
    assert (done.returncode, done.stdout) == (0, "all held\n"), done.stdout + done.stderr


KEPT = b"return ln->committed_at == HAD_AT_WORKING || ln->unread != 0U ? HAD_ERR_IO : HAD_OK;"


def test_driver_sees_masters_that_are_overwritten(tmp_path: Path) -> None:
    """Planted: a session may begin though the last commit is not in flash."""

    def plant(files: dict[str, bytes]) -> dict[str, bytes]:
        name = "runtime/src/learner/had_committed.h"
        assert files[name].count(KEPT) == 1
        return {**files, name: files[name].replace(KEPT, b"(void)ln; return HAD_OK;")}

    flash = FLASHES["unit 8, two slots, committed in flash"]
    done = run_driver(tmp_path, flash, plant, driver="unread.c")
    assert done.returncode == 1 and done.stdout.startswith("FAILED: "), done.stdout
