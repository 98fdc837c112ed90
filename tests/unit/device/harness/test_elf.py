# SPDX-License-Identifier: Apache-2.0
"""Reading ELF files: images, and the proof that no float is in them."""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import capstone
import pytest

from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.elf import check_no_float, flash_image, forbidden_symbols, thumb_size
from device.harness.errors import FloatFoundError
from device.harness.firmware import Firmware
from device.harness.toolchain import Kind, find_toolchain

DEVICES = [name for name, board in BOARDS.items() if not board.is_host]


Kept = Callable[[str, str, str], dict[str, str]]


def arithmetic(expression: str, kind: str) -> str:
    """A source whose function `plant` computes the expression from memory."""
    text = f"extern volatile {kind} had_planted[2];\nvolatile {kind} had_planted[2];\n"
    return text + f"void plant(void);\nvoid plant(void) {{ had_planted[0] = {expression}; }}\n"


@pytest.mark.parametrize("kind", ["gcc", "zig"])
@pytest.mark.parametrize("board", DEVICES)
def test_check_no_float_integer_firmware_passes(
    board: str, kind: Kind, build_echo: Callable[..., Firmware]
) -> None:
    check_no_float(build_echo(board, kind).elf)


@pytest.mark.parametrize(
    ("board", "kind", "c_type", "expression"),
    [
        ("microbit", "gcc", "float", "had_planted[0] * had_planted[1]"),
        ("microbit", "gcc", "double", "had_planted[0] + had_planted[1]"),
        ("mps2-an386", "gcc", "float", "had_planted[0] / had_planted[1]"),
        ("mps2-an386", "zig", "float", "had_planted[0] * had_planted[1]"),
        ("mps3-an547", "gcc", "double", "had_planted[0] * had_planted[1]"),
        ("mps3-an547", "zig", "float", "had_planted[0] * had_planted[1]"),
        ("riscv-virt", "gcc", "float", "had_planted[0] - had_planted[1]"),
        ("riscv-virt", "zig", "double", "had_planted[0] * had_planted[1]"),
    ],
)
def test_check_no_float_planted_arithmetic_is_found(
    board: str,
    kind: Kind,
    c_type: str,
    expression: str,
    build_echo: Callable[..., Firmware],
    kept: Kept,
) -> None:
    files = kept(board, arithmetic(expression, c_type), "plant")
    firmware = build_echo(board, kind, files)
    with pytest.raises(FloatFoundError, match="symbol __"):
        check_no_float(firmware.elf)


def test_check_no_float_fpu_instruction_is_found(
    write_sources: Callable[..., Path], cache: Path, kept: Kept
) -> None:
    board = dataclasses.replace(
        BOARDS["mps2-an386"],
        flags_gcc=("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    )
    source = arithmetic("had_planted[0] * had_planted[1]", "float")
    sources = write_sources(board, kept(board.name, source, "plant"))
    firmware = build(sources, board, find_toolchain(board, "gcc"), cache)
    with pytest.raises(FloatFoundError, match="instruction at 0x"):
        check_no_float(firmware.elf)


@pytest.mark.parametrize("name", ["malloc", "free", "_sbrk", "expf", "sqrt", "__aeabi_dmul"])
def test_forbidden_symbols_planted_function_is_named(
    name: str, build_echo: Callable[..., Firmware], kept: Kept
) -> None:
    text = f'void planted(void);\nvoid planted(void) __asm__("{name}");\n'
    text += "void planted(void) {}\n"
    firmware = build_echo("microbit", "gcc", kept("microbit", text, "planted"))
    assert forbidden_symbols(firmware.elf) == (name,)


def test_check_no_float_host_is_refused(build_echo: Callable[..., Firmware]) -> None:
    with pytest.raises(ValueError, match="no float check"):
        check_no_float(build_echo("host").elf)


@pytest.mark.parametrize("board", ["microbit", "mps2-an505"])
def test_flash_image_equals_objcopy(
    board: str, build_echo: Callable[..., Firmware], tmp_path: Path
) -> None:
    firmware = build_echo(board)
    raw = tmp_path / "raw.bin"
    command = ["arm-none-eabi-objcopy", "-O", "binary", "--gap-fill", "0xff"]
    subprocess.run([*command, str(firmware.elf), str(raw)], check=True)
    image = flash_image(firmware.elf, BOARDS[board].code_origin)
    assert image == raw.read_bytes()
    assert len(image) == firmware.flash_bytes


def test_thumb_size_agrees_with_capstone() -> None:
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    for half in range(0, 0x10000, 7):
        code = half.to_bytes(2, "little") + b"\x00\x00"
        for instruction in decoder.disasm(code, 0, 1):
            assert instruction.size == thumb_size(half)
