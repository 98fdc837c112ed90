# SPDX-License-Identifier: Apache-2.0
"""Calls and stack frames read from the instructions of a linked ELF (Thumb and RV32).

Compilers list neither the calls of their own helper functions (division, 64-bit products) nor the
frames of those; the linked instructions have both.
"""

import bisect
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import capstone
from elftools.elf.elffile import ELFFile

from device.harness.elf import CodeRange, Symbol, code_ranges, read_symbols, thumb_size

_LIST = re.compile(r"\{(.*)\}")
_PRE_DECREMENT = re.compile(r"\[sp, #-(0x[0-9a-f]+|\d+)\]!")
_NUMBER = re.compile(r"#?(-?(?:0x[0-9a-f]+|\d+))$")
_REGISTER_BYTES = {"s": 4, "d": 8, "q": 16}
_CONDITIONS = "eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
_THUMB_JUMP = re.compile(rf"b(?:{_CONDITIONS})?(?:\.[nw])?$")
_RISCV_BRANCH = re.compile(r"(?:c\.)?(?:b(?:eq|ne|lt|ge|ltu|geu)z?|blez|bgez|bltz|bgtz|j)$")
_PAGE_SHIFT = 12


@dataclass(slots=True)
class FunctionCode:
    """What one function's instructions say.

    Attributes:
        symbol: the function.
        end: address after its last instruction.
        pushed_bytes: sum of all that its instructions take from the stack; an upper bound of the
            frame, since compilers move the stack pointer outside of loops only.
        unbounded: it moves the stack pointer down by a register.
        calls: addresses it calls, or jumps to outside of itself.
        calls_unknown: it calls through a register.
    """

    symbol: Symbol
    end: int
    pushed_bytes: int = 0
    unbounded: bool = False
    calls: set[int] = field(default_factory=set)
    calls_unknown: bool = False

    def jump(self, target: int) -> None:
        """Note a jump: to another function it is a tail call."""
        if not self.symbol.address <= target < self.end:
            self.calls.add(target)


class _Reader(Protocol):
    def instructions(self, part: CodeRange) -> Iterator[Any]: ...

    def read(self, instruction: Any, function: FunctionCode) -> None: ...


def read_functions(elf: Path) -> dict[int, FunctionCode]:
    """Every function of a linked ELF by address; aliases appear under their first name."""
    with elf.open("rb") as stream:
        machine = ELFFile(stream).get_machine_arch()
    reader: _Reader = _Riscv() if machine == "RISC-V" else _Thumb()
    functions = _extents(elf)
    starts = sorted(functions)
    for part in code_ranges(elf):
        for instruction in reader.instructions(part):
            index = bisect.bisect_right(starts, instruction.address) - 1
            if index >= 0 and instruction.address < functions[starts[index]].end:
                reader.read(instruction, functions[starts[index]])
    return functions


def _extents(elf: Path) -> dict[int, FunctionCode]:
    """Functions with their ends; hand-written ones without a size end where the next begins."""
    symbols = {s.address: s for s in reversed(read_symbols(elf)) if s.is_function}
    starts = sorted(symbols)
    ends = dict(zip(starts, [*starts[1:], 1 << 32], strict=True))
    return {
        a: FunctionCode(s, a + s.size_bytes if s.size_bytes else ends[a])
        for a, s in symbols.items()
    }


