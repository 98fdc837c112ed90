# SPDX-License-Identifier: Apache-2.0
"""Bodies of the fleet's resources."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from server.api.schemas import Body, Id, Json, Name, Sha256, Share

ControllerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")]
Form = Literal["suit", "mcuboot", "swu"]
Version = Annotated[int, Field(ge=1, lt=2**31)]
Signed = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class PacketCreate(Body):
    """A version whose packet is to be signed."""

    model_id: Id
    version: Version | None = Field(default=None, description="The newest if left out.")
    base_version: Version | None = Field(
        default=None, description="Where the devices stand; the version's parent if left out."
    )


class FirmwarePacketCreate(Body):
    """A firmware that is to be signed for devices that run another one."""

    base_firmware_id: Id = Field(description="What the devices run; rolling back leads there.")


class ArtifactRead(BaseModel):
    """A packet in the form that a kind of client demands."""

    number: int
    form: Form
    file_name: str
    size_bytes: int
    md5: str
    sha1: str
    sha256: Sha256


class PacketRead(BaseModel):
    """A signed packet; `counterpart` leads back."""

    id: Id
    model_id: Id
    created_at: str
    base_version: int
    version: int
    sequence: int
    counterpart: Id
    key_id: str
    envelope_sha256: Sha256
    size_bytes: int
    base_digest: Sha256
    result_digest: Sha256
    report: Json
    kind: Literal["weights", "firmware"] = Field(
        description="For firmware, digests are of the binaries."
    )
    firmware_id: Id | None
    base_firmware_id: Id | None
    artifacts: list[ArtifactRead]


class TargetCreate(Body):
    """A registered device that is to pull its updates by the hawkBit protocol."""

    device_id: Id
    form: Form = "suit"
    version: Version = Field(default=1, description="What it runs now.")
    firmware_id: Id | None = Field(
        default=None, description="The firmware it runs, if it is to be given others."
    )


class TargetRead(BaseModel):
    """A device as the protocol sees it."""

    controller_id: str
    created_at: str
    form: Form
    model_id: Id | None
    device_id: Id | None
    version: int
    firmware_id: Id | None
    state_hash: Sha256 | None
    attributes: Json
    polled_at: str | None


class TargetToken(TargetRead):
    """The only answer that shows the token."""

    token: str


class GatewayCreate(Body):
    """A gateway that speaks for many devices."""

    name: Name = Field(examples=["hall 3"])


class GatewayRead(BaseModel):
    """A gateway."""

    id: Id
    name: str
    created_at: str
    revoked: bool


class GatewayToken(GatewayRead):
    """The only answer that shows the token."""

    token: str


class PolicyBody(Body):
    """How far, how fast, and what stops a rollout; see `server/fleet/rollout.py`."""

    shares: Annotated[
        list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=20)
    ] = Field(
        default=[0.05, 0.25, 1.0], description="Of the devices, ascending to 1; first the canary."
    )
    soak_s: float = Field(default=3600.0, ge=0, le=1e8, allow_inf_nan=False)
    min_reports: int = Field(default=3, ge=1, le=100_000)
    offline_after_s: float = Field(default=86400.0, gt=0, le=1e9, allow_inf_nan=False)
    max_failure_share: Share = 0.1
    min_accuracy: Share | None = None
    max_accuracy_drop: Signed | None = 0.05
    max_forgetting: Signed | None = 0.05
    confirm: bool = Field(default=False, description="Devices are asked first: confirmationBase.")


class RolloutCreate(Body):
    """A packet to deliver."""

    packet_id: Id
    targets: Annotated[list[ControllerId], Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, description="All of the model that stand at the base version if left out."
    )
    policy: PolicyBody = Field(default_factory=lambda: PolicyBody())


class RolloutRead(BaseModel):
    """A rollout; `stages` counts its devices by state, the canary first."""

    id: Id
    model_id: Id
    packet_id: Id
    created_at: str
    state: Literal["running", "paused", "aborted", "rolling_back", "rolled_back", "finished"]
    stage: int
    policy: PolicyBody
    stages: list[dict[str, int]]
    reasons: list[str]


class MemberRead(BaseModel):
    """A device in a rollout."""

    name: str
    stage: int
    state: str
    accuracy_before: float | None
    accuracy_after: float | None
    forgetting: float | None


class AuditRead(BaseModel):
    """A row of the audit: `row_sha256` is over all other fields, the hash before among them."""

    seq: int
    created_at: str
    actor: str
    action: str
    subject: str
    data: Json
    previous_sha256: Sha256
    row_sha256: Sha256
