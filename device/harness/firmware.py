# SPDX-License-Identifier: Apache-2.0
"""A built firmware and what is known about it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from device.harness.boards import Board
from device.harness.elf import Symbol, flash_bytes, ram_bytes, read_symbols

ELF_NAME = "firmware.elf"
MAP_NAME = "firmware.map"
META_NAME = "firmware.json"


@dataclass(frozen=True, slots=True)
class Frame:
    """Stack of one function as GCC states it (-fstack-usage).

    Attributes:
        source: relative path of its file.
        function: its name, without a clone's suffix.
        bytes: of its frame.
        kind: static, dynamic, or "dynamic,bounded".
    """

    source: str
    function: str
    bytes: int
    kind: str


@dataclass(frozen=True)
class Firmware:
    """One linked firmware, or host executable.

    Attributes:
        elf: the linked file; its folder also holds the map, if the linker wrote one.
        sha256: lower-case hex digest of the ELF.
        board: name of its board.
        toolchain: version line of the compiler.
        opt: optimisation flag.
        flash_bytes: from the code origin to the last loaded byte; on the host a sum.
        ram_bytes: data, bss and the stack set aside; on the host without stack.
        object_text_bytes: instructions of each object file before unused sections are dropped.
        frames: stack frames as GCC states them; empty for other compilers.
    """

    elf: Path
    sha256: str
    board: str
    toolchain: str
    opt: str
    flash_bytes: int
    ram_bytes: int
    object_text_bytes: dict[str, int]
    frames: tuple[Frame, ...]

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """Functions and objects of the ELF, by address."""
        return read_symbols(self.elf)


def describe(
    folder: Path,
    board: Board,
    toolchain: str,
    opt: str,
    object_text_bytes: dict[str, int],
    frames: tuple[Frame, ...],
) -> Firmware:
    """Firmware from a folder that holds a fresh ELF."""
    elf = folder / ELF_NAME
    return Firmware(
        elf=elf,
        sha256=hashlib.sha256(elf.read_bytes()).hexdigest(),
        board=board.name,
        toolchain=toolchain,
        opt=opt,
        flash_bytes=flash_bytes(elf, None if board.is_host else board.code_origin),
        ram_bytes=ram_bytes(elf, None if board.is_host else board.ram_origin),
        object_text_bytes=object_text_bytes,
        frames=frames,
    )


def save(firmware: Firmware) -> None:
    """Write what is known beside the ELF."""
    values = asdict(firmware)
    del values["elf"]
    text = json.dumps(values, indent=1, sort_keys=True)
    (firmware.elf.parent / META_NAME).write_text(text + "\n")


def load(folder: Path) -> Firmware:
    """Firmware as saved in a folder.

    Raises: OSError or ValueError if the folder is not one that `save` wrote.
    """
    values = json.loads((folder / META_NAME).read_text())
    values["frames"] = tuple(Frame(**frame) for frame in values["frames"])
    return Firmware(elf=folder / ELF_NAME, **values)
