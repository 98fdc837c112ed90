# SPDX-License-Identifier: Apache-2.0
"""Who may ask for what. Every route has exactly one rule; a test walks all routes.

    scope("models:read")      a key or session that holds the scope
    self_route(why)           any valid key or session: it is about the asker itself
    device_route(name, check) a device's own token, by a check that raises UnauthorizedError
    open_route(why)           anybody, with the reason

GuardedRoute applies the rule before a byte of the body is read or looked at; as a dependency the
rule also holds on a plain APIRoute, only later. Requests are counted a client; beyond the limit
the answer is 429.
"""

import hmac
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from server.api.limits import RateLimits, network_of
from server.errors import ForbiddenError, Issue, UnauthorizedError
from server.services.context import Context
from server.services.keys import find_key
from server.services.people import csrf_token, find_session
from server.services.scopes import SCOPES, holds

COOKIE = "hadapt_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Kind = Literal["scope", "self", "device", "open"]


@dataclass(frozen=True)
class Principal:
    """Who asks: a key or a person. `cookie` is set if it came by session."""

    id: str
    name: str
    scopes: Sequence[str]
    expires_at: str | None
    cookie: str | None = None


class AccessPolicy(Protocol):
    """Finds out who asks, and counts."""

    limits: RateLimits

    def identify(self, request: Request) -> Principal:
        """Raises: UnauthorizedError; ForbiddenError for a change without its CSRF token;
        TooManyRequestsError."""


class StoredAccess:
    """Keys and sessions of the service's own database."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.limits = RateLimits(context.settings)

    def identify(self, request: Request) -> Principal:
        """See AccessPolicy.identify."""
        principal = self._by_key(request) or self._by_session(request)
        if principal is None:
            self.limits.count_unknown(address(request))
            expected = "header Authorization: Bearer had_.., or a session cookie"
            issue = Issue("no valid credentials", "header Authorization", expected)
            raise UnauthorizedError("A valid key or session is needed.", [issue])
        self.limits.count(principal.id)
        _check_csrf(request, principal)
        return principal

    def _by_key(self, request: Request) -> Principal | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        key = find_key(self._context, token.strip())
        return Principal(f"key:{key.id}", key.name, key.scopes, key.expires_at) if key else None

    def _by_session(self, request: Request) -> Principal | None:
        cookie = request.cookies.get(COOKIE)
        if not cookie or "authorization" in request.headers:
            return None
        found = find_session(self._context, cookie)
        if found is None:
            return None
        user, session = found
        return Principal(f"user:{user.id}", user.name, user.scopes, session.expires_at, cookie)


def _check_csrf(request: Request, principal: Principal) -> None:
    """A browser sends cookies with other sites' requests too; the token it sends only for ours."""
    if principal.cookie is None or request.method in SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), csrf_token(principal.cookie).encode()):
        issue = Issue("missing or wrong", f"header {CSRF_HEADER}", "csrf_token of the session")
        raise ForbiddenError("A change by session needs its CSRF token.", [issue])


def address(request: Request) -> str:
    """The client's address; behind a trusted proxy the one that it forwards."""
    return request.client.host if request.client else "unknown"


def principal_of(request: Request) -> Principal:
    """Who asks; found out once a request. Raises: as AccessPolicy.identify."""
    known = getattr(request.state, "principal", None)
    if known is None:
        access: AccessPolicy = request.app.state.access
        known = request.state.principal = access.identify(request)
    principal: Principal = known
    return principal


@dataclass(frozen=True)
class Rule:
    """The rule of a route: its kind, a scope's name or the reason, and the check."""

    kind: Kind
    name: str
    check: Callable[[Request], None]


def _dependency(rule: Rule) -> Any:
    def check(request: Request) -> None:
        if not getattr(request.state, "rule_checked", False):
            rule.check(request)

    check.__dict__["hadapt_rule"] = rule
    return Depends(check)


def scope(name: str) -> Any:
    """Route dependency: the asker must hold a scope of server.services.scopes."""
    if name not in SCOPES:
        raise ValueError(f"scope {name} is not in server.services.scopes")

    def check(request: Request) -> None:
        if not holds(principal_of(request).scopes, name):
            issue = Issue(f"scope {name} is not granted", "key or session", f"scope {name}")
            raise ForbiddenError(f"This needs the scope {name}.", [issue])

    return _dependency(Rule("scope", name, check))


def self_route(why: str) -> Any:
    """Route dependency: any valid key or session will do."""

    def check(request: Request) -> None:
        principal_of(request)

    return _dependency(Rule("self", why, check))


def device_route(name: str, check: Callable[[Request], None]) -> Any:
    """Route dependency: a device's own token. `check` raises UnauthorizedError without it."""
    return _dependency(Rule("device", name, check))


def open_route(why: str) -> Any:
    """Route dependency: anybody may ask, counted by address."""

    def check(request: Request) -> None:
        access: AccessPolicy = request.app.state.access
        access.limits.count(f"address:{network_of(address(request))}")

    return _dependency(Rule("open", why, check))


def rules_of(route: APIRoute) -> list[Rule]:
    """The rules among a route's dependencies; one, if all is well."""
    found = (getattr(d.dependency, "hadapt_rule", None) for d in route.dependencies)
    return [rule for rule in found if rule is not None]


class GuardedRoute(APIRoute):
    """A route whose rule is checked first: who may not ask learns nothing, and sends nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the rule."""
        handle, rules = super().get_route_handler(), rules_of(self)

        async def guarded(request: Request) -> Response:
            for rule in rules:
                await run_in_threadpool(rule.check, request)
            # So that the dependency, which comes later, does not count the request again.
            request.state.rule_checked = bool(rules)
            return await handle(request)

        return guarded
