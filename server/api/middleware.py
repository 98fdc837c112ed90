# SPDX-License-Identifier: Apache-2.0
"""Around every request: its id, its log line, its figures, and the limit of its body."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.problems import problem_response, unexpected
from server.api.security_headers import with_security_headers
from server.errors import (
    Issue,
    MalformedRequestError,
    PayloadTooLargeError,
    TooManyRequestsError,
)
from server.ids import new_id

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOLD_S = 2.0
# What proxies log for a client that went away before it was answered; it is never sent.
CLIENT_GONE = 499
log = structlog.get_logger("access")


class RequestContext:
    """Binds a request id to the log, answers it as X-Request-ID, logs and counts the request."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ("method", "route", "status")
        self._count = Counter("hadapt_requests", "Requests", labels, registry=registry)
        self._seconds = Histogram(
            "hadapt_request_seconds",
            "Time to the last byte",
            labels[:2],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status, started = 500, False
        begin = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [
                    *with_security_headers(scope, message.get("headers", [])),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_marked)
            except ClientDisconnect:
                # Nobody is there to be answered, and nothing is wrong with the service.
                status = CLIENT_GONE
            except Exception as error:
                if started:
                    raise
                response = unexpected(Request(scope), error)
                await response(scope, receive, send_marked)
            finally:
                self._record(scope, status, time.perf_counter() - begin)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path: labels must not grow with ids or with attackers.
        route = getattr(scope.get("route"), "path", "unknown")
        self._count.labels(scope["method"], route, str(status)).inc()
        self._seconds.labels(scope["method"], route).observe(seconds)
        # Clients poll: successful reads would bury the rest.
        level = "debug" if scope["method"] == "GET" and status < 400 else "info"
        getattr(log, level)(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
        )


def _request_id(scope: Scope) -> str:
    """The client's X-Request-ID if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if REQUEST_ID.fullmatch(text):
                return str(text)
    return new_id()


class Overload:
    """Refuses what is beyond a number of requests at once, before any work: 429 with Retry-After.

    Without it a queue of requests would grow, each waiting for all before it, until every client
    has given up on what is then still done. A refusal is held for a while: clients that ask again
    at once would otherwise take the time that the others' work needs. Once an answer has begun, its
    request counts no more: event streams and downloads may last.
    """

    def __init__(
        self, app: ASGIApp, limit: int, registry: CollectorRegistry, hold_s: float = HOLD_S
    ) -> None:
        self._app = app
        self._limit = limit
        self._hold_s = hold_s
        self._count = 0
        self._refused = Counter("hadapt_requests_refused", "Beyond the limit", registry=registry)
        issue = Issue("too many requests at once", "service", f"at most {limit}")
        self._error = TooManyRequestsError("The service is busy; wait 1 s.", 1, [issue])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        # Probes must be answered under load, or a load balancer would take the process away.
        if scope["type"] != "http" or scope["path"] in ("/healthz", "/readyz"):
            await self._app(scope, receive, send)
        elif self._count >= self._limit:
            await self._refuse(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._refused.inc()
        await asyncio.sleep(self._hold_s)
        response = problem_response(Request(scope), self._error)
        response.headers["X-Request-ID"] = _request_id(scope)
        for name, value in with_security_headers(scope, []):
            response.headers[name.decode()] = value.decode()
        await response(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._count += 1
        counted = True

        async def send_counted(message: Message) -> None:
            nonlocal counted
            if counted and message["type"] == "http.response.start":
                self._count, counted = self._count - 1, False
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            if counted:
                self._count -= 1


class BodyLimit:
    """Refuses a body beyond the limit: at once if Content-Length says so, else while it streams;
    and one of which nothing comes for too long: it would keep its place from others.

    Args:
        limit_of: the most bytes that a path takes.
        idle_s: the longest pause within a body, seconds.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int], idle_s: float) -> None:
        self._app = app
        self._limit_of = limit_of
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_of(scope["path"])
        if _declared_bytes(scope) > limit_bytes:
            response = problem_response(Request(scope), PayloadTooLargeError(limit_bytes))
            await response(scope, receive, send)
            return
        seen, complete = 0, False

        async def receive_counted() -> Message:
            nonlocal seen, complete
            # After the body, the next message is that the client has gone: that may take long.
            message: dict[str, Any] = dict(await (receive() if complete else self._soon(receive)))
            complete = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > limit_bytes:
                raise PayloadTooLargeError(limit_bytes)
            return message

        await self._app(scope, receive_counted, send)

    async def _soon(self, receive: Receive) -> Message:
        try:
            return await asyncio.wait_for(receive(), self._idle_s)
        except TimeoutError as error:
            issue = Issue(f"nothing for {self._idle_s:g} s", "body", "the rest of the body")
            raise MalformedRequestError("The body did not go on.", [issue]) from error


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
