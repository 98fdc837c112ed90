# SPDX-License-Identifier: Apache-2.0
"""Clients that stop in mid-body or go away, and values that are no JSON."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from server.api.middleware import BodyLimit, RequestContext
from server.errors import MalformedRequestError
from tests.api.fake_engine import fake_onnx
from tests.api.harness import Service, calibration
from tests.api.test_errors import check_problem

SCOPE = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": b""}
INVALID = "invalid-input"
RTL = "\u202e"


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the body, and then waits for the client to go."""
    await Request(scope, receive).body()
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [], "saw": message})


def test_body_that_does_not_go_on_is_refused_and_a_pause_after_it_is_not() -> None:
    async def run(pieces: list[Any]) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            if not pieces[0]:
                pieces.pop(0)
                await asyncio.sleep(0.2)
            return pieces.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await BodyLimit(read_all, lambda _: 100, 0.05)(dict(SCOPE), receive, send)
        return sent

    part = {"type": "http.request", "body": b"a", "more_body": True}
    last = {"type": "http.request", "body": b"b"}
    gone = {"type": "http.disconnect"}
    assert asyncio.run(run([part, last, None, gone]))[0]["saw"] == gone
    with pytest.raises(MalformedRequestError, match="did not go on"):
        asyncio.run(run([part, None, last, gone]))


def test_client_that_goes_away_is_no_fault_of_the_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = CollectorRegistry()

    async def leave(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody is there")

    asyncio.run(RequestContext(leave, registry)(dict(SCOPE), nothing, nothing))
    labels = {"method": "POST", "route": "unknown", "status": "499"}
    assert registry.get_sample_value("hadapt_requests_total", labels) == 1
    assert "Traceback" not in "".join(capsys.readouterr())


def test_not_a_number_is_refused_wherever_json_is_taken(service: Service) -> None:
    model = service.ready_model()
    service.send(model.id, 3)
    body = f'{{"model_id": "{model.id}", "options": {{"temperature": [NaN]}}}}'
    headers = {"Content-Type": "application/json"}
    check_problem(service.http.post("/api/v1/updates", content=body, headers=headers), 422, INVALID)
    files = {"onnx": ("m", fake_onnx()), "calibration": ("c", calibration())}
    form = {"name": "n", "options": '{"max_classes": Infinity}'}
    check_problem(
        service.http.post("/api/v1/models", files=files, data=form), 400, "malformed-request"
    )
    assert len(list(service.client.models())) == 1 and not list(service.client.updates())


def test_names_that_turn_the_text_around_are_refused(service: Service) -> None:
    model = service.ready_model()
    body = {"name": f"{RTL}abc", "model_id": model.id, "board": "good"}
    check_problem(service.http.post("/api/v1/devices", json=body), 422, INVALID)
    body["name"] = "Gerät 7 ünïcode שלום"
    assert service.http.post("/api/v1/devices", json=body).status_code == 201
