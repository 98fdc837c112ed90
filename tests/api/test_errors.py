# SPDX-License-Identifier: Apache-2.0
"""Every error of the API has one shape, the right status, and says what, where, expected."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from server.errors import HadaptError, from_problem, tree
from server.services.jobs import RETRY_AFTER_S
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration, make_samples

NONE = "0" * 32
KEYS = {"type", "title", "status", "detail", "instance", "errors"}


def check_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The one shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) == KEYS
    assert problem["type"] == f"urn:hadapt:problem:{code}"
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.path
    assert problem["detail"]
    assert problem["title"]
    for issue in problem["errors"]:
        assert set(issue) == {"what", "where", "expected"}
        assert all(isinstance(text, str) and text for text in issue.values())
    return problem


UPDATE = {"model_id": NONE}
SIMPLE = [
    ("GET", "/nothing", {}, 404, "not-found"),
    ("GET", "/api/v1/nothing", {}, 404, "not-found"),
    ("DELETE", "/api/v1/models", {}, 405, "method-not-allowed"),
    ("GET", f"/api/v1/models/{NONE}", {}, 404, "not-found"),
    ("GET", "/api/v1/models/x", {}, 422, "invalid-input"),
    ("GET", "/api/v1/models?limit=0", {}, 422, "invalid-input"),
    ("GET", "/api/v1/models?cursor=%21", {}, 422, "invalid-input"),
    ("GET", "/api/v1/models?cursor=WzFd", {}, 422, "invalid-input"),
    ("GET", f"/api/v1/models/{NONE}/versions", {}, 404, "not-found"),
    ("GET", f"/api/v1/models/{NONE}/versions/1", {}, 404, "not-found"),
    ("GET", f"/api/v1/models/{NONE}/versions/0", {}, 422, "invalid-input"),
    ("GET", f"/api/v1/models/{NONE}/int-model", {}, 404, "not-found"),
    ("GET", f"/api/v1/models/{NONE}/samples", {}, 404, "not-found"),
    ("GET", f"/api/v1/models/{NONE}/classes", {}, 404, "not-found"),
    ("GET", f"/api/v1/models/{NONE}/resource-reports", {}, 404, "not-found"),
    ("GET", f"/api/v1/devices/{NONE}", {}, 404, "not-found"),
    ("GET", f"/api/v1/updates/{NONE}", {}, 404, "not-found"),
    ("GET", f"/api/v1/updates/{NONE}/state", {}, 404, "not-found"),
    ("GET", f"/api/v1/firmware/{NONE}", {}, 404, "not-found"),
    ("GET", f"/api/v1/firmware/{NONE}/zip", {}, 404, "not-found"),
    ("GET", f"/api/v1/device-tests/{NONE}", {}, 404, "not-found"),
    ("GET", f"/api/v1/jobs/{NONE}", {}, 404, "not-found"),
    ("GET", f"/api/v1/jobs/{NONE}/events", {}, 404, "not-found"),
    ("GET", f"/api/v1/jobs/{NONE}/log", {}, 404, "not-found"),
    ("POST", f"/api/v1/jobs/{NONE}/cancel", {}, 404, "not-found"),
    ("GET", "/api/v1/jobs?state=odd", {}, 422, "invalid-input"),
    ("POST", "/api/v1/updates", {"content": b"{"}, 422, "invalid-input"),
    (
        "POST",
        "/api/v1/updates",
        {"content": b"{", "headers": {"content-type": "application/json"}},
        400,
        "malformed-request",
    ),
    ("POST", "/api/v1/updates", {"json": {}}, 422, "invalid-input"),
    ("POST", "/api/v1/updates", {"json": UPDATE}, 404, "not-found"),
    ("POST", "/api/v1/updates", {"json": {**UPDATE, "method": "der"}}, 422, "invalid-input"),
    ("POST", "/api/v1/updates", {"json": {**UPDATE, "odd": 1}}, 422, "invalid-input"),
    ("POST", "/api/v1/updates", {"json": {**UPDATE, "steps": 0}}, 422, "invalid-input"),
    ("POST", "/api/v1/models", {"json": {}}, 415, "unsupported-media-type"),
    ("POST", "/api/v1/models", {"files": {"onnx": b"x"}}, 422, "invalid-input"),
    (
        "POST",
        "/api/v1/models",
        {"content": b"no boundary", "headers": {"content-type": "multipart/form-data"}},
        400,
        "malformed-request",
    ),
    (
        "POST",
        "/api/v1/devices",
        {"json": {"name": "d", "model_id": NONE, "board": "odd"}},
        422,
        "invalid-input",
    ),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "code"), SIMPLE)
def test_error_of_simple_request_has_one_shape(
    shared: Service, method: str, path: str, more: dict[str, Any], status: int, code: str
) -> None:
    check_problem(shared.http.request(method, path, **more), status, code)


def test_error_beside_key_too_long_is_422(service: Service) -> None:
    response = service.http.post("/api/v1/devices", json={}, headers={"Idempotency-Key": "k" * 201})
    check_problem(response, 422, "invalid-input")


@pytest.mark.parametrize("service", [{"upload_json_max_bytes": 100}], indirect=True)
def test_body_declared_too_large_is_413(service: Service) -> None:
    response = service.http.post("/api/v1/updates", content=b"x" * 101)
    problem = check_problem(response, 413, "payload-too-large")
    assert problem["errors"][0]["expected"] == "at most 100 bytes"


@pytest.mark.parametrize(
    ("service", "path", "media"),
    [
        ({"upload_json_max_bytes": 100}, "/api/v1/updates", "application/json"),
        (
            {"upload_samples_max_bytes": 1000},
            "/api/v1/models/{id}/samples",
            "application/octet-stream",
        ),
        (
            {"upload_model_max_bytes": 1000, "upload_calibration_max_bytes": 1000},
            "/api/v1/models",
            "multipart/form-data; boundary=b",
        ),
    ],
    indirect=["service"],
)
def test_body_streamed_too_large_is_413_before_it_ends(
    service: Service, path: str, media: str
) -> None:
    if "{id}" in path:
        model = service.client.upload_model("m", fake_onnx(), calibration())
        service.run(model.job_id)
        path = path.format(id=model.id)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b"--b\r\nContent-Disposition: form-data; name=onnx; filename=a\r\n\r\n"
        for _ in range(1000):
            sent += 1
            yield b"x" * 1000

    response = service.http.post(path, content=endless(), headers={"Content-Type": media})
    check_problem(response, 413, "payload-too-large")
    assert not list(service.context.settings.temporary_dir.iterdir())


@pytest.mark.parametrize("service", [{"upload_model_max_bytes": 10}], indirect=True)
def test_form_part_too_large_is_413_naming_the_part(service: Service) -> None:
    files = {"onnx": fake_onnx(), "calibration": calibration()}
    response = service.http.post("/api/v1/models", files=files)
    assert check_problem(response, 413, "payload-too-large")["errors"][0]["where"] == "part onnx"


@pytest.mark.parametrize("service", [{"job_queue_limit": 1}], indirect=True)
def test_full_queue_is_429_with_retry_after(service: Service) -> None:
    service.client.upload_model("m", fake_onnx(), calibration())
    files = {"onnx": fake_onnx(), "calibration": calibration()}
    response = service.http.post("/api/v1/models", files=files)
    check_problem(response, 429, "too-many-requests")
    assert response.headers["retry-after"] == str(RETRY_AFTER_S)
    assert len(list(service.client.models())) == 1


def test_bug_is_500_without_its_text(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("server.services.devices.list_devices", broken)
    response = service.http.get("/api/v1/devices")
    problem = check_problem(response, 500, "internal")
    assert "secret" not in str(problem)
    assert response.headers["x-request-id"]


def test_full_disk_is_507_and_stores_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = service.ready_model()
    x, y = make_samples(3, 2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.services.samples.content_sha256", full)
    response = service.http.post(
        f"/api/v1/models/{model.id}/samples",
        json={"samples": [{"features": x[0].tolist(), "label": 3}]},
    )
    check_problem(response, 507, "storage-full")
    monkeypatch.undo()
    assert service.client.model(model.id).classes == ["0", "1", "2"]
    assert service.client.send_samples(x, y, model_id=model.id).stored == 2


def test_not_ready_service_is_503(service: Service) -> None:
    problem = check_problem(service.http.get("/readyz"), 503, "unavailable")
    assert [issue["where"] for issue in problem["errors"]] == ["worker"]


@pytest.mark.parametrize("kind", tree())
def test_error_of_each_class_survives_the_wire(kind: type[HadaptError]) -> None:
    error = kind.__new__(kind)
    HadaptError.__init__(error, "what happened")
    error.__dict__.setdefault("retry_after_s", 7)
    back = from_problem(error.to_problem("/x"), 7)
    assert (back.code, back.status, back.detail) == (kind.code, kind.status, "what happened")


def test_field_errors_say_what_would_be_right_in_words(shared: Service) -> None:
    wrong: dict[str, Any] = {"speed": 1, "steps": 0, "method": "magic"}
    response = shared.http.post("/api/v1/updates", json=wrong)
    issues = check_problem(response, 422, "invalid-input")["errors"]
    assert {i["where"]: i["expected"] for i in issues} == {
        "body model_id": "a value; the field is required",
        "body speed": "only fields that the OpenAPI description lists",
        "body steps": "greater than or equal to 1",
        "body method": "'ncm', 'finetune', 'replay', 'lwf', 'icarl', 'bic', 'memo' "
        "or 'der_expandable'",
    }
