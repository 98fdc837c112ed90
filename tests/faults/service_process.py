# SPDX-License-Identifier: Apache-2.0
"""The service as real processes, to be killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from server.client import HadaptClient
from server.errors import UnavailableError

START_S = 30.0


class ServiceProcess:
    """`python -m server.serve` over one data folder, started and killed many times."""

    def __init__(self, data: Path, log_path: Path | None = None, **settings: str) -> None:
        self.data = data
        self.log_path = log_path or data.parent / "log.txt"
        self._settings = {
            "HADAPT_ENGINE": "tests.api.fake_engine:FakeEngine",
            "HADAPT_JOB_CHUNK_STEPS": "8",
            "HADAPT_JOB_POLL_INTERVAL_MS": "50",
            "HADAPT_WORKER_BACKOFF_MAX_S": "0.2",
            "HADAPT_LOG_LEVEL": "WARNING",
            **settings,
        }
        self._process: subprocess.Popen[str] | None = None
        self.client = HadaptClient()
        self.url = ""
        self.key: str | None = None

    def start(self) -> None:
        """Start; returns once requests are answered."""
        # The log goes to a file: a pipe that nobody reads would block the service.
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server.serve", "--data", str(self.data), "--port", "0"],
                env={**os.environ, **self._settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.startswith("hadapt first key "):
            self.key = line.split()[-1]
            line = self._process.stdout.readline()
        assert line.startswith("hadapt ready on "), self.log()
        self.url = line.split()[-1]
        self.client = HadaptClient(self.url, key=self.key)

    def log(self) -> str:
        """What the processes logged."""
        return self.log_path.read_text()

    def pids(self) -> dict[int, str]:
        """Every living process over our data folder: pid to command line."""
        return dict(_processes(self.data))

    def worker_pid(self) -> int | None:
        """The worker's process, if there is one."""
        workers = [
            pid
            for pid, line in self.pids().items()
            if "server.jobs.worker" in line and "warden" not in line
        ]
        return workers[0] if workers else None

    def kill_server(self) -> None:
        """kill -9 of the API process."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._close()

    def kill_worker(self) -> None:
        """kill -9 of the worker, if it lives."""
        pid = self.worker_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(30)
        self._close()
        return code

    def kill_all(self) -> None:
        """kill -9 of everything over the data folder."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(AssertionError):
            self.kill_server()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None:
            self._process.stdout.close()
        self.client.close()

    def wait_ready(self) -> None:
        """Wait until a worker runs."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(UnavailableError):
                self.client.check_ready()
                return
            time.sleep(0.05)
        raise TimeoutError(self.log())

    def wait_gone(self, seconds: float = 10.0) -> dict[int, str]:
        """Wait until no process is left; returns what is."""
        deadline = time.monotonic() + seconds
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


def _processes(data: Path) -> Iterator[tuple[int, str]]:
    """Processes whose arguments or environment name the data folder; children inherit it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                found = f"HADAPT_DATA_DIR={data}".encode() in (entry / "environ").read_bytes()
                if line and (found or str(data).encode() in line):
                    yield int(entry.name), line.replace(b"\0", b" ").decode()


@contextlib.contextmanager
def running(data: Path, log_path: Path | None = None, **settings: str) -> Iterator[ServiceProcess]:
    """A started service that is gone afterwards, whatever happens."""
    service = ServiceProcess(data, log_path, **settings)
    service.start()
    try:
        yield service
    finally:
        service.kill_all()
