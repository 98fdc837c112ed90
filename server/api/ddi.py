# SPDX-License-Identifier: Apache-2.0
"""Routes of hawkBit's device interface: /{tenant}/controller/v1/{controllerId}.

They are not part of /api/v1 and of its description: their form is hawkBit's, their clients are
devices, and they authenticate by device tokens.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import cbor2
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from server.api.access import GuardedRoute, address, device_route
from server.api.common import ContextDep
from server.errors import MalformedRequestError, UnauthorizedError, UnsupportedMediaTypeError
from server.fleet import confirmation, ddi
from server.fleet.ddi import Links
from server.fleet.errors import PreconditionError, RangeError
from server.fleet.targets import authenticate
from server.services.context import Context
from server.storage.fleet import ArtifactRecord, TargetRecord

router = APIRouter(
    prefix="/{tenant}/controller/v1/{controller_id}",
    route_class=GuardedRoute,
    include_in_schema=False,
)
JSON, HAL, CBOR = "application/json", "application/hal+json", "application/cbor"
Number = Annotated[int, Path(ge=1, lt=2**31)]


def _check(request: Request) -> None:
    """Find the device whose token the request carries; count the request."""
    context: Context = request.app.state.context
    tenant, name = request.path_params["tenant"], request.path_params["controller_id"]
    limits = request.app.state.access.limits
    try:
        if tenant.lower() != context.settings.ddi_tenant.lower():
            raise UnauthorizedError(f"There is no tenant {tenant[:40]!r}.")
        given = request.headers.get("authorization")
        request.state.target = authenticate(context, name, given)
    except UnauthorizedError:
        limits.count_unknown(address(request))
        raise
    limits.count(f"device:{name}")


DEVICE = [device_route("TargetToken or GatewayToken of hawkBit's protocol", _check)]


def _target(request: Request) -> TargetRecord:
    target: TargetRecord = request.state.target
    return target


def _links(request: Request) -> Links:
    base = str(request.base_url).rstrip("/")
    target = _target(request)
    return Links(base, str(request.path_params["tenant"]), target.controller_id)


def _answer(request: Request, body: Any) -> Response:
    """JSON, or CBOR if the client prefers it; both with Content-Length, never chunked."""
    media = preferred(request.headers.get("accept", ""))
    if media == CBOR:
        return Response(cbor2.dumps(body, canonical=True), media_type=CBOR)
    return Response(json.dumps(body, separators=(",", ":")), media_type=media)


def preferred(accept: str) -> str:
    """The kind of answer that a client likes best (RFC 9110, 12.5.1): the first one on ties.

    Example:
        >>> preferred("application/json, application/cbor;q=0.5"), preferred("*/*")
        ('application/json', 'application/hal+json')
    """
    best, weight = HAL, 0.0
    for entry in accept.split(","):
        media, *options = (part.strip().lower() for part in entry.split(";"))
        given = next((o[2:] for o in options if o.startswith("q=")), "1")
        q = float(given) if re.fullmatch(r"[01](\.\d{0,3})?", given) else 0.0
        if media in (HAL, JSON, CBOR) and q > weight:
            best, weight = media, q
    return best


async def _body(request: Request) -> Mapping[str, Any]:
    """The body as JSON or CBOR. Raises: MalformedRequestError, UnsupportedMediaTypeError."""
    data = await request.body()
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, HAL, CBOR):
        raise UnsupportedMediaTypeError(f"Content-Type is {kind[:80]!r}; expected {JSON}.")
    try:
        value = cbor2.loads(data) if kind == CBOR else json.loads(data)
    except (ValueError, cbor2.CBORDecodeError, RecursionError) as error:
        raise MalformedRequestError(f"The body is not {kind}.") from error
    if not isinstance(value, Mapping):
        raise MalformedRequestError("The body is not an object.")
    return value


BodyDep = Annotated[Mapping[str, Any], Depends(_body)]


@router.get("", dependencies=DEVICE)
def poll(request: Request, context: ContextDep) -> Response:
    """Poll: what is there to do, and when to ask again."""
    return _answer(request, ddi.poll(context, _target(request), _links(request)))


@router.put("/configData", dependencies=DEVICE)
def put_config(request: Request, context: ContextDep, body: BodyDep) -> Response:
    """Attributes of the device."""
    ddi.config_data(context, _target(request), body)
    return Response(status_code=200)


@router.get("/deploymentBase/{number}", dependencies=DEVICE)
def get_deployment(request: Request, context: ContextDep, number: Number) -> Response:
    """The update to install."""
    return _answer(request, ddi.deployment(context, _target(request), number, _links(request)))


@router.post("/deploymentBase/{number}/feedback", dependencies=DEVICE)
def post_feedback(request: Request, context: ContextDep, number: Number, body: BodyDep) -> Response:
    """How the installation goes."""
    ddi.feedback(context, _target(request), number, body, "deployment")
    return Response(status_code=200)


@router.get("/confirmationBase", dependencies=DEVICE)
def get_confirmations(request: Request, context: ContextDep) -> Response:
    """Whether the device confirms by itself, and what waits for its word."""
    return _answer(request, confirmation.overview(context, _target(request), _links(request)))


@router.get("/confirmationBase/{number}", dependencies=DEVICE)
def get_confirmation(request: Request, context: ContextDep, number: Number) -> Response:
    """The update that waits for confirmation."""
    found = confirmation.waiting(context, _target(request), number, _links(request))
    return _answer(request, found)


@router.post("/confirmationBase/{number}/feedback", dependencies=DEVICE)
def post_confirmation(
    request: Request, context: ContextDep, number: Number, body: BodyDep
) -> Response:
    """The device's word: confirmed or denied."""
    confirmation.feedback(context, _target(request), number, body)
    return Response(status_code=200)


