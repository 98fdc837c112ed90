# SPDX-License-Identifier: Apache-2.0
"""Running a program that must end soon."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from device.harness.confine import confined


def run_limited(
    command: Sequence[str], *, cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a program with its output captured; kill it and its children when time is up.

    Returns: the completed process, stdout and stderr merged into `stdout`.
    Raises: subprocess.TimeoutExpired; OSError if it cannot be started.
    """
    with subprocess.Popen(
        confined(command),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            raise
        return subprocess.CompletedProcess(command, process.returncode, output)


def kill_group(pid: int) -> None:
    """Kill a process that leads its own group, and all of that group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
