# SPDX-License-Identifier: Apache-2.0
"""Routes of firmware and device tests."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
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
    Received,
    blob_response,
    create,
    media_type,
    received_body,
    require_body,
)
from server.api.models import BYTES
from server.api.problems import documented
from server.services import products
from server.services.context import Context
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, tags=["firmware"])
BINARY = "application/octet-stream"
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "The zip."}
}


@router.post(
    "/firmware",
    status_code=202,
    response_model=s.FirmwareRead,
    responses=documented(404, 409, 413, 429, 507),
    dependencies=[scope("firmware:write")],
)
def create_firmware(
    body: s.FirmwareCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Generate the sources of a version for a board. Runs as a job; same request, same bytes."""

    def action(unit: Unit) -> tuple[s.FirmwareRead, str]:
        made = products.create_firmware(
            context, unit, body.model_id, body.version, body.board, body.layout
        )
        return render.firmware(made, "queued"), f"/api/v1/firmware/{made.id}"

    return create(context, request, key, body.model_dump(), action, status=202)


@router.get("/firmware", responses=documented(), dependencies=[scope("firmware:read")])
def list_firmware(
    context: ContextDep,
    limit: Limit,
    cursor: Cursor = None,
    model_id: s.Id | None = None,
) -> PageRead[s.FirmwareRead]:
    """Firmware, the newest first."""
    page = products.list_firmware(context, model_id, cursor, limit)
    return render.page_with_states(context, page, render.firmware)


@router.get(
    "/firmware/{firmware_id}",
    responses=documented(404),
    dependencies=[scope("firmware:read")],
)
def get_firmware(firmware_id: s.Id, context: ContextDep) -> s.FirmwareRead:
    """A firmware."""
    with context.database.read() as unit:
        record = products.require_firmware(unit, firmware_id)
        return render.firmware(record, render.state_of(unit, record))


@router.get(
    "/firmware/{firmware_id}/zip",
    responses={**documented(404, 409), **ZIP},
    response_class=Response,
    dependencies=[scope("firmware:read")],
)
def download_firmware(firmware_id: s.Id, context: ContextDep) -> StreamingResponse:
    """The zip of a finished firmware."""
    record, sha256 = products.firmware_zip(context, firmware_id)
    name = f"{record.model_id}-{record.version}-{record.board}.zip"
    return blob_response(context, sha256, name, "application/zip")


@router.put(
    "/firmware/{firmware_id}/image",
    response_model=s.FirmwareRead,
    responses=documented(404, 409, 413, 415, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    dependencies=[scope("firmware:write")],
)
async def put_image(firmware_id: s.Id, request: Request, context: ContextDep) -> s.FirmwareRead:
    """Keep the binary that was built from the firmware's sources, to be signed and rolled out."""
    media_type(request, BINARY)
    async with received_body(request, context.settings.upload_image_max_bytes) as body:
        require_body(body.size_bytes)
        return await run_in_threadpool(_put_image, context, firmware_id, body)


def _put_image(context: Context, firmware_id: str, body: Received) -> s.FirmwareRead:
    with context.database.write() as unit:
        record = products.store_image(
            context, unit, firmware_id, body.path, body.sha256, body.size_bytes
        )
        return render.firmware(record, render.state_of(unit, record))


@router.get(
    "/firmware/{firmware_id}/image",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("firmware:read")],
)
def download_image(firmware_id: s.Id, context: ContextDep) -> StreamingResponse:
    """The binary of a firmware, unsigned."""
    record, sha256 = products.firmware_image(context, firmware_id)
    name = f"{record.model_id}-{record.version}-{record.board}.bin"
    return blob_response(context, sha256, name, BINARY)


@router.post(
    "/device-tests",
    status_code=202,
    response_model=s.DeviceTestRead,
    responses=documented(404, 409, 413, 429, 507),
    dependencies=[scope("device-tests:write")],
)
def create_device_test(
    body: s.DeviceTestCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Run a version on boards in emulators and compare it with the host, bit for bit."""
    spec = body.model_dump()

    def action(unit: Unit) -> tuple[s.DeviceTestRead, str]:
        made = products.create_device_test(context, unit, spec)
        return render.device_test(made, "queued"), f"/api/v1/device-tests/{made.id}"

    return create(context, request, key, spec, action, status=202)


@router.get("/device-tests", responses=documented(), dependencies=[scope("device-tests:read")])
def list_device_tests(
    context: ContextDep,
    limit: Limit,
    cursor: Cursor = None,
    model_id: s.Id | None = None,
) -> PageRead[s.DeviceTestRead]:
    """Device tests, the newest first."""
    page = products.list_device_tests(context, model_id, cursor, limit)
    return render.page_with_states(context, page, render.device_test)


@router.get(
    "/device-tests/{test_id}",
    responses=documented(404),
    dependencies=[scope("device-tests:read")],
)
def get_device_test(test_id: s.Id, context: ContextDep) -> s.DeviceTestRead:
    """A device test and the results of boards that are done."""
    with context.database.read() as unit:
        record = products.require_device_test(unit, test_id)
        return render.device_test(record, render.state_of(unit, record))
