# SPDX-License-Identifier: Apache-2.0
"""Finding compilers: Debian's packages, or zig from the Python package `ziglang`."""

import functools
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

from device.harness.boards import Board, Family
from device.harness.errors import ToolchainMissingError

Kind = Literal["gcc", "clang", "zig"]

PROBE_LIMIT_S = 60.0

# Which command is the compiler of a kind for a family; zig is one command for all.
_COMMANDS: dict[tuple[Kind, Family], str] = {
    ("gcc", "host"): "gcc",
    ("clang", "host"): "clang",
    ("gcc", "cortex_m"): "arm-none-eabi-gcc",
    ("gcc", "rv32"): "riscv64-unknown-elf-gcc",
}
_PACKAGES = {
    "gcc": "gcc libc6-dev",
    "clang": "clang",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
}
_ORDER: tuple[Kind, ...] = ("gcc", "clang", "zig")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """One compiler for one family of boards.

    Attributes:
        kind: whose command line it takes.
        family: the boards it compiles for.
        command: how to start it.
        version: first line of its `--version`, without paths.
    """

    kind: Kind
    family: Family
    command: tuple[str, ...]
    version: str


def find_toolchain(board: Board, prefer: Kind | None = None) -> Toolchain:
    """The compiler for a board: the preferred kind, or the first there is (gcc, clang, zig).

    Raises: ToolchainMissingError, one line with the way to get it.
    """
    for kind in (prefer,) if prefer else _ORDER:
        command = _command(kind, board.family)
        if command is not None:
            return Toolchain(kind, board.family, command, _version(command))
    raise ToolchainMissingError(_advice(board, prefer))


def available_toolchains() -> tuple[Toolchain, ...]:
    """Every compiler found here, in the order of preference, families host, Cortex-M, RV32."""
    families: tuple[Family, ...] = ("host", "cortex_m", "rv32")
    found = []
    for family in families:
        for kind in _ORDER:
            command = _command(kind, family)
            if command is not None:
                found.append(Toolchain(kind, family, command, _version(command)))
    return tuple(found)


def _command(kind: Kind, family: Family) -> tuple[str, ...] | None:
    if kind == "zig":
        has_zig = importlib.util.find_spec("ziglang") is not None
        return (sys.executable, "-m", "ziglang", "cc") if has_zig else None
    name = _COMMANDS.get((kind, family))
    path = shutil.which(name) if name else None
    return (path,) if path else None


def _advice(board: Board, prefer: Kind | None) -> str:
    name = _COMMANDS.get((prefer or "gcc", board.family))
    if prefer != "zig" and name is None:
        return f"{prefer} does not build for {board.name}: use gcc or zig"
    ways = [] if prefer == "zig" else [f"`apt install {_PACKAGES[name or '']}`"]
    ways += ["`pip install ziglang`"] if prefer in (None, "zig") else []
    what = prefer if prefer == "zig" else name
    return f"no compiler for {board.name}: {what} is missing; get it with {' or '.join(ways)}"


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    zig = command[-1] == "cc"
    arguments = (*command[:-1], "version") if zig else (*command, "--version")
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainMissingError(f"{command[0]} is there but does not run: {error}") from error
    line = done.stdout.splitlines()[0].strip() if done.stdout else "unknown"
    return f"zig {line}" if zig else line
