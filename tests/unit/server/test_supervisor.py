# SPDX-License-Identifier: Apache-2.0
"""The supervisor tries again when no process can be started."""

import threading
from pathlib import Path

import pytest

from server.jobs import supervisor
from server.settings import Settings


def test_supervisor_survives_a_failed_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    again = threading.Event()

    def run_once(_: supervisor.Supervisor) -> int:
        calls.append(1)
        if len(calls) > 1:
            again.set()
            return 0
        raise BlockingIOError("no process left")

    monkeypatch.setattr(supervisor.Supervisor, "_run_once", run_once)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)
    watched = supervisor.Supervisor(Settings(data_dir=tmp_path))
    watched.start()
    assert again.wait(10)
    watched.stop()
