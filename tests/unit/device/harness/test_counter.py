# SPDX-License-Identifier: Apache-2.0
"""Exact instruction counts: two independent counters, and loops counted by hand."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from device.harness.counter import build_plugin, by_function
from device.harness.devices import Backend, QemuTransport, open_device
from device.harness.elf import Symbol
from device.harness.errors import BuildError, DeviceStatusError
from device.harness.firmware import Firmware
from device.harness.toolchain import Kind
from device.harness.unicorn_device import scan_block

ECHO, SUM, REFUSE, LOOP = 1, 2, 7, 13
WORD = struct.Struct("<I")
DEVICES = [name for name, board in BOARDS.items() if not board.is_host]
BOTH = [name for name, board in BOARDS.items() if board.unicorn]

BuildEcho = Callable[..., Firmware]


def counts(firmware: Firmware, board: str, backend: Backend) -> list[int | None]:
    """Counts of a fixed series of exchanges, one of them refused."""
    found = []
    with open_device(firmware, BOARDS[board], backend) as device:
        for command, payload in (
            (ECHO, b""),
            (ECHO, bytes(range(256))),
            (SUM, WORD.pack(3000)),
            (ECHO, bytes(4001)),
            (SUM, WORD.pack(777)),
        ):
            device.exchange(command, payload)
            found.append(device.instructions())
        with pytest.raises(DeviceStatusError):
            device.exchange(REFUSE)
        found.append(device.instructions())
        with pytest.raises(DeviceStatusError):
            device.exchange(ECHO, bytes(5000))
        found.append(device.instructions())
    return found


@pytest.mark.parametrize(("kind", "opt"), [("gcc", "-O2"), ("gcc", "-O0"), ("zig", "-O2")])
@pytest.mark.parametrize("board", BOTH)
def test_instructions_qemu_and_unicorn_agree_exactly(
    board: str, kind: Kind, opt: str, build_echo: BuildEcho
) -> None:
    firmware = build_echo(board, kind, opt=opt)
    in_qemu = counts(firmware, board, "qemu")
    assert in_qemu == counts(firmware, board, "unicorn")
    assert all(in_qemu[:-1])
    assert in_qemu[-1] is None  # refused before the handler: no region was marked


@pytest.mark.parametrize("board", DEVICES)
def test_instructions_of_a_loop_are_as_counted_by_hand(board: str, build_echo: BuildEcho) -> None:
    backends: list[Backend] = ["qemu", "unicorn"] if BOARDS[board].unicorn else ["qemu"]
    for backend in backends:
        with open_device(build_echo(board), BOARDS[board], backend) as device:
            found = []
            for rounds in (1, 2, 1001, 100_001):
                device.exchange(LOOP, WORD.pack(rounds))
                found.append(device.instructions() or 0)
        assert [n - found[0] for n in found] == [0, 2, 2000, 200_000]


@pytest.mark.parametrize("board", ["microbit", "mps3-an547", "riscv-virt"])
def test_profile_adds_up_and_names_the_hot_function(
    board: str, build_echo: BuildEcho, cache: Path
) -> None:
    firmware = build_echo(board, opt="-O0")
    with QemuTransport(firmware.elf, BOARDS[board], plugin_cache=cache, profile=True) as device:
        device.exchange(SUM, WORD.pack(2000))
        device.exchange(LOOP, WORD.pack(5000))
        by_name = device.profile()
        assert sum(by_name.values()) == device.instructions()
    assert next(iter(by_name)) == "loop"
    assert by_name["loop"] >= 10_000
    assert "sum" not in by_name  # it belongs to the exchange before


def test_profile_without_plugin_is_refused(build_echo: BuildEcho) -> None:
    with QemuTransport(build_echo("microbit").elf, BOARDS["microbit"]) as device:
        assert device.exchange(ECHO) == b""
        assert device.instructions() is None
        with pytest.raises(ValueError, match="profile=True"):
            device.profile()


def test_build_plugin_twice_compiles_once(tmp_path: Path) -> None:
    first = build_plugin(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build_plugin(tmp_path) == first
    assert first.stat().st_mtime_ns == stamp


def test_build_plugin_broken_source_is_a_build_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "count.c"
    source.write_text("#error planted\n")
    monkeypatch.setattr("device.harness.counter.PLUGIN_SOURCE", source)
    with pytest.raises(BuildError, match="planted"):
        build_plugin(tmp_path / "cache")


def test_build_plugin_with_zig_counts_the_same(
    build_echo: BuildEcho, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from device.harness import toolchain

    firmware = build_echo("mps2-an385")
    usual = counts(firmware, "mps2-an385", "qemu")
    monkeypatch.setattr(
        "device.harness.counter.find_toolchain",
        lambda board: toolchain.find_toolchain(board, "zig"),
    )
    with QemuTransport(firmware.elf, BOARDS["mps2-an385"], plugin_cache=tmp_path) as device:
        device.exchange(ECHO)
        assert device.instructions() == usual[0]


def test_by_function_sums_and_keeps_the_rest() -> None:
    symbols = [Symbol("a", 0, 4, True), Symbol("table", 4, 4, False), Symbol("b", 8, 8, True)]
    assert by_function({0: 1, 2: 2, 4: 10, 8: 3, 14: 4, 16: 5}, symbols) == {
        "?": 15,
        "b": 7,
        "a": 3,
    }


def test_scan_block_finds_markers_by_instruction() -> None:
    # push {lr}; bl +0; mov r9,r9; mov r10,r10; bx lr; a bl whose second half is a marker's bytes
    code = bytes.fromhex("00b5 00f000f8 c946 d246 7047".replace(" ", ""))
    assert scan_block(code) == (5, 2, 3)
    assert scan_block(bytes.fromhex("40f2c946")) == (1, None, None)
