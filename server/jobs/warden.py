# SPDX-License-Identifier: Apache-2.0
"""The warden: a small process between the service and a worker, so that nothing is orphaned.

It starts the command as leader of a process group. When the command ends, however it ends, the
rest of its group is killed: compilers, emulators. When the service dies, which shows as end of
file on standard input, the whole group is killed. So `kill -9` of the service, of the worker or
of both leaves no process behind. If the warden itself is killed, the worker dies with it: the
kernel sends it the parent-death signal.

    python -m server.jobs.warden COMMAND ...
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
LOOK_S = 0.1


def _die_with_parent() -> None:
    """Run in the child, before the command: SIGKILL when the warden ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_group(group: int) -> None:
    """Kill what is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def guard(command: list[str], grace_s: float) -> int:
    """Run a command until it ends or standard input does; returns its exit code.

    Standard input ends when the service dies or wants to stop: then the command gets SIGTERM and
    `grace_s` seconds if the service still lives, nothing but SIGKILL otherwise.
    """
    service = os.getppid()
    # The child is made by this thread, which lives as long as the warden: the parent-death signal
    # is bound to the thread that forks.
    # preexec_fn is unsafe beside threads; there are none here.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_die_with_parent,
    )
    try:
        while child.poll() is None:
            readable, _, _ = select.select([sys.stdin.buffer], [], [], LOOK_S)
            if readable and not os.read(sys.stdin.fileno(), 64):
                _stop(child, grace_s if os.getppid() == service else 0.0)
    finally:
        kill_group(child.pid)
    return child.wait()


def _stop(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    if grace_s:
        child.terminate()
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(LOOK_S / 2)
    if child.poll() is None:
        kill_group(child.pid)
        child.wait()


def main() -> None:
    """Entry of the process: the first argument is the grace in seconds."""
    # A terminal's Ctrl-C goes to the service, which then closes our standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = guard(sys.argv[2:], float(sys.argv[1]))
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
