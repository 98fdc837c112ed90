# SPDX-License-Identifier: Apache-2.0
"""Boards, parts and budgets by name."""

from pathlib import Path

import numpy as np
import pytest

from device.harness.boards import BOARDS
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.twin.learner import TwinLearner
from server.errors import InvalidInputError, ModelDoesNotFitError
from server.learning.firmwares import build_field, build_firmware, get_board
from server.learning.parts import PARTS, custom_part, find_part
from tests.parity.models import ModelSpec, make_model


def test_parts_are_those_of_known_cores_with_a_source() -> None:
    assert len(PARTS) >= 12
    for part in PARTS.values():
        assert part.base in BOARDS and part.source
        assert part.ram_bytes <= part.board().ram_bytes


def test_emulated_board_is_itself() -> None:
    assert get_board("microbit") is BOARDS["microbit"]


@pytest.mark.parametrize(
    ("name", "ram", "flash"),
    [
        ("mps2-an386:ram=30000,flash=64K", 30000, 65536),
        ("mps2-an386:flash=1M", 4194304, 1048576),
        ("nrf52832:ram=33k", 33792, 524288),
        ("mps3-an547:ram=20001", 20000, 524288),
        ("microbit:ram=12K", 12288, 262144),
    ],
)
def test_budget_is_the_memory_of_the_board(name: str, ram: int, flash: int) -> None:
    board = get_board(name)
    assert (board.name, board.ram_bytes, board.code_bytes) == (name, ram, flash)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("z80", "no part or board 'z80'"),
        ("host", "no part or board 'host'"),
        ("", "no part or board ''"),
        ("z80:ram=64K", "no part or board 'z80'"),
        ("mps2-an386:", "memory in 'mps2-an386:' is not readable"),
        ("mps2-an386:rom=64K", "not readable"),
        ("mps2-an386:ram=64K,ram=32K", "not readable"),
        ("mps2-an386:ram=-1", "not readable"),
        ("mps2-an386:ram=64KB", "not readable"),
        ("mps2-an386:ram=100", "ram of 96 bytes is not possible"),
        ("nrf52832:ram=1M", "ram of 1048576 bytes is not possible"),
        ("mps2-an386:flash=999999999999M", "flash of .* bytes is not possible"),
    ],
)
def test_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        find_part(name)
    assert caught.value.errors[0].expected


@pytest.mark.parametrize("budget", [(0, 9999), (99_999_999, 9999), (9999, 1)])
def test_absurd_budget_is_refused(budget: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="is not possible"):
        custom_part(*budget)


def test_firmware_within_a_budget_runs(tmp_path: Path) -> None:
    model = make_model(ModelSpec("budget", (6, 8, 4), exemplar_slots=8))
    board = get_board("nrf51822:ram=9001")
    firmware = build_firmware(model, board, tmp_path)
    assert firmware.ram_bytes <= 9000
    raw = np.arange(6, dtype=np.int16) * 100
    with open_device(firmware, board, "unicorn") as transport:
        assert DeviceClient(transport).infer(raw)[0] == TwinLearner(model).infer(raw)[0]


@pytest.mark.long  # three firmwares are compiled
def test_firmware_that_exceeds_a_budget_is_refused_with_a_part_that_fits(tmp_path: Path) -> None:
    model = make_model(ModelSpec("budget", (6, 8, 4), exemplar_slots=8))
    roomy = build_firmware(model, get_board("nrf51822"), tmp_path)
    tight = get_board(f"nrf51822:ram={roomy.ram_bytes - 8}")
    with pytest.raises(ModelDoesNotFitError, match="8 bytes of ram more .*; part stm32l053r8 fits"):
        build_firmware(model, tight, tmp_path)


@pytest.mark.long  # the signature check is compiled
def test_field_firmware_links_for_a_compiler_without_a_c_library(tmp_path: Path) -> None:
    model = make_model(ModelSpec("field", (6, 8, 4), exemplar_slots=8))
    assert build_field(model, BOARDS["riscv-virt"], tmp_path).ram_bytes > 0
