# SPDX-License-Identifier: Apache-2.0
"""Routes of packets, targets, gateways, rollouts and the audit."""

import dataclasses
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from server.api import fleet_schemas as s
from server.api.access import GuardedRoute, scope
from server.api.common import (
    ContextDep,
    Cursor,
    IdempotencyKey,
    Limit,
    PageRead,
    blob_response,
    create,
    page_read,
)
from server.api.models import BYTES
from server.api.problems import documented
from server.api.schemas import Id
from server.errors import NotFoundError
from server.fleet import firmware_packets, packets, rollouts, targets
from server.fleet.rollout import Member, Policy
from server.services.paging import decode_cursor, make_page
from server.storage.fleet import (
    AuditRecord,
    GatewayRecord,
    PacketRecord,
    RolloutRecord,
    TargetRecord,
)
from server.storage.ports import Unit

router = APIRouter(route_class=GuardedRoute, tags=["fleet"])
ControllerPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")]


def actor_of(request: Request) -> str:
    """Who acts, for the audit."""
    principal = getattr(request.state, "principal", None)
    return str(getattr(principal, "id", "anonymous"))[:200]


def _packet(unit: Unit, record: PacketRecord) -> s.PacketRead:
    made = packets.artifacts_of(unit, record.id)
    artifacts = [s.ArtifactRead.model_validate(dataclasses.asdict(a)) for a in made]
    return s.PacketRead(**dataclasses.asdict(record), artifacts=artifacts)


@router.post(
    "/packets",
    status_code=201,
    response_model=s.PacketRead,
    responses=documented(404, 409, 413, 503, 507),
    dependencies=[scope("packets:write")],
)
def create_packet(
    body: s.PacketCreate, request: Request, context: ContextDep, key: IdempotencyKey = None
) -> JSONResponse:
    """Sign the packet of a version, and the one that leads back."""

    def action(unit: Unit) -> tuple[s.PacketRead, str]:
        made = packets.create_packet(
            context, unit, body.model_id, body.version, body.base_version, actor_of(request)
        )
        return _packet(unit, made), f"/api/v1/packets/{made.id}"

    return create(context, request, key, body.model_dump(), action)


