# SPDX-License-Identifier: Apache-2.0
"""One step of any job, and a whole job without the durable engine.

A step may run twice: after a crash it is repeated from the same cursor. So everything that it
stores is either named by its content or guarded by the job's state.
"""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from server.errors import (
    ConflictError,
    DatabaseLostError,
    HadaptError,
    InternalError,
    StorageFullError,
    StorageReadOnlyError,
    storage_error,
)
from server.learning.ports import StoppedError, StopSignal
from server.services.context import Context
from server.services.jobs import begin_job, fail_job, report_progress, require_job
from server.storage.ports import Unit
from server.storage.records import JOB_CANCELLED, JobRecord, Json

Cursor = dict[str, Any]
FIRST: Cursor = {"phase": "begin"}
COMMIT_ATTEMPTS = 5
CANCEL_LOOK_S = 0.25
LOST_PAUSE_S, LOST_PAUSE_MAX_S = 0.1, 5.0

log = structlog.get_logger("jobs")


@dataclass(frozen=True)
class Step:
    """What a state machine works with in one step."""

    context: Context
    job: JobRecord
    stop: StopSignal

    def progress(self, key: str, message: str, **values: Any) -> None:
        """Report; `key` names this point of the job, so that a repetition adds no line."""
        report_progress(self.context, self.job.id, key, message, values)

    def commit(self, change: Callable[[Unit], None]) -> None:
        """Store the job's result in one transaction; `change` must end the job in it.

        A collision with another transaction is tried again.
        """
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self.context.database.write() as unit:
                    change(unit)
                return
            except ConflictError:
                if attempt + 1 == COMMIT_ATTEMPTS:
                    raise


Machine = Callable[[Step, Cursor], Cursor | None]


class CancelSignal:
    """Set once the job is cancelled; asks the database at most a few times a second."""

    def __init__(self, context: Context, job_id: str) -> None:
        self._context = context
        self._job_id = job_id
        self._looked_at = time.monotonic()
        self._set = False
        self._lock = threading.Lock()

    def is_set(self) -> bool:
        """True if the job is cancelled."""
        with self._lock:
            if not self._set and time.monotonic() - self._looked_at > CANCEL_LOOK_S:
                self._looked_at = time.monotonic()
                with self._context.database.read() as unit:
                    self._set = require_job(unit, self._job_id).state == JOB_CANCELLED
            return self._set


def run_step(context: Context, machine: Machine, job_id: str, cursor: Cursor) -> Cursor | None:
    """Take a job one step further; None once it has ended, well or not. Never raises.

    While the database does not answer, or the disk cannot be written so that not even a failure
    could be stored, the step is repeated, as after a crash.
    """
    with structlog.contextvars.bound_contextvars(job_id=job_id):
        for attempt in itertools.count():
            try:
                return _run_step(context, machine, job_id, cursor)
            except (DatabaseLostError, StorageReadOnlyError) as error:
                log.warning("step is repeated", why=error.code, attempt=attempt)
                time.sleep(min(LOST_PAUSE_S * 2 ** min(attempt, 5), LOST_PAUSE_MAX_S))
    return None


def _run_step(context: Context, machine: Machine, job_id: str, cursor: Cursor) -> Cursor | None:
    try:
        with context.database.write() as unit:
            running = begin_job(unit, job_id)
            job = require_job(unit, job_id)
        if not running:
            return None
        log.debug("step", kind=job.kind, phase=cursor["phase"])
        return machine(Step(context, job, CancelSignal(context, job_id)), cursor)
    except StoppedError:
        log.info("stopped")
    except (DatabaseLostError, StorageReadOnlyError):
        raise
    except HadaptError as error:
        _fail(context, job_id, error)
    except Exception as error:
        disk = storage_error(error)
        if isinstance(disk, StorageReadOnlyError):
            raise disk from error
        log.exception("step failed", phase=cursor["phase"])
        _fail(context, job_id, _named(error))
    return None


def _named(error: Exception) -> HadaptError:
    if isinstance(storage_error(error), StorageFullError):
        return StorageFullError("The disk became full; nothing of this step was stored.")
    return InternalError(f"The job failed: {type(error).__name__}. The worker's log says more.")


def _fail(context: Context, job_id: str, error: HadaptError) -> None:
    """End the job; on a full disk even that fails at first, so it is tried for a while."""
    for wait_s in (0.1, 0.5, 2.0, 5.0, 0.0):
        try:
            fail_job(context, job_id, error)
            return
        except (DatabaseLostError, StorageReadOnlyError):
            raise
        except Exception:
            log.exception("cannot store the failure")
            time.sleep(wait_s)


def run_to_end(context: Context, machines: dict[str, Machine], job_id: str) -> Json:
    """Run a whole job here and now, without durability. Returns its last cursor."""
    with context.database.read() as unit:
        machine = machines[require_job(unit, job_id).kind]
    cursor: Cursor | None = FIRST
    last = FIRST
    while cursor is not None:
        last = cursor
        cursor = run_step(context, machine, job_id, cursor)
    return last
