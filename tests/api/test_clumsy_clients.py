# SPDX-License-Identifier: Apache-2.0
"""Wrong requests of every kind: each is told what is wrong, where, and what would be right."""

import io
from typing import Any

import numpy as np
import pytest

from tests.api.harness import Service

NOBODY = "0" * 32
ONE = {"features": [1, 2, 3, 4], "label": "3"}
SAMPLES = "/api/v1/models/{model}/samples"
JSON, BYTES = {"Content-Type": "application/json"}, {"Content-Type": "application/octet-stream"}


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def post(path: str, document: Any) -> tuple[str, str, dict[str, Any]]:
    return "POST", path, {"json": document}


def sent(content: bytes, headers: dict[str, str]) -> tuple[str, str, dict[str, Any]]:
    return "POST", SAMPLES, {"content": content, "headers": headers}


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no key": ("GET", "/api/v1/models", {"headers": {"Authorization": ""}}),
    "password as key": ("GET", "/api/v1/models", {"headers": {"Authorization": "Basic eDp5"}}),
    "unknown path": ("GET", "/api/v1/modles", {}),
    "wrong verb": ("PUT", "/api/v1/models", {}),
    "unknown model": ("GET", f"/api/v1/models/{NOBODY}", {}),
    "name for an id": ("GET", "/api/v1/models/gestures", {}),
    "form without files": ("POST", "/api/v1/models", {"data": {"name": "x"}}),
    "unknown part": ("POST", "/api/v1/models", {"files": {"model": ("m.onnx", b"x")}}),
    "page too long": ("GET", "/api/v1/models?limit=100000", {}),
    "foreign cursor": ("GET", "/api/v1/models?cursor=abc", {}),
    "page as samples": sent(b"<html>", {"Content-Type": "text/html"}),
    "half a document": sent(b'{"samples": [', JSON),
    "nothing": sent(b"", JSON),
    "compressed": sent(b"\x1f\x8b\x00", {**JSON, "Content-Encoding": "gzip"}),
    "deep": sent(b"[" * 100_000, JSON),
    "x and y": post(SAMPLES, {"x": [[1, 2, 3, 4]], "y": ["3"]}),
    "no samples": post(SAMPLES, {"samples": []}),
    "list": post(SAMPLES, [ONE]),
    "sample without label": post(SAMPLES, {"samples": [{"features": [1, 2, 3, 4]}]}),
    "short sample": post(SAMPLES, {"samples": [{**ONE, "features": [1, 2]}]}),
    "text in a sample": post(SAMPLES, {"samples": [{**ONE, "features": [1, 2, 3, "a"]}]}),
    "infinite": sent(b'{"samples": [{"features": [1, 2, 3, 1e999], "label": "3"}]}', JSON),
    "beyond the range": post(SAMPLES, {"samples": [{**ONE, "features": [1, 2, 3, 1e30]}]}),
    "long label": post(SAMPLES, {"samples": [{**ONE, "label": "k" * 5000}]}),
    "third split": post(SAMPLES, {"samples": [ONE], "split": "dev"}),
    "no npz": sent(b"1,2,3,4,3\n", BYTES),
    "cut npz": sent(npz(x=np.zeros((1, 4)), y=["3"])[:-30], BYTES),
    "objects": sent(npz(x=np.array([[None] * 4], dtype=object), y=["3"]), BYTES),
    "complex": sent(npz(x=np.zeros((1, 4), complex), y=["3"]), BYTES),
    "other arrays": sent(npz(data=np.zeros((1, 4))), BYTES),
    "rows without labels": sent(npz(x=np.zeros((2, 4)), y=["3"]), BYTES),
    "update of nobody": post("/api/v1/updates", {"model_id": NOBODY, "steps": 5}),
    "no steps": post("/api/v1/updates", {"model_id": "{model}", "steps": 0}),
    "ambiguous method": post("/api/v1/updates", {"model_id": "{model}", "method": "der"}),
    "misspelt field": post("/api/v1/updates", {"model_id": "{model}", "step": 5}),
    "future version": post("/api/v1/updates", {"model_id": "{model}", "base_version": 99}),
    "unknown board": post("/api/v1/firmware", {"model_id": "{model}", "board": "z80"}),
    "rollout of nothing": post("/api/v1/rollouts", {"packet_id": NOBODY}),
    "unknown verb": post(f"/api/v1/rollouts/{NOBODY}/explode", {}),
    "unknown scope": post("/api/v1/keys", {"name": "k", "scopes": ["root"]}),
    "expired at once": post(
        "/api/v1/keys", {"name": "k", "scopes": ["models:read"], "expires_days": 0}
    ),
    "device without token": ("GET", "/DEFAULT/controller/v1/x", {"headers": {"Authorization": ""}}),
}


def with_model(value: Any, model_id: str) -> Any:
    """The same with the model's id in its place."""
    if isinstance(value, dict):
        return {key: with_model(each, model_id) for key, each in value.items()}
    return value.replace("{model}", model_id) if isinstance(value, str) else value


@pytest.mark.parametrize("name", REQUESTS)
def test_wrong_request_is_told_what_where_and_what_would_be_right(
    shared: Service, name: str
) -> None:
    assert shared.model is not None
    verb, path, options = REQUESTS[name]
    path, options = with_model(path, shared.model.id), with_model(options, shared.model.id)
    answer = shared.http.request(verb, path, **options)
    assert 400 <= answer.status_code < 500, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"] and problem["errors"], problem
    for issue in problem["errors"]:
        assert all(issue[key].strip() for key in ("what", "where", "expected")), issue


def test_body_that_is_no_json_by_its_header_is_told_so(service: Service) -> None:
    """Regression: what `curl -d` sends was answered with "should be a valid dictionary"."""
    answer = service.http.post("/api/v1/updates", data={"model_id": NOBODY})
    assert answer.status_code == 422
    (issue,) = answer.json()["errors"]
    assert (issue["where"], issue["expected"]) == ("header Content-Type", "application/json")


def test_wrong_verb_is_told_all_verbs_of_the_path(service: Service) -> None:
    """Regression: GET was missing where POST and GET are routes of their own."""
    answer = service.http.put("/api/v1/models")
    assert answer.headers["Allow"] == answer.json()["errors"][0]["expected"] == "GET, POST"


def test_name_of_a_device_that_is_taken_is_named(service: Service) -> None:
    model = service.ready_model()
    device = {"name": "d1", "model_id": model.id, "board": "host"}
    assert service.http.post("/api/v1/devices", json=device).status_code == 201
    answer = service.http.post("/api/v1/devices", json=device)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "There is a device 'd1' already."
