# SPDX-License-Identifier: Apache-2.0
"""Routes of models, their versions and resource reports."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

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
    media_type,
    page_read,
    received_part,
    refuse_constant,
)
from server.api.problems import documented
from server.api.quantize_options import QUANTIZE_OPTIONS
from server.errors import InvalidInputError, Issue, MalformedRequestError
from server.services import models, products
from server.services.context import Context
from server.services.models import NewModel
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, prefix="/models", tags=["models"])
Number = Annotated[int, Path(ge=1, lt=2**31)]
FORM = {
    "type": "object",
    "required": ["onnx", "calibration"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "onnx": {
            "type": "string",
            "format": "binary",
            "description": "Float ONNX model.",
        },
        "calibration": {
            "type": "string",
            "format": "binary",
            "description": "npz: x (N, features), and y (N,) class indices or names to fill the "
            "exemplar memory; class_names (classes,) if the ONNX file has none.",
        },
        "options": {
            "type": "string",
            "description": "JSON object: class_names, and the quantizer's options.",
            "contentMediaType": "application/json",
            "contentSchema": QUANTIZE_OPTIONS,
            "examples": ['{"class_names": ["walk", "run"], "max_classes": 16}'],
        },
    },
}


@router.post(
    "",
    status_code=202,
    response_model=s.ModelRead,
    responses=documented(409, 413, 415, 429, 507),
    dependencies=[scope("models:write")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": FORM}},
        }
    },
)
async def upload_model(
    request: Request, context: ContextDep, key: IdempotencyKey = None
) -> JSONResponse:
    """Upload a float model with calibration samples; its import runs as a job."""
    media_type(request, "multipart/form-data")
    async with request.form(max_files=2, max_fields=2, max_part_size=64 * 1024) as form:
        name, options = _form_fields(form)
        limits = context.settings
        onnx_part, calibration_part = (
            _form_file(form, "onnx"),
            _form_file(form, "calibration"),
        )
        async with (
            received_part(context, onnx_part, limits.upload_model_max_bytes, "onnx") as onnx,
            received_part(
                context,
                calibration_part,
                limits.upload_calibration_max_bytes,
                "calibration",
            ) as calibration,
        ):
            new = await run_in_threadpool(
                models.check_upload,
                context,
                name or onnx_part.filename or "model",
                options,
                (onnx.path, onnx.sha256),
                (calibration.path, calibration.sha256),
            )
    return await run_in_threadpool(_create, context, request, key, new)


def _form_fields(form: FormData) -> tuple[str | None, dict[str, Any]]:
    unknown = set(form) - {"name", "options", "onnx", "calibration"}
    name, text = form.get("name"), form.get("options", "{}")
    if unknown or not isinstance(text, str) or isinstance(name, UploadFile):
        wrong = ", ".join(repr(part[:30]) for part in sorted(unknown)[:5])
        what = f"unknown part {wrong}" if unknown else "a file where text belongs"
        expected = "files onnx and calibration, texts name and options"
        raise InvalidInputError(f"The form is wrong: {what}.", [Issue(what, "form", expected)])
    if name is not None and (not 1 <= len(name) <= 200 or not name.isprintable()):
        issue = Issue("not a name", "form name", "1 to 200 printable characters")
        raise InvalidInputError("The name cannot be used.", [issue])
    try:
        options = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        issue = Issue(str(error)[:200], "form options", "a JSON object")
        raise MalformedRequestError("options is not JSON.", [issue]) from error
    if not isinstance(options, dict):
        issue = Issue("not an object", "form options", "a JSON object")
        raise InvalidInputError("options is not a JSON object.", [issue])
    return name, options


def _form_file(form: FormData, name: str) -> UploadFile:
    part = form.get(name)
    if not isinstance(part, UploadFile):
        issue = Issue("missing, or not a file", f"form {name}", "a file")
        raise InvalidInputError(f"The form has no file {name}.", [issue])
    return part


def _create(context: Context, request: Request, key: str | None, new: NewModel) -> JSONResponse:
    def action(unit: Unit) -> tuple[s.ModelRead, str]:
        record = models.create_model(context, unit, new)
        return render.model(unit, record), f"/api/v1/models/{record.id}"

    content = [new.name, new.options, new.onnx_sha256, new.calibration_sha256]
    return create(context, request, key, content, action, status=202)


@router.get("", responses=documented(), dependencies=[scope("models:read")])
def list_models(context: ContextDep, limit: Limit, cursor: Cursor = None) -> PageRead[s.ModelRead]:
    """Models, the newest first."""
    page = models.list_models(context, cursor, limit)
    with context.database.read() as unit:
        return page_read(page, lambda record: render.model(unit, record))


@router.get("/{model_id}", responses=documented(404), dependencies=[scope("models:read")])
def get_model(model_id: s.Id, context: ContextDep) -> s.ModelRead:
    """A model."""
    with context.database.read() as unit:
        return render.model(unit, models.require_model(unit, model_id))


@router.delete(
    "/{model_id}",
    status_code=204,
    response_class=Response,
    responses=documented(404, 409),
    dependencies=[scope("models:write")],
)
def delete_model(model_id: s.Id, context: ContextDep) -> Response:
    """Forget a model whose import has failed or was cancelled; others cannot be deleted."""
    with context.database.write() as unit:
        models.delete_failed_model(unit, model_id)
    return Response(status_code=204)


@router.get(
    "/{model_id}/versions",
    responses=documented(404),
    dependencies=[scope("models:read")],
)
def list_versions(
    model_id: s.Id, context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.VersionRead]:
    """Versions of a model, the newest first."""
    return page_read(models.list_versions(context, model_id, cursor, limit), render.version)


@router.get(
    "/{model_id}/versions/{number}",
    responses=documented(404, 409),
    dependencies=[scope("models:read")],
)
def get_version(model_id: s.Id, number: Number, context: ContextDep) -> s.VersionRead:
    """A version."""
    return render.version(models.version_with_model(context, model_id, number)[1])


BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The bytes."}
}


@router.get(
    "/{model_id}/int-model",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("models:read")],
)
def download_int_model(model_id: s.Id, context: ContextDep) -> StreamingResponse:
    """The integer model, from which all firmware of this model is generated."""
    with context.database.read() as unit:
        record = models.require_ready_model(unit, model_id)
    sha256 = str(record.int_model_sha256)
    return blob_response(context, sha256, f"{model_id}.had", "application/octet-stream")


@router.get(
    "/{model_id}/versions/{number}/onnx",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("models:read")],
)
def download_onnx(
    model_id: s.Id,
    number: Number,
    context: ContextDep,
    form: Annotated[Literal["exact", "qdq"], Query()] = "exact",
) -> Response:
    """The integer model as ONNX: `exact` equals the device bit for bit, `qdq` is the usual form."""
    data = models.onnx_of(context, model_id, number, form)
    name = f"{model_id}-{number}-{form}.onnx"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/{model_id}/versions/{number}/state",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("models:read")],
)
def download_state(model_id: s.Id, number: Number, context: ContextDep) -> StreamingResponse:
    """State bytes of a version: what a running device imports to become it."""
    _, version = models.version_with_model(context, model_id, number)
    name = f"{model_id}-{number}.state"
    return blob_response(context, version.state_sha256, name, "application/octet-stream")


@router.get(
    "/{model_id}/versions/{number}/learner",
    responses={**documented(404, 409), **BYTES},
    response_class=Response,
    dependencies=[scope("models:read")],
)
def download_learner(model_id: s.Id, number: Number, context: ContextDep) -> StreamingResponse:
    """State bytes and exemplars of a version: with both, a device arrives at its state hash."""
    _, version = models.version_with_model(context, model_id, number)
    name = f"{model_id}-{number}.learner"
    return blob_response(context, version.learner_sha256, name, "application/octet-stream")


@router.post(
    "/{model_id}/resource-reports",
    status_code=202,
    response_model=s.ReportsQueued,
    responses=documented(404, 409, 413, 429, 507),
    dependencies=[scope("models:write")],
)
def request_reports(
    model_id: s.Id,
    body: s.ReportsCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Measure what the model needs on boards: flash, RAM, stack. Runs as a job."""

    def action(unit: Unit) -> tuple[s.ReportsQueued, str]:
        made = products.create_report_request(context, unit, model_id, body.boards)
        queued = s.ReportsQueued(
            id=made.id, model_id=model_id, job_id=made.job_id, boards=made.boards
        )
        return queued, f"/api/v1/jobs/{made.job_id}"

    return create(context, request, key, body.model_dump(), action, status=202)


@router.get(
    "/{model_id}/resource-reports",
    responses=documented(404),
    dependencies=[scope("models:read")],
)
def list_reports(model_id: s.Id, context: ContextDep) -> list[s.ReportRead]:
    """Resource reports that were asked for, one a board."""
    return [render.report(record) for record in products.list_reports(context, model_id)]


@router.get(
    "/{model_id}/resource-reports/{board}",
    responses=documented(404),
    dependencies=[scope("models:read")],
)
def get_report(model_id: s.Id, board: s.BoardName, context: ContextDep) -> s.ReportRead:
    """The resource report of a board; `error` says why the model does not fit it."""
    return render.report(products.get_report(context, model_id, board))
