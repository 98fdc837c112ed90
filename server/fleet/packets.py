# SPDX-License-Identifier: Apache-2.0
"""Signed packets of accepted updates, made in pairs: the way there, and the way back."""

from dataclasses import dataclass

from server.errors import ConflictError, InvalidInputError, Issue, NotFoundError
from server.fleet.artifacts import Content
from server.fleet.keys import Signer
from server.fleet.packet_store import audit_signing, next_sequence, release_signer, store_packet
from server.ids import new_id, utc_text
from server.learning.ports import PacketTask
from server.services.context import Context
from server.services.models import require_ready_model, require_version
from server.services.paging import Page, decode_cursor, make_page
from server.storage.fleet import ArtifactRecord, PacketRecord
from server.storage.ports import Unit
from server.storage.records import ModelRecord, VersionRecord


@dataclass(frozen=True)
class Way:
    """A direction: from one version's state to another's, under a sequence number."""

    model: ModelRecord
    base: VersionRecord
    result: VersionRecord
    sequence: int


def create_packet(
    context: Context, unit: Unit, model_id: str, number: int | None, base: int | None, actor: str
) -> PacketRecord:
    """Make and sign the packet of a version, and its counterpart.

    Args:
        number: the version, the newest if None. base: where devices stand, its parent if None.
    Raises: NotFoundError, ConflictError if there is one, UnavailableError, TrustError.
    """
    signer, key = release_signer(context.settings)
    model = require_ready_model(unit, model_id)
    result = require_version(unit, model_id, number)
    start = require_version(unit, model_id, _base_of(result, base))
    taken = unit.fleet.packets.page(
        order="sequence",
        after=None,
        limit=1,
        model_id=model_id,
        base_version=start.number,
        version=result.number,
    )
    if taken:
        issue = Issue(f"packet {taken[0].id}", "version", "a version without a packet")
        raise ConflictError(f"Packet {taken[0].id} leads there already.", [issue])
    sequence = next_sequence(unit, model_id)
    there, back = new_id(), new_id()
    ways = (
        (there, back, Way(model, start, result, sequence)),
        (back, there, Way(model, result, start, sequence + 1)),
    )
    made = [_store(context, unit, way, (own, other), signer, key) for own, other, way in ways]
    for packet in made:
        between = {"base_version": packet.base_version, "version": packet.version}
        audit_signing(unit, actor, key, packet, **between)
    return made[0]


def _base_of(result: VersionRecord, base: int | None) -> int:
    if base == result.number or (base is None and result.parent is None):
        issue = Issue(f"version {result.number}", "version", "a version made by an update")
        raise InvalidInputError("A packet leads from one version to another.", [issue])
    return base if base is not None else int(result.parent or 0)


def _store(
    context: Context, unit: Unit, way: Way, ids: tuple[str, str], signer: Signer, key: str
) -> PacketRecord:
    blobs = context.blobs
    task = PacketTask(
        int_model=blobs.get(str(way.model.int_model_sha256)),
        base=blobs.get(way.base.learner_sha256),
        result=blobs.get(way.result.learner_sha256),
        sequence=way.sequence,
        vendor_domain=context.settings.vendor_domain,
    )
    packet = context.engine.packet(task, signer)
    record = PacketRecord(
        id=ids[0],
        model_id=way.model.id,
        created_at=utc_text(),
        base_version=way.base.number,
        version=way.result.number,
        sequence=way.sequence,
        counterpart=ids[1],
        key_id=key,
        envelope_sha256=blobs.put(packet.envelope),
        size_bytes=len(packet.envelope),
        base_digest=packet.base_digest,
        result_digest=packet.result_digest,
        report=packet.report,
    )
    content = Content(packet.envelope, way.sequence, bytes.fromhex(packet.result_digest))
    return store_packet(context, unit, record, content, signer)


def require_packet(unit: Unit, packet_id: str) -> PacketRecord:
    """Raises: NotFoundError."""
    packet = unit.fleet.packets.find(id=packet_id)
    if packet is None:
        raise NotFoundError(f"There is no packet {packet_id}.")
    return packet


def artifacts_of(unit: Unit, packet_id: str) -> list[ArtifactRecord]:
    """A packet's artifacts."""
    return unit.fleet.artifacts.page(order="number", after=None, limit=20, packet_id=packet_id)


def list_packets(
    context: Context, model_id: str | None, cursor: str | None, limit: int
) -> Page[PacketRecord]:
    """Packets, the newest first."""
    after = decode_cursor(cursor, str)
    where = {} if model_id is None else {"model_id": model_id}
    with context.database.read() as unit:
        found = unit.fleet.packets.page(
            order="id", after=after, limit=limit + 1, down=True, **where
        )
    return make_page(found, limit, lambda packet: packet.id)
