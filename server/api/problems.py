# SPDX-License-Identifier: Apache-2.0
"""Every error of the API as a problem document, and its entry in the OpenAPI description."""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path

from server.api.describe import all_routes
from server.errors import (
    HadaptError,
    InternalError,
    InvalidInputError,
    Issue,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
    storage_error,
    tree,
)

MEDIA_TYPE = "application/problem+json"
# The schema Problem is in the description because schemas.JobRead refers to it.
PROBLEM = {"$ref": "#/components/schemas/Problem"}
# What is right where the validator's own text does not say what "should" be.
_EXPECTED = {
    "missing": "a value; the field is required",
    "extra_forbidden": "only fields that the OpenAPI description lists",
    "json_invalid": "JSON",
}
log = structlog.get_logger("api")


def problem_response(request: Request, error: HadaptError) -> JSONResponse:
    """The response that stands for an error."""
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    if isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = 'Bearer realm="hadapt"'
    if isinstance(error, NotFoundError) and not error.errors:
        issue = Issue("not there", f"path {request.url.path[:200]}", "an id that its listing shows")
        error.errors = (issue,)
    problem = error.to_problem(request.url.path)
    return JSONResponse(problem, error.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(HadaptError, _on_hadapt_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_hadapt_error(request: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, HadaptError) else InternalError("Unknown error.")
    return problem_response(request, known)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    entries = error.errors() if isinstance(error, RequestValidationError) else []
    if _is_no_json(request, entries):
        kept = request.headers.get("Content-Type", "")[:100]
        issue = Issue(repr(kept), "header Content-Type", "application/json")
        text = f"Content-Type is {kept!r}; expected application/json."
        return problem_response(request, InvalidInputError(text, [issue]))
    issues = [_issue(entry) for entry in entries[:20]]
    kind = InvalidInputError
    detail = "; ".join(f"{i.where}: {i.what}" for i in issues)[:500]
    if any(entry["type"] == "json_invalid" for entry in entries):
        return problem_response(request, MalformedRequestError("The body is not JSON.", issues))
    return problem_response(request, kind(detail, issues))


def _is_no_json(request: Request, entries: Sequence[Any]) -> bool:
    """Whether a body was not read because it came as something else, as curl -d sends it."""
    kept = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    other = kept != "application/json" and not kept.endswith("+json")
    body = any(tuple(entry["loc"]) == ("body",) and entry["type"] != "missing" for entry in entries)
    return body and other and not kept.startswith("multipart/")


def _issue(entry: Any) -> Issue:
    """Pydantic says what and where; the rest of its text is what it expected."""
    where = " ".join(str(part) for part in entry["loc"])[:200]
    what = str(entry["msg"])
    _, _, rule = what.partition(" should ")
    rule = rule.partition(", unable to parse")[0]
    expected = rule.removeprefix("be ") or _EXPECTED.get(entry["type"], "a valid value")
    return Issue(what[:300], where, expected[:300])


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error.__cause__, HadaptError):
        # FastAPI wraps what goes wrong while it reads a body, such as the size limit.
        return problem_response(request, error.__cause__)
    if disk := storage_error(error.__cause__):
        return problem_response(request, disk)
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "Unknown error."
    if status == 404:
        issue = Issue("no such path", f"path {request.url.path[:200]}", "a path that /docs lists")
        detail = f"There is nothing at {request.url.path}."
        return problem_response(request, NotFoundError(detail, [issue]))
    if status == 405:
        headers = getattr(error, "headers", None) or {}
        allowed = ", ".join(_methods(request)) or "another method"
        headers = {**headers, "Allow": allowed}
        issue = Issue(request.method, f"path {request.url.path[:200]}", allowed)
        detail = f"{request.method} is not possible here."
        response = problem_response(request, MethodNotAllowedError(detail, [issue]))
        response.headers.update(headers)
        return response
    kind = MalformedRequestError if status < 500 else InternalError
    return problem_response(request, kind(detail))


def _methods(request: Request) -> list[str]:
    """What all routes of a path take; the router itself says it of the first one only."""
    here = request.url.path
    found = [r for path, r in all_routes(request.app) if compile_path(path)[0].match(here)]
    return sorted(set().union(*(route.methods or () for route in found)))


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """The response to an error that nobody handled."""
    if disk := storage_error(error):
        log.warning("cannot store", path=request.url.path, why=disk.code)
        return problem_response(request, disk)
    log.error("request failed", path=request.url.path, exc_info=error)
    detail = "A fault of the service; its log has more under the X-Request-ID of this response."
    return problem_response(request, InternalError(detail))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for error statuses, each with an example.

    400, 401, 403, 422, 429 and 500 can come from any route and are always listed.
    """
    first: dict[int, type[HadaptError]] = {}
    for kind in tree():
        first.setdefault(kind.status, kind)
    return {
        status: {
            "description": first[status].title,
            "content": {MEDIA_TYPE: {"schema": PROBLEM, "example": _example(first[status])}},
        }
        for status in sorted({400, 401, 403, 422, 429, 500, *statuses})
    }


def _example(kind: type[HadaptError]) -> dict[str, Any]:
    error = kind.__new__(kind)
    HadaptError.__init__(
        error, kind.title + ".", [Issue("what is wrong", "where", "what is right")]
    )
    return error.to_problem("/api/v1/models")
