# SPDX-License-Identifier: Apache-2.0
"""Builds: reproducible, cached, strict, and bounded by the board's memories."""

import dataclasses
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.callgraph import read_functions
from device.harness.errors import BuildError, FirmwareTooLargeError
from device.harness.firmware import Firmware
from device.harness.toolchain import Kind, find_toolchain

BuildEcho = Callable[..., Firmware]
WriteSources = Callable[..., Path]
Kept = Callable[[str, str, str], dict[str, str]]

BIG_BUFFERS = (
    "#ifndef HADAPT_CONFIG_H\n#define HADAPT_CONFIG_H\n#define HAD_WIRE_MAX_BYTES {}U\n#endif\n"
)


@pytest.mark.parametrize(
    ("board", "kind"),
    [("microbit", "gcc"), ("mps3-an547", "zig"), ("riscv-virt", "gcc"), ("host", "gcc")]
    + [("host", "clang"), ("host", "zig")],
)
def test_build_same_content_elsewhere_gives_same_bytes(
    board: str, kind: Kind, write_sources: WriteSources, tmp_path: Path
) -> None:
    target = BOARDS[board]
    toolchain = find_toolchain(target, kind)
    one = build(write_sources(target), target, toolchain, tmp_path / "one")
    two = build(write_sources(target), target, toolchain, tmp_path / "another" / "place")
    assert one.sha256 == two.sha256
    assert str(tmp_path.parent).encode() not in one.elf.read_bytes()


def test_build_second_time_does_not_compile(write_sources: WriteSources, cache: Path) -> None:
    board = BOARDS["microbit"]
    toolchain = find_toolchain(board, "gcc")
    sources = write_sources(board)
    first = build(sources, board, toolchain, cache)
    broken = dataclasses.replace(toolchain, command=("/bin/false",))
    assert build(sources, board, broken, cache) == first


@pytest.mark.parametrize("change", ["define", "source", "opt"])
def test_build_changed_input_gives_another_firmware(
    change: str, write_sources: WriteSources, cache: Path
) -> None:
    board = BOARDS["microbit"]
    toolchain = find_toolchain(board, "gcc")
    sources = write_sources(board)
    first = build(sources, board, toolchain, cache)
    if change == "source":
        (sources / "hadapt_config.h").write_text(BIG_BUFFERS.format(64))
    opt = "-Os" if change == "opt" else "-O2"
    defines = ["ECHO_NO_RECURSION"] if change == "define" else []
    assert build(sources, board, toolchain, cache, opt=opt, defines=defines).sha256 != first.sha256


def test_build_in_parallel_gives_one_result(write_sources: WriteSources, tmp_path: Path) -> None:
    board = BOARDS["mps2-an385"]
    toolchain = find_toolchain(board, "gcc")
    sources = write_sources(board)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: build(sources, board, toolchain, tmp_path), range(4)))
    assert len({f.elf for f in made}) == 1
    assert [p.name for p in tmp_path.iterdir()] == [made[0].elf.parent.name]


@pytest.mark.parametrize("opt", ["-O0", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize(
    ("board", "kind"),
    [("microbit", "gcc"), ("mps3-an547", "gcc"), ("riscv-virt", "gcc")]
    + [("host", "gcc"), ("host", "clang")],
)
def test_build_port_is_clean_at_every_level(
    board: str, kind: Kind, opt: str, build_echo: BuildEcho
) -> None:
    assert build_echo(board, kind, opt=opt).flash_bytes > 0


def test_build_warning_is_an_error_with_its_log(build_echo: BuildEcho) -> None:
    source = "int narrow(long x);\nint narrow(long x) { char c = x; return c; }\n"
    with pytest.raises(BuildError) as caught:
        build_echo("host", "gcc", {"bad.c": source})
    assert "compiling bad.c for host failed" in str(caught.value)
    assert "-Werror=conversion" in caught.value.log


def test_build_undefined_symbol_is_a_link_error(build_echo: BuildEcho) -> None:
    with pytest.raises(BuildError, match="undefined reference to `had_wire_boot'"):
        build_echo("host", "gcc", {"wire.c": "typedef int nothing;\n"})


def test_build_failed_leaves_nothing_behind(write_sources: WriteSources, tmp_path: Path) -> None:
    board = BOARDS["host"]
    sources = write_sources(board, {"bad.c": "#error no\n"})
    with pytest.raises(BuildError):
        build(sources, board, find_toolchain(board, "gcc"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["gcc", "zig"])
def test_build_too_much_ram_says_by_how_many_bytes(kind: Kind, build_echo: BuildEcho) -> None:
    fits = build_echo("microbit", kind, {"hadapt_config.h": BIG_BUFFERS.format(6144)})
    with pytest.raises(FirmwareTooLargeError) as caught:
        build_echo("microbit", kind, {"hadapt_config.h": BIG_BUFFERS.format(8192)})
    needed = fits.ram_bytes + 2 * (8192 - 6144)
    assert caught.value.memory == "ram"
    assert caught.value.overflow_bytes == needed - 16384
    assert f"ram of microbit is too small by {needed - 16384} bytes" in str(caught.value)


def test_build_without_link_script_is_refused(write_sources: WriteSources, cache: Path) -> None:
    board = BOARDS["microbit"]
    sources = write_sources(board)
    (sources / "port" / "link.ld").unlink()
    with pytest.raises(BuildError, match="port/link.ld is missing"):
        build(sources, board, find_toolchain(board, "gcc"), cache)


def test_build_empty_folder_is_refused(tmp_path: Path) -> None:
    board = BOARDS["host"]
    with pytest.raises(BuildError, match="no C file"):
        build(tmp_path, board, find_toolchain(board), tmp_path / "out")


def test_build_for_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not build for microbit"):
        build(tmp_path, BOARDS["microbit"], find_toolchain(BOARDS["host"]), tmp_path)


def test_build_sanitizers_on_a_device_are_refused(tmp_path: Path) -> None:
    board = BOARDS["microbit"]
    with pytest.raises(BuildError, match="host only"):
        build(tmp_path, board, find_toolchain(board), tmp_path, sanitize=True)


def test_build_sizes_agree_with_binutils(build_echo: BuildEcho) -> None:
    firmware = build_echo("mps2-an386")
    listing = subprocess.run(
        ["arm-none-eabi-size", "-A", str(firmware.elf)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    sizes = {row[0]: int(row[1]) for row in rows if row and row[0].startswith(".")}
    in_flash = sizes[".text"] + sizes[".rodata"] + sizes[".data"]
    in_ram = sizes[".stack"] + sizes[".data"] + sizes[".bss"]
    assert in_flash <= firmware.flash_bytes <= in_flash + 8
    assert in_ram <= firmware.ram_bytes <= in_ram + 8


@pytest.mark.parametrize("kind", ["gcc", "zig"])
def test_build_word_copy_is_no_call(kind: Kind, kept: Kept, build_echo: BuildEcho) -> None:
    """Builtins stay on: memcpy of four bytes is one load and one store."""
    source = "#include <stdint.h>\n#include <string.h>\nextern volatile uint32_t had_word;\n"
    source += "extern uint8_t had_bytes[8];\nvolatile uint32_t had_word;\nuint8_t had_bytes[8];\n"
    source += "void word(void);\nvoid word(void)\n"
    source += "{ uint32_t v; memcpy(&v, &had_bytes[1], 4); had_word = v; }\n"
    firmware = build_echo("mps2-an386", kind, kept("mps2-an386", source, "word"))
    code = {f.symbol.name: f for f in read_functions(firmware.elf).values()}["word"]
    assert code.calls == set()
