# SPDX-License-Identifier: Apache-2.0
"""Every firmware: no float, no heap, known stack, and bytes within the committed budgets.

The budgets are the figures of benchmarks/results/cost.json. A change that costs more than the
tolerance must renew them in the same commit and say why.
"""

import os

import pytest

from benchmarks.executions import TARGETS, Execution
from benchmarks.models import SMALL_INT8, subject
from benchmarks.records import COST_NAME, FOLDER, TOLERANCE, Record, parse
from device.harness.boards import BOARDS
from device.harness.elf import check_no_float
from device.harness.firmware import Firmware
from device.harness.stack import learner_stack
from device.harness.toolchain import Kind
from server.learning.firmwares import cache_folder

KINDS: tuple[Kind, ...] = ("gcc", "zig")
BUILDS = [Execution("qemu", board, kind) for board in TARGETS for kind in KINDS]
RENEW = "if it is worth it, `make bench` renews the baseline: commit it and say why"


@pytest.fixture(params=BUILDS, ids=lambda e: f"{e.board.name}-{e.kind}")
def execution(request: pytest.FixtureRequest) -> Execution:
    """Every board with every compiler."""
    given: Execution = request.param
    missing = given.missing()
    if missing is not None and "compiler" in missing:
        pytest.skip(missing)
    return given


@pytest.fixture
def firmware(execution: Execution) -> Firmware:
    """The learner for 64-32-10."""
    return execution.build(subject(SMALL_INT8), cache_folder())


@pytest.fixture(scope="module")
def baseline() -> list[Record]:
    """The committed figures."""
    return parse((FOLDER / COST_NAME).read_text())


def test_firmware_has_no_float_and_no_heap(firmware: Firmware) -> None:
    check_no_float(firmware.elf)


def test_firmware_stack_is_known_and_fits_its_reserve(
    execution: Execution, firmware: Firmware
) -> None:
    report = learner_stack(firmware)
    assert 0 < report.worst_bytes <= execution.board.stack_bytes, " -> ".join(report.path)


@pytest.mark.parametrize("figure", ["flash_bytes", "ram_bytes", "stack_bytes"])
def test_firmware_bytes_stay_within_budget(
    figure: str, execution: Execution, firmware: Firmware, baseline: list[Record]
) -> None:
    known = [r for r in baseline if _is_budget(r, execution, figure)]
    assert len(known) == 1, f"no budget for {execution.label}: `make bench` makes it"
    if known[0].compiler != firmware.toolchain:
        pytest.skip(f"the budget is for {known[0].compiler}, this is {firmware.toolchain}")
    used = _bytes(figure, firmware)
    allowed = known[0].value * (1 + TOLERANCE)
    what = f"{figure} of {execution.label}: {used}, budget {known[0].value:g}"
    assert used <= allowed, f"{what}, {TOLERANCE:.0%} tolerance; {RENEW}"


def _is_budget(record: Record, execution: Execution, figure: str) -> bool:
    board = execution.board
    wanted = (board.name, board.core, SMALL_INT8, execution.kind, execution.opt, figure)
    return record.key == wanted


def _bytes(figure: str, firmware: Firmware) -> int:
    values = {"flash_bytes": firmware.flash_bytes, "ram_bytes": firmware.ram_bytes}
    return values.get(figure) or learner_stack(firmware).worst_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_firmware_of_microbit_fits_16_kib(kind: Kind) -> None:
    execution = Execution("qemu", BOARDS["microbit"], kind)
    missing = execution.missing()
    if missing is not None and "compiler" in missing:
        pytest.skip(missing)
    firmware = execution.build(subject(SMALL_INT8), cache_folder())
    assert firmware.ram_bytes <= 16 * 1024
    assert firmware.flash_bytes <= 256 * 1024


def test_budgets_in_ci_cover_every_build(baseline: list[Record]) -> None:
    if os.environ.get("CI", "").lower() == "true":
        missing = [e.label for e in BUILDS if e.missing() is not None]
        assert not missing
    for execution in BUILDS:
        assert any(_is_budget(r, execution, "flash_bytes") for r in baseline), execution.label
