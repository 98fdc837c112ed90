# SPDX-License-Identifier: Apache-2.0
"""The typed client of the REST API.

    with HadaptClient("http://127.0.0.1:8600", key="had_..") as hadapt:
        model = hadapt.upload_model("digits", onnx_bytes, calibration_npz)
        hadapt.wait_job(model.job_id)

Errors of the service are raised as the classes of server.errors.
"""

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx2
import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, TypeAdapter

from server.api import schemas as s
from server.api.explain import ExplainRead
from server.client_wire import check, parse_events
from server.errors import HadaptError, UnavailableError, from_problem
from server.ids import new_id

Model = TypeVar("Model", bound=BaseModel)
Split = Literal["train", "test"]
CONNECT_ATTEMPTS = 3
RETRY_PAUSE_S = 0.2


class JobEndedError(HadaptError):
    """A job failed or was cancelled; `job` is its last state, `cause` its problem if it failed."""

    code, title = "job-ended", "The job did not succeed"

    def __init__(self, job: s.JobRead) -> None:
        problem = job.error.model_dump() if job.error else None
        self.job = job
        self.cause = from_problem(problem) if problem else None
        detail = self.cause.detail if self.cause else f"Job {job.id} was {job.state}."
        super().__init__(detail, self.cause.errors if self.cause else ())


def npz_bytes(x: ArrayLike, y: ArrayLike | None = None) -> bytes:
    """Samples as the npz that uploads take: x (N, features), y (N,) names or indices."""
    arrays = {"x": np.asarray(x, dtype=np.float32)}
    if y is not None:
        arrays["y"] = np.asarray(y)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


