# SPDX-License-Identifier: Apache-2.0
"""Routes of lineage: what devices know, from which samples and ancestors."""

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from server.api import render
from server.api.access import GuardedRoute, scope
from server.api.common import ContextDep, IdempotencyKey, create
from server.api.fleet import ControllerPath, actor_of
from server.api.fleet_schemas import ControllerId
from server.api.problems import documented
from server.api.schemas import Body, Id, Json, Name, Sha256, UpdateRead
from server.fleet import lineage, withdrawals
from server.fleet.targets import require_target
from server.services import updates
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])


class AncestorRead(BaseModel):
    """A version on the way; contributors are device ids, "" for samples that no device sent."""

    version: int
    update_id: Id | None
    classes: list[str]
    new_classes: list[str]
    samples: list[Sha256]
    contributors: dict[str, int]


class LineageRead(BaseModel):
    """What a device knows, and its ancestors, the newest first."""

    controller_id: str
    model_id: Id
    version: int
    state_hash: Sha256 | None
    classes: list[str]
    ancestors: list[AncestorRead]


class ComparisonRead(BaseModel):
    """Two devices beside each other; same_state is null unless both have told their hash."""

    same_state: bool | None
    common_version: int | None
    classes_left: list[str]
    classes_right: list[str]
    classes_both: list[str]
    samples_left: int
    samples_right: int
    samples_both: int


class LearningRead(BaseModel):
    """What a device that learns alone has told of a state; it sends no sample."""

    created_at: str
    state_hash: Sha256
    metrics: Json
    log: Json


@router.get(
    "/targets/{controller_id}/lineage",
    responses=documented(404, 409),
    dependencies=[scope("targets:read")],
)
def get_lineage(controller_id: ControllerPath, context: ContextDep) -> LineageRead:
    """Which classes a device knows, from which samples and ancestors."""
    with context.database.read() as unit:
        found = lineage.lineage_of(unit, controller_id)
    return LineageRead.model_validate(dataclasses.asdict(found))


@router.get(
    "/targets/{controller_id}/learning",
    responses=documented(404),
    dependencies=[scope("targets:read")],
)
def list_learning(controller_id: ControllerPath, context: ContextDep) -> list[LearningRead]:
    """States that a device has told of, the newest first, 200 at most."""
    with context.database.read() as unit:
        require_target(unit, controller_id)
        found = unit.fleet.learning.page(
            order="seq", after=None, limit=200, down=True, controller_id=controller_id
        )
    keys = LearningRead.model_fields
    return [LearningRead(**{k: getattr(r, k) for k in keys}) for r in found]


@router.get("/comparisons", responses=documented(404, 409), dependencies=[scope("targets:read")])
def compare_targets(
    context: ContextDep,
    left: Annotated[ControllerId, Query(description="A device.")],
    right: Annotated[ControllerId, Query(description="Another one.")],
) -> ComparisonRead:
    """Two devices: which classes, samples and ancestors they share."""
    with context.database.read() as unit:
        pair = [lineage.lineage_of(unit, name) for name in (left, right)]
    return ComparisonRead.model_validate(dataclasses.asdict(lineage.compare(*pair)))


class WithdrawalCreate(Body):
    """Samples to take out of a model for good."""

    model_id: Id
    kind: withdrawals.Kind
    subject: Name = Field(description="Content digest, class name, or device id.")


class WithdrawalRead(BaseModel):
    """What was withdrawn. `POST /withdrawals/{id}/rebuild` makes the model anew without it."""

    id: Id
    model_id: Id
    created_at: str
    kind: withdrawals.Kind
    subject: str
    rebuild_from: int
    samples: int
    versions: list[int] = Field(description="Versions that had used them.")
    targets: list[str] = Field(description="Devices that run one of those.")


@router.post(
    "/withdrawals",
    status_code=201,
    response_model=WithdrawalRead,
    responses=documented(404, 409, 413, 507),
    dependencies=[scope("samples:write")],
)
def create_withdrawal(
    body: WithdrawalCreate, request: Request, context: ContextDep, key: IdempotencyKey = None
) -> JSONResponse:
    """Erase a sample, a class or a contributor's samples; nothing is trained on them again."""

    def action(unit: Unit) -> tuple[WithdrawalRead, str]:
        done = withdrawals.withdraw(unit, body.model_id, body.kind, body.subject, actor_of(request))
        fields = dataclasses.asdict(done.record)
        read = WithdrawalRead(**fields, versions=done.versions, targets=done.targets)
        return read, f"/api/v1/models/{body.model_id}/samples"

    return create(context, request, key, body.model_dump(), action)


@router.post(
    "/withdrawals/{withdrawal_id}/rebuild",
    status_code=202,
    response_model=UpdateRead,
    responses=documented(404, 409, 429, 507),
    dependencies=[scope("updates:write")],
)
def rebuild(
    withdrawal_id: Id, request: Request, context: ContextDep, key: IdempotencyKey = None
) -> JSONResponse:
    """Learn again, without what was withdrawn, all that was learned since. Runs as a job."""
    with context.database.read() as unit:
        spec = withdrawals.rebuild_spec(unit, withdrawal_id)
    updates.check_update(context, spec)

    def action(unit: Unit) -> tuple[UpdateRead, str]:
        made = withdrawals.queue_rebuild(context, unit, withdrawal_id, spec, actor_of(request))
        return render.update(made, "queued"), f"/api/v1/updates/{made.id}"

    return create(context, request, key, {"withdrawal_id": withdrawal_id}, action, status=202)
