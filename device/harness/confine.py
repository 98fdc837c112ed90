# SPDX-License-Identifier: Apache-2.0
"""Limits for compilers and emulators: CPU, memory, file size, network, folder.

The service compiles its own sources, but names and sizes in them come from strangers' models. So
a worker runs each compiler and emulator under util-linux's `prlimit`, and, where the kernel
allows it, under `unshare` in an empty network of its own. `status` says what is in force.
"""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMPTY_PREFIX = "hadapt-empty-"


@dataclass(frozen=True)
class Limits:
    """Of one process; units in the names."""

    cpu_s: int = 900
    memory_bytes: int = 8 << 30
    file_bytes: int = 1 << 30
    open_files: int = 1024


_limits: Limits | None = None


def enable(limits: Limits | None = None) -> None:
    """Confine every compiler and emulator that this process starts from now on."""
    global _limits
    _limits = limits or Limits()


def disable() -> None:
    """Confine nothing any more; for tests."""
    global _limits
    _limits = None


def empty_folder() -> str | None:
    """Where a confined emulator runs: an empty folder, not to be written; None if not enabled."""
    return None if _limits is None else _make_empty_folder()


@functools.cache
def _make_empty_folder() -> str:
    _sweep()
    folder = tempfile.mkdtemp(prefix=f"{EMPTY_PREFIX}{os.getpid()}-")
    os.chmod(folder, 0o555)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep() -> None:
    """Remove the folders of processes that were killed: they are empty, and nobody's any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{EMPTY_PREFIX}*-*"):
        process = path.name.removeprefix(EMPTY_PREFIX).partition("-")[0]
        if process.isdecimal() and not Path("/proc", process).exists():
            with contextlib.suppress(OSError):
                path.rmdir()


def confined(command: Sequence[str]) -> list[str]:
    """The command under the limits; as it is if they are not enabled."""
    if _limits is None:
        return list(command)
    return [*_no_network(), *_prlimit(_limits), *command]


def status() -> str:
    """What is in force, in one line."""
    if _limits is None:
        return "compilers and emulators are not confined"
    limited = (
        "limits of CPU, memory and files" if shutil.which("prlimit") else "no limits: no prlimit"
    )
    network = "no network" if _no_network() else "with network: the kernel allows no namespace here"
    return f"compilers and emulators: {limited}; {network}"


def _prlimit(limits: Limits) -> list[str]:
    path = shutil.which("prlimit")
    if path is None:
        return []
    return [
        path,
        f"--cpu={limits.cpu_s}",
        f"--as={limits.memory_bytes}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        "--core=0",
        "--",
    ]


@functools.cache
def _no_network() -> tuple[str, ...]:
    """The prefix that takes the network away, or nothing where the kernel refuses."""
    path = shutil.which("unshare")
    if path is None:
        return ()
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    prefix = (path, *user, "--net", "--")
    try:
        done = subprocess.run(
            [*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if done.returncode == 0 else ()
