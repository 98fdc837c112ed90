# SPDX-License-Identifier: Apache-2.0
"""Running wrk, an outside HTTP load tool, with requests.lua."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from server.errors import ToolMissingError

SCRIPT = Path(__file__).with_name("requests.lua")
THREADS = 2


@dataclass(frozen=True)
class Load:
    """What wrk saw. Times in milliseconds, over all answers; `errors` are of sockets."""

    seconds: float
    sent: int
    statuses: dict[str, int]
    retry_after: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int

    @property
    def answered(self) -> int:
        """Requests that were answered, whatever the answer."""
        return sum(self.statuses.values())

    def count(self, *codes: int) -> int:
        """Answers with one of these codes."""
        return sum(self.statuses.get(str(code), 0) for code in codes)

    @property
    def answers_per_s(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


def run(url: str, clients: int, seconds: float, **options: object) -> Load:
    """Load a service.

    Args:
        clients: connections, each with one request at a time.
        options: of requests.lua.
    Raises: ToolMissingError.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise ToolMissingError("wrk is missing; get it with `apt install wrk`.")
    threads = min(THREADS, clients)
    words = [f"{k}={v}" for k, v in {**options, "threads": threads}.items()]
    command = [wrk, "-t", str(threads), "-c", str(clients), "-d", f"{seconds:g}s"]
    command += ["--timeout", "30s", "-s", str(SCRIPT), url, "--", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")
    found = json.loads(lines[0].removeprefix("RESULT "))
    errors = sum(found.pop(name) for name in ("connect", "read", "write", "timeout"))
    times = {f"{n}_ms": found.pop(f"{n}_us") / 1000 for n in ("p50", "p99", "max")}
    return Load(**found, **times, errors=errors)
