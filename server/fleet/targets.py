# SPDX-License-Identifier: Apache-2.0
"""Devices as the DDI protocol sees them, and their tokens.

A token is 256 random bits, shown once; only its SHA-256 is kept, which needs no salt or stretching
for a secret that nobody can guess.
"""

import hashlib
import hmac
import re
import secrets
from typing import Any

from server.errors import (
    ConflictError,
    InvalidInputError,
    Issue,
    NotFoundError,
    UnauthorizedError,
)
from server.fleet import audit
from server.fleet.artifacts import FORMS
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.devices import require_device
from server.services.models import require_model
from server.services.paging import Page, decode_cursor, make_page
from server.services.products import require_firmware
from server.storage.fleet import GatewayRecord, TargetRecord
from server.storage.ports import Unit
from server.storage.records import DeviceRecord

# Zephyr's client has 200 characters for the whole download path.
CONTROLLER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def token_hash(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_target(
    unit: Unit,
    device_id: str,
    form: str,
    version: int,
    actor: str,
    firmware_id: str | None = None,
) -> tuple[TargetRecord, str]:
    """Let a registered device speak DDI under its name. Returns: the record and its token.

    Args:
        firmware_id: the firmware it runs, if it is to be given others.

    Raises: NotFoundError, ConflictError, InvalidInputError.
    """
    device = require_device(unit, device_id)
    check_form(form)
    if not CONTROLLER_ID.fullmatch(device.name):
        expected = "1 to 100 letters, digits and ._:- (the name becomes a path)"
        issue = Issue(f"name {device.name[:60]!r}", "device", expected)
        raise InvalidInputError("The device's name cannot be a controller id.", [issue])
    if firmware_id is not None:
        _check_firmware(unit, device, firmware_id)
    token = secrets.token_hex(32)
    target = TargetRecord(
        controller_id=device.name,
        created_at=utc_text(),
        form=form,
        token_sha256=token_hash(token),
        model_id=device.model_id,
        device_id=device.id,
        version=version,
        firmware_id=firmware_id,
    )
    unit.fleet.targets.add(target)
    audit.record(unit, actor, "target.create", device.name, form=form)
    return target, token


def _check_firmware(unit: Unit, device: DeviceRecord, firmware_id: str) -> None:
    """Raises: NotFoundError; InvalidInputError for a firmware of another model or board."""
    firmware = require_firmware(unit, firmware_id)
    issues = [
        Issue(f"{name} {getattr(firmware, name)}", "firmware_id", str(getattr(device, name)))
        for name in ("model_id", "board")
        if getattr(firmware, name) != getattr(device, name)
    ]
    if issues:
        raise InvalidInputError("The device cannot run that firmware.", issues)


def renew_token(unit: Unit, controller_id: str, actor: str) -> tuple[TargetRecord, str]:
    """A new token; the old one ends. Raises: NotFoundError."""
    token = secrets.token_hex(32)
    require_target(unit, controller_id)
    unit.fleet.targets.change({"controller_id": controller_id}, token_sha256=token_hash(token))
    audit.record(unit, actor, "target.token", controller_id)
    return require_target(unit, controller_id), token


def create_gateway(unit: Unit, name: str, actor: str) -> tuple[GatewayRecord, str]:
    """A token that speaks for every device."""
    token = secrets.token_hex(32)
    gateway = GatewayRecord(new_id(), name, utc_text(), token_hash(token))
    unit.fleet.gateways.add(gateway)
    audit.record(unit, actor, "gateway.create", gateway.id, name=name)
    return gateway, token


def revoke_gateway(unit: Unit, gateway_id: str, actor: str) -> GatewayRecord:
    """Raises: NotFoundError; ConflictError if it is revoked already."""
    gateway = unit.fleet.gateways.find(id=gateway_id)
    if gateway is None:
        raise NotFoundError(f"There is no gateway {gateway_id}.")
    if gateway.revoked:
        raise ConflictError(f"Gateway {gateway_id} is revoked already.")
    unit.fleet.gateways.change({"id": gateway_id}, revoked=True)
    audit.record(unit, actor, "gateway.revoke", gateway_id)
    return GatewayRecord(**{**vars(gateway), "revoked": True})


def check_form(form: str) -> None:
    """Raises: InvalidInputError."""
    if form not in FORMS:
        expected = f"one of {', '.join(FORMS)}"
        raise InvalidInputError(f"There is no form {form!r}.", [Issue(form, "form", expected)])


def require_target(unit: Unit, controller_id: str) -> TargetRecord:
    """Raises: NotFoundError."""
    target = unit.fleet.targets.find(controller_id=controller_id)
    if target is None:
        raise NotFoundError(f"There is no target {controller_id[:100]}.")
    return target


def list_targets(
    context: Context, model_id: str | None, cursor: str | None, limit: int
) -> Page[TargetRecord]:
    """Targets by name."""
    after = decode_cursor(cursor, str)
    where: dict[str, Any] = {} if model_id is None else {"model_id": model_id}
    with context.database.read() as unit:
        found = unit.fleet.targets.page(
            order="controller_id", after=after, limit=limit + 1, **where
        )
    return make_page(found, limit, lambda target: target.controller_id)


def authenticate(context: Context, controller_id: str, header: str | None) -> TargetRecord:
    """The device that a request speaks for.

    Args:
        header: Authorization: "TargetToken <t>", or "GatewayToken <t>".
    Raises: UnauthorizedError, the same for an unknown device as for a wrong token.
    """
    kind, _, token = (header or "").partition(" ")
    given = token_hash(token.strip())
    with context.database.read() as unit:
        target = unit.fleet.targets.find(controller_id=controller_id)
        gateway = (
            unit.fleet.gateways.find(token_sha256=given) if kind.lower() == "gatewaytoken" else None
        )
    if gateway is not None and not gateway.revoked:
        return target or _register(context, controller_id)
    own = target.token_sha256 if target is not None else "-"
    if kind.lower() == "targettoken" and hmac.compare_digest(given, own) and target is not None:
        return target
    issue = Issue("no or a wrong token", "Authorization", "TargetToken or GatewayToken")
    raise UnauthorizedError("The device's token is missing or wrong.", [issue])


def _register(context: Context, controller_id: str) -> TargetRecord:
    """A device that a gateway brings along, if the settings allow it."""
    if not context.settings.ddi_auto_register or not CONTROLLER_ID.fullmatch(controller_id):
        issue = Issue("not registered", controller_id[:100], "POST /api/v1/targets first")
        raise UnauthorizedError("This device is not registered.", [issue])
    target = TargetRecord(controller_id, utc_text(), "suit", "")
    with context.database.write() as unit:
        known = unit.fleet.targets.find(controller_id=controller_id)
        if known is not None:
            return known
        unit.fleet.targets.add(target)
        audit.record(unit, "gateway", "target.register", controller_id)
    return target


def apply_attributes(unit: Unit, target: TargetRecord) -> None:
    """Take over what a device says of itself: hadapt.model, hadapt.version, hadapt.form.

    Only a device that nobody registered may say so; wrong values are left alone.
    """
    said = target.attributes
    values: dict[str, object] = {}
    if target.device_id is None:
        model = str(said.get("hadapt.model", ""))
        if model and unit.models.find(id=model) is not None:
            values["model_id"] = require_model(unit, model).id
        if said.get("hadapt.form") in FORMS:
            values["form"] = said["hadapt.form"]
        version = str(said.get("hadapt.version", ""))
        if target.version == 0 and version.isdigit() and len(version) < 9:
            values["version"] = int(version)
    digest = str(said.get("hadapt.state_hash", ""))
    if re.fullmatch("[0-9a-f]{64}", digest):
        values["state_hash"] = digest
    if values:
        unit.fleet.targets.change({"controller_id": target.controller_id}, **values)
