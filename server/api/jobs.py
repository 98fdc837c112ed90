# SPDX-License-Identifier: Apache-2.0
"""Routes of jobs, and their events as they happen."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from server.api import render
from server.api import schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import ContextDep, Cursor, Limit, PageRead, page_read
from server.api.problems import documented
from server.services import jobs
from server.services.context import Context

router = APIRouter(route_class=GuardedRoute, prefix="/jobs", tags=["jobs"])


@router.get("", responses=documented(), dependencies=[scope("jobs:read")])
def list_jobs(
    context: ContextDep,
    limit: Limit,
    cursor: Cursor = None,
    state: s.JobState | None = None,
) -> PageRead[s.JobRead]:
    """Jobs, the newest first."""
    return page_read(jobs.list_jobs(context, cursor, limit, state), render.job)


@router.get("/{job_id}", responses=documented(404), dependencies=[scope("jobs:read")])
def get_job(job_id: s.Id, context: ContextDep) -> s.JobRead:
    """A job."""
    return render.job(jobs.get_job(context, job_id))


@router.get("/{job_id}/log", responses=documented(404), dependencies=[scope("jobs:read")])
def get_log(
    job_id: s.Id,
    context: ContextDep,
    limit: Limit,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
) -> list[s.JobEventRead]:
    """The job's history after an event number, oldest first."""
    _, events = jobs.events_after(context, job_id, after, limit)
    return [render.job_event(event) for event in events]


@router.post(
    "/{job_id}/cancel",
    responses=documented(404, 409, 507),
    dependencies=[scope("jobs:write")],
)
def cancel_job(job_id: s.Id, context: ContextDep) -> s.JobRead:
    """End a job; nothing of what it made is kept. Doing so twice is no error."""
    return render.job(jobs.cancel_job(context, job_id))


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        **documented(404),
        200: {
            "content": {"text/event-stream": {}},
            "description": "Events `state`, `progress`.",
        },
    },
    dependencies=[scope("jobs:read")],
)
async def stream_events(
    job_id: s.Id,
    request: Request,
    context: ContextDep,
    last_event_id: Annotated[str | None, Header(max_length=30)] = None,
) -> EventSourceResponse:
    """The job's history and what happens next, as server-sent events; ends with the job.

    Last-Event-ID resumes after an event.
    """
    await run_in_threadpool(jobs.get_job, context, job_id)
    start = int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0
    return EventSourceResponse(_events(request, context, job_id, min(start, 2**62)))


async def _events(
    request: Request, context: Context, job_id: str, seq: int
) -> AsyncIterator[ServerSentEvent]:
    pause_s = context.settings.sse_poll_interval_ms / 1000
    while not await request.is_disconnected():
        job, events = await run_in_threadpool(jobs.events_after, context, job_id, seq)
        for event in events:
            seq = int(event.seq or 0)
            yield ServerSentEvent(json.dumps(event.data), event=event.kind, id=str(seq))
        if jobs.is_ended(job) and not events:
            return
        await asyncio.sleep(0 if events else pause_s)
