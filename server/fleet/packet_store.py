# SPDX-License-Identifier: Apache-2.0
"""What packets of states and of firmware have in common: the key, the sequence, the rows."""

import time

from server.errors import Issue, UnavailableError
from server.fleet import audit
from server.fleet.artifacts import Content, digests, make, possible_forms
from server.fleet.keys import Signer, open_signer
from server.fleet.trust import read_trust, require_release
from server.ids import utc_text
from server.services.context import Context
from server.settings import Settings
from server.storage.fleet import ArtifactRecord, PacketRecord
from server.storage.ports import Unit


def release_signer(settings: Settings) -> tuple[Signer, str]:
    """The release key and its id, if the trust file allows it to sign now.

    Raises: UnavailableError if none is set up; KeyFileError, TrustError.
    """
    if settings.trust_file is None or settings.signer is None:
        issues = [
            Issue("not set", f"HADAPT_{name}", "see `hadapt keys release --help`")
            for name, value in (
                ("TRUST_FILE", settings.trust_file),
                ("SIGNER", settings.signer),
            )
            if value is None
        ]
        raise UnavailableError("This service has no release key: it cannot sign.", issues)
    try:
        trust = read_trust(settings.trust_file.read_bytes())
    except OSError as error:
        issue = Issue(str(error.strerror), str(settings.trust_file), "a trust file")
        raise UnavailableError("The trust file cannot be read.", [issue]) from error
    signer = open_signer(settings.signer)
    return signer, require_release(trust, signer, time.time())


def next_sequence(unit: Unit, model_id: str) -> int:
    """Above that of every packet of the model."""
    newest = unit.fleet.packets.page(
        order="sequence", after=None, limit=1, down=True, model_id=model_id
    )
    return newest[0].sequence + 1 if newest else 1


def store_packet(
    context: Context, unit: Unit, record: PacketRecord, content: Content, signer: Signer
) -> PacketRecord:
    """Keep a packet, with an artifact in every form that clients can ask for."""
    unit.fleet.packets.add(record)
    for form in possible_forms(context.settings, signer):
        _store_artifact(context, unit, record.id, form, content, signer)
    return record


def audit_signing(
    unit: Unit, actor: str, key_id: str, packet: PacketRecord, **between: object
) -> None:
    """Note that a packet was signed, and what it leads from and to."""
    audit.record(
        unit,
        actor,
        "packet.sign",
        packet.id,
        key_id=key_id,
        sequence=packet.sequence,
        model_id=packet.model_id,
        **between,
        sha256=packet.envelope_sha256,
    )


def _store_artifact(
    context: Context, unit: Unit, packet_id: str, form: str, content: Content, signer: Signer
) -> None:
    """Make a packet's artifact of a form, and keep it. Raises: KeyFileError, InvalidInputError."""
    data = make(form, content, context.settings, signer)
    found = digests(data)
    context.blobs.put(data)
    suffix = {"suit": "suit", "mcuboot": "bin", "swu": "swu"}[form]
    if content.firmware and form == "suit":
        suffix = "img"
    unit.fleet.artifacts.add(
        ArtifactRecord(
            packet_id=packet_id,
            form=form,
            file_name=f"p{content.sequence}.{suffix}",
            size_bytes=len(data),
            md5=found.md5,
            sha1=found.sha1,
            sha256=found.sha256,
            created_at=utc_text(),
        )
    )
