# SPDX-License-Identifier: Apache-2.0
"""Worst-case stack: never below what is measured, and refused where there is no bound."""

import struct
from collections.abc import Callable

import pytest

from device.harness.boards import BOARDS
from device.harness.devices import open_device
from device.harness.errors import StackError
from device.harness.firmware import Firmware
from device.harness.stack import worst_stack
from device.harness.toolchain import Kind

DEVICES = [name for name, board in BOARDS.items() if not board.is_host]
ECHO, SUM, LOOP, STACK = 1, 2, 13, 6


Kept = Callable[[str, str, str], dict[str, str]]


@pytest.mark.parametrize(
    ("kind", "opt"), [("gcc", "-O0"), ("gcc", "-O2"), ("gcc", "-Os"), ("zig", "-O2")]
)
@pytest.mark.parametrize("board", ["microbit", "mps2-an386", "mps3-an547", "riscv-virt"])
def test_worst_stack_bounds_the_measured_stack_closely(
    board: str, kind: Kind, opt: str, build_echo: Callable[..., Firmware]
) -> None:
    firmware = build_echo(board, kind, opt=opt, defines=("ECHO_NO_RECURSION",))
    report = worst_stack(firmware)
    with open_device(firmware, BOARDS[board], count=False) as device:
        for command in (ECHO, SUM, LOOP):
            device.exchange(command, struct.pack("<I", 2500))
        (measured,) = struct.unpack("<I", device.exchange(STACK))
    assert measured <= report.worst_bytes <= measured + 128
    assert report.path[0] == "Reset_Handler"
    assert (report.from_compiler > 0) == (kind == "gcc")


@pytest.mark.parametrize("kind", ["gcc", "zig"])
@pytest.mark.parametrize("board", DEVICES)
def test_worst_stack_recursion_is_refused(
    board: str, kind: Kind, build_echo: Callable[..., Firmware]
) -> None:
    with pytest.raises(StackError, match="recursion: .*recurse"):
        worst_stack(build_echo(board, kind), {"*": ["twice"]})


def test_worst_stack_unknown_pointer_call_is_refused(build_echo: Callable[..., Firmware]) -> None:
    with pytest.raises(StackError, match="dispatch calls through a pointer"):
        worst_stack(build_echo("mps2-an385"), root="dispatch")


@pytest.mark.parametrize("kind", ["gcc", "zig"])
@pytest.mark.parametrize("board", ["microbit", "mps2-an386", "riscv-virt"])
def test_worst_stack_named_pointer_targets_are_followed(
    board: str, kind: Kind, build_echo: Callable[..., Firmware]
) -> None:
    firmware = build_echo(board, kind, opt="-O0")
    targets = {"dispatch": ["twice", "with_buffer"]}
    report = worst_stack(firmware, targets, root="dispatch")
    assert report.path == ("dispatch", "with_buffer")
    assert report.worst_bytes == report.frames["dispatch"] + report.frames["with_buffer"]
    assert report.frames["with_buffer"] >= 128 > report.frames["twice"]


def test_worst_stack_large_frame_of_m0_is_the_compilers(
    build_echo: Callable[..., Firmware], kept: Kept
) -> None:
    source = (
        "void entry(void);\nvoid entry(void) { volatile char a[900]; a[0] = 1; a[1] = a[0]; }\n"
    )
    firmware = build_echo("microbit", "gcc", kept("microbit", source, "entry"))
    assert 900 <= worst_stack(firmware, root="entry").worst_bytes <= 920


def test_worst_stack_variable_array_is_refused(
    build_echo: Callable[..., Firmware], kept: Kept
) -> None:
    source = "void entry(void);\nextern volatile unsigned had_n;\nvolatile unsigned had_n;\n"
    source += "void entry(void) { volatile char a[had_n + 2U]; a[0] = 1; a[1] = a[0]; }\n"
    firmware = build_echo("microbit", "gcc", kept("microbit", source, "entry"))
    with pytest.raises(StackError, match="planted.c: entry has a dynamic frame"):
        worst_stack(firmware, root="entry")


def test_worst_stack_host_is_refused(build_echo: Callable[..., Firmware]) -> None:
    with pytest.raises(StackError, match="host"):
        worst_stack(build_echo("host"))
