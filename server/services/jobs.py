# SPDX-License-Identifier: Apache-2.0
"""Jobs: the record that clients see. The engine that runs them is in server.jobs.

A job's state changes only here, and an ended job never changes again: cancelling, finishing and
failing compete in the database, and the first one wins.
"""

from collections.abc import Sequence
from typing import Any

from server.errors import (
    ConflictError,
    HadaptError,
    Issue,
    NotFoundError,
    TooManyRequestsError,
)
from server.ids import new_id, seconds_between, utc_text
from server.services.context import Context
from server.services.paging import Page, decode_cursor, make_page
from server.storage.ports import Unit
from server.storage.records import (
    JOB_CANCELLED,
    JOB_ENDED,
    JOB_FAILED,
    JOB_OPEN,
    JOB_QUEUED,
    JOB_RUNNING,
    JOB_SUCCEEDED,
    JobEventRecord,
    JobRecord,
    Json,
)

RETRY_AFTER_S = 10


def create_job(context: Context, unit: Unit, kind: str, subject_id: str) -> JobRecord:
    """Queue a job within the transaction that makes its subject.

    Raises: TooManyRequestsError if too many jobs are unfinished.
    """
    limit = context.settings.job_queue_limit
    if unit.jobs.count(state=JOB_OPEN) >= limit:
        issue = Issue(f"{limit} jobs are unfinished", "job queue", "wait until some have ended")
        raise TooManyRequestsError("The job queue is full.", RETRY_AFTER_S, [issue])
    job = JobRecord(new_id(), kind, subject_id, JOB_QUEUED, utc_text())
    unit.jobs.add(job)
    add_event(unit, job.id, "created", "state", {"state": JOB_QUEUED})
    return job


def add_event(unit: Unit, job_id: str, key: str, kind: str, data: Json) -> None:
    """Add a line to the history, unless this key is there: steps may run twice."""
    if unit.job_events.find(job_id=job_id, key=key) is None:
        unit.job_events.add(JobEventRecord(job_id, key, kind, data, utc_text()))


def get_job(context: Context, job_id: str) -> JobRecord:
    """Raises: NotFoundError."""
    with context.database.read() as unit:
        return require_job(unit, job_id)


def require_job(unit: Unit, job_id: str) -> JobRecord:
    """Raises: NotFoundError."""
    job = unit.jobs.find(id=job_id)
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return job


def jobs_by_id(unit: Unit, ids: Sequence[str]) -> dict[str, JobRecord]:
    """Jobs of a page of resources, by id."""
    if not ids:
        return {}
    return {job.id: job for job in unit.jobs.page(order="id", after=None, limit=len(ids), id=ids)}


def list_jobs(
    context: Context, cursor: str | None, limit: int, state: str | None
) -> Page[JobRecord]:
    """Jobs, the newest first."""
    after = decode_cursor(cursor, str)
    where = {} if state is None else {"state": state}
    with context.database.read() as unit:
        found = unit.jobs.page(order="id", after=after, limit=limit + 1, down=True, **where)
    return make_page(found, limit, lambda job: job.id)


def events_after(
    context: Context, job_id: str, seq: int, limit: int = 500
) -> tuple[JobRecord, list[JobEventRecord]]:
    """The job, and lines of its history after `seq`, oldest first."""
    with context.database.read() as unit:
        job = require_job(unit, job_id)
        events = unit.job_events.page(order="seq", after=seq, limit=limit, job_id=job_id)
    return job, events


def cancel_job(context: Context, job_id: str) -> JobRecord:
    """End a job. What its present step still computes is thrown away.

    Raises: ConflictError if it has succeeded or failed; cancelling twice is no error.
    """
    with context.database.write() as unit:
        job = require_job(unit, job_id)
        if not end_job(unit, job_id, JOB_CANCELLED) and job.state != JOB_CANCELLED:
            issue = Issue(f"job has {job.state}", f"job {job_id}", "a queued or running job")
            raise ConflictError(f"Job {job_id} has {job.state} already.", [issue])
        return require_job(unit, job_id)


def begin_job(unit: Unit, job_id: str) -> bool:
    """Mark a job as running; False if it has ended."""
    if unit.jobs.change(
        {"id": job_id, "state": JOB_QUEUED}, state=JOB_RUNNING, started_at=utc_text()
    ):
        add_event(unit, job_id, "running", "state", {"state": JOB_RUNNING})
    return require_job(unit, job_id).state == JOB_RUNNING


def end_job(unit: Unit, job_id: str, state: str, **values: Any) -> bool:
    """End an open job; False if it had ended before."""
    ended_at = utc_text()
    changed = unit.jobs.change(
        {"id": job_id, "state": JOB_OPEN}, state=state, finished_at=ended_at, **values
    )
    if changed:
        job = require_job(unit, job_id)
        # A clock that is set back must not make the sum of all times fall.
        seconds = max(0.0, seconds_between(job.started_at or ended_at, ended_at))
        unit.totals.bump("job", job.kind, state, seconds)
        data: Json = {"state": state}
        if values.get("error"):
            data["error"] = values["error"]
        add_event(unit, job_id, "ended", "state", data)
    return bool(changed)


def succeed_job(unit: Unit, job_id: str) -> bool:
    """End a job well; False if it was cancelled meanwhile: the caller then changes nothing."""
    return end_job(unit, job_id, JOB_SUCCEEDED)


def fail_job(context: Context, job_id: str, error: HadaptError) -> None:
    """End a job with a problem."""
    problem = error.to_problem(f"/api/v1/jobs/{job_id}")
    with context.database.write() as unit:
        end_job(unit, job_id, JOB_FAILED, error=problem)


def is_ended(job: JobRecord) -> bool:
    """True if nothing will happen to the job any more."""
    return job.state in JOB_ENDED


def report_progress(context: Context, job_id: str, key: str, message: str, progress: Json) -> None:
    """Store progress, and a line of history under a key that repeats with the step."""
    with context.database.write() as unit:
        if unit.jobs.change({"id": job_id, "state": JOB_OPEN}, progress=progress):
            add_event(unit, job_id, key, "progress", {"message": message, **progress})
