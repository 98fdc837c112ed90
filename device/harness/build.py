# SPDX-License-Identifier: Apache-2.0
"""Compiling a generated folder into a firmware, once per content."""

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from device.harness import firmware as fw
from device.harness.boards import Board
from device.harness.elf import text_bytes
from device.harness.errors import BuildError, FirmwareTooLargeError
from device.harness.firmware import Firmware, Frame
from device.harness.port import LINK_SCRIPT
from device.harness.run import run_limited
from device.harness.toolchain import Toolchain

COMPILE_LIMIT_S = 300.0
ZIG_GLIBC = "2.31"  # oldest C library the host build runs on; zig has none of its own to build then
RECIPE = 4  # raise it when flags change in a way the key below does not see
INCLUDE_FOLDERS = ("include", "runtime/include")
FREESTANDING = "port/freestanding"
COLD = "had_cold.h"  # included by what is built for size

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
_COMMON = ("-std=c11", "-g0", "-ffunction-sections", "-fdata-sections", *WARNINGS)
# Freestanding with builtins on: without them memcpy of a word is a call and not a load. Clang
# drops builtins whenever it is told freestanding; its own headers work either way.
_BARE = ("-fno-common", "-fno-stack-protector", "-fno-unwind-tables")
_BARE_GCC = ("-ffreestanding", "-fbuiltin", "-fstack-usage")
_BARE_ZIG = ("-fhosted", "-fbuiltin", "-fno-sanitize=all", "-fomit-frame-pointer")
_SANITIZE = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
_SANITIZE_ZIG = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
_OVERFLOW = re.compile(r"region [`'](\w+)'(?::)? overflowed by (\d+) bytes")


@dataclass(frozen=True, slots=True)
class _Job:
    """One build, from sources to a temporary folder."""

    sources: Path
    folder: Path
    board: Board
    toolchain: Toolchain
    opt: str
    defines: tuple[str, ...]
    sanitize: bool
    march: str


def build(
    sources: Path,
    board: Board,
    toolchain: Toolchain,
    out: Path,
    *,
    opt: str = "-O2",
    defines: Sequence[str] = (),
    sanitize: bool = False,
    march: str = "",
) -> Firmware:
    """Compile and link every `.c` below a generated folder; answer from `out` if built before.

    The ELF is a function of the folder's content, board, compiler version and options: neither the
    time nor a path of this machine gets in. Safe to call from several threads and processes.

    Args:
        sources: folder with all `.c`, `.h` and `port/link.ld` (see port.port_files). Include paths
            are the folder itself, and `include` and `runtime/include` in it.
        board: target.
        toolchain: from find_toolchain(board).
        out: cache folder, created at need; the result lies in a subfolder named by content.
        opt: -O0, -O1, -O2, -O3 or -Os.
        defines: preprocessor definitions, NAME or NAME=VALUE.
        sanitize: address and undefined-behaviour sanitizers, host only (with zig only the latter).
        march: instruction set of the host build, as GCC names it: `native` for all that this
            machine's processor has (processors that have others get builds of their own in the
            cache), `x86-64-v3`; empty: what every processor of the family runs.
    Returns: the firmware.
    Raises: BuildError with the compiler's log; FirmwareTooLargeError if a memory is too small.
    """
    if toolchain.family != board.family:
        raise BuildError(f"{toolchain.version} does not build for {board.name}")
    if sanitize and not board.is_host:
        raise BuildError("sanitizers run on the host only")
    if march and not board.is_host:
        raise BuildError("the instruction set of a board is its own")
    processor = _processor() if march == "native" else ""
    options = (opt, *sorted(defines), f"sanitize={sanitize}", f"march={march} {processor}")
    key = _key(sources, board, toolchain, options)
    final = out.resolve() / key
    if not (final / fw.META_NAME).is_file():
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".build-") as name:
            job = _Job(sources, Path(name), board, toolchain, opt, tuple(defines), sanitize, march)
            _publish(_compile_and_link(job), final)
    return fw.load(final)