@router.post("/confirmationBase/activateAutoConfirm", dependencies=DEVICE)
def activate_auto_confirm(request: Request, context: ContextDep) -> Response:
    """Confirm every update from now on, and what waits."""
    confirmation.set_automatic(context, _target(request), True)
    return Response(status_code=200)


@router.post("/confirmationBase/deactivateAutoConfirm", dependencies=DEVICE)
def deactivate_auto_confirm(request: Request, context: ContextDep) -> Response:
    """Ask the device again from the next update on."""
    confirmation.set_automatic(context, _target(request), False)
    return Response(status_code=200)


@router.get("/cancelAction/{number}", dependencies=DEVICE)
def get_cancel(request: Request, context: ContextDep, number: Number) -> Response:
    """What is to be stopped."""
    return _answer(request, ddi.cancellation(context, _target(request), number))


@router.post("/cancelAction/{number}/feedback", dependencies=DEVICE)
def post_cancel_feedback(
    request: Request, context: ContextDep, number: Number, body: BodyDep
) -> Response:
    """Whether it was stopped."""
    ddi.feedback(context, _target(request), number, body, "cancel")
    return Response(status_code=200)


@router.get("/installedBase/{number}", dependencies=DEVICE)
def get_installed(request: Request, context: ContextDep, number: Number) -> Response:
    """An update that is installed."""
    return _answer(request, ddi.installed(context, _target(request), number, _links(request)))


@router.put("/installedBase", dependencies=DEVICE)
def put_installed(request: Request, context: ContextDep, body: BodyDep) -> Response:
    """What the device says it has."""
    ddi.report_installed(context, _target(request), body)
    return Response(status_code=200)


@router.get("/softwaremodules/{number}/artifacts", dependencies=DEVICE)
def list_artifacts(request: Request, context: ContextDep, number: Number) -> Response:
    """Artifacts of a module."""
    found = ddi.module_artifacts(context, _target(request), number)
    return _answer(request, [ddi.artifact_body(a, _links(request)) for a in found])


@router.get("/softwaremodules/{number}/artifacts/{file_name}.MD5SUM", dependencies=DEVICE)
def get_md5(request: Request, context: ContextDep, number: Number, file_name: str) -> Response:
    """The MD5 sum as md5sum prints it."""
    artifact = ddi.artifact_file(context, _target(request), number, file_name)
    return Response(f"{artifact.md5}  {artifact.file_name}", media_type="text/plain")


@router.get("/softwaremodules/{number}/artifacts/{file_name}", dependencies=DEVICE)
def get_artifact(request: Request, context: ContextDep, number: Number, file_name: str) -> Response:
    """The bytes of an artifact, or a range of them."""
    artifact = ddi.artifact_file(context, _target(request), number, file_name)
    return _download(request, context, artifact)


@router.head("/softwaremodules/{number}/artifacts/{file_name}", dependencies=DEVICE)
def head_artifact(
    request: Request, context: ContextDep, number: Number, file_name: str
) -> Response:
    """Size and tag of an artifact."""
    artifact = ddi.artifact_file(context, _target(request), number, file_name)
    response = _download(request, context, artifact, whole=True)
    headers = dict(response.headers)
    return Response(None, response.status_code, headers, response.media_type)


def _download(
    request: Request, context: Context, artifact: ArtifactRecord, whole: bool = False
) -> Response:
    """Args: whole: HEAD, for which ranges mean nothing.

    Raises: PreconditionError if If-Match names other bytes; RangeError.
    """
    tag = f'"{artifact.sha256}"'
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted.strip() != "*" and tag not in wanted:
        raise PreconditionError("The artifact is not the one that If-Match names.")
    if tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, {"ETag": tag})
    data = context.blobs.get(artifact.sha256)
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{artifact.file_name}"',
    }
    asked = None if whole else parse_range(request.headers.get("range", ""), len(data))
    if asked is None or request.headers.get("if-range", tag) != tag:
        return Response(data, 200, headers, "application/octet-stream")
    start, end = asked
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, headers, "application/octet-stream")


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and end of a single range (RFC 9110, 14.1.2).

    None for what a server ignores: no range, another unit, several ranges at once.
    Raises: RangeError.
    Example:
        >>> parse_range("bytes=2-", 10), parse_range("bytes=-3", 10), parse_range("bytes=0-99", 10)
        ((2, 10), (7, 10), (0, 10))
        >>> parse_range("bytes=0-1,4-5", 10), parse_range("rows=1-2", 10)
        (None, None)
    """
    unit, _, ranges = text.strip().partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return None
    match = re.fullmatch(r"(\d{0,18})-(\d{0,18})", ranges.strip())
    if match and match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if start < end:
            return start, end
    elif match and match[2] and int(match[2]):
        return max(0, size - int(match[2])), size
    raise RangeError(f"Range {text[:60]!r} does not lie in {size} bytes.", size)
