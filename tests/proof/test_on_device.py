# SPDX-License-Identifier: Apache-2.0
"""A class-incremental run of every task inside an emulator ends as on the host: short form."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.executions import TARGETS, Execution
from benchmarks.on_device import Schedule, as_table, compare
from device.harness.boards import BOARDS, Board
from server.learning.datasets import load
from server.learning.firmwares import cache_folder
from server.learning.methods import Method

# Ten digits, four at first, then two at a time; small enough for a Cortex-M0 with 16 KB.
SMALL = Schedule(
    hidden=(12,),
    base_classes=4,
    rounds=2,
    round_samples=4,
    epochs=3,
    batch=8,
    exemplar_slots=40,
    test_rows=6,
    base_epochs=8,
    bias_correction=True,
)
METHODS: tuple[Method, ...] = ("replay", "lwf", "icarl", "bic")


def proved(board: Board, methods: tuple[Method, ...], cache: Path) -> dict[str, Any]:
    missing = Execution("qemu", board, "gcc").missing()
    if missing is not None:
        pytest.skip(missing)
    return compare(load("digits"), SMALL, methods, board, cache)


@pytest.mark.parametrize("name", ["microbit", "mps2-an386"])
def test_whole_run_in_the_emulator_equals_the_host(name: str) -> None:
    document = proved(BOARDS[name], METHODS, cache_folder())
    for row in document["runs"]:
        assert row["equal"], f"{row['method']}: {row['matrix']}, host {row['host_matrix']}"
        assert len(row["matrix"]) == 4 and row["steps"] > 20
    assert len({row["state_hash"] for row in document["runs"]}) == len(METHODS)
    assert "DIFFER" not in as_table(document)


@pytest.mark.long
@pytest.mark.parametrize("board", TARGETS, ids=lambda board: board.name)
def test_every_method_on_every_board_equals_the_host(board: Board) -> None:
    methods: tuple[Method, ...] = ("finetune", *METHODS)
    document = proved(board, methods, cache_folder())
    assert all(row["equal"] for row in document["runs"])
