# SPDX-License-Identifier: Apache-2.0
"""Requests beyond the limit are refused at once; probes and begun answers do not count."""

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from server.api.middleware import Overload


class Held:
    """An application whose answers begin and end when told."""

    def __init__(self) -> None:
        self.begin, self.end = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.begin.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.end.wait()
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Any, path: str = "/x") -> tuple[int, dict[bytes, bytes]]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


def test_requests_beyond_the_limit_are_refused_with_retry_after() -> None:
    async def run() -> None:
        held = Held()
        app = Overload(held, 2, CollectorRegistry(), 0.0)
        waiting = [asyncio.create_task(ask(app)) for _ in range(2)]
        await asyncio.sleep(0)
        status, headers = await ask(app)
        assert (status, headers[b"retry-after"]) == (429, b"1")
        assert {b"x-request-id", b"x-content-type-options"} <= set(headers)
        probe = asyncio.create_task(ask(app, "/healthz"))
        held.begin.set()
        for _ in range(5):
            await asyncio.sleep(0)
        # Both answers have begun, though they last: there is room for others.
        third = asyncio.create_task(ask(app))
        held.end.set()
        done = await asyncio.gather(*waiting, probe, third)
        assert [status for status, _ in done] == [200] * 4

    asyncio.run(run())


def test_failing_requests_make_room_again() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    async def run() -> None:
        app = Overload(fail, 1, CollectorRegistry())
        for _ in range(3):
            try:
                await ask(app)
            except RuntimeError:
                continue
            raise AssertionError("refused")

    asyncio.run(run())
