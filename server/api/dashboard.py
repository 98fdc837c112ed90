# SPDX-License-Identifier: Apache-2.0
"""The dashboard's files. They hold no data: what they show they ask of the API."""

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from server.api.access import GuardedRoute, open_route
from server.api.security_headers import PAGE
from server.dashboard import page
from server.errors import NotFoundError

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
OPEN = [open_route("files without data; the login is one of them")]
ROOT = "/dashboard"


@router.get("/", dependencies=OPEN)
def front_door() -> RedirectResponse:
    """People who open the address of the service want the dashboard."""
    return RedirectResponse(f"{ROOT}/")


@router.get(f"{ROOT}/", dependencies=OPEN)
def index() -> Response:
    """The page itself."""
    return dashboard_file("index.html")


@router.get(ROOT + "/{name}", dependencies=OPEN)
def dashboard_file(name: str) -> Response:
    """Style and scripts, all of this origin."""
    found = page(name)
    if found is None:
        raise NotFoundError(f"The dashboard has no file {name!r}.")
    content, media_type = found
    headers = {"content-security-policy": PAGE, "cache-control": "no-cache"}
    return Response(content, media_type=media_type, headers=headers)
