# SPDX-License-Identifier: Apache-2.0
"""The real service as a process of its own, on a free port, with an empty data folder."""

import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from server.client import HadaptClient

READY = re.compile(r"hadapt ready on (http://\S+)")
FIRST_KEY = re.compile(r"hadapt first key (\S+)")
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
LOG_TAIL_LINES = 15


class ServiceError(RuntimeError):
    """The service did not start; the text ends with its last log lines."""


class Service:
    """A running service; a context manager.

    Args:
        folder: for its data; the log goes beside it.
        stores: settings of its databases; by default they are in the folder.
    """

    def __init__(self, folder: Path, stores: Mapping[str, str] | None = None) -> None:
        self._log_path = folder / "service.log"
        self._log = self._log_path.open("wb")
        own = ("HADAPT_DATA_DIR", "HADAPT_PORT", "HADAPT_HOST", "HADAPT_DATABASE_URL")
        environment = {k: v for k, v in os.environ.items() if k not in own} | dict(stores or {})
        command = [sys.executable, "-m", "server.serve", "--data", str(folder / "data")]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        try:
            self.url = self._wait_ready()
        except BaseException:
            self.close()
            raise
        self.client = HadaptClient(self.url, key=self.key)

    def _wait_ready(self) -> str:
        """Read standard output up to the line that names the address."""
        assert self._process.stdout is not None  # for the type checker: it is a pipe
        seen = _read_until(self._process.stdout, READY, START_LIMIT_S)
        key, found = FIRST_KEY.search(seen), READY.search(seen)
        self.key = key.group(1) if key else None
        if found is None:
            raise ServiceError(f"the service did not start:\n{self.log_tail()}")
        return found.group(1)

    def log_tail(self) -> str:
        """The last lines of the service's log."""
        lines = self._log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def close(self) -> None:
        """Stop it and its worker."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.close()


def _read_until(stream: IO[bytes], wanted: re.Pattern[str], limit_s: float) -> str:
    """Text up to the pattern, the stream's end, or the limit."""
    deadline = time.monotonic() + limit_s
    text = ""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < deadline and not wanted.search(text):
            if not selector.select(timeout=0.5):
                continue
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                break
            text += chunk.decode(errors="replace")
    return text
