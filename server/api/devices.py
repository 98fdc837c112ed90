# SPDX-License-Identifier: Apache-2.0
"""Routes of devices and boards."""

import dataclasses

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.api import render
from server.api import schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import (
    ContextDep,
    Cursor,
    IdempotencyKey,
    Limit,
    PageRead,
    create,
    page_read,
)
from server.api.problems import documented
from server.services import devices
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, tags=["devices"])


@router.get("/boards", responses=documented(), dependencies=[scope("models:read")])
def list_boards(context: ContextDep) -> list[s.BoardRead]:
    """Boards that firmware can be made for, the smallest first."""
    return [s.BoardRead(**dataclasses.asdict(board)) for board in context.engine.boards()]


@router.get("/parts", responses=documented(), dependencies=[scope("models:read")])
def list_parts(context: ContextDep) -> list[s.BoardRead]:
    """Common microcontrollers, emulated on the board of their core within their own memory."""
    return [s.BoardRead(**dataclasses.asdict(part)) for part in context.engine.parts()]


@router.post(
    "/devices",
    status_code=201,
    response_model=s.DeviceRead,
    responses=documented(404, 409, 413, 507),
    dependencies=[scope("devices:write")],
)
def create_device(
    body: s.DeviceCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Register a fielded device; names are unique."""

    def action(unit: Unit) -> tuple[s.DeviceRead, str]:
        made = devices.create_device(context, unit, body.name, body.model_id, body.board)
        return render.device(made), f"/api/v1/devices/{made.id}"

    return create(context, request, key, body.model_dump(), action)


@router.get("/devices", responses=documented(), dependencies=[scope("devices:read")])
def list_devices(
    context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.DeviceRead]:
    """Devices, the newest first."""
    return page_read(devices.list_devices(context, cursor, limit), render.device)


@router.get(
    "/devices/{device_id}",
    responses=documented(404),
    dependencies=[scope("devices:read")],
)
def get_device(device_id: s.Id, context: ContextDep) -> s.DeviceRead:
    """A device."""
    with context.database.read() as unit:
        return render.device(devices.require_device(unit, device_id))
