# SPDX-License-Identifier: Apache-2.0
"""Routes of samples, of a model or of a device."""

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from server.api import schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import (
    ContextDep,
    Cursor,
    IdempotencyKey,
    Limit,
    PageRead,
    Received,
    create,
    media_type,
    page_read,
    received_body,
    require_body,
)
from server.api.problems import documented
from server.services import outliers, samples
from server.services.context import Context
from server.services.samples import Batch, Target
from server.storage.ports import Unit
from server.storage.records import SampleRecord

router = APIRouter(route_class=GuardedRoute, tags=["samples"])
JSON_TYPE, NPZ_TYPE = "application/json", "application/octet-stream"
Split = Annotated[
    Literal["train", "test"],
    Query(description="npz only; a JSON body has its own split."),
]
OutOfRange = Annotated[
    Literal["reject", "allow"],
    Query(description="allow: the device's input saturates features beyond its range."),
]
MinScore = Annotated[
    float,
    Query(ge=0, le=1e6, allow_inf_nan=False, description="In median distances of the class."),
]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": {
                    "type": "object",
                    "required": ["samples"],
                    "additionalProperties": False,
                    "properties": {
                        "split": {"enum": ["train", "test"], "default": "train"},
                        "samples": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["features", "label"],
                                "additionalProperties": False,
                                "properties": {
                                    "features": {
                                        "type": "array",
                                        "items": {"type": "number"},
                                    },
                                    "label": {
                                        "description": "Class name or index; new ones are added.",
                                        "oneOf": [
                                            {
                                                "type": "string",
                                                "minLength": 1,
                                                "maxLength": 100,
                                            },
                                            {"type": "integer", "minimum": 0},
                                        ],
                                    },
                                },
                            },
                        },
                    },
                },
                "example": {"samples": [{"features": [0.0, 0.5, 1.0], "label": "wave"}]},
            },
            NPZ_TYPE: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "npz: x (N, features), y (N,) class names or indices.",
                }
            },
        },
    }
}
CREATED: dict[str, Any] = {
    "status_code": 201,
    "response_model": s.SampleBatchRead,
    "responses": documented(404, 409, 413, 415, 507),
    "openapi_extra": BODY,
    "dependencies": [scope("samples:write")],
}


@router.post("/models/{model_id}/samples", **CREATED)
async def upload_model_samples(
    model_id: s.Id,
    request: Request,
    context: ContextDep,
    split: Split = "train",
    out_of_range: OutOfRange = "reject",
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Store samples of a model, all or none; a sample that is there already is counted only."""
    target = await run_in_threadpool(samples.find_target, context, model_id, None)
    return await _upload(request, context, target, split, out_of_range == "allow", key)


@router.post("/devices/{device_id}/samples", **CREATED)
async def upload_device_samples(
    device_id: s.Id,
    request: Request,
    context: ContextDep,
    split: Split = "train",
    out_of_range: OutOfRange = "reject",
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Store samples that a device took, for the model that it runs."""
    target = await run_in_threadpool(samples.find_target, context, None, device_id)
    return await _upload(request, context, target, split, out_of_range == "allow", key)


async def _upload(
    request: Request,
    context: Context,
    target: Target,
    split: samples.Split,
    allow_range: bool,
    key: str | None,
) -> JSONResponse:
    media = media_type(request, JSON_TYPE, NPZ_TYPE)
    async with received_body(request, context.settings.upload_samples_max_bytes) as body:
        require_body(body.size_bytes)
        return await run_in_threadpool(
            _store, request, context, target, media, body, split, allow_range, key
        )


def _store(
    request: Request,
    context: Context,
    target: Target,
    media: str,
    body: Received,
    split: samples.Split,
    allow_range: bool,
    key: str | None,
) -> JSONResponse:
    batch: Batch
    if media == JSON_TYPE:
        batch = samples.parse_json(context, target.model, body.path.read_bytes(), allow_range)
    else:
        batch = samples.parse_npz(context, target.model, body.path, split, allow_range)

    def action(unit: Unit) -> tuple[s.SampleBatchRead, str]:
        done = samples.store(context, unit, target, batch)
        read = s.SampleBatchRead(
            received=len(batch.labels),
            stored=done.stored,
            duplicates=done.duplicates,
            new_classes=done.new_classes,
            classes_left=done.classes_left,
        )
        return read, request.url.path

    content = [body.sha256, media, batch.split, allow_range]
    return create(context, request, key, content, action)


def _render(record: SampleRecord, names: list[str] | dict[int, str]) -> s.SampleRead:
    return s.SampleRead.model_validate(
        {
            "content_sha256": record.content_sha256,
            "label": names[record.class_position],
            "split": record.split,
            "device_id": record.device_id,
            "created_at": record.created_at,
        }
    )


@router.get(
    "/models/{model_id}/samples",
    responses=documented(404),
    dependencies=[scope("samples:read")],
)
def list_model_samples(
    model_id: s.Id, context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.SampleRead]:
    """Samples of a model, oldest first."""
    page, names = samples.list_samples(context, model_id, None, cursor, limit)
    return page_read(page, lambda record: _render(record, names))


@router.get(
    "/devices/{device_id}/samples",
    responses=documented(404),
    dependencies=[scope("samples:read")],
)
def list_device_samples(
    device_id: s.Id, context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.SampleRead]:
    """Samples that a device took, oldest first."""
    page, names = samples.list_samples(context, None, device_id, cursor, limit)
    return page_read(page, lambda record: _render(record, names))


@router.get(
    "/models/{model_id}/classes",
    responses=documented(404),
    dependencies=[scope("samples:read")],
)
def list_classes(model_id: s.Id, context: ContextDep) -> list[s.ClassCountRead]:
    """Classes of a model in order of first mention, with their counts of samples."""
    return [
        s.ClassCountRead.model_validate(dataclasses.asdict(c))
        for c in samples.counts(context, model_id)
    ]


@router.get(
    "/models/{model_id}/outliers",
    responses=documented(404),
    dependencies=[scope("samples:read")],
)
def list_outliers(
    model_id: s.Id, context: ContextDep, limit: Limit, min_score: MinScore = 3.0
) -> s.OutliersRead:
    """The newest samples that lie far from the mean of their class, the farthest first."""
    found = outliers.find_outliers(context, model_id, min_score, limit)
    items = [
        s.OutlierRead(
            **_render(o.sample, {o.sample.class_position: o.label}).model_dump(),
            score=o.score,
            nearest_class=o.nearest_class,
        )
        for o in found.items
    ]
    return s.OutliersRead(considered=found.considered, items=items)
