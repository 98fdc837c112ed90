# SPDX-License-Identifier: Apache-2.0
"""Routes of incremental updates."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from server.api import render
from server.api import schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import (
    ContextDep,
    Cursor,
    IdempotencyKey,
    Limit,
    PageRead,
    blob_response,
    create,
)
from server.api.models import BYTES
from server.api.problems import documented
from server.errors import NotReadyError
from server.services import updates
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, prefix="/updates", tags=["updates"])


@router.post(
    "",
    status_code=202,
    response_model=s.UpdateRead,
    responses=documented(404, 409, 413, 429, 507),
    dependencies=[scope("updates:write")],
)
def create_update(
    body: s.UpdateCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Learn new classes. Runs as a job; if the gate accepts, the model has a new version."""
    spec = body.model_dump()
    updates.check_update(context, spec)

    def action(unit: Unit) -> tuple[s.UpdateRead, str]:
        made = updates.create_update(context, unit, spec)
        return render.update(made, "queued"), f"/api/v1/updates/{made.id}"

    return create(context, request, key, spec, action, status=202)


@router.get("", responses=documented(), dependencies=[scope("updates:read")])
def list_updates(
    context: ContextDep,
    limit: Limit,
    cursor: Cursor = None,
    model_id: s.Id | None = None,
) -> PageRead[s.UpdateRead]:
    """Updates, the newest first."""
    page = updates.list_updates(context, model_id, cursor, limit)
    return render.page_with_states(context, page, render.update)


@router.get("/{update_id}", responses=documented(404), dependencies=[scope("updates:read")])
def get_update(update_id: s.Id, context: ContextDep) -> s.UpdateRead:
    """An update; `result` is there once its job has succeeded."""
    with context.database.read() as unit:
        record = updates.require_update(unit, update_id)
        return render.update(record, render.state_of(unit, record))


@router.get(
    "/{update_id}/state",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("updates:read")],
)
def download_state(update_id: s.Id, context: ContextDep) -> StreamingResponse:
    """State bytes that the update led to, of a refused one too, for study."""
    with context.database.read() as unit:
        record = updates.require_update(unit, update_id)
    if record.result is None:
        raise NotReadyError(f"Update {update_id} has no result.")
    sha256 = record.result["state_sha256"]
    return blob_response(context, sha256, f"{update_id}.state", "application/octet-stream")
