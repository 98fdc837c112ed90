# SPDX-License-Identifier: Apache-2.0
"""The boards firmware is built for and run on, as data.

Memory maps are those of QEMU's machine models, which follow the parts' manuals:
nRF51822 product specification (256 KiB flash, 16 KiB RAM, 16 MHz) for `microbit`; Arm application
notes AN385 (M3), AN386 (M4), AN500 (M7) with ZBT RAM at 0x0 and SSRAM at 0x20000000 (25 MHz);
AN505 (M33) with the secure aliases of SSRAM1 (0x10000000) and SSRAM2 (0x38000000), 20 MHz; AN547
(M55) with ITCM at 0x0 and SRAM at 0x21000000, 32 MHz; QEMU's RISC-V `virt` with RAM at 0x80000000,
which has no clock of its own. Clocks are the models' processor clocks and serve reports only:
nothing here measures time.

All builds are integer only, so the float ABI is soft wherever the core has scalar floating point:
a float that slips in becomes a call of a helper, which `elf.check_no_float` refuses. The one
exception is the M55: its integer vectors (MVE) live in the FP registers, so the calling convention
may use them, but the FP arithmetic itself is switched off.
"""

from dataclasses import dataclass
from typing import Literal

from device.harness.errors import HarnessError

KIB = 1024
MIB = 1024 * KIB

Family = Literal["cortex_m", "rv32", "host"]


@dataclass(frozen=True, slots=True)
class Board:
    """One target.

    Attributes:
        name: key of BOARDS.
        title: for people.
        cpu: Arm or RISC-V name of the core, lower case.
        core: short core name used in tables (M0, M3, ..., RV32, host).
        family: which startup code and semihosting call it needs.
        machine: QEMU's `-M`, None if QEMU does not run it.
        code_origin, code_bytes: flash, or what stands for it.
        ram_origin, ram_bytes: RAM; the linker script refuses what does not fit.
        stack_bytes: RAM set aside for the stack unless a build asks for another size.
        has_fpu: the core has scalar floating point (never used by builds).
        unicorn: Unicorn can run it.
        flags_gcc: target flags of Debian's bare-metal GCC.
        flags_zig: target flags of `zig cc`.
        clock_hz: processor clock of the model, None if it has none.
    """

    name: str
    title: str
    cpu: str
    core: str
    family: Family
    machine: str | None
    code_origin: int
    code_bytes: int
    ram_origin: int
    ram_bytes: int
    stack_bytes: int
    has_fpu: bool
    unicorn: bool
    flags_gcc: tuple[str, ...]
    flags_zig: tuple[str, ...]
    clock_hz: int | None

    @property
    def is_host(self) -> bool:
        """True for the machine the harness itself runs on."""
        return self.family == "host"


def _arm(cpu: str, float_abi: str = "soft") -> tuple[str, ...]:
    return (f"-mcpu={cpu}", "-mthumb", f"-mfloat-abi={float_abi}")


def _zig_arm(cpu: str, abi: str = "eabi") -> tuple[str, ...]:
    return ("-target", f"thumb-freestanding-{abi}", f"-mcpu={cpu}")


