# SPDX-License-Identifier: Apache-2.0
"""The worker process: runs jobs in DBOS, one step of a job's machine in one durable step.

The service's job table is the outbox: the API stores a job in the transaction that makes its
subject, and a worker hands it to the job engine under the same id. Handing over twice is harmless,
so a crash between the two loses and doubles nothing. Only workers talk to the job engine.
"""

import fcntl
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, Serializer
from sqlalchemy.exc import SQLAlchemyError

from device.harness import confine
from server import logs
from server.errors import HadaptError, InternalError
from server.jobs.kinds import MACHINES
from server.jobs.runner import FIRST, Cursor, run_step
from server.learning.firmwares import clean_up_cache
from server.learning.ports import load_engine
from server.services.context import STALE_S, Context, open_context
from server.services.idempotency import forget_old
from server.services.jobs import fail_job
from server.settings import Settings
from server.storage.ports import Rows
from server.storage.records import JOB_OPEN, JOB_QUEUED, WorkerRecord

QUEUE = "hadapt-jobs"
WORKFLOW = "hadapt-job"
# Bound to stored jobs: change it only when a cursor's meaning changes, and drain jobs first.
JOBS_VERSION = "1"
HEARTBEAT_S = 2.0
CLEAN_UP_S = 3600.0
DISPATCH_LIMIT = 100
INSPECT_LIMIT = 500
STRANDED_EXIT_CODE = 75
DEAD_STATES = ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ERROR", "CANCELLED")

log = structlog.get_logger("worker")


class JsonSerializer(Serializer):
    """JSON only: with the default, pickle, who writes to the jobs database could run code here."""

    def serialize(self, data: Any) -> str:
        """Exceptions become a small object; steps do not raise, so they are rare."""
        return json.dumps(data, default=self._describe)

    def deserialize(self, serialized_data: str) -> Any:
        """The value, or a RuntimeError for a stored exception."""
        value = json.loads(serialized_data)
        if isinstance(value, dict) and set(value) == {"exception", "message"}:
            return RuntimeError(f"{value['exception']}: {value['message']}")
        return value

    def name(self) -> str:
        """Stored beside each value."""
        return "hadapt_json"

    @staticmethod
    def _describe(value: object) -> dict[str, str]:
        if isinstance(value, BaseException):
            return {"exception": type(value).__name__, "message": str(value)}
        raise TypeError(f"{type(value).__name__} is not JSON")


def set_write_ahead_log(url: str) -> None:
    """Put the job engine's SQLite file into WAL mode; it stays so."""
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.close()


