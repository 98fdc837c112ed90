# SPDX-License-Identifier: Apache-2.0
"""Routes of keys, people and sessions.

None takes an Idempotency-Key: the answers hold secrets, which must not be stored for a repetition.
"""

import dataclasses
from typing import Any

from fastapi import APIRouter, Request, Response

from server.api import access_schemas as s
from server.api.access import (
    COOKIE,
    GuardedRoute,
    Principal,
    address,
    open_route,
    principal_of,
    scope,
    self_route,
)
from server.api.common import ContextDep, Cursor, Limit, PageRead, page_read
from server.api.problems import documented
from server.api.schemas import Id
from server.services import keys, people

router = APIRouter(route_class=GuardedRoute, tags=["access"])


def _fields(record: Any, *leave_out: str) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in leave_out}


def _key(record: Any) -> s.KeyRead:
    return s.KeyRead(**_fields(record, "sha256"))


def _user(record: Any) -> s.UserRead:
    return s.UserRead(**_fields(record, "password_hash"))


@router.post(
    "/keys", status_code=201, responses=documented(409), dependencies=[scope("access:write")]
)
def create_key(body: s.KeyCreate, request: Request, context: ContextDep) -> s.KeyMade:
    """Make a key; it is shown in this answer only. Nobody gives scopes beyond their own."""
    own = principal_of(request).scopes
    with context.database.write() as unit:
        record, token = keys.create_key(unit, body.name, body.scopes, body.expires_days, own)
    return s.KeyMade(**_fields(record, "sha256"), key=token)


@router.get("/keys", responses=documented(), dependencies=[scope("access:read")])
def list_keys(context: ContextDep, limit: Limit, cursor: Cursor = None) -> PageRead[s.KeyRead]:
    """Keys, the newest first."""
    return page_read(keys.list_keys(context, cursor, limit), _key)


@router.post(
    "/keys/{key_id}/revoke", responses=documented(404), dependencies=[scope("access:write")]
)
def revoke_key(key_id: Id, context: ContextDep) -> s.KeyRead:
    """Make a key invalid at once and for good; doing so twice is no error."""
    with context.database.write() as unit:
        return _key(keys.revoke_key(unit, key_id))


@router.post(
    "/users", status_code=201, responses=documented(409), dependencies=[scope("access:write")]
)
def create_user(body: s.UserCreate, request: Request, context: ContextDep) -> s.UserRead:
    """Let a person log in. Nobody gives scopes beyond their own."""
    hashed = people.hash_password(body.password)
    own = principal_of(request).scopes
    with context.database.write() as unit:
        return _user(people.create_user(unit, body.name, hashed, body.scopes, own))


@router.get("/users", responses=documented(), dependencies=[scope("access:read")])
def list_users(context: ContextDep, limit: Limit, cursor: Cursor = None) -> PageRead[s.UserRead]:
    """People, the newest first."""
    return page_read(people.list_users(context, cursor, limit), _user)


@router.post(
    "/users/{user_id}/disable", responses=documented(404), dependencies=[scope("access:write")]
)
def disable_user(user_id: Id, context: ContextDep) -> s.UserRead:
    """End a person's access and sessions at once; doing so twice is no error."""
    with context.database.write() as unit:
        return _user(people.disable_user(unit, user_id))


@router.post("/sessions", responses=documented(), dependencies=[open_route("this is the login")])
def log_in(
    body: s.SessionCreate, request: Request, response: Response, context: ContextDep
) -> s.SessionRead:
    """Log in with name and password; the session is a cookie that scripts cannot read."""
    request.app.state.access.limits.count_login(address(request), body.name)
    user, session, cookie = people.log_in(context, body.name, body.password)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=context.settings.session_hours * 3600,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _session(Principal(user.id, user.name, user.scopes, session.expires_at, cookie))


@router.get(
    "/sessions/current", responses=documented(), dependencies=[self_route("about the asker")]
)
def who_am_i(request: Request) -> s.SessionRead:
    """Name and scopes of the key or person that asks."""
    return _session(principal_of(request))


@router.post(
    "/sessions/current/end",
    status_code=204,
    responses=documented(),
    dependencies=[self_route("about the asker")],
)
def log_out(request: Request, context: ContextDep) -> Response:
    """End the session; for a key this does nothing."""
    cookie = principal_of(request).cookie
    if cookie is not None:
        people.log_out(context, cookie)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _session(who: Principal) -> s.SessionRead:
    token = people.csrf_token(who.cookie) if who.cookie else None
    return s.SessionRead(
        name=who.name, scopes=list(who.scopes), expires_at=who.expires_at, csrf_token=token
    )
