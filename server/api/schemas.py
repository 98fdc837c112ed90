# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests (`*Create`) and responses (`*Read`). Times are RFC 3339 in UTC."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.learning.methods import Method

Json = dict[str, Any]
# No control characters, and none that turn the direction of what is read beside them.
NAME = r"^[^\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]+$"
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$", examples=["019ab0c4f6d15e0f7a3b9c2d4e6f8a10"])]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NAME)]


def _only_json(value: Json) -> Json:
    json.dumps(value, allow_nan=False)  # Python's reader takes NaN, which is none
    return value


Options = Annotated[Json, AfterValidator(_only_json)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
BoardName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=60,
        description="A board, a part, or either with less memory: `NAME:ram=64K,flash=256K`.",
        examples=["mps2-an386"],
    ),
]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Body(BaseModel):
    """A request body: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class ProblemIssue(BaseModel):
    """One thing that is wrong."""

    what: str = Field(examples=["value nan"])
    where: str = Field(examples=["row 3, column 17"])
    expected: str = Field(examples=["a finite number in [-8, 8]"])


class Problem(BaseModel):
    """Every error of this API, as application/problem+json (RFC 9457)."""

    type: str = Field(examples=["urn:hadapt:problem:sample-invalid"])
    title: str = Field(examples=["A sample is wrong"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["row 3, column 17: value nan, expected a finite number."])
    instance: str = Field(examples=["/api/v1/models/019ab0c4f6d15e0f7a3b9c2d4e6f8a10/samples"])
    errors: list[ProblemIssue]


class JobRead(BaseModel):
    """A job. `error` is a problem document if it failed."""

    id: Id
    kind: Literal["import", "update", "firmware", "device-test", "reports"]
    subject_id: Id
    state: JobState
    created_at: str = Field(examples=["2026-11-23T18:58:27.000000Z"])
    started_at: str | None
    finished_at: str | None
    progress: Json = Field(examples=[{"share": 0.5, "steps_done": 100, "steps": 200}])
    error: Problem | None


class JobEventRead(BaseModel):
    """A line of a job's history: a change of state, or progress."""

    seq: int
    kind: Literal["state", "progress"]
    data: Json
    created_at: str


class ModelRead(BaseModel):
    """A model; `ready` once its import job has succeeded."""

    id: Id
    name: str
    created_at: str
    job_id: Id
    ready: bool
    feature_count: int
    classes: list[str]
    base_class_count: int
    max_classes: int | None
    classes_left: int | None
    feature_min: float | None = Field(description="Smallest feature the device's input carries.")
    feature_max: float | None
    onnx_sha256: Sha256
    calibration_sha256: Sha256
    int_model_sha256: Sha256 | None
    summary: Json
    options: Json
    report: Json | None


class VersionRead(BaseModel):
    """What a model knows at one point. Version 1 is the import; each accepted update adds one."""

    model_id: Id
    number: int
    created_at: str
    parent: int | None
    update_id: Id | None
    classes: list[str] = Field(description="Names in slot order.")
    tasks: list[list[str]]
    accuracy: list[float | None] = Field(description="On each task, in [0, 1], at that time.")
    state_sha256: Sha256 = Field(description="Digest of the state bytes.")
    state_hash: Sha256 = Field(description="Hash of the learner's state, equal on the device.")
    report: Json


class SampleBatchRead(BaseModel):
    """What became of an upload; it is durable once this is sent."""

    received: int
    stored: int
    duplicates: int
    new_classes: list[str]
    classes_left: int


class SampleRead(BaseModel):
    """A stored sample."""

    content_sha256: Sha256
    label: str
    split: Literal["train", "test"]
    device_id: Id | None
    created_at: str


class ClassCountRead(BaseModel):
    """Samples of one class."""

    position: int
    name: str
    train: int
    test: int
    coverage: Literal["good", "few", "untested", "untrained", "missing"] = Field(
        description="few: less than a quarter of the median class; untested: none held out; "
        "untrained: only held-out ones; missing: none."
    )


class OutlierRead(SampleRead):
    """A sample that lies far from the mean of its class."""

    score: float = Field(
        description="Distance to the mean of its class, each feature in its own spread, over the "
        "median distance of that class."
    )
    nearest_class: str = Field(description="Whose mean is nearest: another one hints at the label.")


class OutliersRead(BaseModel):
    """The farthest first; `considered` newest samples were looked at."""

    considered: int
    items: list[OutlierRead]


class DeviceCreate(Body):
    """A fielded device."""

    name: Name = Field(examples=["greenhouse-7"])
    model_id: Id
    board: BoardName


class DeviceRead(BaseModel):
    """A fielded device."""

    id: Id
    name: str
    model_id: Id
    board: str
    created_at: str


