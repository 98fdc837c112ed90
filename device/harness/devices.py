# SPDX-License-Identifier: Apache-2.0
"""The ways to run a firmware: as a host process, in QEMU, or in Unicorn."""

import shutil
from pathlib import Path
from typing import Literal

from device.harness.boards import Board
from device.harness.counter import CountFile, build_plugin, by_function
from device.harness.elf import read_symbols
from device.harness.errors import HarnessError, ToolchainMissingError
from device.harness.firmware import Firmware
from device.harness.process import ProcessTransport
from device.harness.transport import Transport
from device.harness.unicorn_device import UnicornTransport

Backend = Literal["qemu", "unicorn", "host"]

_SYSTEMS = {
    "cortex_m": ("qemu-system-arm", "qemu-system-arm"),
    "rv32": ("qemu-system-riscv32", "qemu-system-misc"),
}


class HostTransport(ProcessTransport):
    """The host build, as a process."""

    def __init__(self, executable: Path, folder: Path | None = None) -> None:
        """Start it, in a folder that keeps its flash, if it has one.

        Raises: ToolchainMissingError if it cannot be started.
        """
        super().__init__([str(executable)], folder=folder)


class QemuTransport(ProcessTransport):
    """A firmware in QEMU: semihosting on QEMU's own standard input and output."""

    def __init__(
        self,
        elf: Path,
        board: Board,
        *,
        plugin_cache: Path | None = None,
        profile: bool = False,
        folder: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            elf: linked firmware.
            board: where it was built for.
            folder: keeps its flash, for builds with HAD_FLASH_FILE.
            plugin_cache: folder for the compiled plugin; None runs without counting.
            profile: count each instruction address too, for profile(); slower.
        Raises: ToolchainMissingError if QEMU, or for counting a host compiler, is missing.
        """
        command = qemu_command(elf, board)
        self._symbols_of = elf
        self._regions = 0
        self._counts: CountFile | None = None
        if plugin_cache is None:
            super().__init__(command, folder=folder)
            return
        plugin = build_plugin(plugin_cache)
        self._counts = CountFile(profile)
        command += ["-plugin", self._counts.plugin_argument(plugin)]
        try:
            super().__init__(command, (self._counts.descriptor,), folder)
        except ToolchainMissingError:
            self._counts.close()
            raise

    def exchange(self, command: int, payload: bytes = b"", timeout_s: float = 60.0) -> bytes:
        """See Transport.exchange."""
        self._regions = self._counts.regions() if self._counts and not self.is_closed else 0
        return super().exchange(command, payload, timeout_s)

    def instructions(self) -> int | None:
        """Instructions of the last exchange; None without plugin or if it marked no region."""
        if self._counts is None or self.is_closed or self._counts.regions() == self._regions:
            return None
        return self._counts.last()

    def executions(self) -> dict[int, int]:
        """Executions of each instruction address in the last exchange.

        Raises: ValueError if the transport was not started with profile=True.
        """
        if self._counts is None:
            raise ValueError("start the transport with profile=True and a plugin_cache")
        return self._counts.by_address()

    def profile(self) -> dict[str, int]:
        """Instructions per function in the last exchange, most first.

        Raises: ValueError if the transport was not started with profile=True.
        """
        return by_function(self.executions(), read_symbols(self._symbols_of))

    def close(self) -> None:
        """End QEMU and remove the count file."""
        super().close()
        if self._counts is not None:
            self._counts.close()


def qemu_command(elf: Path, board: Board) -> list[str]:
    """Command line of QEMU for a firmware.

    Raises: ToolchainMissingError with the package that has QEMU; HarnessError for a board it
        does not run.
    """
    if board.machine is None:
        raise HarnessError(f"QEMU does not run {board.name}")
    name, package = _SYSTEMS[board.family]
    path = shutil.which(name)
    if path is None:
        raise ToolchainMissingError(f"{name} is missing; get it with `apt install {package}`")
    bios = ["-bios", "none"] if board.family == "rv32" else []
    quiet = ["-display", "none", "-monitor", "none", "-serial", "none", "-no-reboot"]
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    return [path, "-M", board.machine, *bios, *quiet, *semihosting, "-kernel", str(elf)]


def open_device(
    firmware: Firmware,
    board: Board,
    backend: Backend = "qemu",
    *,
    count: bool = True,
    profile: bool = False,
    folder: Path | None = None,
) -> Transport:
    """Run a firmware and return the way to talk to it.

    Args:
        firmware: built for this board.
        board: its board.
        backend: "host" for the host build; "qemu" (all boards) or "unicorn" (M0 to M33).
        count: count instructions (emulators only); a little slower in QEMU, much in Unicorn.
        profile: per-function counts, QEMU only.
        folder: working folder, which keeps flash.bin of builds with HAD_FLASH_FILE; not Unicorn.
    Raises: ToolchainMissingError if the emulator is missing; HarnessError if the backend cannot
        run the board.
    """
    if firmware.board != board.name or (backend == "host") != board.is_host:
        raise HarnessError(f"backend {backend} cannot run {firmware.board} as {board.name}")
    if backend == "host":
        return HostTransport(firmware.elf, folder)
    if backend == "unicorn":
        return UnicornTransport(firmware.elf, board, count=count)
    cache = firmware.elf.parent.parent if count or profile else None
    return QemuTransport(firmware.elf, board, plugin_cache=cache, profile=profile, folder=folder)
