# SPDX-License-Identifier: Apache-2.0
"""The port sources a generated folder needs for a board."""

from pathlib import Path

from device.harness.boards import Board

PORT_DIR = Path(__file__).resolve().parents[1] / "runtime" / "port"
INCLUDE_DIR = PORT_DIR.parent / "include"
LINK_SCRIPT = "port/link.ld"
STACK_ALIGN_BYTES = 8

_FLASH_FILES = ("flash_memory.c", "flash_faults.h", "flash_file.c", "file.h")
_DEVICE_FILES = (
    "main.c",
    "marks.c",
    "mem.c",
    "semihost.c",
    "semihost.h",
    "layout.h",
    *_FLASH_FILES,
)
_HOST_FILES = ("main.c", "marks.c", "host.c", *_FLASH_FILES)


def port_files(board: Board, stack_bytes: int | None = None) -> dict[str, bytes]:
    """Port sources and linker script of a board, ready to be written into a generated folder.

    Args:
        board: the target.
        stack_bytes: RAM set aside for the stack, a multiple of 8; the board's default if None.
    Returns: relative path (below `port/`) to content; the same bytes for the same arguments.
    Raises: ValueError if stack_bytes is not a positive multiple of 8.
    """
    if board.is_host:
        return {f"port/{name}": (PORT_DIR / name).read_bytes() for name in _HOST_FILES}
    files = {f"port/{name}": (PORT_DIR / name).read_bytes() for name in _DEVICE_FILES}
    files["port/startup.c"] = (PORT_DIR / board.family / "startup.c").read_bytes()
    files["port/freestanding/string.h"] = (PORT_DIR / "freestanding/string.h").read_bytes()
    files[LINK_SCRIPT] = link_script(board, stack_bytes).encode()
    return files


def link_script(board: Board, stack_bytes: int | None = None) -> str:
    """Linker script of a board: `link.ld.in` with the board's memory map filled in."""
    stack = board.stack_bytes if stack_bytes is None else stack_bytes
    if stack <= 0 or stack % STACK_ALIGN_BYTES:
        raise ValueError(f"stack_bytes must be a positive multiple of 8, not {stack}")
    values = {
        "BOARD": board.title,
        "CODE_ORIGIN": f"0x{board.code_origin:08X}",
        "CODE_BYTES": str(board.code_bytes),
        "RAM_ORIGIN": f"0x{board.ram_origin:08X}",
        "RAM_BYTES": str(board.ram_bytes),
        "STACK_BYTES": str(stack),
    }
    text = (PORT_DIR / "link.ld.in").read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text