_ALL = (
    Board(
        name="microbit",
        title="BBC micro:bit (nRF51822)",
        cpu="cortex-m0",
        core="M0",
        family="cortex_m",
        machine="microbit",
        code_origin=0x0,
        code_bytes=256 * KIB,
        ram_origin=0x2000_0000,
        ram_bytes=16 * KIB,
        stack_bytes=1536,  # half more than the worst case, which the budgets hold
        has_fpu=False,
        unicorn=True,
        flags_gcc=_arm("cortex-m0"),
        flags_zig=_zig_arm("cortex_m0"),
        clock_hz=16_000_000,
    ),
    Board(
        name="mps2-an385",
        title="Arm MPS2 with Cortex-M3 (AN385)",
        cpu="cortex-m3",
        core="M3",
        family="cortex_m",
        machine="mps2-an385",
        code_origin=0x0,
        code_bytes=4 * MIB,
        ram_origin=0x2000_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=False,
        unicorn=True,
        flags_gcc=_arm("cortex-m3"),
        flags_zig=_zig_arm("cortex_m3"),
        clock_hz=25_000_000,
    ),
    Board(
        name="mps2-an386",
        title="Arm MPS2 with Cortex-M4 (AN386)",
        cpu="cortex-m4",
        core="M4",
        family="cortex_m",
        machine="mps2-an386",
        code_origin=0x0,
        code_bytes=4 * MIB,
        ram_origin=0x2000_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=True,
        unicorn=True,
        flags_gcc=_arm("cortex-m4"),
        flags_zig=_zig_arm("cortex_m4"),
        clock_hz=25_000_000,
    ),
    Board(
        name="mps2-an500",
        title="Arm MPS2 with Cortex-M7 (AN500)",
        cpu="cortex-m7",
        core="M7",
        family="cortex_m",
        machine="mps2-an500",
        code_origin=0x0,
        code_bytes=4 * MIB,
        ram_origin=0x2000_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=True,
        unicorn=True,
        flags_gcc=_arm("cortex-m7+nofp"),
        flags_zig=_zig_arm("cortex_m7"),
        clock_hz=25_000_000,
    ),
    Board(
        name="mps2-an505",
        title="Arm MPS2+ with Cortex-M33 (AN505)",
        cpu="cortex-m33",
        core="M33",
        family="cortex_m",
        machine="mps2-an505",
        code_origin=0x1000_0000,
        code_bytes=4 * MIB,
        ram_origin=0x3800_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=True,
        unicorn=True,
        flags_gcc=_arm("cortex-m33+nofp"),
        flags_zig=_zig_arm("cortex_m33+dsp"),
        clock_hz=20_000_000,
    ),
    Board(
        name="mps3-an547",
        title="Arm MPS3 with Cortex-M55 (AN547)",
        cpu="cortex-m55",
        core="M55",
        family="cortex_m",
        machine="mps3-an547",
        code_origin=0x0,
        code_bytes=512 * KIB,
        ram_origin=0x2100_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=True,
        unicorn=False,
        flags_gcc=_arm("cortex-m55+nofp", "softfp"),
        flags_zig=_zig_arm("cortex_m55+mve", "eabihf"),
        clock_hz=32_000_000,
    ),
    Board(
        name="riscv-virt",
        title="QEMU virt, RV32IMC",
        cpu="rv32imc",
        core="RV32",
        family="rv32",
        machine="virt",
        code_origin=0x8000_0000,
        code_bytes=4 * MIB - 4 * KIB,  # the last page is the guard below the stack
        ram_origin=0x8040_0000,
        ram_bytes=4 * MIB,
        stack_bytes=8 * KIB,
        has_fpu=False,
        unicorn=False,
        flags_gcc=("-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany", "-fno-jump-tables"),
        flags_zig=(
            "-target",
            "riscv32-freestanding-none",
            "-mcpu=generic_rv32+m+c",
            "-mcmodel=medany",
            "-fno-jump-tables",
        ),
        clock_hz=None,
    ),
    Board(
        name="host",
        title="this computer",
        cpu="host",
        core="host",
        family="host",
        machine=None,
        code_origin=0,
        code_bytes=0,
        ram_origin=0,
        ram_bytes=0,
        stack_bytes=0,
        has_fpu=True,
        unicorn=False,
        flags_gcc=(),
        flags_zig=(),
        clock_hz=None,
    ),
)

BOARDS: dict[str, Board] = {board.name: board for board in _ALL}


def get_board(name: str) -> Board:
    """Board by name.

    Raises: HarnessError naming the boards there are.
    """
    if name not in BOARDS:
        raise HarnessError(f"unknown board {name!r}; there are: {', '.join(BOARDS)}")
    return BOARDS[name]
