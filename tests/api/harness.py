# SPDX-License-Identifier: Apache-2.0
"""Helpers of the tests of the service: samples, settings, the application in process."""

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from server.api.schemas import ModelRead
from server.client import HadaptClient, npz_bytes
from server.jobs.kinds import MACHINES
from server.jobs.runner import run_to_end
from server.services.context import Context
from server.services.keys import first_key
from server.settings import Settings
from tests.api.fake_engine import fake_onnx

CENTRES = np.array(
    [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [0, 0, 0, 4], [-4, -4, -4, -4]],
    dtype=np.float64,
)


def make_samples(label: int, count: int, seed: int = 0) -> tuple[Any, list[int]]:
    """Samples around a class's centre: x (count, 4) float32, y."""
    noise = np.random.default_rng([seed, label]).normal(0, 0.3, (count, 4))
    return (CENTRES[label] + noise).astype(np.float32), [label] * count


def calibration() -> bytes:
    """Calibration npz of the three base classes."""
    parts = [make_samples(label, 10) for label in range(3)]
    return npz_bytes(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class Service:
    """A running application, its client, and its jobs."""

    def __init__(self, app: FastAPI, http: TestClient) -> None:
        self.app = app
        self.http = http
        self.context: Context = app.state.context
        key = first_key(self.context)
        assert key is not None
        self.client = HadaptClient(key=key, http=http)
        self.model: ModelRead | None = None

    @classmethod
    def around(cls, app: FastAPI, http: TestClient) -> "Service":
        """An application whose first key was made before; `http` sends it."""
        service = cls.__new__(cls)
        service.app, service.http, service.model = app, http, None
        service.context = app.state.context
        service.client = HadaptClient(key=None, http=http)
        return service

    def run(self, job_id: str) -> None:
        """Run a queued job to its end."""
        run_to_end(self.context, MACHINES, job_id)

    def run_all(self) -> None:
        """Run every queued job."""
        for job in self.http.get("/api/v1/jobs", params={"state": "queued"}).json()["items"]:
            self.run(job["id"])

    def ready_model(self, name: str = "m", **options: Any) -> ModelRead:
        """An imported model with three base classes and four features."""
        model = self.client.upload_model(name, fake_onnx(), calibration(), options)
        self.run(model.job_id)
        return self.client.model(model.id)

    def send(self, model_id: str, *labels: int, count: int = 10, split: Any = "train") -> None:
        """Samples of classes."""
        for label in labels:
            x, y = make_samples(label, count, seed=1 if split == "test" else 2)
            self.client.send_samples(x, y, model_id=model_id, split=split)


def make_settings(folder: Path, **more: Any) -> Settings:
    """Settings of a test's own service."""
    values = {
        "data_dir": folder,
        "engine": "tests.api.fake_engine:FakeEngine",
        "log_level": "ERROR",
        "rate_limit_per_minute": 1_000_000,
        "rate_limit_unknown_per_minute": 1_000_000,
        **more,
    }
    return Settings(**values)