@router.post(
    "/firmware/{firmware_id}/packets",
    status_code=201,
    response_model=s.PacketRead,
    responses=documented(404, 409, 413, 503, 507),
    dependencies=[scope("packets:write")],
)
def create_firmware_packet(
    firmware_id: Id,
    body: s.FirmwarePacketCreate,
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Sign a firmware's image for devices that run another one, and the image that leads back."""

    def action(unit: Unit) -> tuple[s.PacketRead, str]:
        made = firmware_packets.create_firmware_packet(
            context, unit, firmware_id, body.base_firmware_id, actor_of(request)
        )
        return _packet(unit, made), f"/api/v1/packets/{made.id}"

    return create(context, request, key, body.model_dump(), action)


@router.get("/packets", responses=documented(), dependencies=[scope("packets:read")])
def list_packets(
    context: ContextDep, limit: Limit, cursor: Cursor = None, model_id: Id | None = None
) -> PageRead[s.PacketRead]:
    """Packets, the newest first."""
    page = packets.list_packets(context, model_id, cursor, limit)
    with context.database.read() as unit:
        return page_read(page, lambda record: _packet(unit, record))


@router.get("/packets/{packet_id}", responses=documented(404), dependencies=[scope("packets:read")])
def get_packet(packet_id: Id, context: ContextDep) -> s.PacketRead:
    """A packet."""
    with context.database.read() as unit:
        return _packet(unit, packets.require_packet(unit, packet_id))


@router.get(
    "/packets/{packet_id}/artifacts/{form}",
    responses={**documented(404), **BYTES},
    response_class=Response,
    dependencies=[scope("packets:read")],
)
def download_artifact(packet_id: Id, form: s.Form, context: ContextDep) -> StreamingResponse:
    """A packet in one of its forms; `suit` is the envelope itself."""
    with context.database.read() as unit:
        packets.require_packet(unit, packet_id)
        found = {a.form: a for a in packets.artifacts_of(unit, packet_id)}
    if form not in found:
        raise NotFoundError(f"Packet {packet_id} was not made in the form {form}.")
    artifact = found[form]
    media = "application/octet-stream"
    return blob_response(context, artifact.sha256, artifact.file_name, media)


def _target(record: TargetRecord) -> s.TargetRead:
    return s.TargetRead.model_validate(_target_fields(record))


def _target_fields(record: TargetRecord) -> dict[str, Any]:
    fields = dataclasses.asdict(record)
    seen, _ = fields.pop("polled_s"), fields.pop("token_sha256")
    stamp = datetime.fromtimestamp(seen, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {**fields, "polled_at": stamp if seen else None}


@router.post(
    "/targets",
    status_code=201,
    responses=documented(404, 409, 413, 507),
    dependencies=[scope("targets:write")],
)
def create_target(
    body: s.TargetCreate, request: Request, response: Response, context: ContextDep
) -> s.TargetToken:
    """Let a registered device pull updates under its name. Shows its token, this once."""
    with context.database.write() as unit:
        made, token = targets.create_target(
            unit,
            body.device_id,
            body.form,
            body.version,
            actor_of(request),
            body.firmware_id,
        )
    response.headers["Location"] = f"/api/v1/targets/{made.controller_id}"
    return _with_token(response, s.TargetToken, _target_fields(made), token)


Secret = TypeVar("Secret", bound=BaseModel)


def _with_token(
    response: Response, kind: type[Secret], fields: dict[str, Any], token: str
) -> Secret:
    """A resource with its token: an answer that nobody may keep, so there is no repetition."""
    response.headers["Cache-Control"] = "no-store"
    return kind.model_validate({**fields, "token": token})


@router.post(
    "/targets/{controller_id}/token",
    status_code=201,
    responses=documented(404, 409, 507),
    dependencies=[scope("targets:write")],
)
def renew_token(
    controller_id: ControllerPath, request: Request, response: Response, context: ContextDep
) -> s.TargetToken:
    """A new token for a device; the old one ends at once."""
    with context.database.write() as unit:
        made, token = targets.renew_token(unit, controller_id, actor_of(request))
    return _with_token(response, s.TargetToken, _target_fields(made), token)


@router.get("/targets", responses=documented(), dependencies=[scope("targets:read")])
def list_targets(
    context: ContextDep, limit: Limit, cursor: Cursor = None, model_id: Id | None = None
) -> PageRead[s.TargetRead]:
    """Devices that pull updates, by name."""
    return page_read(targets.list_targets(context, model_id, cursor, limit), _target)


@router.get(
    "/targets/{controller_id}", responses=documented(404), dependencies=[scope("targets:read")]
)
def get_target(controller_id: ControllerPath, context: ContextDep) -> s.TargetRead:
    """A device that pulls updates."""
    with context.database.read() as unit:
        return _target(targets.require_target(unit, controller_id))


def _gateway_fields(record: GatewayRecord) -> dict[str, Any]:
    fields = dataclasses.asdict(record)
    del fields["token_sha256"]
    return fields


@router.post(
    "/gateways",
    status_code=201,
    responses=documented(409, 413, 507),
    dependencies=[scope("targets:write")],
)
def create_gateway(
    body: s.GatewayCreate, request: Request, response: Response, context: ContextDep
) -> s.GatewayToken:
    """A token that speaks for every device. It is shown this once."""
    with context.database.write() as unit:
        made, token = targets.create_gateway(unit, body.name, actor_of(request))
    return _with_token(response, s.GatewayToken, _gateway_fields(made), token)


@router.get("/gateways", responses=documented(), dependencies=[scope("targets:read")])
def list_gateways(
    context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.GatewayRead]:
    """Gateways, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.fleet.gateways.page(order="id", after=after, limit=limit + 1, down=True)
    page = make_page(found, limit, lambda g: g.id)
    return page_read(page, lambda g: s.GatewayRead.model_validate(_gateway_fields(g)))


@router.post(
    "/gateways/{gateway_id}/cancel",
    responses=documented(404, 409, 507),
    dependencies=[scope("targets:write")],
)
def cancel_gateway(gateway_id: Id, request: Request, context: ContextDep) -> s.GatewayRead:
    """Revoke a gateway's token, for ever."""
    with context.database.write() as unit:
        record = targets.revoke_gateway(unit, gateway_id, actor_of(request))
    return s.GatewayRead.model_validate(_gateway_fields(record))


def _rollout(unit: Unit, record: RolloutRecord) -> s.RolloutRead:
    fields = dataclasses.asdict(record)
    spec = fields.pop("spec")
    del fields["since_s"]
    counted = rollouts.counts(unit, record)
    return s.RolloutRead.model_validate({**fields, "policy": spec["policy"], "stages": counted})


@router.post(
    "/rollouts",
    status_code=201,
    response_model=s.RolloutRead,
    responses=documented(404, 409, 413, 507),
    dependencies=[scope("rollouts:write")],
)
def create_rollout(
    body: s.RolloutCreate, request: Request, context: ContextDep, key: IdempotencyKey = None
) -> JSONResponse:
    """Deliver a packet in stages: canary first, stopped by failures, accuracy or forgetting."""
    shares = body.policy.shares
    if shares != sorted(set(shares)) or shares[-1] != 1.0:
        raise rollouts.wrong_shares(shares)
    policy = Policy(**{**body.policy.model_dump(), "shares": tuple(shares)})

    def action(unit: Unit) -> tuple[s.RolloutRead, str]:
        made = rollouts.create_rollout(
            unit, body.packet_id, policy, body.targets, actor_of(request)
        )
        return _rollout(unit, made), f"/api/v1/rollouts/{made.id}"

    return create(context, request, key, body.model_dump(), action)


@router.get("/rollouts", responses=documented(), dependencies=[scope("rollouts:read")])
def list_rollouts(
    context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.RolloutRead]:
    """Rollouts, the newest first."""
    page = rollouts.list_rollouts(context, cursor, limit)
    with context.database.read() as unit:
        return page_read(page, lambda record: _rollout(unit, record))


@router.get(
    "/rollouts/{rollout_id}", responses=documented(404), dependencies=[scope("rollouts:read")]
)
def get_rollout(rollout_id: Id, context: ContextDep) -> s.RolloutRead:
    """A rollout."""
    with context.database.read() as unit:
        return _rollout(unit, rollouts.require_rollout(unit, rollout_id))


@router.get(
    "/rollouts/{rollout_id}/targets",
    responses=documented(404),
    dependencies=[scope("rollouts:read")],
)
def list_members(
    rollout_id: Id, context: ContextDep, limit: Limit, cursor: Cursor = None
) -> PageRead[s.MemberRead]:
    """Devices of a rollout, by name."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        rollouts.require_rollout(unit, rollout_id)
        found = unit.fleet.members.page(
            order="controller_id", after=after, limit=limit + 1, rollout_id=rollout_id
        )
    page = make_page(found, limit, lambda m: m.controller_id)
    return page_read(page, lambda m: _member(rollouts.member_of(m)))


def _member(member: Member) -> s.MemberRead:
    fields = dataclasses.asdict(member)
    del fields["seen_s"]
    return s.MemberRead.model_validate(fields)


@router.post(
    "/rollouts/{rollout_id}/{verb}",
    response_model=s.RolloutRead,
    responses=documented(404, 409, 507),
    dependencies=[scope("rollouts:write")],
)
def operate_rollout(
    rollout_id: Id,
    verb: Literal["pause", "resume", "abort", "rollback"],
    request: Request,
    context: ContextDep,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Pause, resume, abort (nothing new is offered) or roll back (every device goes back)."""

    def action(unit: Unit) -> tuple[s.RolloutRead, str]:
        after = rollouts.operate(unit, rollout_id, verb, actor_of(request))
        return _rollout(unit, after), f"/api/v1/rollouts/{rollout_id}"

    return create(context, request, key, verb, action, status=200)


@router.get("/audit", responses=documented(), dependencies=[scope("audit:read")])
def list_audit(context: ContextDep, limit: Limit, cursor: Cursor = None) -> PageRead[s.AuditRead]:
    """The audit of signing and rollout, the oldest row first; `hadapt keys audit` checks it."""
    after = decode_cursor(cursor, int)
    with context.database.read() as unit:
        found = unit.fleet.audit.page(order="seq", after=after, limit=limit + 1)
    return page_read(make_page(found, limit, lambda row: row.seq), _audit)


def _audit(row: AuditRecord) -> s.AuditRead:
    return s.AuditRead.model_validate(dataclasses.asdict(row))
