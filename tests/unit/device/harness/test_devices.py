# SPDX-License-Identifier: Apache-2.0
"""Devices on the host, in QEMU and in Unicorn: good exchanges, and every way to go wrong."""

import os
import random
import re
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from device.harness.devices import Backend, HostTransport, open_device
from device.harness.errors import (
    DeviceCrashedError,
    DeviceProtocolError,
    DeviceStatusError,
    DeviceTimeoutError,
    HarnessError,
    ToolchainMissingError,
)
from device.harness.firmware import Firmware
from device.harness.toolchain import Kind
from device.harness.transport import Transport

ECHO, SUM, CRASH, HANG, RECURSE, STACK, REFUSE, GARBAGE, LEAVE = range(1, 10)
TABLE, MUTE, OVERRUN, LOOP = range(10, 14)
CAPACITY_BYTES = 4096
WORD = struct.Struct("<I")

BuildEcho = Callable[..., Firmware]
EVERYWHERE: list[tuple[str, Backend, Kind]] = [
    *((name, "qemu", kind) for name in BOARDS if name != "host" for kind in ("gcc", "zig")),
    *((b.name, "unicorn", kind) for b in BOARDS.values() if b.unicorn for kind in ("gcc", "zig")),
    *(("host", "host", kind) for kind in ("gcc", "clang", "zig")),
]
# One of each family and backend is enough for what the board does not decide.
SOME: list[tuple[str, Backend]] = [
    ("microbit", "qemu"),
    ("mps2-an505", "qemu"),
    ("riscv-virt", "qemu"),
    ("microbit", "unicorn"),
    ("host", "host"),
]


