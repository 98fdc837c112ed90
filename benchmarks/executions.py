# SPDX-License-Identifier: Apache-2.0
"""The ways to execute a model: the twin, host builds, and firmware in the emulators."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import Subject
from benchmarks.scenario import Learner
from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS, Board
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import Backend, open_device, qemu_command
from device.harness.errors import HarnessError, ToolchainMissingError
from device.harness.firmware import Firmware
from device.harness.toolchain import Kind, find_toolchain
from device.twin.learner import TwinLearner
from server.learning.firmwares import write_sources

DEFAULT_OPT = "-O2"
LEVELS = ("-O0", "-O2", "-O3", "-Os")
HOST_KINDS: tuple[Kind, ...] = ("gcc", "clang", "zig")
TARGETS = tuple(board for board in BOARDS.values() if not board.is_host)


@dataclass(frozen=True)
class Execution:
    """A way to execute a firmware.

    Attributes:
        backend: host, qemu or unicorn.
        board: where it runs.
        kind: compiler.
        opt: optimisation flag.
        sanitize: with address and undefined-behaviour sanitizers (zig: only the latter).
        march: instruction set of a host build, see device.harness.build.
    """

    backend: Backend
    board: Board
    kind: Kind
    opt: str = DEFAULT_OPT
    sanitize: bool = False
    march: str = ""

    @property
    def label(self) -> str:
        """Short name for tables."""
        march = f" {self.march}" if self.march else ""
        suffix = " sanitized" if self.sanitize else ""
        return f"{self.backend} {self.board.name} {self.kind} {self.opt}{march}{suffix}"

    def build(self, subject: Subject, cache: Path, sources: Path | None = None) -> Firmware:
        """The firmware of a subject.

        Args:
            sources: a generated folder to use in place of the subject's own.
        Raises: ToolchainMissingError, BuildError.
        """
        toolchain = find_toolchain(self.board, self.kind)
        folder = sources or write_sources(subject.model, self.board, cache)
        return build(
            folder,
            self.board,
            toolchain,
            cache / "builds",
            opt=self.opt,
            defines=subject.defines,
            sanitize=self.sanitize,
            march=self.march,
        )

    @contextmanager
    def boot(self, firmware: Firmware) -> Iterator[DeviceClient]:
        """A freshly booted device."""
        with open_device(firmware, self.board, self.backend, count=False) as transport:
            yield DeviceClient(transport)

    def missing(self) -> str | None:
        """What this machine lacks for it, in one line; None if it can run here."""
        try:
            find_toolchain(self.board, self.kind)
            if self.backend == "qemu":
                qemu_command(Path("firmware.elf"), self.board)
        except ToolchainMissingError as error:
            return str(error)
        except HarnessError as error:
            return f"{self.label}: {error}"
        return None


@contextmanager
def boot_twin(subject: Subject) -> Iterator[Learner]:
    """The twin, freshly made; it counts if the subject's builds do."""
    yield TwinLearner(subject.model, counters="HAD_COUNTERS" in subject.defines)


def short_executions() -> list[Execution]:
    """Three host builds, one of them sanitized, and every board once."""
    host = BOARDS["host"]
    hosts = [
        Execution("host", host, "gcc", "-O3", march="native"),
        Execution("host", host, "clang", "-O1", sanitize=True),
        Execution("host", host, "zig", "-O2"),
    ]
    return hosts + [Execution(*_emulator(board)) for board in TARGETS]


def _emulator(board: Board) -> tuple[Backend, Board, Kind]:
    """QEMU and GCC; without them Unicorn and zig, where these can."""
    with_qemu = Execution("qemu", board, "gcc")
    if with_qemu.missing() is None or not board.unicorn:
        return "qemu", board, "gcc"
    return "unicorn", board, find_toolchain(board).kind


def long_executions() -> list[Execution]:
    """Every compiler at every level on the host, sanitizers, and each board on each emulator."""
    host = BOARDS["host"]
    hosts = [Execution("host", host, kind, opt) for kind in HOST_KINDS for opt in LEVELS]
    hosts += [Execution("host", host, kind, "-O1", sanitize=True) for kind in HOST_KINDS]
    hosts += [Execution("host", host, kind, "-O3", march="native") for kind in HOST_KINDS]
    kinds: tuple[Kind, ...] = ("gcc", "zig")
    boards = [Execution("qemu", board, kind) for board in TARGETS for kind in kinds]
    boards += [Execution("qemu", board, "gcc", opt) for board in TARGETS for opt in ("-Os", "-O3")]
    boards += [Execution("unicorn", b, kind) for b in TARGETS if b.unicorn for kind in kinds]
    return hosts + boards


def planted_sources(subject: Subject, folder: Path, file: str, old: str, new: str) -> Path:
    """Generated host sources with one planted error.

    Args:
        folder: to write to.
        file: path in the generated folder.
        old: text in it; its first occurrence becomes `new`.
    Raises: ValueError if the file does not have the text.
    """
    files = generate(subject.model, BOARDS["host"])
    text = files[file].decode()
    if old not in text:
        raise ValueError(f"{file} has no {old!r}: plant the error elsewhere")
    return write_folder({**files, file: text.replace(old, new, 1).encode()}, folder)
