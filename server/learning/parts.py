# SPDX-License-Identifier: Apache-2.0
"""What firmware is made for, by name: an emulated board, a common part, or either with less memory.

Figures of parts are those of the makers' data sheets: flash and RAM in bytes, RAM as one range that
a linker script can use, the highest clock. `base` is the emulated board of the same core, whose
compiler flags, addresses and instruction counts hold for the part. Nothing here has been measured
on silicon.
"""

import re
from dataclasses import dataclass, replace

from device.harness.boards import BOARDS, KIB, MIB, Board
from server.errors import InvalidInputError, Issue

STACK_BYTES = 2 * KIB
STACK_ALIGN = 8  # bytes; RAM ends where the stack begins
LARGEST = 4 * MIB - 4 * KIB


@dataclass(frozen=True)
class Part:
    """A microcontroller.

    Attributes:
        base: emulated board with this core.
        flash_bytes, ram_bytes: as the source says; flash may be a chip of its own.
        source: document.
    """

    name: str
    core: str
    base: str
    flash_bytes: int
    ram_bytes: int
    clock_hz: int
    source: str

    def board(self) -> Board:
        """The harness's board with the part's memory: its linker refuses what does not fit."""
        base = BOARDS[self.base]
        if self.name == base.name:
            return base
        if base.core == "M0":  # the emulated M0 has 16 KiB: the M3's board runs the same code
            base = replace(
                BOARDS["mps2-an385"],
                cpu=base.cpu,
                core=base.core,
                flags_gcc=base.flags_gcc,
                flags_zig=base.flags_zig,
            )
        return replace(
            base,
            name=self.name,
            title=f"{self.core}, {self.source}",
            code_bytes=min(self.flash_bytes, base.code_bytes),
            ram_bytes=min(self.ram_bytes, base.ram_bytes),
            stack_bytes=min(STACK_BYTES, base.stack_bytes),
            clock_hz=self.clock_hz,
        )


_MHZ = 1_000_000
_ROWS = (
    ("stm32l053r8", "M0+", "microbit", 64, 8, 32, "STM32L053x6/x8 data sheet"),
    ("nrf51822", "M0", "microbit", 256, 16, 16, "nRF51822 product specification"),
    ("samd21g18", "M0+", "microbit", 256, 32, 48, "SAM D21 family data sheet"),
    ("rp2040", "M0+", "microbit", 2048, 264, 133, "RP2040 data sheet; flash of the Pico board"),
    ("stm32f103c8", "M3", "mps2-an385", 64, 20, 72, "STM32F103x8/xB data sheet"),
    ("gd32vf103cb", "RV32", "riscv-virt", 128, 32, 108, "GD32VF103 data sheet"),
    ("nrf52832", "M4", "mps2-an386", 512, 64, 64, "nRF52832 product specification"),
    ("stm32f401re", "M4", "mps2-an386", 512, 96, 84, "STM32F401xD/xE data sheet"),
    ("stm32l476rg", "M4", "mps2-an386", 1024, 96, 80, "STM32L476xx data sheet; SRAM1"),
    ("stm32f411ce", "M4", "mps2-an386", 512, 128, 100, "STM32F411xC/xE data sheet"),
    ("nrf52840", "M4", "mps2-an386", 1024, 256, 64, "nRF52840 product specification"),
    ("stm32f746zg", "M7", "mps2-an500", 1024, 240, 216, "STM32F745xx/F746xx data sheet; SRAM1"),
    ("esp32-c3", "RV32", "riscv-virt", 4096, 400, 160, "ESP32-C3 data sheet; flash of the module"),
    ("stm32h743zi", "M7", "mps2-an500", 2048, 512, 480, "STM32H742/H743 data sheet; AXI SRAM"),
    ("nrf5340", "M33", "mps2-an505", 1024, 512, 128, "nRF5340 product specification"),
    ("stm32u585ai", "M33", "mps2-an505", 2048, 768, 160, "STM32U585xx data sheet; SRAM1 to 3"),
)
PARTS: dict[str, Part] = {
    name: Part(name, core, base, flash * KIB, ram * KIB, clock * _MHZ, source)
    for name, core, base, flash, ram, clock, source in _ROWS
}
"""Every part, the least RAM of a group of cores first."""


def find_part(name: str) -> Part:
    """A part or an emulated board; `NAME:ram=BYTES,flash=BYTES` is one with so much memory.

    Sizes may end in K or M, and one of the two may be left out.

    Raises: InvalidInputError that lists what there is.
    """
    base, colon, budget = name.partition(":")
    part = PARTS.get(base) or _emulated(base)
    if part is None:
        raise InvalidInputError(
            f"There is no part or board {base[:60]!r}.",
            [Issue("unknown part or board", "board", f"one of {', '.join((*_EMULATED, *PARTS))}")],
        )
    return _limited(part, name, budget) if colon else part


def custom_part(ram_bytes: int, flash_bytes: int) -> Part:
    """A Cortex-M4 of this much memory. Raises: InvalidInputError for absurd sizes."""
    _check_size("ram", ram_bytes, 4 * MIB)
    _check_size("flash", flash_bytes, 4 * MIB)
    return Part("budget", "M4", "mps2-an386", flash_bytes, ram_bytes, 0, "given")


_EMULATED = tuple(board.name for board in BOARDS.values() if not board.is_host)
_UNITS = {"": 1, "K": KIB, "M": MIB}


def _emulated(name: str) -> Part | None:
    if name not in _EMULATED:
        return None
    board = BOARDS[name]
    return Part(
        name,
        board.core,
        name,
        board.code_bytes,
        board.ram_bytes,
        board.clock_hz or 0,
        "device/harness/boards.py",
    )


def _limited(part: Part, name: str, budget: str) -> Part:
    """The part with the memory that `ram=BYTES,flash=BYTES` leaves of it."""
    sizes: dict[str, int] = {}
    for item in budget.split(","):
        found = re.fullmatch(r"(ram|flash)=(\d{1,12})([KMkm]?)", item)
        if found is None or found[1] in sizes:
            raise InvalidInputError(
                f"The memory in {name[:60]!r} is not readable.",
                [Issue(repr(item[:60]), "board", "NAME:ram=BYTES,flash=BYTES, as 65536 or 64K")],
            )
        sizes[found[1]] = int(found[2]) * _UNITS[found[3].upper()] // STACK_ALIGN * STACK_ALIGN
    ram, flash = sizes.get("ram", part.ram_bytes), sizes.get("flash", part.flash_bytes)
    _check_size("ram", ram, part.ram_bytes)
    _check_size("flash", flash, part.flash_bytes)
    return replace(part, name=name, ram_bytes=ram, flash_bytes=flash, source="memory as given")


def _check_size(what: str, size: int, most: int) -> None:
    if not KIB <= size <= most:
        raise InvalidInputError(
            f"{what} of {size} bytes is not possible.",
            [Issue(f"{size} bytes", what, f"{KIB} to {most}")],
        )
