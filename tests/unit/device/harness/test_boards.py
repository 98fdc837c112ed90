# SPDX-License-Identifier: Apache-2.0
"""The board table and what is filled in from it."""

import pytest

from device.harness.boards import BOARDS, get_board
from device.harness.errors import HarnessError
from device.harness.port import link_script, port_files

DEVICES = [name for name, board in BOARDS.items() if not board.is_host]


def test_boards_table_has_the_named_cores() -> None:
    cores = {name: board.core for name, board in BOARDS.items()}
    assert cores == {
        "microbit": "M0",
        "mps2-an385": "M3",
        "mps2-an386": "M4",
        "mps2-an500": "M7",
        "mps2-an505": "M33",
        "mps3-an547": "M55",
        "riscv-virt": "RV32",
        "host": "host",
    }


@pytest.mark.parametrize("name", DEVICES)
def test_boards_memories_do_not_overlap(name: str) -> None:
    board = get_board(name)
    code_end = board.code_origin + board.code_bytes
    ram_end = board.ram_origin + board.ram_bytes
    assert code_end <= board.ram_origin or ram_end <= board.code_origin
    assert 0 < board.stack_bytes < board.ram_bytes


def test_get_board_unknown_name_lists_the_boards() -> None:
    with pytest.raises(HarnessError, match="'teapot'.*microbit.*host"):
        get_board("teapot")


@pytest.mark.parametrize("name", DEVICES)
def test_link_script_fills_every_placeholder(name: str) -> None:
    text = link_script(get_board(name))
    assert "@" not in text
    assert f"LENGTH = {BOARDS[name].ram_bytes}" in text


@pytest.mark.parametrize("stack_bytes", [0, -8, 12])
def test_link_script_odd_stack_is_refused(stack_bytes: int) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        link_script(BOARDS["microbit"], stack_bytes)


@pytest.mark.parametrize("name", list(BOARDS))
def test_port_files_are_below_port_and_repeatable(name: str) -> None:
    files = port_files(BOARDS[name])
    assert files == port_files(BOARDS[name])
    assert all(path.startswith("port/") for path in files)
    assert "port/main.c" in files