class _Thumb:
    """Thumb, one instruction at a time: what capstone does not know (MVE) is skipped."""

    def __init__(self) -> None:
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
        self._decoder = capstone.Cs(capstone.CS_ARCH_ARM, mode)
        self._popped: set[str] = set()

    def instructions(self, part: CodeRange) -> Iterator[Any]:
        offset = 0
        while offset + 2 <= len(part.data):
            (half,) = struct.unpack_from("<H", part.data, offset)
            size = thumb_size(half)
            code = part.data[offset : offset + size]
            yield from self._decoder.disasm(code, part.address + offset, 1)
            offset += size

    def read(self, instruction: Any, function: FunctionCode) -> None:
        name, operands = instruction.mnemonic, instruction.op_str
        number = _NUMBER.search(operands)
        if name in ("push", "push.w", "vpush") or operands.startswith("sp!, {"):
            function.pushed_bytes += _list_bytes(operands) if "ldm" not in name else 0
        elif pushed := _PRE_DECREMENT.search(operands):
            function.pushed_bytes += int(pushed[1], 0)
        elif name.startswith(("sub", "add")) and re.match(r"sp\b", operands):
            self._read_move(name, number, function)
        elif name == "bl" and number:
            self._read_call(int(number[1], 0) & ~1, function)
        elif name in ("cbz", "cbnz") or (_THUMB_JUMP.match(name) and number):
            function.jump(int(number[1], 0) & ~1 if number else function.symbol.address)
        elif name == "blx" or (name == "bx" and operands not in ("lr", *self._popped)):
            function.calls_unknown = True
        self._note_popped(name, operands)

    def _read_call(self, target: int, function: FunctionCode) -> None:
        """A call; within the function it is how clang jumps far on ARMv6-M."""
        if not function.symbol.address < target < function.end:
            function.calls.add(target)

    def _note_popped(self, name: str, operands: str) -> None:
        """Registers popped in an epilogue: Thumb-1 cannot pop into lr and returns by `bx r3`."""
        if name == "pop":
            self._popped |= set(re.findall(r"r\d+", operands))
        elif not (name == "add" and operands.startswith("sp,")):
            self._popped = set()

    def _read_move(self, name: str, number: re.Match[str] | None, function: FunctionCode) -> None:
        if number is None:
            function.unbounded = True
        elif name.startswith("sub"):
            function.pushed_bytes += int(number[1], 0)


class _Riscv:
    """RV32IMC."""

    def __init__(self) -> None:
        mode = capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC
        self._decoder = capstone.Cs(capstone.CS_ARCH_RISCV, mode)
        self._upper: dict[tuple[str, int], int] = {}  # (register, address after auipc) to value

    def instructions(self, part: CodeRange) -> Iterator[Any]:
        offset = 0
        while offset + 2 <= len(part.data):
            size = 4 if part.data[offset] & 3 == 3 else 2
            code = part.data[offset : offset + size]
            yield from self._decoder.disasm(code, part.address + offset, 1)
            offset += size

    def read(self, instruction: Any, function: FunctionCode) -> None:
        name, operands = instruction.mnemonic.removeprefix("c."), instruction.op_str
        number = _NUMBER.search(operands)
        if name in ("addi", "addi16sp") and operands.startswith("sp, ") and number:
            self._read_move(operands, int(number[1], 0), function)
        elif name in ("add", "sub") and operands.startswith("sp, "):
            function.unbounded = True
        elif name == "auipc" and number:
            register = operands.split(",")[0]
            page = instruction.address + (int(number[1], 0) << _PAGE_SHIFT)
            self._upper[register, instruction.address + instruction.size] = page
        elif name == "jal" and number:
            links = not operands.startswith("zero")
            self._note(instruction.address + int(number[1], 0), links, function)
        elif _RISCV_BRANCH.match(name) and number:
            self._note(instruction.address + int(number[1], 0), False, function)
        elif name in ("jalr", "jr"):
            self._read_register_jump(name, operands, instruction.address, function)

    def _read_move(self, operands: str, delta: int, function: FunctionCode) -> None:
        from_sp = operands.count("sp") == 2 or operands.count(",") == 1
        if from_sp and delta < 0:
            function.pushed_bytes -= delta

    def _read_register_jump(
        self, name: str, operands: str, address: int, function: FunctionCode
    ) -> None:
        """auipc and jalr in a row make one far call; jr ra is a return; the rest is unknown."""
        words = operands.replace("(", ", ").replace(")", "").split(", ")
        registers = [w for w in words if not _NUMBER.fullmatch(w)]
        offset = next((int(w, 0) for w in words if _NUMBER.fullmatch(w)), 0)
        register = registers[-1]
        links = name == "jalr" and registers[0] != "zero"
        if register == "ra" and not links:
            return
        if (register, address) in self._upper:
            self._note(self._upper[register, address] + offset, links, function)
        else:
            function.calls_unknown = True

    def _note(self, target: int, links: bool, function: FunctionCode) -> None:
        target &= 0xFFFF_FFFF
        if links:
            function.calls.add(target)
        else:
            function.jump(target)


def _list_bytes(operands: str) -> int:
    match = _LIST.search(operands)
    names = [n.strip() for n in match[1].split(",")] if match else []
    return sum(_REGISTER_BYTES.get(n[0], 4) if n[1:].isdigit() else 4 for n in names)
