# SPDX-License-Identifier: Apache-2.0
"""A Cortex-M firmware inside this process, in Unicorn: needs Python packages only.

Unicorn runs the core without its peripherals. Semihosting calls arrive as a breakpoint exception;
reads from an empty input stop the core, and the next exchange goes on from there.
"""

import struct
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device.harness.boards import Board
from device.harness.elf import load_segments, thumb_size
from device.harness.errors import (
    DeviceCrashedError,
    DeviceError,
    DeviceProtocolError,
    DeviceTimeoutError,
    HarnessError,
    ToolchainMissingError,
)
from device.harness.transport import (
    COMMAND_TRACE,
    DEFAULT_TIMEOUT_S,
    REPLY,
    check_status,
    encode_request,
    is_trace,
    reply_length,
)

try:
    import unicorn
    from unicorn import arm_const
except ImportError:  # said in one line when a transport is asked for
    unicorn = None

SYS_OPEN = 0x01
SYS_WRITE0 = 0x04
SYS_WRITE = 0x05
SYS_READ = 0x06
SYS_EXIT_EXTENDED = 0x20
STDIN_HANDLE = 1
STDOUT_HANDLE = 2
FAILED = 0xFFFFFFFF

EXCEPTION_BREAKPOINT = 7
BREAKPOINT_SEMIHOSTING = b"\xab\xbe"
BREAKPOINT_BYTES = 2
PAGE_BYTES = 4096
SYSTEM_CONTROL_SPACE = 0xE000_E000
RUN_FOREVER = 0xFFFF_FFFE  # an address where no instruction ends
TEXT_LIMIT_BYTES = 4000

MARK_BEGIN = b"\xc9\x46"
MARK_END = b"\xd2\x46"

_MODELS = {
    "M0": "UC_CPU_ARM_CORTEX_M0",
    "M3": "UC_CPU_ARM_CORTEX_M3",
    "M4": "UC_CPU_ARM_CORTEX_M4",
    "M7": "UC_CPU_ARM_CORTEX_M7",
    "M33": "UC_CPU_ARM_CORTEX_M33",
}


