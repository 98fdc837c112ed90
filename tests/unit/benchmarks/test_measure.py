# SPDX-License-Identifier: Apache-2.0
"""Measuring: two independent counters agree, and the parts of a step add up to it."""

import pytest

from benchmarks.executions import Execution
from benchmarks.measure import code_bytes, m0_on_large_board, measure, step_instructions
from benchmarks.models import SMALL_INT8, subject
from benchmarks.work import operation_work
from codegen.lower import lower
from device.harness.boards import BOARDS
from device.harness.elf import Symbol
from device.harness.toolchain import find_toolchain
from server.learning.firmwares import backend_for, cache_folder


def _execution() -> Execution:
    board = BOARDS["mps2-an386"]
    return Execution(backend_for(board), board, find_toolchain(board).kind)


def test_step_instructions_are_the_same_in_qemu_and_unicorn() -> None:
    item, board = subject(SMALL_INT8), BOARDS["mps2-an386"]
    kind = find_toolchain(board).kind
    qemu, unicorn = Execution("qemu", board, kind), Execution("unicorn", board, kind)
    missing = qemu.missing() or unicorn.missing()
    if missing:
        pytest.skip(missing)
    firmware = qemu.build(item, cache_folder())
    counts = step_instructions(item, qemu, firmware)
    assert counts == step_instructions(item, unicorn, firmware)
    assert counts == step_instructions(item, qemu, firmware)


def test_measure_gives_operations_that_add_up_to_the_step() -> None:
    item = subject(SMALL_INT8)
    measured = measure(item, _execution(), cache_folder(), detailed=True)
    values = {record.figure: record.value for record in measured.records}
    parts = [
        values[operation.label.lower()] * operation_work(item.model, operation).count
        for operation in lower(item.model).operations
    ]
    # Another step than the measured ones, so its data differ a little.
    assert sum(parts) == pytest.approx(values["train_step"], rel=0.02)
    assert len({record.key for record in measured.records}) == len(measured.records)


def test_m0_code_on_the_large_board_counts_like_the_microbit() -> None:
    item, boards = subject(SMALL_INT8), (BOARDS["microbit"], m0_on_large_board())
    kind = find_toolchain(boards[0]).kind
    counts = []
    for board in boards:
        execution = Execution(backend_for(board), board, kind)
        counts.append(step_instructions(item, execution, execution.build(item, cache_folder())))
    assert counts[0] == counts[1]


def test_code_bytes_leave_transport_and_digest_out() -> None:
    symbols = (
        Symbol("had_forward", 0, 100, True),
        Symbol("had_forward_alias", 0, 100, True),
        Symbol("had_sha256_end", 100, 30, True),
        Symbol("had_wire_handle", 200, 30, True),
        Symbol("had_tables", 300, 500, False),
    )
    assert code_bytes(symbols) == 100
