# SPDX-License-Identifier: Apache-2.0
"""What routers share: the context, scopes, paging, idempotent creation, streamed bodies."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from server.api.access import principal_of
from server.errors import (
    Issue,
    MalformedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from server.services.context import Context
from server.services.idempotency import Answer, fingerprint, run_once
from server.services.idempotency import Request as OnceRequest
from server.services.paging import Page
from server.storage.ports import Unit

Item = TypeVar("Item", bound=BaseModel)
SYNC_BYTES = 256 * 1024


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(_context)]


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="A fresh random text a request; a repetition answers what the first one did.",
    ),
]
Cursor = Annotated[str | None, Query(max_length=400, description="next_cursor of the page before.")]


def _limit(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items a page.")] = 50,
) -> int:
    return min(limit, int(request.app.state.context.settings.page_max_items))


Limit = Annotated[int, Depends(_limit)]


class PageRead(BaseModel, Generic[Item]):
    """A page of a listing; next_cursor is null on the last."""

    items: list[Item]
    next_cursor: str | None


def page_read(page: Page[Any], render: Callable[[Any], Item]) -> PageRead[Item]:
    """A page as the API shows it."""
    return PageRead[Any](items=[render(r) for r in page.items], next_cursor=page.next_cursor)


def create(
    context: Context,
    request: Request,
    key: str | None,
    content: object,
    action: Callable[[Unit], tuple[BaseModel, str]],
    status: int = 201,
) -> JSONResponse:
    """Make a resource once.

    Args:
        key: the Idempotency-Key, or None.
        content: what the request says, JSON-ready; the same key with other content is refused.
        action: makes the resource; returns its representation and its path.
    """

    def act(unit: Unit) -> Answer:
        body, location = action(unit)
        return Answer(status, {"body": body.model_dump(mode="json"), "location": location})

    # One client never sees what was answered to another, whatever key it sends.
    where = f"{principal_of(request).id} {request.method} {request.url.path}"
    once = OnceRequest(where, key, fingerprint(content))
    answer = run_once(context, once, act)
    headers = {"Location": answer.body["location"]}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(answer.body["body"], answer.status, headers)


@dataclass(frozen=True)
class Received:
    """A body received into a file that will vanish with the request."""

    path: Path
    sha256: str
    size_bytes: int


@asynccontextmanager
async def received_body(request: Request, limit_bytes: int) -> AsyncIterator[Received]:
    """The raw body in a temporary file. Raises: PayloadTooLargeError, while it streams."""
    async with _received(request.app.state.context, request.stream(), limit_bytes, "body") as file:
        yield file


@asynccontextmanager
async def received_part(
    context: Context, part: Any, limit_bytes: int, name: str
) -> AsyncIterator[Received]:
    """A file part of a form in a temporary file of its own."""

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await part.read(SYNC_BYTES):
            yield piece

    async with _received(context, pieces(), limit_bytes, f"part {name}") as file:
        yield file


@asynccontextmanager
async def _received(
    context: Context, pieces: AsyncIterator[bytes], limit_bytes: int, where: str
) -> AsyncIterator[Received]:
    handle, name = tempfile.mkstemp(dir=context.settings.temporary_dir)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            digest, size = hashlib.sha256(), 0
            async for piece in pieces:
                size += len(piece)
                if size > limit_bytes:
                    raise PayloadTooLargeError(limit_bytes, where)
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
        yield Received(path, digest.hexdigest(), size)
    finally:
        path.unlink(missing_ok=True)


def media_type(request: Request, *allowed: str) -> str:
    """The request's content type without parameters. Raises: UnsupportedMediaTypeError."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        expected = " or ".join(allowed)
        issue = Issue(repr(given[:80]), "header Content-Type", expected)
        detail = f"Content-Type is {given[:80]!r}; expected {expected}."
        raise UnsupportedMediaTypeError(detail, [issue])
    return given


def blob_response(context: Context, sha256: str, file_name: str, media: str) -> StreamingResponse:
    """A blob as a download; its digest is the ETag."""
    size = context.blobs.size_bytes(sha256)
    pieces: Iterator[bytes] = context.blobs.stream(sha256)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "ETag": f'"{sha256}"',
    }
    return StreamingResponse(pieces, media_type=media, headers=headers)


def require_body(size_bytes: int) -> None:
    """Raises: MalformedRequestError for an empty body."""
    if size_bytes == 0:
        issue = Issue("nothing", "body", "what /docs says of this path")
        raise MalformedRequestError("The body is empty.", [issue])


def refuse_constant(name: str) -> float:
    """For json.loads: NaN and Infinity are no JSON. Raises: ValueError."""
    raise ValueError(f"{name} is not JSON")
