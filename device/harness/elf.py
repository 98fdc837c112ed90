# SPDX-License-Identifier: Apache-2.0
"""What a linked ELF says: sizes, symbols, and whether any float got in."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from device.harness.errors import FloatFoundError

EM_ARM, EM_RISCV = 40, 243
SHF_WRITE = 0x1
SHF_ALLOC = 0x2
SHF_EXECINSTR = 0x4

# Helpers of libgcc and compiler-rt: run-time ABI for the Arm architecture, section 4.1.2
# (__aeabi_f*, __aeabi_d*, and conversions from integers), and GCC's soft-float library routines
# (__addsf3, __fixdfsi, ...; s/d/t/x/h: the width).
_AEABI_FLOAT = re.compile(
    r"__aeabi_(?:c?[fd](?:add|sub|rsub|mul|div|neg|cmp\w*|r?cmp\w*|2\w+)|u?[il]2[fd]|h2[fd]\w*)$"
)
_GNU_FLOAT = re.compile(
    r"__(?:(?:add|sub|mul|div|neg|pow|eq|ne|lt|le|gt|ge|unord|cmp)[shdtx][fc]\d?"
    r"|fix(?:uns)?[shdtx]f[sdt]i|float(?:un)?[sdt]i[shdtx]f|(?:extend|trunc)[shdtx]f[shdtx]f2"
    r"|gnu_\w*(?:ieee|float|f2h|h2f)\w*)$"
)
_LIBM = re.compile(
    r"(?:a?(?:sin|cos|tan)h?|atan2|exp[2m1]*|log(?:10|1p|2|b)?|pow|sqrt|cbrt|hypot|fma|fmod|"
    r"remainder|ceil|floor|round|trunc|rint|nearbyint|lrint|llrint|lround|llround|fabs|ldexp|"
    r"frexp|modf|scalbn?|erf|tgamma|lgamma|copysign|fmin|fmax)[fl]?$"
)
_HEAP = re.compile(r"_?_?(?:malloc|calloc|realloc|free|sbrk|aligned_alloc)(?:_r)?$")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or object of the linked file; Thumb functions without the low bit."""

    name: str
    address: int
    size_bytes: int
    is_function: bool


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Bytes of instructions at an address, literal pools left out."""

    address: int
    data: bytes


def read_symbols(elf: Path) -> tuple[Symbol, ...]:
    """Functions and objects of a linked ELF, by address, then name."""
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        symbols = [_symbol(entry) for entry in _entries(file) if _is_listed(entry)]
    return tuple(sorted(symbols, key=lambda s: (s.address, s.name)))


def text_bytes(path: Path) -> int:
    """Bytes of instructions in an ELF, linked or object."""
    with path.open("rb") as stream:
        sections = _allocated(ELFFile(stream))
        return sum(s["sh_size"] for s in sections if s["sh_flags"] & SHF_EXECINSTR)


def flash_bytes(elf: Path, code_origin: int | None) -> int:
    """Bytes of flash from the code origin to the last loaded byte; their plain sum if None."""
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        if code_origin is None:
            return sum(s["sh_size"] for s in _allocated(file) if s["sh_type"] != "SHT_NOBITS")
        ends = [address + len(data) for address, data in _loaded(file)]
    return max(ends, default=code_origin) - code_origin


def ram_bytes(elf: Path, ram_origin: int | None) -> int:
    """Bytes of RAM from its origin to the last used byte, stack included; plain sum if None."""
    with elf.open("rb") as stream:
        sections = [s for s in _allocated(ELFFile(stream)) if s["sh_flags"] & SHF_WRITE]
        if ram_origin is None:
            return sum(s["sh_size"] for s in sections)
        ends = [s["sh_addr"] + s["sh_size"] for s in sections if s["sh_addr"] >= ram_origin]
    return max(ends, default=ram_origin) - ram_origin


def load_segments(elf: Path) -> tuple[tuple[int, bytes], ...]:
    """(physical address, bytes) of every segment that is loaded."""
    with elf.open("rb") as stream:
        return tuple(_loaded(ELFFile(stream)))


def flash_image(elf: Path, code_origin: int) -> bytes:
    """The raw image to write at the code origin; gaps are 0xFF, as erased flash is."""
    segments = load_segments(elf)
    end = max((address + len(data) for address, data in segments), default=code_origin)
    image = bytearray(b"\xff" * (end - code_origin))
    for address, data in segments:
        image[address - code_origin : address - code_origin + len(data)] = data
    return bytes(image)


def write_elf(image: bytes, code_origin: int, machine: int) -> bytes:
    """An ELF that loads a raw image at the code origin, for emulators that take nothing else.

    Args:
        machine: e_machine, 40 for Arm, 243 for RISC-V; entry: the origin, odd for Thumb.
    Source: System V ABI, chapters 4 and 5; the ELF header of 52 bytes, one program header of 32.
    """
    entry = code_origin | (1 if machine == EM_ARM else 0)
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    head = struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, entry, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    size = len(image)
    segment = struct.pack("<IIIIIIII", 1, 84, code_origin, code_origin, size, size, 5, 4)
    return ident + head + segment + image


def code_ranges(elf: Path) -> tuple[CodeRange, ...]:
    """Instructions of every executable section, cut at the mapping symbols $t, $d, $x.

    Source: ELF for the Arm Architecture, 4.5.5.
    """
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        marks = sorted(
            (entry["st_value"] & ~1, entry.name[:2])
            for entry in _entries(file)
            if entry.name[:2] in ("$t", "$d", "$x", "$a")
        )
        ranges: list[CodeRange] = []
        for section in _allocated(file):
            if section["sh_flags"] & SHF_EXECINSTR and section["sh_type"] != "SHT_NOBITS":
                ranges += _cut(section["sh_addr"], section.data(), marks)
    return tuple(ranges)


def thumb_size(half_word: int) -> int:
    """Bytes of the Thumb instruction that starts with this half-word (Armv7-M ARM, A5.1)."""
    return 4 if half_word >> 11 in (0b11101, 0b11110, 0b11111) else 2


def check_no_float(elf: Path) -> None:
    """Refuse a firmware with float helpers, libm, heap or floating-point instructions.

    Integer vectors (MVE, coprocessors 8, 14 and 15) and moves of vector registers are allowed on
    a core that has MVE; scalar floating-point arithmetic nowhere.

    Raises: FloatFoundError listing what was found; ValueError if the ELF is not Arm or RISC-V.
    """
    findings = [f"symbol {name}" for name in forbidden_symbols(elf)]
    findings += [f"instruction at 0x{address:08x}" for address in float_instructions(elf)]
    if findings:
        raise FloatFoundError(tuple(findings))


def forbidden_symbols(elf: Path) -> tuple[str, ...]:
    """Names of linked soft-float, libm and heap functions."""
    patterns = (_AEABI_FLOAT, _GNU_FLOAT, _LIBM, _HEAP)
    names = {s.name for s in read_symbols(elf) if s.is_function}
    return tuple(sorted(n for n in names if any(p.match(n) for p in patterns)))


def float_instructions(elf: Path) -> tuple[int, ...]:
    """Addresses of floating-point instructions in an Arm (Thumb) or RISC-V ELF."""
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        machine = file.get_machine_arch()
        has_mve = _has_mve(file)
    if machine == "ARM":
        return tuple(_thumb_float(code_ranges(elf), has_mve))
    if machine == "RISC-V":
        return tuple(_riscv_float(code_ranges(elf)))
    raise ValueError(f"no float check for machine {machine}")


def _thumb_float(ranges: tuple[CodeRange, ...], has_mve: bool) -> Iterator[int]:
    for part in ranges:
        for address, first, second in _thumb_words(part):
            if _is_thumb_float(first, second, has_mve):
                yield address


def _thumb_words(part: CodeRange) -> Iterator[tuple[int, int, int]]:
    offset = 0
    while offset + 2 <= len(part.data):
        (first,) = struct.unpack_from("<H", part.data, offset)
        size = thumb_size(first)
        second = 0
        if size == 4 and offset + 4 <= len(part.data):
            (second,) = struct.unpack_from("<H", part.data, offset + 2)
        yield part.address + offset, first, second
        offset += size


def _is_thumb_float(first: int, second: int, has_mve: bool) -> bool:
    """Coprocessors 9, 10 and 11 are the FP unit; Armv8-M ARM, C2.4 and Armv7-M ARM, A6."""
    if thumb_size(first) != 4 or first & 0xEC00 != 0xEC00 or first & 0x0300 == 0x0300:
        return False
    if not 9 <= (second >> 8) & 0xF <= 11:
        return False
    is_arithmetic = first & 0x0F00 == 0x0E00 and second & 0x10 == 0
    return is_arithmetic or not has_mve


def _riscv_float(ranges: tuple[CodeRange, ...]) -> Iterator[int]:
    """Opcodes LOAD-FP, STORE-FP, FMADD to FNMADD and OP-FP; RISC-V ISA manual, table 24.1."""
    float_opcodes = {0x07, 0x27, 0x43, 0x47, 0x4B, 0x4F, 0x53}
    for part in ranges:
        offset = 0
        while offset + 2 <= len(part.data):
            low = part.data[offset]
            size = 4 if low & 3 == 3 else 2
            if size == 4 and low & 0x7F in float_opcodes:
                yield part.address + offset
            offset += size


def _has_mve(file: ELFFile) -> bool:
    section: Any = file.get_section_by_name(".ARM.attributes")
    if section is None:
        return False
    for part in section.iter_subsections():
        for scope in part.iter_subsubsections():
            for attribute in scope.iter_attributes():
                if attribute.tag == "TAG_MVE_ARCH" or attribute.tag == 48:
                    return bool(attribute.value)
    return False


def _cut(address: int, data: bytes, marks: list[tuple[int, str]]) -> Iterator[CodeRange]:
    end = address + len(data)
    inside = [(at, kind) for at, kind in marks if address <= at < end]
    bounds = [(address, "$t"), *inside, (end, "$d")]
    for (start, kind), (stop, _) in pairwise(bounds):
        if kind != "$d" and stop > start:
            yield CodeRange(start, data[start - address : stop - address])


def _allocated(file: ELFFile) -> list[Any]:
    return [s for s in file.iter_sections() if s["sh_flags"] & SHF_ALLOC and s["sh_size"]]


def _loaded(file: ELFFile) -> list[tuple[int, bytes]]:
    return [
        (segment["p_paddr"], segment.data())
        for segment in file.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
    ]


def _entries(file: ELFFile) -> Iterator[Any]:
    table = file.get_section_by_name(".symtab")
    if isinstance(table, SymbolTableSection):
        yield from cast(Iterator[Any], table.iter_symbols())


def _is_listed(entry: Any) -> bool:
    kind = entry["st_info"]["type"]
    if entry["st_shndx"] == "SHN_UNDEF" or not entry.name or entry.name.startswith("$"):
        return False
    return kind in ("STT_FUNC", "STT_OBJECT") or (
        kind == "STT_NOTYPE" and entry["st_info"]["bind"] == "STB_GLOBAL"
    )


def _symbol(entry: Any) -> Symbol:
    is_function = entry["st_info"]["type"] == "STT_FUNC"
    address = entry["st_value"] & ~1 if is_function else entry["st_value"]
    return Symbol(entry.name, address, entry["st_size"], is_function)