class UnicornTransport:
    """See Transport; one core in this process."""

    def __init__(self, elf: Path, board: Board, *, count: bool = True) -> None:
        """Load and reset the firmware; it boots in the first exchange.

        Args:
            elf: linked firmware.
            board: where it was built for.
            count: count instructions, some ten million a second instead of hundreds.
        Raises: ToolchainMissingError without the package; HarnessError for a board it cannot run.
        """
        if unicorn is None:
            raise ToolchainMissingError("unicorn is missing; get it with `pip install unicorn`")
        if not board.unicorn:
            raise HarnessError(f"Unicorn does not run {board.name} ({board.core})")
        self.traces: list[bytes] = []
        self._input = bytearray()
        self._output = bytearray()
        self._text = b""
        self._exit_code: int | None = None
        self._waiting = False
        self._failure: DeviceError | None = None
        self._hook_error: BaseException | None = None
        self._uc = _core(board, elf)
        self._resume_at = self._uc.reg_read(arm_const.UC_ARM_REG_PC)
        self._counter = BlockCounter(self._uc) if count else None
        self._regions = 0
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)

    def exchange(
        self, command: int, payload: bytes = b"", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> bytes:
        """See Transport.exchange."""
        if self._failure is not None:
            raise self._failure
        self._input += encode_request(command, payload)
        self._regions = self._counter.regions if self._counter else 0
        try:
            self._run(timeout_s)
            header, body = self._reply(command)
        except DeviceError as error:
            self._failure = error
            raise
        check_status(header, command)
        return body

    def instructions(self) -> int | None:
        """Instructions of the last exchange; None if not counted or no region was marked."""
        if self._counter is None or self._counter.regions == self._regions:
            return None
        return self._counter.last

    def watch(self, addresses: Iterable[int]) -> None:
        """Note when execution comes to one of these addresses, of functions' first instructions.

        Raises: HarnessError if nothing is counted.
        """
        if self._counter is None:
            raise HarnessError("start the transport with count=True")
        self._counter.watched = frozenset(address & ~1 for address in addresses)

    def arrivals(self) -> list[tuple[int, int]]:
        """Watched addresses in the order of execution since the last region began, each with the
        instructions executed since then."""
        return [] if self._counter is None else list(self._counter.arrivals)

    def last_output(self) -> str:
        """The tail of what the device wrote for people."""
        return self._text.decode(errors="replace").strip()

    def close(self) -> None:
        """Release the core; safe to call twice."""
        if self._failure is None:
            self._failure = DeviceCrashedError("the device has been closed")
        self._counter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, timeout_s: float) -> None:
        """Execute until the device wants input that is not there, or ends."""
        started = time.monotonic()
        self._waiting = False
        limit_us = max(1, int(timeout_s * 1_000_000))
        try:
            self._uc.emu_start(self._resume_at | 1, RUN_FOREVER, timeout=limit_us)
        except unicorn.UcError as error:
            raise self._crash(str(error)) from error
        self._resume_at = self._uc.reg_read(arm_const.UC_ARM_REG_PC)
        if self._hook_error is not None:
            raise self._hook_error
        if self._waiting or self._exit_code is not None:
            return
        if time.monotonic() - started >= timeout_s:
            raise DeviceTimeoutError(timeout_s, self.last_output())
        raise self._crash("it stopped without reason")

    def _crash(self, what: str) -> DeviceCrashedError:
        pc = self._uc.reg_read(arm_const.UC_ARM_REG_PC)
        return DeviceCrashedError(
            f"the device stopped: {what} at pc 0x{pc:08x}",
            last_output=self.last_output(),
            exit_code=self._exit_code,
        )

    def _reply(self, command: int) -> tuple[bytes, bytes]:
        self._take_traces()
        header = bytes(self._output[: REPLY.size])
        if len(header) < REPLY.size:
            raise self._crash(f"exit code {self._exit_code} or no reply")
        length = reply_length(header, command)
        body = bytes(self._output[REPLY.size :])
        self._output.clear()
        if len(body) < length:
            raise self._crash(f"reply cut short, exit code {self._exit_code}")
        if len(body) > length:
            raise DeviceProtocolError(f"{len(body) - length} bytes after the reply")
        return header, body

    def _take_traces(self) -> None:
        """What a traced build sent before its reply."""
        self.traces = []
        while is_trace(header := bytes(self._output[: REPLY.size])):
            end = REPLY.size + reply_length(header, COMMAND_TRACE)
            self.traces.append(bytes(self._output[REPLY.size : end]))
            del self._output[:end]

    def _on_exception(self, uc: Any, number: int, _: object) -> None:
        """Exceptions inside callbacks are lost in Unicorn: keep them for _run."""
        try:
            self._handle_exception(uc, number)
        except (DeviceError, unicorn.UcError, struct.error) as error:
            uc.emu_stop()
            self._hook_error = error

    def _handle_exception(self, uc: Any, number: int) -> None:
        pc = uc.reg_read(arm_const.UC_ARM_REG_PC)
        is_call = number == EXCEPTION_BREAKPOINT
        if not is_call or bytes(uc.mem_read(pc, BREAKPOINT_BYTES)) != BREAKPOINT_SEMIHOSTING:
            raise self._crash(f"exception {number}")
        operation = uc.reg_read(arm_const.UC_ARM_REG_R0)
        block = uc.reg_read(arm_const.UC_ARM_REG_R1)
        result = self._semihost(uc, operation, block)
        if result is None:  # stop on this very instruction
            uc.emu_stop()
            return
        uc.reg_write(arm_const.UC_ARM_REG_R0, result)
        uc.reg_write(arm_const.UC_ARM_REG_PC, (pc + BREAKPOINT_BYTES) | 1)

    def _semihost(self, uc: Any, operation: int, block: int) -> int | None:
        """One semihosting call; None if the core has to stop.

        Source: Arm, "Semihosting for AArch32 and AArch64".
        """
        if operation == SYS_OPEN:
            _, mode, _ = _words(uc, block, 3)
            return STDIN_HANDLE if mode < 4 else STDOUT_HANDLE
        if operation == SYS_READ:
            return self._read(uc, *_words(uc, block, 3))
        if operation == SYS_WRITE:
            handle, address, n = _words(uc, block, 3)
            self._output += uc.mem_read(address, n)
            return 0 if handle == STDOUT_HANDLE else n
        if operation == SYS_WRITE0:
            self._text = (self._text + _string(uc, block))[-TEXT_LIMIT_BYTES:]
            return 0
        if operation == SYS_EXIT_EXTENDED:
            self._exit_code = _words(uc, block, 2)[1]
            return None
        return FAILED

    def _read(self, uc: Any, handle: int, address: int, n: int) -> int | None:
        """Bytes that could not be read; None, with the core to be stopped, if there are none."""
        if handle != STDIN_HANDLE:
            return n
        if not self._input:
            self._waiting = True
            return None
        part = bytes(self._input[:n])
        del self._input[:n]
        uc.mem_write(address, part)
        return n - len(part)


