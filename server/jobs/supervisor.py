# SPDX-License-Identifier: Apache-2.0
"""Keeps a worker process running: starts it again after a crash, with a growing pause."""

import os
import subprocess
import sys
import threading
import time

import structlog

from server.settings import Settings

FIRST_PAUSE_S = 0.2
STEADY_S = 30.0
log = structlog.get_logger("supervisor")


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker finds these settings."""
    values = settings.model_dump(mode="json")
    own = {f"HADAPT_{name.upper()}": str(v) for name, v in values.items() if v is not None}
    # Workers are many and their matrices small: threads of the linear algebra library only wait
    # for each other.
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ, **own}


class Supervisor:
    """Runs one worker under a warden until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker and watch it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the worker; returns when it and all its children are gone."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.stop_grace_s + 10.0)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                code: int | None = self._run_once()
            except OSError as error:
                # No process or memory left: later there may be.
                log.error("worker cannot be started", error=str(error))
                code = None
            if self._stop.is_set():
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - began > STEADY_S else pause_s
            log.warning("worker ended, starting again", exit_code=code, pause_s=pause_s)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._settings.worker_backoff_max_s)

    def _run_once(self) -> int:
        """One life of the worker. Its warden's standard input is our sign of life."""
        command = [
            sys.executable,
            "-m",
            "server.jobs.warden",
            str(self._settings.stop_grace_s),
            sys.executable,
            "-m",
            "server.jobs.worker",
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            env=environment(self._settings),
            start_new_session=True,
        ) as warden:
            while warden.poll() is None and not self._stop.wait(0.1):
                pass
            if warden.stdin is not None:
                warden.stdin.close()
            return warden.wait()
