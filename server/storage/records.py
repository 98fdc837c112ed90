# SPDX-License-Identifier: Apache-2.0
"""What is stored: one frozen dataclass a table, field names equal to column names.

Times are RFC 3339 in UTC, digests lower-case hex, blobs are named by their SHA-256.
"""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

JOB_QUEUED, JOB_RUNNING = "queued", "running"
JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED = "succeeded", "failed", "cancelled"
JOB_OPEN = (JOB_QUEUED, JOB_RUNNING)
JOB_KINDS = ("import", "update", "firmware", "device-test", "reports")
JOB_ENDED = (JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED)


@dataclass(frozen=True)
class JobRecord:
    """A durable job. `kind` names its workflow, `subject_id` the resource it makes."""

    id: str
    kind: str
    subject_id: str
    state: str
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    progress: Json = field(default_factory=dict)
    error: Json | None = None
    dispatched: bool = False


@dataclass(frozen=True)
class JobEventRecord:
    """One line of a job's history. `key` is unique in the job: a repeated step adds nothing."""

    job_id: str
    key: str
    kind: str
    data: Json
    created_at: str
    seq: int | None = None


@dataclass(frozen=True)
class ModelRecord:
    """An uploaded model; int_model_sha256 is None until its import job has succeeded."""

    id: str
    name: str
    created_at: str
    job_id: str
    onnx_sha256: str
    calibration_sha256: str
    feature_count: int
    base_class_count: int
    summary: Json
    options: Json
    int_model_sha256: str | None = None
    max_classes: int | None = None
    feature_min: float | None = None
    feature_max: float | None = None
    report: Json | None = None


@dataclass(frozen=True)
class ClassRecord:
    """A class of a model; positions count from 0 in order of first mention."""

    model_id: str
    position: int
    name: str


@dataclass(frozen=True)
class VersionRecord:
    """What a model knows at one point; number 1 is the import.

    classes: names in slot order. tasks: names learned together, oldest first.
    accuracy: accuracy on each task at that time, in [0, 1], None where untested.
    """

    model_id: str
    number: int
    created_at: str
    parent: int | None
    update_id: str | None
    classes: list[str]
    tasks: list[list[str]]
    accuracy: list[float | None]
    learner_sha256: str
    state_sha256: str
    state_hash: str
    report: Json


@dataclass(frozen=True)
class DeviceRecord:
    """A fielded device and the model it runs."""

    id: str
    name: str
    model_id: str
    board: str
    created_at: str


@dataclass(frozen=True)
class SampleRecord:
    """A labelled sample: float32 little-endian features in the units of the ONNX input."""

    model_id: str
    content_sha256: str
    class_position: int
    split: str
    features: bytes
    created_at: str
    device_id: str | None = None
    seq: int | None = None


@dataclass(frozen=True)
class UpdateRecord:
    """An incremental update; `last_seq` bounds the samples it may use."""

    id: str
    model_id: str
    job_id: str
    created_at: str
    base_version: int
    method: str
    spec: Json
    last_seq: int
    version: int | None = None
    result: Json | None = None


@dataclass(frozen=True)
class FirmwareRecord:
    """A zip of generated sources; image: its binary, as built here or uploaded."""

    id: str
    model_id: str
    version: int
    board: str
    layout: str
    job_id: str
    created_at: str
    zip_sha256: str | None = None
    zip_bytes: int | None = None
    image_sha256: str | None = None
    image_bytes: int | None = None


@dataclass(frozen=True)
class DeviceTestRecord:
    """A test of one version on boards; `results` has one entry a board that is done."""

    id: str
    model_id: str
    version: int
    job_id: str
    created_at: str
    spec: Json
    results: list[Json]


@dataclass(frozen=True)
class ReportRecord:
    """Resources of a model on a board: `report`, or the problem that prevents one."""

    model_id: str
    board: str
    job_id: str
    created_at: str
    report: Json | None = None
    error: Json | None = None


@dataclass(frozen=True)
class ReportRequestRecord:
    """A request for resource reports."""

    id: str
    model_id: str
    job_id: str
    created_at: str
    boards: list[str]


@dataclass(frozen=True)
class IdempotencyRecord:
    """The answer once given for an Idempotency-Key."""

    scope: str
    key: str
    fingerprint: str
    created_at: str
    status: int
    body: Json


@dataclass(frozen=True)
class ApiKeyRecord:
    """A key of a machine. Only its digest is kept; the prefix is what people know it by."""

    id: str
    name: str
    prefix: str
    sha256: str
    scopes: list[str]
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None


@dataclass(frozen=True)
class UserRecord:
    """A person. `password_hash` is Argon2id's own text, salt and costs within."""

    id: str
    name: str
    password_hash: str
    scopes: list[str]
    created_at: str
    disabled_at: str | None = None


@dataclass(frozen=True)
class SessionRecord:
    """A person's login; the digest of the cookie, not the cookie."""

    sha256: str
    user_id: str
    created_at: str
    expires_at: str


@dataclass(frozen=True)
class TotalRecord:
    """How many things of a kind have come to an end, and how long they took together.

    name: job (by its kind and final state) or gate (by the update's method and the outcome).
    """

    name: str
    kind: str
    state: str
    count: int
    seconds: float


@dataclass(frozen=True)
class WorkerRecord:
    """A worker process and when it was last seen (seconds since 1970)."""

    executor_id: str
    pid: int
    seen_at: float