@functools.cache
def _processor() -> str:
    """What instructions this machine's processor has: the lists that Linux gives, sorted."""
    names = ("flags", "Features", "model name", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    return "\n".join(sorted({line for line in lines if line.startswith(names)}))


def _key(sources: Path, board: Board, toolchain: Toolchain, options: tuple[str, ...]) -> str:
    """Digest of all that decides the ELF."""
    digest = hashlib.sha256()
    head = (RECIPE, repr(board), toolchain.kind, toolchain.version, options)
    digest.update(json.dumps(head).encode())
    for path in sorted(p for p in sources.rglob("*") if p.is_file()):
        digest.update(json.dumps(path.relative_to(sources).as_posix()).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _compile_and_link(job: _Job) -> Path:
    files = sorted(p.relative_to(job.sources).as_posix() for p in job.sources.rglob("*.c"))
    if not files:
        raise BuildError(f"no C file below {job.sources.name}")
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(lambda file: _compile(job, file), files))
    result = job.folder / "result"
    result.mkdir()
    _link(job, objects, result)
    sizes = {file: text_bytes(o) for file, o in zip(files, objects, strict=True)}
    frames = tuple(frame for o in objects for frame in _read_frames(o.with_suffix(".su")))
    fw.save(fw.describe(result, job.board, job.toolchain.version, job.opt, sizes, frames))
    return result


def _compile(job: _Job, file: str) -> Path:
    target = job.folder / "objects" / Path(file).with_suffix(".o")
    target.parent.mkdir(parents=True, exist_ok=True)
    arguments = [*_COMMON, *_target_flags(job), _level(job, file), *_includes(job)]
    arguments += [f"-D{define}" for define in job.defines]
    arguments += [f"-ffile-prefix-map={job.folder}=.", "-c", file, "-o", str(target)]
    _run(job, arguments, f"compiling {file} for {job.board.name} failed")
    return target


def _level(job: _Job, file: str) -> str:
    """-Os where a file of the runtime asks for it, as the Makefile has it."""
    optimised = job.opt in ("-O2", "-O3") and job.toolchain.kind == "gcc"
    if optimised and not job.board.is_host and COLD in (job.sources / file).read_text():
        return "-Os"
    return job.opt


def _link(job: _Job, objects: list[Path], result: Path) -> None:
    # Relative names, so that the map holds no path of this machine.
    names = [o.relative_to(job.folder).as_posix() for o in objects]
    # Always -O2: zig builds its helper library once per level, and no object is compiled here.
    arguments = [*_target_flags(job), "-O2", *names, "-o", f"result/{fw.ELF_NAME}"]
    arguments += ["-Wl,--gc-sections", *_link_flags(job)]
    _run(job, arguments, f"linking for {job.board.name} failed", cwd=job.folder)


def _link_flags(job: _Job) -> list[str]:
    flags = ["-Wl,--build-id=none"]
    if job.toolchain.kind != "zig":
        flags.append(f"-Wl,-Map=result/{fw.MAP_NAME}")
    if job.board.is_host:
        # zig compiles the C library's start files once, with their folder as debug information.
        return [*flags, "-s"] if job.toolchain.kind == "zig" else flags
    script = job.sources / LINK_SCRIPT
    if not script.is_file():
        raise BuildError(f"{LINK_SCRIPT} is missing; write port_files(board) into the folder")
    shutil.copyfile(script, job.folder / "link.ld")
    flags += ["-Wl,-T,link.ld", "-Wl,-e,Reset_Handler"]
    if job.toolchain.kind == "gcc":
        flags += ["-nostdlib", "-lgcc", "-Wl,--fatal-warnings", "-Wl,--no-warn-rwx-segments"]
    return flags


def _target_flags(job: _Job) -> tuple[str, ...]:
    if job.board.is_host:
        return _host_flags(job)
    if job.toolchain.kind == "zig":
        return (*job.board.flags_zig, *_BARE, *_BARE_ZIG)
    return (*job.board.flags_gcc, *_BARE, *_BARE_GCC)


def _host_flags(job: _Job) -> tuple[str, ...]:
    if job.toolchain.kind != "zig":
        march = (f"-march={job.march}",) if job.march else ()
        return (*march, *(_SANITIZE if job.sanitize else ()))
    cpu = job.march.replace("-", "_") or "baseline"
    target = ("-target", f"{platform.machine()}-linux-gnu.{ZIG_GLIBC}", f"-mcpu={cpu}")
    return (*target, *(_SANITIZE_ZIG if job.sanitize else ("-fno-sanitize=all",)))


def _includes(job: _Job) -> list[str]:
    folders = ["."] + [f for f in INCLUDE_FOLDERS if (job.sources / f).is_dir()]
    if not job.board.is_host:
        folders.append(FREESTANDING)
    return [f"-I{folder}" for folder in folders]


def _run(job: _Job, arguments: list[str], what: str, cwd: Path | None = None) -> None:
    command = [*job.toolchain.command, *arguments]
    try:
        done = run_limited(command, cwd=cwd or job.sources, timeout_s=COMPILE_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what}: no end after {COMPILE_LIMIT_S:g} s") from error
    except OSError as error:
        raise BuildError(f"{what}: {error}") from error
    if done.returncode != 0:
        _raise_too_large(job.board, done.stdout)
        raise BuildError(what, done.stdout)


def _raise_too_large(board: Board, log: str) -> None:
    over = [(int(count), region) for region, count in _OVERFLOW.findall(log)]
    if over:
        count, region = max(over)
        memory = "flash" if region == "CODE" else "ram"
        raise FirmwareTooLargeError(board.name, memory, count, log)


def _read_frames(su_file: Path) -> list[Frame]:
    """Lines of a .su file: `file:line:column:function <tab> bytes <tab> kind`."""
    if not su_file.is_file():
        return []
    frames = []
    for line in su_file.read_text().splitlines():
        place, size, kind = line.split("\t")
        source, _, _, function = place.rsplit(":", 3)
        frames.append(Frame(source, function, int(size), kind))
    return frames


def _publish(result: Path, final: Path) -> None:
    """Move the result to its place; another build of the same content may have been faster."""
    try:
        result.rename(final)
    except OSError:
        if not (final / fw.META_NAME).is_file():
            raise
