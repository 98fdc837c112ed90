# SPDX-License-Identifier: Apache-2.0
"""Generated folders and built firmwares, cached by content."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from codegen.field import Field
from codegen.generate import generate, generate_network
from device.harness.boards import BOARDS, Board
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import Backend, open_device, qemu_command
from device.harness.ed25519 import ed25519_files
from device.harness.elf import EM_ARM, EM_RISCV, flash_image, write_elf
from device.harness.errors import (
    DeviceError,
    FirmwareTooLargeError,
    HarnessError,
    ToolchainMissingError,
)
from device.harness.firmware import Firmware
from device.harness.toolchain import find_toolchain
from device.harness.transport import Transport
from device.twin.inference import AnyModel, InferenceModel
from device.twin.model import IntModel
from server.errors import (
    DeviceFailedError,
    HadaptError,
    InvalidInputError,
    Issue,
    ModelDoesNotFitError,
    ToolMissingError,
)
from server.learning.counting import COUNTING
from server.learning.parts import PARTS, find_part
from server.learning.ports import BoardInfo

# Staging memory of a host learner, in samples: few sizes, so that few builds are needed.
STAGING_SIZES = (64, 512, 4096, 32768)
_HOST = BOARDS["host"]


def get_board(name: str) -> Board:
    """What firmware can be made for: a board, a part, or either with less memory (`find_part`).

    Raises: InvalidInputError that lists what there is.
    """
    return find_part(name).board()


def device_board(name: str) -> Board:
    """What an emulated device runs on: `host` for the host build, or as in get_board."""
    return _HOST if name == _HOST.name else get_board(name)


def write_sources(model: AnyModel, board: Board, cache: Path, trace: bool = False) -> Path:
    """Folder of the generated sources, made once per content."""
    if isinstance(model, InferenceModel):
        return write_once(generate_network(model, board, trace), cache)
    return write_once(generate(model, board, trace), cache)


def field_sources(
    model: IntModel, board: Board, cache: Path, in_file: bool = True
) -> dict[str, bytes]:
    """Sources of a field device (SPEC.md 12, 13) with its signature check, which is fetched once.

    Boards keep the committed masters in flash alone (SPEC.md 12.5), hosts in RAM too.

    Args:
        in_file: its flash is a file, else RAM of the emulator.
    Raises: GenerateError, ToolchainMissingError.
    """
    field = Field(flash_in_file=in_file, committed_in_flash=not board.is_host)
    return {**generate(model, board, field=field), **ed25519_files(cache / "third_party")}


def write_once(files: dict[str, bytes], cache: Path) -> Path:
    """Folder of files, made once per content."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    folder = cache / "sources" / digest.hexdigest()[:32]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, content in files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    try:
        draft.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def build_firmware(
    model: AnyModel,
    board: Board,
    cache: Path,
    defines: tuple[str, ...] = (),
    trace: bool = False,
) -> Firmware:
    """The linked firmware of a model, built once per content; `trace` as in `generate`.

    Raises: ModelDoesNotFitError, ToolMissingError.
    """

    def write(target: Board) -> Path:
        return write_sources(model, target, cache, trace)

    def advice(error: FirmwareTooLargeError) -> str | None:
        found = _fitting(write, board, cache, error)
        held = signal_ram(model) if error.memory == "ram" else ""
        return found and found + held

    with service_errors(advice):
        toolchain = find_toolchain(board)
        sources = write(board)
        # A build that counts does few steps: it should be there soon rather than be fast.
        opt = "-O1" if COUNTING in defines else "-O3" if board.is_host else "-O2"
        return build(
            sources,
            board,
            toolchain,
            cache / "builds",
            opt=opt,
            defines=defines,
            march="native" if board.is_host else "",
        )


def signal_ram(model: AnyModel) -> str:
    """What a refusal for RAM says of a raw signal, which is held whole; empty without one."""
    if model.signal is None:
        return ""
    return (
        f" (the raw signal alone takes {2 * model.inputs} bytes: {model.inputs} values of 16 bits)"
    )


def build_field(model: IntModel, board: Board, cache: Path, in_file: bool = True) -> Firmware:
    """The linked firmware of a field device, built once per content; arguments of field_sources.

    Raises: ModelDoesNotFitError, ToolMissingError.
    """

    def write(target: Board) -> Path:
        return write_once(field_sources(model, target, cache, in_file), cache)

    with service_errors(lambda error: _fitting(write, board, cache, error)):
        return build(write(board), board, find_toolchain(board), cache / "builds")


def stored_image(binary: bytes, board: Board, cache: Path) -> Firmware:
    """A firmware that was delivered as field_binary gives it, ready to run."""
    digest = hashlib.sha256(binary).hexdigest()
    path = cache / "images" / digest / "firmware.elf"
    if not path.exists():
        machine = EM_RISCV if board.family == "rv32" else EM_ARM
        data = binary if board.is_host else write_elf(binary, board.code_origin, machine)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o755)
        os.replace(file.name, path)
    return Firmware(path, digest, board.name, "", "", len(binary), 0, {}, ())


def field_binary(model: IntModel, board: Board, cache: Path) -> bytes:
    """A field device's firmware as it is flashed; on the host the executable."""
    elf = build_field(model, board, cache).elf
    return elf.read_bytes() if board.is_host else flash_image(elf, board.code_origin)


