# SPDX-License-Identifier: Apache-2.0
"""Signed packets that bring a firmware: made in pairs, the way there and the way back."""

from dataclasses import dataclass

from server.errors import ConflictError, InvalidInputError, Issue
from server.fleet.artifacts import Content
from server.fleet.firmware_image import identity_of, make_image
from server.fleet.keys import Signer
from server.fleet.packet_store import audit_signing, next_sequence, release_signer, store_packet
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.models import require_ready_model
from server.services.products import require_firmware, require_image
from server.storage.fleet import PACKET_FIRMWARE, PacketRecord
from server.storage.ports import Unit
from server.storage.records import FirmwareRecord


@dataclass(frozen=True)
class Step:
    """From one firmware to another, under a sequence number."""

    base: FirmwareRecord
    result: FirmwareRecord
    sequence: int


def create_firmware_packet(
    context: Context, unit: Unit, firmware_id: str, base_id: str, actor: str
) -> PacketRecord:
    """Sign a firmware for the devices that run another one, and the way back.

    Raises: NotFoundError, NotReadyError without image, InvalidInputError if the two do not fit
        each other, ConflictError if there is such a packet, UnavailableError, TrustError.
    """
    signer, key = release_signer(context.settings)
    result, base = require_firmware(unit, firmware_id), require_firmware(unit, base_id)
    _check_pair(base, result)
    if unit.fleet.packets.count(firmware_id=firmware_id, base_firmware_id=base_id):
        issue = Issue("signed already", "base_firmware_id", "a pair without a packet")
        raise ConflictError("There is a packet between these two firmwares.", [issue])
    sequence = next_sequence(unit, result.model_id)
    there, back = new_id(), new_id()
    steps = (
        (there, back, Step(base, result, sequence)),
        (back, there, Step(result, base, sequence + 1)),
    )
    made = [_store(context, unit, step, (own, other), signer, key) for own, other, step in steps]
    for packet in made:
        between = {
            "base_firmware_id": packet.base_firmware_id,
            "firmware_id": packet.firmware_id,
        }
        audit_signing(unit, actor, key, packet, **between)
    return made[0]


def _check_pair(base: FirmwareRecord, result: FirmwareRecord) -> None:
    issues = [
        Issue(f"{name} {getattr(base, name)}", "base_firmware_id", str(getattr(result, name)))
        for name in ("model_id", "board", "layout")
        if getattr(base, name) != getattr(result, name)
    ]
    if not issues and require_image(base) == require_image(result):
        issues = [Issue("the same binary", "base_firmware_id", "another one")]
    if issues:
        raise InvalidInputError("The firmware cannot replace that one.", issues)


def _store(
    context: Context, unit: Unit, step: Step, ids: tuple[str, str], signer: Signer, key: str
) -> PacketRecord:
    binary = context.blobs.get(require_image(step.result))
    model = require_ready_model(unit, step.result.model_id)
    model_id = context.engine.model_id(context.blobs.get(str(model.int_model_sha256)))
    domain = context.settings.vendor_domain
    identity = identity_of(domain, step.result.board, step.result.layout, model_id)
    image = make_image(binary, step.sequence, identity, signer)
    record = PacketRecord(
        id=ids[0],
        model_id=model.id,
        created_at=utc_text(),
        base_version=step.result.version,
        version=step.result.version,
        sequence=step.sequence,
        counterpart=ids[1],
        key_id=key,
        envelope_sha256=context.blobs.put(image),
        size_bytes=len(image),
        base_digest=require_image(step.base),
        result_digest=require_image(step.result),
        report={"board": step.result.board, "layout": step.result.layout, "bytes": len(binary)},
        kind=PACKET_FIRMWARE,
        firmware_id=step.result.id,
        base_firmware_id=step.base.id,
    )
    content = Content(image, step.sequence, bytes.fromhex(record.result_digest), firmware=True)
    return store_packet(context, unit, record, content, signer)