class HadaptClient:
    """A connection to one service.

    Args:
        base_url: such as http://127.0.0.1:8600.
        key: an API key; HADAPT_API_KEY of the environment if None.
        http: a client to use instead of a new one, such as a test client.
        timeout_s: of one request.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        key: str | None = None,
        http: httpx2.Client | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._http = http or httpx2.Client(base_url=base_url, timeout=timeout_s)
        key = key or (None if http else os.environ.get("HADAPT_API_KEY"))
        if key:
            self._http.headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def check_ready(self) -> s.Health:
        """Raises: UnavailableError, naming what is missing."""
        return self._parse(self._send("GET", "/readyz", root=""), s.Health)

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return str(self._http.base_url).rstrip("/")

    # Models

    def upload_model(
        self,
        name: str,
        onnx: bytes,
        calibration: bytes,
        options: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> s.ModelRead:
        """Upload a float model and calibration samples (npz_bytes); wait for its job_id next."""
        files = {
            "onnx": ("model.onnx", onnx),
            "calibration": ("calibration.npz", calibration),
        }
        data = {"name": name, "options": json.dumps(dict(options or {}))}
        return self._make("/models", s.ModelRead, key, files=files, data=data)

    def model(self, model_id: str) -> s.ModelRead:
        """A model."""
        return self._get(f"/models/{model_id}", s.ModelRead)

    def delete_model(self, model_id: str) -> None:
        """Forget a model whose import has failed."""
        self._send("DELETE", f"/models/{model_id}")

    def models(self) -> Iterator[s.ModelRead]:
        """All models, the newest first."""
        return self._pages("/models", s.ModelRead)

    def versions(self, model_id: str) -> Iterator[s.VersionRead]:
        """All versions of a model, the newest first."""
        return self._pages(f"/models/{model_id}/versions", s.VersionRead)

    def version(self, model_id: str, number: int) -> s.VersionRead:
        """A version."""
        return self._get(f"/models/{model_id}/versions/{number}", s.VersionRead)

    def explain(self, model_id: str, number: int | None = None) -> ExplainRead:
        """Layers of a version, of the newest if None: ranges, clips, errors, cost."""
        params = {} if number is None else {"version": number}
        return self._get(f"/models/{model_id}/explain", ExplainRead, **params)

    def int_model(self, model_id: str) -> bytes:
        """The integer model's bytes."""
        return self._bytes(f"/models/{model_id}/int-model")

    def onnx(self, model_id: str, number: int, form: Literal["exact", "qdq"] = "exact") -> bytes:
        """A version as integer ONNX."""
        return self._bytes(f"/models/{model_id}/versions/{number}/onnx", form=form)

    def version_state(self, model_id: str, number: int) -> bytes:
        """State bytes of a version, for a running device."""
        return self._bytes(f"/models/{model_id}/versions/{number}/state")

    def version_learner(self, model_id: str, number: int) -> bytes:
        """State bytes and exemplars of a version, as server.learning.learner_data reads them."""
        return self._bytes(f"/models/{model_id}/versions/{number}/learner")

    def request_reports(
        self, model_id: str, boards: Sequence[str], *, key: str | None = None
    ) -> s.ReportsQueued:
        """Ask for resource reports; wait for the job_id, then see reports()."""
        path = f"/models/{model_id}/resource-reports"
        return self._make(path, s.ReportsQueued, key, json={"boards": list(boards)})

    def reports(self, model_id: str) -> list[s.ReportRead]:
        """Resource reports of a model."""
        return self._list(f"/models/{model_id}/resource-reports", s.ReportRead)

    def report(self, model_id: str, board: str) -> s.ReportRead:
        """The resource report of a board."""
        return self._get(f"/models/{model_id}/resource-reports/{board}", s.ReportRead)

    # Samples

    def send_samples(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        model_id: str | None = None,
        device_id: str | None = None,
        split: Split = "train",
        out_of_range: Literal["reject", "allow"] = "reject",
        key: str | None = None,
    ) -> s.SampleBatchRead:
        """Store samples of a model or of a device, as npz: x (N, features), y names or indices."""
        owner = f"/devices/{device_id}" if device_id else f"/models/{model_id}"
        return self._make(
            f"{owner}/samples",
            s.SampleBatchRead,
            key,
            content=npz_bytes(x, y),
            params={"split": split, "out_of_range": out_of_range},
            headers={"Content-Type": "application/octet-stream"},
        )

    def send_json_samples(
        self,
        samples: Sequence[Mapping[str, Any]],
        *,
        model_id: str,
        split: Split = "train",
        key: str | None = None,
    ) -> s.SampleBatchRead:
        """Store samples {"features": [..], "label": ..} as JSON."""
        body = {"samples": [dict(sample) for sample in samples], "split": split}
        return self._make(f"/models/{model_id}/samples", s.SampleBatchRead, key, json=body)

    def samples(self, model_id: str) -> Iterator[s.SampleRead]:
        """All samples of a model, oldest first."""
        return self._pages(f"/models/{model_id}/samples", s.SampleRead)

    def classes(self, model_id: str) -> list[s.ClassCountRead]:
        """Classes of a model with counts of samples."""
        return self._list(f"/models/{model_id}/classes", s.ClassCountRead)

    def outliers(self, model_id: str, min_score: float = 3.0) -> s.OutliersRead:
        """The newest samples that lie far from the mean of their class."""
        return self._get(f"/models/{model_id}/outliers", s.OutliersRead, min_score=min_score)

    # Updates

    def create_update(
        self,
        model_id: str,
        method: str = "replay",
        *,
        key: str | None = None,
        **spec: Any,
    ) -> s.UpdateRead:
        """Start an update; `spec` as in UpdateCreate: steps, seed, gate, selection, .."""
        body = {"model_id": model_id, "method": method, **spec}
        return self._make("/updates", s.UpdateRead, key, json=body)

    def update(self, update_id: str) -> s.UpdateRead:
        """An update."""
        return self._get(f"/updates/{update_id}", s.UpdateRead)

    def updates(self, model_id: str | None = None) -> Iterator[s.UpdateRead]:
        """Updates, the newest first."""
        return self._pages("/updates", s.UpdateRead, model_id=model_id)

    def update_state(self, update_id: str) -> bytes:
        """State bytes that the update led to."""
        return self._bytes(f"/updates/{update_id}/state")

    # Firmware, boards, devices

    def boards(self, parts: bool = False) -> list[s.BoardRead]:
        """Boards, the smallest first; or common microcontrollers, emulated on boards."""
        return self._list("/parts" if parts else "/boards", s.BoardRead)

    def create_firmware(
        self, model_id: str, board: str, *, key: str | None = None, **spec: Any
    ) -> s.FirmwareRead:
        """Generate firmware; `spec` as in FirmwareCreate: version, layout."""
        body = {"model_id": model_id, "board": board, **spec}
        return self._make("/firmware", s.FirmwareRead, key, json=body)

    def firmware(self, firmware_id: str) -> s.FirmwareRead:
        """A firmware."""
        return self._get(f"/firmware/{firmware_id}", s.FirmwareRead)

    def firmware_zip(self, firmware_id: str) -> bytes:
        """The zip of a firmware whose job has succeeded."""
        return self._bytes(f"/firmware/{firmware_id}/zip")

    def create_device_test(
        self,
        model_id: str,
        boards: Sequence[str],
        *,
        key: str | None = None,
        **spec: Any,
    ) -> s.DeviceTestRead:
        """Test a version on boards; `spec` as in DeviceTestCreate: version, sample_count, .."""
        body = {"model_id": model_id, "boards": list(boards), **spec}
        return self._make("/device-tests", s.DeviceTestRead, key, json=body)

    def device_test(self, test_id: str) -> s.DeviceTestRead:
        """A device test."""
        return self._get(f"/device-tests/{test_id}", s.DeviceTestRead)

    def create_device(
        self, name: str, model_id: str, board: str, *, key: str | None = None
    ) -> s.DeviceRead:
        """Register a fielded device."""
        body = {"name": name, "model_id": model_id, "board": board}
        return self._make("/devices", s.DeviceRead, key, json=body)

    def devices(self) -> Iterator[s.DeviceRead]:
        """All devices, the newest first."""
        return self._pages("/devices", s.DeviceRead)

    # Jobs

    def job(self, job_id: str) -> s.JobRead:
        """A job."""
        return self._get(f"/jobs/{job_id}", s.JobRead)

    def cancel_job(self, job_id: str) -> s.JobRead:
        """End a job."""
        return self._parse(self._send("POST", f"/jobs/{job_id}/cancel"), s.JobRead)

    def job_log(self, job_id: str, after: int = 0) -> list[s.JobEventRead]:
        """A piece of the job's history after an event number."""
        return self._list(f"/jobs/{job_id}/log", s.JobEventRead, after=after)

    def job_events(self, job_id: str, after: int = 0) -> Iterator[s.JobEventRead]:
        """The job's history as it happens, until the job ends."""
        path, headers = f"/api/v1/jobs/{job_id}/events", {"Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers) as response:
            if response.status_code >= 400:
                response.read()
            check(response)
            yield from parse_events(response.iter_lines())

    def wait_job(
        self,
        job_id: str,
        timeout_s: float = 600.0,
        progress: Callable[[s.JobRead], None] | None = None,
        poll_s: float = 0.2,
    ) -> s.JobRead:
        """Wait until a job has succeeded; survives restarts of the service.

        Raises: JobEndedError if it failed or was cancelled; TimeoutError.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                job = self.job(job_id)
            except UnavailableError:
                time.sleep(poll_s)
                continue
            if progress:
                progress(job)
            if job.state == "succeeded":
                return job
            if job.state in ("failed", "cancelled"):
                raise JobEndedError(job)
            time.sleep(poll_s)
        raise TimeoutError(f"job {job_id} has not ended after {timeout_s} s")

    # How requests are sent

    def _send(
        self, method: str, path: str, *, root: str = "/api/v1", **more: Any
    ) -> httpx2.Response:
        """Send; what cannot reach the service raises UnavailableError."""
        try:
            response = self._http.request(method, root + path, **more)
        except httpx2.TransportError as error:
            text = str(error) or type(error).__name__
            raise UnavailableError(f"The service does not answer: {text}.") from error
        check(response)
        return response

    def _make(self, path: str, kind: type[Model], key: str | None, **more: Any) -> Model:
        """POST once, however often it has to be sent: every attempt carries the same key."""
        headers = {"Idempotency-Key": key or new_id(), **more.pop("headers", {})}
        for attempt in range(CONNECT_ATTEMPTS):
            try:
                return self._parse(self._send("POST", path, headers=headers, **more), kind)
            except UnavailableError as error:
                if error.__cause__ is None or attempt + 1 == CONNECT_ATTEMPTS:
                    raise
                time.sleep(RETRY_PAUSE_S * (attempt + 1))
        raise UnavailableError("The service does not answer.")

    def _get(self, path: str, kind: type[Model], **params: Any) -> Model:
        return self._parse(self._send("GET", path, params=params), kind)

    def _list(self, path: str, kind: type[Model], **params: Any) -> list[Model]:
        response = self._send("GET", path, params=params)
        return TypeAdapter(list[kind]).validate_json(response.content)  # type: ignore[valid-type]

    def _bytes(self, path: str, **params: Any) -> bytes:
        return self._send("GET", path, params=params).content

    def _pages(self, path: str, kind: type[Model], **params: Any) -> Iterator[Model]:
        query = {name: value for name, value in params.items() if value is not None}
        while True:
            page = self._send("GET", path, params=query).json()
            yield from (kind.model_validate(item) for item in page["items"])
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    @staticmethod
    def _parse(response: httpx2.Response, kind: type[Model]) -> Model:
        return kind.model_validate_json(response.content)