class BlockCounter:
    """Counts the instructions between the markers, one callback per executed block.

    A block is a run of instructions that is entered at its start and, faults apart, executed to its
    end, so its length in instructions is what is added; a marker cuts it in two.
    """

    def __init__(self, uc: Any) -> None:
        self.regions = 0
        self.last = 0
        self.watched: frozenset[int] = frozenset()
        self.arrivals: list[tuple[int, int]] = []
        self._executed = 0
        self._begin: int | None = None
        self._blocks: dict[tuple[int, int], tuple[int, int | None, int | None]] = {}
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)

    def _on_block(self, uc: Any, address: int, size: int, _: object) -> None:
        block = self._blocks.get((address, size))
        if block is None:
            block = scan_block(bytes(uc.mem_read(address, size)))
            self._blocks[address, size] = block
        length, begin, end = block
        if address in self.watched and self._begin is not None:
            self.arrivals.append((address, self._executed - self._begin))
        if end is not None and self._begin is not None:
            self.last = self._executed + end - self._begin
            self.regions += 1
            self._begin = None
        if begin is not None:
            self._begin = self._executed + begin + 1
            self.arrivals.clear()
        self._executed += length


def scan_block(code: bytes) -> tuple[int, int | None, int | None]:
    """Thumb instructions in a block, and the index of a begin and an end marker in it."""
    offset = length = 0
    begin = end = None
    while offset < len(code):
        half = code[offset : offset + 2]
        if half == MARK_BEGIN:
            begin = length
        elif half == MARK_END:
            end = length
        offset += thumb_size(int.from_bytes(half, "little"))
        length += 1
    return length, begin, end


def _pages(size: int) -> int:
    """Bytes of whole pages: Unicorn maps no less, and the linker keeps to the board's own size."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


def _core(board: Board, elf: Path) -> Any:
    """A core as after reset: the board's memories mapped, the firmware loaded."""
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(getattr(arm_const, _MODELS[board.core]))
    uc.mem_map(board.code_origin, _pages(board.code_bytes))
    uc.mem_map(board.ram_origin, _pages(board.ram_bytes))
    uc.mem_map(SYSTEM_CONTROL_SPACE, PAGE_BYTES)
    for address, data in load_segments(elf):
        uc.mem_write(address, data)
    stack_top, entry = _words(uc, board.code_origin, 2)
    uc.reg_write(arm_const.UC_ARM_REG_SP, stack_top)
    uc.reg_write(arm_const.UC_ARM_REG_PC, entry)
    return uc


def _words(uc: Any, address: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}I", bytes(uc.mem_read(address, 4 * count)))


def _string(uc: Any, address: int) -> bytes:
    text = bytearray()
    while len(text) < TEXT_LIMIT_BYTES:
        (byte,) = uc.mem_read(address + len(text), 1)
        if byte == 0:
            break
        text.append(byte)
    return bytes(text)
