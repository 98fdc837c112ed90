# SPDX-License-Identifier: Apache-2.0
"""A device's way to the service: answers that lie, break off or are no DDI; order of steps."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx2
import numpy as np
import pytest

from server.errors import UnavailableError
from server.fleet import gateway as gw
from server.fleet.field_device import FieldDevice, Figures
from server.fleet.gateway import DdiClient, Gateway

DATA = bytes(range(200)) * 5


def deployment(data: bytes = DATA, **changed: Any) -> dict[str, Any]:
    artifact = {
        "size": len(data),
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        "_links": {"download": {"href": "http://s/file"}},
        **changed,
    }
    return {"id": "7", "deployment": {"chunks": [{"artifacts": [artifact]}]}}


def client(body: Any, answer: Callable[[], httpx2.Response]) -> DdiClient:
    """A client of a service that offers `body` and sends a file by `answer`."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/file":
            return answer()
        if isinstance(body, bytes):
            return httpx2.Response(200, content=body)
        return httpx2.Response(200, json=body)

    http = httpx2.Client(transport=httpx2.MockTransport(handle), base_url="http://s")
    return DdiClient(http, "DEFAULT", "d", "TargetToken t")


def whole() -> httpx2.Response:
    return httpx2.Response(200, content=DATA)


def test_sound_artifact_arrives() -> None:
    assert client(deployment(), whole).deployment("/offer") == (7, DATA)


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 100


def broken() -> Iterator[bytes]:
    yield DATA[:300]
    raise httpx2.ReadError("gone")


FILES: dict[str, tuple[str, Callable[[], httpx2.Response]]] = {
    "endless": ("more than its 1000", lambda: httpx2.Response(200, content=endless())),
    "truncated": ("999 of 1000", lambda: httpx2.Response(200, content=DATA[:-1])),
    "broken off": ("broke off: gone", lambda: httpx2.Response(200, content=broken())),
    "another": ("was damaged", lambda: httpx2.Response(200, content=DATA[::-1])),
    "refused": ("answered 410", lambda: httpx2.Response(410)),
}


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_not_what_was_announced_is_refused(name: str) -> None:
    text, answer = FILES[name]
    with pytest.raises(UnavailableError, match=text):
        client(deployment(), answer).deployment("/offer")


def test_slow_download_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr(gw.time, "monotonic", lambda: next(now))
    slow = client(deployment(), lambda: httpx2.Response(200, content=iter([b"x"] * 1000)))
    slow.download_s = 60
    with pytest.raises(UnavailableError, match="too slowly: 13 of 1000 bytes in 60 s"):
        slow.deployment("/offer")


OFFERS: dict[str, tuple[str, Any]] = {
    "no JSON": ("not DDI", b"<html>"),
    "a list": ("not DDI", []),
    "no chunk": ("not DDI", {"id": "7", "deployment": {"chunks": []}}),
    "id": ("not DDI", {**deployment(), "id": "seven"}),
    "size of none": ("0 bytes", deployment(size=0)),
    "huge size": ("bytes, not 1 to", deployment(size=1 << 40)),
    "size no number": ("not DDI", deployment(size="many")),
    "no hash": ("not DDI", deployment(hashes={"md5": "0"})),
}


@pytest.mark.parametrize("name", OFFERS)
def test_offer_that_makes_no_sense_is_refused(name: str) -> None:
    text, body = OFFERS[name]
    with pytest.raises(UnavailableError, match=text):
        client(body, whole).deployment("/offer")
    if isinstance(body, bytes | list):
        with pytest.raises(UnavailableError, match="not DDI"):
            client(body, whole).poll()


def test_memory_is_kept_before_the_service_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that dies between the two is asked again; one that told first would be behind."""
    steps: list[str] = []

    class Device:
        state_hash = "0" * 64

        def take(self, _: bytes) -> dict[str, str]:
            steps.append("take")
            return {}

    class Client:
        def poll(self) -> dict[str, str]:
            return {"deploymentBase": "/offer"}

        def deployment(self, _: str) -> tuple[int, bytes]:
            return 7, DATA

        def feedback(self, *_: Any) -> None:
            steps.append("tell")

    monkeypatch.setattr(gw, "measure", lambda *_: Figures(1.0, {}))
    made = Gateway(
        cast(DdiClient, Client()),
        cast(FieldDevice, Device()),
        np.zeros((1, 1), np.float32),
        np.zeros(1, np.int64),
        keep=lambda: steps.append("keep"),
    )
    assert made.turn() == "installed"
    assert steps == ["take", "keep", "tell"]
