# SPDX-License-Identifier: Apache-2.0
"""A run of one data set: what it works on, what it has led to, and its uploads."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from server.api import schemas as s
from server.client import HadaptClient, npz_bytes
from server.demo.clock import Clock
from server.demo.fielded import FieldedDevice
from server.demo.plan import Plan
from server.learning.datasets import Dataset
from server.learning.ports import Float32Array, Int64Array

Json = dict[str, Any]
JOB_LIMIT_S = 900.0


@dataclass
class Run:
    """What one data set has led to so far.

    Attributes:
        version: that the running device holds.
        matrix, float_matrix: R[k][j] of the integer and the float stream.
        confusion: after the last task.
    """

    client: HadaptClient
    clock: Clock
    data: Dataset
    plan: Plan
    folder: Path
    boards: list[s.BoardRead]
    model: s.ModelRead | None = None
    version: int = 1
    device: FieldedDevice | None = None
    device_error: str | None = None
    matrix: list[list[float]] = field(default_factory=list)
    float_matrix: list[list[float]] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    float_seen: list[float] = field(default_factory=list)
    tasks: list[Json] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    delivered_bytes: int = 0

    @property
    def model_id(self) -> str:
        """Id of the uploaded model."""
        if self.model is None:
            raise RuntimeError("the model is not uploaded yet")
        return self.model.id

    def rows(self, part: str, slots: tuple[int, ...]) -> tuple[Float32Array, Int64Array]:
        """Rows of classes, of "train" or "test"."""
        x, y = (
            (self.data.x_train, self.data.y_train)
            if part == "train"
            else (self.data.x_test, self.data.y_test)
        )
        keep = np.flatnonzero(np.isin(y, slots))
        # Class by class, so that the service sees new classes in the order of their slots.
        keep = keep[np.argsort(y[keep], kind="stable")]
        return x[keep], y[keep]

    def names(self, slots: tuple[int, ...]) -> list[str]:
        """Class names of slots."""
        return [self.data.class_names[slot] for slot in slots]

    def known(self, task: int) -> tuple[int, ...]:
        """Slots known after a task."""
        return tuple(slot for slots in self.plan.tasks[: task + 1] for slot in slots)


def upload(run: Run, onnx: bytes, options: Json) -> s.ModelRead:
    """Upload a base model with its calibration rows; wait for the integer model."""
    slots = run.plan.tasks[0]
    x, y = run.rows("train", slots)
    given = {**run.plan.options, **options, "class_names": run.names(slots)}
    (run.folder / "base.onnx").write_bytes(onnx)
    model = run.client.upload_model(run.data.name, onnx, npz_bytes(x, y), given)
    run.client.wait_job(model.job_id, JOB_LIMIT_S)
    return run.client.model(model.id)


def send(run: Run, model_id: str, x: Float32Array, labels: Any, split: Any) -> s.SampleBatchRead:
    """Store samples; values beyond the input range are taken, as a device takes them."""
    return run.client.send_samples(x, labels, model_id=model_id, split=split, out_of_range="allow")