class Selection(Body):
    """Which samples to train on; by default all of classes that the version does not know."""

    classes: list[Name] | None = Field(default=None, max_length=1000)
    device_id: Id | None = None


class Gate(Body):
    """Limits in [0, 1] that the result must keep; None is no limit.

    A limit needs held-out samples (split=test) of every class.
    """

    min_accuracy: Share | None = Field(
        default=None, description="On all held-out samples, afterwards."
    )
    max_forgetting: Annotated[float, Field(ge=-1, le=1)] | None = None
    max_class_drop: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        default=None, description="Largest fall of any class the version knew."
    )


class UpdateCreate(Body):
    """An incremental update."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model_id": "019ab0c4f6d15e0f7a3b9c2d4e6f8a10",
                    "method": "replay",
                    "steps": 200,
                    "seed": 1,
                    "gate": {"min_accuracy": 0.8, "max_forgetting": 0.1},
                }
            ]
        },
    )

    model_id: Id
    base_version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    method: Method = "replay"
    selection: Selection = Field(default_factory=lambda: Selection())
    steps: int = Field(default=200, ge=1, lt=2**31, description="Training steps; ncm needs none.")
    learning_rate: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    batch: Annotated[int, Field(ge=1, le=512)] | None = None
    seed: int = Field(default=1, ge=0, lt=2**32)
    options: Options = Field(
        default_factory=dict,
        description="Of methods that distil: distillation_weight in [0, 1), temperature 1 to 8.",
    )
    gate: Gate = Field(default_factory=lambda: Gate())


class EvaluationRead(BaseModel):
    """Accuracies in [0, 1] on held-out samples; None without samples."""

    accuracy: float | None
    per_task: list[float | None]
    per_class: dict[str, float | None]
    confusion: list[list[int]]


class UpdateResult(BaseModel):
    """What the gate decided, and on what grounds."""

    outcome: Literal["accepted", "refused"]
    reasons: list[str]
    before: EvaluationRead
    after: EvaluationRead
    forgetting: float | None
    worst_class_drop: float | None
    state_sha256: Sha256
    state_hash: Sha256
    report: Json


class UpdateRead(BaseModel):
    """An update. `version` is the new one if it was accepted."""

    id: Id
    model_id: Id
    job_id: Id
    state: JobState
    created_at: str
    base_version: int
    method: Method
    spec: Json
    version: int | None
    result: UpdateResult | None


class FirmwareCreate(Body):
    """A firmware to generate."""

    model_id: Id
    version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    board: BoardName
    layout: Annotated[str, Field(min_length=1, max_length=40, examples=["plain"])] = "plain"


class FirmwareRead(BaseModel):
    """A firmware; the zip can be fetched once the job has succeeded."""

    id: Id
    model_id: Id
    version: int
    board: str
    layout: str
    job_id: Id
    state: JobState
    created_at: str
    zip_sha256: Sha256 | None
    zip_bytes: int | None
    image_sha256: Sha256 | None = Field(description="Of the binary, built here or uploaded.")
    image_bytes: int | None


class DeviceTestCreate(Body):
    """A test of one version on boards."""

    model_id: Id
    version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    boards: Annotated[list[BoardName], Field(min_length=1, max_length=50)]
    sample_count: int = Field(default=32, ge=1, le=10_000)
    train_steps: int = Field(default=0, ge=0, le=10_000)
    seed: int = Field(default=1, ge=0, lt=2**32)


class DeviceTestRead(BaseModel):
    """A device test; one entry of results a board that is done."""

    id: Id
    model_id: Id
    version: int
    job_id: Id
    state: JobState
    created_at: str
    spec: Json
    results: list[Json] = Field(
        examples=[[{"board": "mps2-an386", "bit_exact": True, "flash_bytes": 41232}]]
    )


class ReportsCreate(Body):
    """Boards to report on."""

    boards: Annotated[list[BoardName], Field(min_length=1, max_length=50)]


class ReportsQueued(BaseModel):
    """The job that makes the reports."""

    id: Id
    model_id: Id
    job_id: Id
    boards: list[str]


class ReportRead(BaseModel):
    """Resources of a model on a board, or the problem that prevents a report."""

    model_id: Id
    board: str
    created_at: str
    report: Json | None
    error: Problem | None


class BoardRead(BaseModel):
    """A board, and whether its tools are installed."""

    name: str
    title: str
    cpu: str
    flash_bytes: int
    ram_bytes: int
    available: bool
    missing: str | None


class Health(BaseModel):
    """The service is well; if it is not, a problem document says why."""

    status: Literal["ok"]
    version: str
    checks: dict[str, str]