def take_lock(settings: Settings) -> int:
    """Wait until no other process runs under this executor id; the lock ends with the process."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    path: Path = settings.data_dir / f"{settings.executor_id}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def register(context: Context, active: set[str]) -> Callable[[str, str], None]:
    """Define workflow and step; `active` holds the jobs that run. Returns the workflow."""

    @DBOS.step(name="hadapt-step")
    def step(job_id: str, kind: str, cursor: Cursor) -> Cursor | None:
        return run_step(context, MACHINES[kind], job_id, cursor)

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=context.settings.job_max_recoveries)
    def run(job_id: str, kind: str) -> None:
        active.add(job_id)
        try:
            cursor: Cursor | None = FIRST
            while cursor is not None:
                cursor = step(job_id, kind, cursor)
        finally:
            active.discard(job_id)

    return run


def launch(settings: Settings) -> None:
    """Start the job engine; it first takes up what a killed predecessor left."""
    poll_s = settings.job_poll_interval_ms / 1000
    config: DBOSConfig = {
        "name": "hadapt",
        "system_database_url": settings.engine_database_url,
        "application_version": JOBS_VERSION,
        "executor_id": settings.executor_id,
        "serializer": JsonSerializer(),
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": poll_s,
    }
    DBOS(config=config)


class Dispatcher:
    """Hands queued jobs to the job engine, tells it about cancelled ones, shows a heartbeat."""

    def __init__(self, context: Context, active: set[str]) -> None:
        self._context = context
        self._active = active
        self._suspects: set[str] = set()
        self._beat_at = 0.0
        self._clean_at = time.monotonic() + CLEAN_UP_S

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; a failing round is logged and tried again."""
        while not stop.wait(self._context.settings.job_poll_interval_ms / 1000):
            try:
                self.round()
            except HadaptError as error:
                # Known and lasting, such as a disk that cannot be written: a line, no trace.
                log.warning("dispatcher waits", why=error.code)
                stop.wait(1.0)
            except (SQLAlchemyError, OSError):
                log.exception("dispatcher")
                stop.wait(1.0)

    def round(self) -> None:
        """Look once."""
        self._dispatch()
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_S
            self._beat()
            self._inspect()
        if now >= self._clean_at:
            self._clean_at = now + CLEAN_UP_S
            forget_old(self._context)

    def _dispatch(self) -> None:
        with self._context.database.read() as unit:
            waiting = unit.jobs.page(
                order="id",
                after=None,
                limit=DISPATCH_LIMIT,
                state=JOB_QUEUED,
                dispatched=False,
            )
        for job in waiting:
            DBOS.enqueue_workflow_with_options(
                {
                    "workflow_name": WORKFLOW,
                    "queue_name": QUEUE,
                    "workflow_id": job.id,
                    "app_version": JOBS_VERSION,
                },
                job.id,
                job.kind,
            )
            with self._context.database.write() as unit:
                unit.jobs.change({"id": job.id}, dispatched=True)

    def _beat(self) -> None:
        name, pid = self._context.settings.executor_id, os.getpid()
        with self._context.database.write() as unit:
            _upsert_worker(unit.workers, WorkerRecord(name, pid, time.time()))

    def _inspect(self) -> None:
        """Compare open jobs with what the job engine says of them."""
        with self._context.database.read() as unit:
            jobs = unit.jobs.page(
                order="id", after=None, limit=INSPECT_LIMIT, state=JOB_OPEN, dispatched=True
            )
        ids = [job.id for job in jobs]
        found = DBOS.list_workflows(workflow_ids=ids, load_input=False) if ids else []
        self._bury([w.workflow_id for w in found if w.status in DEAD_STATES])
        own = self._context.settings.executor_id
        pending = {w.workflow_id for w in found if w.status == "PENDING" and w.executor_id == own}
        self._leave_if_stranded(pending - self._active)

    def _bury(self, job_ids: list[str]) -> None:
        """Fail jobs that the engine has given up, such as one that always kills its worker."""
        for job_id in job_ids:
            log.error("job given up", job_id=job_id)
            detail = "The job was given up: it failed or ended its worker too often."
            fail_job(self._context, job_id, InternalError(detail))

    def _leave_if_stranded(self, idle: set[str]) -> None:
        """End the process if a job should run here, but does not: the next one takes it up.

        That happens when the engine itself could not write, on a full disk. Seen twice, to leave
        alone a job that is just starting or ending.
        """
        stranded = idle & self._suspects
        self._suspects = idle
        if stranded:
            log.error("jobs stranded, worker restarts", job_ids=sorted(stranded))
            os._exit(STRANDED_EXIT_CODE)


def _upsert_worker(workers: Rows[WorkerRecord], record: WorkerRecord) -> None:
    where = {"executor_id": record.executor_id}
    if not workers.change(where, pid=record.pid, seen_at=record.seen_at):
        workers.add(record)


def main() -> None:
    """Run until SIGTERM. Settings come from the environment."""
    settings = Settings()
    logs.configure(settings)
    lock = take_lock(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    confine.enable()
    log.info(confine.status())
    clean_up_cache(settings.cache_dir, time.time() - STALE_S)
    context = open_context(settings, load_engine(settings))
    set_write_ahead_log(settings.engine_database_url)
    launch(settings)
    active: set[str] = set()
    register(context, active)
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=settings.job_concurrency,
        polling_interval_sec=settings.job_poll_interval_ms / 1000,
    )
    log.info("worker ready", executor_id=settings.executor_id, pid=os.getpid())
    Dispatcher(context, active).run(stop)
    log.info("worker stops")
    # The running step is not waited for: it is repeated at the next start, as after a crash.
    os.close(lock)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
