# SPDX-License-Identifier: Apache-2.0
"""The warden leaves no process behind, whoever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The command: a child of its own that would outlive it, then wait.
COMMAND = "sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"


def start(pids: Path) -> "subprocess.Popen[bytes]":
    command = ["sh", "-c", COMMAND.format(pids=pids)]
    process = subprocess.Popen(
        [sys.executable, "-m", "server.jobs.warden", "2", *command], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not (pids.exists() and pids.read_text().count("\n") == 2):
        time.sleep(0.02)
    return process


def alive(pids: Path) -> list[int]:
    """Which of the command's processes are still there; zombies are not."""
    found = []
    for pid in map(int, pids.read_text().split()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


@pytest.mark.parametrize("death", ["end of input", "command killed"])
def test_warden_kills_the_whole_group(tmp_path: Path, death: str) -> None:
    pids = tmp_path / "pids"
    process = start(pids)
    assert len(alive(pids)) == 2
    if death == "end of input":
        assert process.stdin is not None
        process.stdin.close()
    else:
        os.kill(alive(pids)[-1], signal.SIGKILL)
    process.wait(10)
    deadline = time.monotonic() + 5
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(pids) == []
    if process.stdin is not None:
        process.stdin.close()


def test_command_dies_with_a_killed_warden(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = start(pids)
    command = alive(pids)[-1]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while command in alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = alive(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert command not in left
    if process.stdin is not None:
        process.stdin.close()
