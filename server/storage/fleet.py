# SPDX-License-Identifier: Apache-2.0
"""Records of the fleet, one frozen dataclass a table, as in server.storage.records.

Digests are lower-case hex, times RFC 3339 in UTC, `*_s` seconds since 1970.
"""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PACKET_WEIGHTS, PACKET_FIRMWARE = "weights", "firmware"
ACTION_OPEN, ACTION_CANCELING, ACTION_WAITING = "open", "canceling", "waiting"
ACTION_FINISHED, ACTION_FAILED, ACTION_CANCELED = "finished", "failed", "canceled"


@dataclass(frozen=True)
class AuditRecord:
    """A row of the append-only audit; see server.fleet.audit."""

    seq: int
    created_at: str
    actor: str
    action: str
    subject: str
    data: Json
    previous_sha256: str
    row_sha256: str


@dataclass(frozen=True)
class PacketRecord:
    """A signed packet from one version's state to another's, or from one firmware to another.

    counterpart: the packet that leads back. sequence: unique in the model, grows with each packet.
    kind: PACKET_WEIGHTS, or PACKET_FIRMWARE: then the digests are of the firmware's binaries, both
    versions that of the firmware (devices keep the one they have), and the envelope is the image.
    """

    id: str
    model_id: str
    created_at: str
    base_version: int
    version: int
    sequence: int
    counterpart: str
    key_id: str
    envelope_sha256: str
    size_bytes: int
    base_digest: str
    result_digest: str
    report: Json
    kind: str = PACKET_WEIGHTS
    firmware_id: str | None = None
    base_firmware_id: str | None = None


@dataclass(frozen=True)
class ArtifactRecord:
    """What a client downloads: a packet in the form that it demands; `number` is the module."""

    packet_id: str
    form: str
    file_name: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: str
    created_at: str
    number: int | None = None


@dataclass(frozen=True)
class TargetRecord:
    """A device as the DDI protocol sees it; `controller_id` is the device's name.

    version: what the service knows it to run; 0 if unknown. token_sha256 "" accepts only gateways.
    firmware_id: the firmware it runs, None if unknown.
    """

    controller_id: str
    created_at: str
    form: str
    token_sha256: str
    model_id: str | None = None
    device_id: str | None = None
    version: int = 0
    state_hash: str | None = None
    attributes: Json = field(default_factory=dict)
    polled_s: float = 0.0
    firmware_id: str | None = None


@dataclass(frozen=True)
class GatewayRecord:
    """A gateway token: speaks for every device of the service."""

    id: str
    name: str
    created_at: str
    token_sha256: str
    revoked: bool = False


@dataclass(frozen=True)
class ActionRecord:
    """A packet offered to a device; numbers are small, as clients need them."""

    controller_id: str
    packet_id: str
    rollout_id: str
    state: str
    created_at: str
    closed_at: str | None = None
    messages: list[str] = field(default_factory=list)
    metrics: Json = field(default_factory=dict)
    number: int | None = None


@dataclass(frozen=True)
class RolloutRecord:
    """A staged delivery of a packet; fields of server.fleet.rollout.Rollout beside its ids."""

    id: str
    model_id: str
    packet_id: str
    created_at: str
    spec: Json
    state: str
    stage: int
    since_s: float
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MemberRecord:
    """A device in a rollout; see server.fleet.rollout.Member."""

    rollout_id: str
    controller_id: str
    stage: int
    state: str
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    forgetting: float | None = None
    seen_s: float = 0.0


@dataclass(frozen=True)
class LearningRecord:
    """What a device that learns alone has told: its hash and figures, never a sample."""

    controller_id: str
    created_at: str
    state_hash: str
    metrics: Json
    log: Json
    seq: int | None = None


@dataclass(frozen=True)
class WithdrawalRecord:
    """Samples taken out of a model for good; kind: sample, class or contributor.

    rebuild_from: the newest version that none of them had a part in.
    """

    id: str
    model_id: str
    created_at: str
    kind: str
    subject: str
    rebuild_from: int
    samples: int
