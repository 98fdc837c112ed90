# SPDX-License-Identifier: Apache-2.0
"""The clock is set while the service runs: real processes whose clock libfaketime sets.

Monotonic time stays as it is, as on a machine whose clock is set.
"""

import time
from pathlib import Path

import httpx2
import pytest

from server.errors import UnavailableError
from tests.faults.service_process import ServiceProcess, running
from tests.faults.test_service_kill import begin_update, prepare, wait_for_progress

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
BEAT_S = 2.0


class SetClock:
    """The service's clock: an offset that every process reads anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set("+0")

    def set(self, offset: str) -> None:
        """Move it, such as "+1d"; a rename, so that nobody reads half a line."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.rename(self._path)

    def settings(self) -> dict[str, str]:
        """Environment of a process that follows it."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def date_of(service: ServiceProcess) -> str:
    """The service's own clock; its first answer after a jump may still have the second before."""
    httpx2.get(f"{service.url}/healthz")
    time.sleep(1.1)
    return httpx2.get(f"{service.url}/healthz").headers["date"]


def wait_ready_s(service: ServiceProcess) -> float:
    began = time.monotonic()
    service.wait_ready()
    return time.monotonic() - began


def test_jobs_limits_and_readiness_outlive_a_clock_that_is_set(tmp_path: Path) -> None:
    if LIBRARY is None:
        pytest.skip("libfaketime is missing; get it with `apt install faketime`")
    clock = SetClock(tmp_path / "clock")
    settings = {**clock.settings(), "HADAPT_RATE_LIMIT_UNKNOWN_PER_MINUTE": "30"}
    with running(tmp_path / "data", **settings) as service:
        model_id = prepare(service.client)
        quiet = begin_update(service.client, model_id, step_ms=0)
        service.client.wait_job(quiet.job_id, timeout_s=30)
        wanted = service.client.update(quiet.id).result
        assert wanted is not None
        seen = {date_of(service)[:16]}
        for offset in ("+1d", "-1h"):
            update = begin_update(service.client, model_id, step_ms=10)
            wait_for_progress(service, update.job_id)
            clock.set(offset)
            # The worker says that it lives by the new clock with its next beat.
            assert wait_ready_s(service) < 4 * BEAT_S
            service.client.wait_job(update.job_id, timeout_s=30)
            found = service.client.update(update.id).result
            assert found is not None and found.state_hash == wanted.state_hash
            seen.add(date_of(service)[:16])
            codes = [httpx2.get(f"{service.url}/api/v1/models").status_code for _ in range(40)]
            assert set(codes) == {401, 429} and codes.index(429) >= 25, codes
        assert len(seen) >= 2, "the clock was not set"


@pytest.mark.long
def test_dead_worker_does_not_look_alive_after_the_clock_was_set_back(tmp_path: Path) -> None:
    if LIBRARY is None:
        pytest.skip("libfaketime is missing; get it with `apt install faketime`")
    clock = SetClock(tmp_path / "clock")
    # Once killed, the worker waits a minute before it comes back.
    settings = {**clock.settings(), "HADAPT_WORKER": "false"}
    with running(tmp_path / "data", **settings) as service:
        worker = ServiceProcess(tmp_path / "data", tmp_path / "worker.txt", **clock.settings())
        worker.start()
        service.wait_ready()
        worker.kill_worker()
        worker.kill_server()
        clock.set("-1h")
        time.sleep(0.5)
        with pytest.raises(UnavailableError) as caught:
            service.client.check_ready()
        assert [issue.where for issue in caught.value.errors] == ["worker"]
