# SPDX-License-Identifier: Apache-2.0
"""Update packets between learners at rest (SPEC.md 11)."""

import hashlib

from device.packet import (
    UpdateManifest,
    WireExemplar,
    build_update_packet,
    class_id,
    encode_payload,
    key_id,
    state_digest,
    vendor_id,
)
from device.twin.model import IntModel
from server.learning.learner_data import LearnerData, missing_exemplars
from server.learning.ports import Packet, PacketSigner, PacketTask

STATE_DIGEST_BYTES = 32


def make_packet(task: PacketTask, signer: PacketSigner) -> Packet:
    """Make and sign a packet; same arguments, same bytes.

    It carries the changed weights, and exemplars that a device at the base does not hold: as many
    as the device can stage.
    """
    model = IntModel.from_bytes(task.int_model)
    base, result = LearnerData.from_bytes(task.base), LearnerData.from_bytes(task.result)
    fresh = missing_exemplars(base.exemplars, result.exemplars)
    # A device stages them at once; of a class's herding any prefix is a valid smaller memory.
    chosen = sorted(fresh, key=lambda e: (e.rank, e.label))[: model.staging_slots]
    exemplars = [WireExemplar(e.label, e.rank, e.packed) for e in chosen]
    payload = encode_payload(model, base.state, result.state, exemplars)
    vendor = vendor_id(task.vendor_domain)
    manifest = UpdateManifest(
        sequence=task.sequence,
        vendor=vendor,
        klass=class_id(vendor, model.model_id),
        base=state_digest(base.state),
        result=state_digest(result.state),
        size=len(result.state) - STATE_DIGEST_BYTES,
        payload_digest=hashlib.sha256(payload).digest(),
    )
    envelope = build_update_packet(manifest, payload, signer.sign, key_id(signer.public_key))
    report = {
        "payload_bytes": len(payload),
        "weight_bytes": len(encode_payload(model, base.state, result.state)),
        "exemplars": len(exemplars),
        "exemplars_left_out": len(fresh) - len(exemplars),
        "state_bytes": len(result.state),
    }
    return Packet(envelope, manifest.base.hex(), manifest.result.hex(), report)