def _fitting(
    write: Callable[[Board], Path], refused: Board, cache: Path, error: FirmwareTooLargeError
) -> str | None:
    """The board, or part if a part was refused, with the least memory that holds the sources."""
    kind = "board" if refused.name in BOARDS else "part"
    if kind == "board":
        others = [b for b in BOARDS.values() if not b.is_host]
    else:
        others = [part.board() for part in PARTS.values()]
    needed = _size(refused, error.memory) + error.overflow_bytes
    others = [b for b in others if _size(b, error.memory) >= needed]
    for board in sorted(others, key=lambda b: (b.ram_bytes, b.code_bytes)):
        try:
            build(write(board), board, find_toolchain(board), cache / "builds")
        except (FirmwareTooLargeError, ToolchainMissingError):
            continue
        return f"{kind} {board.name} fits"
    return None


def _size(board: Board, memory: str) -> int:
    return board.ram_bytes if memory == "ram" else board.code_bytes


def _no_advice(error: FirmwareTooLargeError) -> str | None:
    return None


@contextmanager
def service_errors(
    fitting: Callable[[FirmwareTooLargeError], str | None] = _no_advice,
) -> Iterator[None]:
    """Turn the harness's errors into the service's; `fitting` says what holds the firmware."""
    try:
        yield
    except HadaptError:
        raise
    except FirmwareTooLargeError as error:
        advice = fitting(error) or "nothing known fits; make the model smaller"
        raise ModelDoesNotFitError(
            f"The firmware needs {error.overflow_bytes} bytes of {error.memory} more than "
            f"{error.board} has; {advice}.",
            [
                Issue(
                    f"{error.overflow_bytes} bytes too many",
                    f"{error.board} {error.memory}",
                    advice,
                )
            ],
        ) from error
    except ToolchainMissingError as error:
        what, _, remedy = str(error).partition("; ")
        issue = Issue(what, "tools of this machine", remedy or "it is installed")
        raise ToolMissingError(str(error), [issue]) from error
    except DeviceError as error:
        last = getattr(error, "last_output", "")
        detail = f"{error}" + (f" Last output: {last}" if last else "")
        raise DeviceFailedError(
            detail,
            [Issue(type(error).__name__, "device", "a reply within the time limit")],
        ) from error
    except HarnessError as error:
        raise DeviceFailedError(str(error)) from error


def staging_for(samples: int) -> int:
    """Staging slots of the host learner that takes in `samples` samples.

    Raises: InvalidInputError if there are too many.
    """
    for size in STAGING_SIZES:
        if samples <= size:
            return size
    raise InvalidInputError(
        f"A session takes at most {STAGING_SIZES[-1]} samples.",
        [Issue(f"{samples} samples", "samples", f"at most {STAGING_SIZES[-1]}")],
    )


@contextmanager
def host_learner(
    model: IntModel, samples: int, cache: Path, more: tuple[str, ...] = ()
) -> Iterator[DeviceClient]:
    """The host build of the model's firmware, freshly booted, with room for `samples`.

    It can distil whether the firmware can or not: that is no part of the state.
    """
    slots = max(model.staging_slots, staging_for(samples))
    defines = (f"HAD_STAGING_SLOTS={slots}U", "HAD_DISTILLATION=1", *more)
    firmware = build_firmware(model, _HOST, cache, defines)
    with service_errors(), open_device(firmware, _HOST, "host") as transport:
        yield DeviceClient(transport)


def backend_for(board: Board) -> Backend:
    """QEMU where it is installed, else Unicorn where it can run the core."""
    name = "qemu-system-riscv32" if board.family == "rv32" else "qemu-system-arm"
    if board.machine is not None and shutil.which(name):
        return "qemu"
    return "unicorn" if board.unicorn else "qemu"


@contextmanager
def emulated_device(firmware: Firmware, board: Board) -> Iterator[tuple[DeviceClient, Transport]]:
    """A running emulated device and its transport."""
    with (
        service_errors(),
        open_device(firmware, board, backend_for(board)) as transport,
    ):
        yield DeviceClient(transport), transport


def cache_folder() -> Path:
    """Where sources and builds are kept: HADAPT_CACHE_DIR, or the user's cache folder."""
    named = os.environ.get("HADAPT_CACHE_DIR")
    base = Path(named) if named else Path.home() / ".cache" / "hadapt"
    base.mkdir(parents=True, exist_ok=True)
    return base


def clean_up_cache(cache: Path, oldest: float) -> None:
    """Remove unfinished sources and builds of killed processes, older than a time."""
    for pattern in ("sources/tmp*", "builds/.build-*", "images/*/tmp*"):
        for path in cache.glob(pattern):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < oldest:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def board_info(board: Board) -> BoardInfo:
    """A board, and what is missing to build and run for it."""
    missing = None
    try:
        find_toolchain(board)
    except ToolchainMissingError as error:
        missing = str(error)
    if missing is None and backend_for(board) == "qemu" and not _has_qemu(board):
        missing = f"no emulator for {board.cpu}: install QEMU"
    return BoardInfo(
        name=board.name,
        title=board.title,
        cpu=board.cpu,
        flash_bytes=board.code_bytes,
        ram_bytes=board.ram_bytes,
        available=missing is None,
        missing=missing,
    )


def _has_qemu(board: Board) -> bool:
    try:
        qemu_command(Path("firmware.elf"), board)
    except ToolchainMissingError:
        return False
    return True


def with_names(sources: dict[str, bytes], class_names: Sequence[str]) -> dict[str, bytes]:
    """Sources whose manifest names the classes that the learner knows, if any are given.

    The model's own names are bound to its identity, and so to every state; these are not.
    """
    if not class_names:
        return sources
    manifest = {**json.loads(sources["manifest.json"]), "class_names": list(class_names)}
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    return {**sources, "manifest.json": text.encode()}