def expected_sum(n: int) -> int:
    """What COMMAND_SUM answers, from its description in wire.c."""
    state, total = 2463534242, 0
    for i in range(n):
        state = (state ^ state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state = (state ^ state << 5) & 0xFFFFFFFF
        total += state * (i + 1) if state % 4 == 0 else state // (i % 8 + 1) % 1000
    total &= 0xFFFFFFFFFFFFFFFF
    return (total ^ total >> 32) & 0xFFFFFFFF


def start(build_echo: BuildEcho, board: str, backend: Backend, kind: Kind = "gcc") -> Transport:
    return open_device(build_echo(board, kind), BOARDS[board], backend, count=False)


@pytest.mark.parametrize(("board", "backend", "kind"), EVERYWHERE)
def test_exchange_good_commands_are_answered(
    board: str, backend: Backend, kind: Kind, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend, kind) as device:
        for n in (0, 1, 3, 8, 255, CAPACITY_BYTES):
            payload = random.Random(n).randbytes(n)
            assert device.exchange(ECHO, payload) == payload
        assert device.exchange(SUM, WORD.pack(2000)) == WORD.pack(expected_sum(2000))
        assert device.exchange(TABLE, struct.pack("<II", 1, 5)) == WORD.pack(36)
        assert device.exchange(RECURSE, WORD.pack(4))
        assert device.instructions() is None


@pytest.mark.parametrize(("board", "backend"), SOME)
def test_exchange_refused_command_leaves_the_device_running(
    board: str, backend: Backend, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend) as device:
        with pytest.raises(DeviceStatusError) as caught:
            device.exchange(REFUSE)
        assert (caught.value.status, caught.value.command) == (-2, REFUSE)
        with pytest.raises(DeviceStatusError) as caught:
            device.exchange(100)
        assert caught.value.status == -7
        assert device.exchange(ECHO, b"still here") == b"still here"


@pytest.mark.parametrize("excess", [1, CAPACITY_BYTES, 200_000])
@pytest.mark.parametrize(("board", "backend"), SOME)
def test_exchange_oversize_payload_is_drained_and_refused(
    board: str, backend: Backend, excess: int, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend) as device:
        with pytest.raises(DeviceStatusError) as caught:
            device.exchange(ECHO, bytes(CAPACITY_BYTES + excess))
        assert caught.value.status == -8
        assert device.exchange(ECHO, b"in step") == b"in step"


def test_main_nonzero_reserved_bytes_are_refused(build_echo: BuildEcho) -> None:
    request = struct.pack("<BBHI", ECHO, 1, 0, 2) + b"ab" + struct.pack("<BBHI", 0x7F, 0, 0, 0)
    done = subprocess.run(
        [build_echo("host").elf], input=request, capture_output=True, timeout=10, check=True
    )
    assert done.stdout == struct.pack("<bBHI", -4, ECHO, 0, 0) + struct.pack("<bBHI", 0, 0x7F, 0, 0)


@pytest.mark.parametrize(("tail", "code"), [(b"", 0), (b"\x01\x00", 0), (b"\x01" + bytes(6), 0)])
def test_main_end_of_input_ends_the_program(tail: bytes, code: int, build_echo: BuildEcho) -> None:
    done = subprocess.run([build_echo("host").elf], input=tail, capture_output=True, timeout=10)
    assert (done.returncode, done.stdout) == (code, b"")


def test_main_payload_cut_short_exits_with_2(build_echo: BuildEcho) -> None:
    request = struct.pack("<BBHI", ECHO, 0, 0, 5) + b"ab"
    done = subprocess.run([build_echo("host").elf], input=request, capture_output=True, timeout=10)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(("board", "backend"), SOME)
def test_exchange_hang_is_cut_at_the_limit(
    board: str, backend: Backend, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend) as device:
        device.exchange(ECHO)
        began = time.monotonic()
        with pytest.raises(DeviceTimeoutError) as caught:
            device.exchange(HANG, timeout_s=0.3)
        assert 0.3 <= time.monotonic() - began < 3.0
        assert caught.value.seconds == 0.3
        with pytest.raises(DeviceTimeoutError):
            device.exchange(ECHO)


@pytest.mark.parametrize("board", [name for name in BOARDS if name != "host"])
def test_exchange_crash_in_qemu_reports_the_fault(board: str, build_echo: BuildEcho) -> None:
    firmware = build_echo(board)
    with open_device(firmware, BOARDS[board], count=False) as device:
        with pytest.raises(DeviceCrashedError) as caught:
            device.exchange(CRASH, timeout_s=10)
    assert caught.value.exit_code == 120
    assert "fault cause=" in caught.value.last_output
    pc = int(caught.value.last_output.rsplit("pc=", 1)[1], 16)
    names = [s.name for s in firmware.symbols if s.is_function]
    inside = [s.name for s in firmware.symbols if s.address <= pc < s.address + s.size_bytes]
    assert inside and inside[0] in names


def test_exchange_crash_in_unicorn_names_the_pc(build_echo: BuildEcho) -> None:
    with start(build_echo, "mps2-an386", "unicorn") as device:
        with pytest.raises(DeviceCrashedError, match="at pc 0x0000"):
            device.exchange(CRASH)
        with pytest.raises(DeviceCrashedError):
            device.exchange(ECHO)


@pytest.mark.parametrize("kind", ["gcc", "clang"])
def test_exchange_crash_on_the_host_names_the_signal(kind: Kind, build_echo: BuildEcho) -> None:
    with start(build_echo, "host", "host", kind) as device:
        with pytest.raises(DeviceCrashedError, match="SIGSEGV") as caught:
            device.exchange(CRASH)
    assert caught.value.exit_code == -signal.SIGSEGV


@pytest.mark.parametrize("board", [name for name in BOARDS if name != "host"])
def test_exchange_stack_overflow_is_a_crash_not_a_wrong_answer(
    board: str, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, "qemu") as device:
        with pytest.raises(DeviceCrashedError) as caught:
            device.exchange(RECURSE, WORD.pack(100_000), timeout_s=10)
    assert caught.value.exit_code == 120


def test_exchange_stack_overflow_in_unicorn_is_a_crash(build_echo: BuildEcho) -> None:
    with start(build_echo, "mps2-an385", "unicorn") as device:
        with pytest.raises(DeviceCrashedError, match="UNMAPPED"):
            device.exchange(RECURSE, WORD.pack(100_000))


@pytest.mark.parametrize(("board", "backend"), SOME)
def test_exchange_garbage_is_a_protocol_error(
    board: str, backend: Backend, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend) as device:
        with pytest.raises(DeviceProtocolError, match="deadbeef"):
            device.exchange(GARBAGE)


@pytest.mark.parametrize(("board", "backend"), SOME)
@pytest.mark.parametrize("command", [LEAVE, MUTE])
def test_exchange_device_that_leaves_is_a_crash(
    board: str, backend: Backend, command: int, build_echo: BuildEcho
) -> None:
    with start(build_echo, board, backend) as device:
        with pytest.raises(DeviceCrashedError) as caught:
            device.exchange(command, timeout_s=10)
    assert caught.value.exit_code == (3 if command == LEAVE else 0)


@pytest.mark.parametrize("kind", ["gcc", "clang"])
@pytest.mark.parametrize("opt", ["-O0", "-O2"])
def test_exchange_sanitized_build_works_and_catches_an_overrun(
    kind: Kind, opt: str, build_echo: BuildEcho
) -> None:
    firmware = build_echo("host", kind, opt=opt, sanitize=True)
    with open_device(firmware, BOARDS["host"], "host") as device:
        assert device.exchange(SUM, WORD.pack(500)) == WORD.pack(expected_sum(500))
        assert len(device.exchange(OVERRUN, WORD.pack(7))) == 4
        with pytest.raises(DeviceCrashedError) as caught:
            device.exchange(OVERRUN, WORD.pack(8))
    # Which of the two sanitizers sees it first is the compiler's choice.
    assert re.search("stack-buffer-overflow|runtime error", caught.value.last_output)


@pytest.mark.parametrize(("board", "backend"), SOME)
def test_close_twice_is_harmless_and_ends_exchanges(
    board: str, backend: Backend, build_echo: BuildEcho
) -> None:
    device = start(build_echo, board, backend)
    device.exchange(ECHO)
    device.close()
    device.close()
    assert device.instructions() is None
    with pytest.raises(DeviceCrashedError, match="closed"):
        device.exchange(ECHO)


def test_exchange_command_out_of_range_is_refused(build_echo: BuildEcho) -> None:
    with start(build_echo, "host", "host") as device, pytest.raises(ValueError, match="128"):
        device.exchange(128)


def test_open_device_without_qemu_says_how_to_get_it(
    build_echo: BuildEcho, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    firmware = build_echo("mps2-an385")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match="apt install qemu-system-arm"):
        open_device(firmware, BOARDS["mps2-an385"], "qemu")


def test_open_device_without_unicorn_says_how_to_get_it(
    build_echo: BuildEcho, monkeypatch: pytest.MonkeyPatch
) -> None:
    firmware = build_echo("mps2-an385")
    monkeypatch.setattr("device.harness.unicorn_device.unicorn", None)
    with pytest.raises(ToolchainMissingError, match="pip install unicorn"):
        open_device(firmware, BOARDS["mps2-an385"], "unicorn")


@pytest.mark.parametrize(
    ("built", "board", "backend"),
    [
        ("mps3-an547", "mps3-an547", "unicorn"),
        ("mps2-an385", "mps2-an386", "qemu"),
        ("mps2-an385", "mps2-an385", "host"),
        ("host", "host", "qemu"),
    ],
)
def test_open_device_wrong_pair_is_refused(
    built: str, board: str, backend: Backend, build_echo: BuildEcho
) -> None:
    with pytest.raises(HarnessError):
        open_device(build_echo(built), BOARDS[board], backend)


def test_host_transport_missing_executable_is_a_crash(tmp_path: Path) -> None:
    with HostTransport(tmp_path / "absent") as device:
        with pytest.raises(DeviceCrashedError) as caught:
            device.exchange(ECHO)
    assert caught.value.exit_code == 127


def test_device_whose_owner_is_killed_does_not_outlive_it(
    build_echo: BuildEcho, cache: Path
) -> None:
    firmware = build_echo("mps2-an386")
    script = f"""
        from pathlib import Path
        from device.harness.boards import BOARDS
        from device.harness.devices import QemuTransport
        device = QemuTransport(
            Path({str(firmware.elf)!r}), BOARDS["mps2-an386"], plugin_cache=Path({str(cache)!r})
        )
        device.exchange({ECHO})
        assert device.instructions()
        print(device._process.pid, flush=True)
        device.exchange({HANG})
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    group = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 5
    while is_alive(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(group)


def is_alive(group: int) -> bool:
    """True while a process of the group runs (a dead one not yet reaped does not count)."""
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_owner_of_many_devices_leaks_no_descriptor(build_echo: BuildEcho) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for board, backend in SOME:
        with open_device(build_echo(board), BOARDS[board], backend) as device:
            device.exchange(ECHO)
    assert len(os.listdir("/proc/self/fd")) == before
