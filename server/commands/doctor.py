# SPDX-License-Identifier: Apache-2.0
"""The command that looks for compilers, emulators and the service's stores, and says what to do."""

import importlib.util
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import typer

from device.harness.boards import BOARDS, Board, Family
from device.harness.errors import ToolchainMissingError
from device.harness.toolchain import Kind, Toolchain, available_toolchains, find_toolchain
from server.commands.access import DataDir
from server.commands.console import (
    FAILED,
    AsJson,
    command,
    print_json,
    print_table,
)

QEMU = {
    "cortex_m": ("qemu-system-arm", "apt install qemu-system-arm"),
    "rv32": ("qemu-system-riscv32", "apt install qemu-system-misc"),
}
FAMILY_NAMES = {"host": "this computer", "cortex_m": "Arm Cortex-M", "rv32": "RISC-V 32"}


@dataclass(frozen=True)
class Finding:
    """A tool: what it is for, what was found, or how to get it."""

    tool: str
    purpose: str
    found: str | None
    remedy: str | None


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look for compilers, emulators and the service's stores; say how to get or mend what lacks.

    Of the service: settings, rights of the data folder, free disk, databases (reached, their
    schema), blobs, workers, signing keys. Nothing is changed, and nothing need be there yet. Exit
    code 1 if something of the service is wrong, or nothing here can build and run firmware.

    \b
    Examples:
      hadapt doctor
      hadapt doctor --data-dir /var/lib/hadapt
      hadapt doctor --json | jq -r '.tools[] | select(.found == null) | .remedy'
    """
    with command(as_json):
        # Loaded only now: the local commands need no database.
        from server.commands.doctor_service import check_service

        tools = [_python(), *_compilers(), *_emulators()]
        reach = {name: _reach(board) for name, board in BOARDS.items()}
        checks = check_service(data_dir)
        if as_json:
            found = [asdict(check) for check in checks]
            print_json(
                {"tools": [asdict(tool) for tool in tools], "boards": reach, "service": found}
            )
        else:
            _show(tools, reach)
            rows = [[c.name, c.state, c.found, c.remedy or ""] for c in checks]
            print_table("service", ("what", "state", "found", "what to do"), rows)
        nowhere = not any(runner is not None for runner in reach.values())
        if nowhere or any(check.state == "wrong" for check in checks):
            raise typer.Exit(FAILED)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", "everything", version, None)


def _compilers() -> list[Finding]:
    found = {(t.kind, t.family): t for t in available_toolchains()}
    wanted: list[tuple[Kind, Family]] = [
        ("gcc", "host"),
        ("clang", "host"),
        ("gcc", "cortex_m"),
        ("gcc", "rv32"),
        ("zig", "host"),
    ]
    return [_compiler(kind, family, found.get((kind, family))) for kind, family in wanted]


def _compiler(kind: Kind, family: Family, toolchain: Toolchain | None) -> Finding:
    remedies = {
        ("gcc", "host"): "apt install gcc libc6-dev",
        ("clang", "host"): "apt install clang",
        ("gcc", "cortex_m"): "apt install gcc-arm-none-eabi",
        ("gcc", "rv32"): "apt install gcc-riscv64-unknown-elf",
        ("zig", "host"): "pip install ziglang",
    }
    purpose = "all boards, without root" if kind == "zig" else FAMILY_NAMES[family]
    if toolchain is not None:
        return Finding(f"{kind} compiler", purpose, toolchain.version, None)
    return Finding(f"{kind} compiler", purpose, None, remedies[kind, family])


def _emulators() -> list[Finding]:
    findings = []
    for family, (name, remedy) in QEMU.items():
        path = shutil.which(name)
        findings.append(Finding(name, FAMILY_NAMES[family], path, None if path else remedy))
    for package, purpose in (("unicorn", "M0 to M33, without root"), ("capstone", "counting")):
        there = importlib.util.find_spec(package) is not None
        found = _package_version(package) if there else None
        findings.append(
            Finding(package, purpose, found, None if there else f"pip install {package}")
        )
    return findings


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def _reach(board: Board) -> str | None:
    """How a board's firmware can be built and run here, or None."""
    try:
        compiler = find_toolchain(board).kind
    except ToolchainMissingError:
        return None
    if board.is_host:
        return f"{compiler}, as a process"
    if shutil.which(QEMU[board.family][0]) and board.machine is not None:
        return f"{compiler}, QEMU"
    if board.unicorn and importlib.util.find_spec("unicorn") is not None:
        return f"{compiler}, Unicorn"
    return None


def _show(tools: list[Finding], reach: dict[str, str | None]) -> None:
    rows = [[t.tool, t.purpose, t.found or "missing", t.remedy or ""] for t in tools]
    print_table("tools", ("tool", "for", "found", "get it with"), rows)
    board_rows = [[name, how or "cannot be run here"] for name, how in reach.items()]
    print_table("boards", ("board", "built and run with"), board_rows)
