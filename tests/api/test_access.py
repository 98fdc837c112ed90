# SPDX-License-Identifier: Apache-2.0
"""Who may do what: every route has one rule, and keeps it; keys, people, sessions, limits."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from server.api.access import CSRF_HEADER, GuardedRoute, Rule, rules_of
from server.api.describe import all_routes
from server.app import create_app
from server.errors import UnauthorizedError
from server.ids import utc_text
from server.services import keys, people
from server.services.scopes import ALL, SCOPES
from tests.api.fake_engine import FakeEngine
from tests.api.harness import Service, make_settings

# Who asks these needs no credentials, by decision: each is in docs/threat-model.md.
OPEN = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/docs/style.css",
    "/api/v1/sessions",
    "/",
    "/dashboard/",
    "/dashboard/{name}",
}
PASSWORD = "correct horse battery"


def faults(app: FastAPI) -> list[str]:
    """Routes whose rule is missing or wrong, and why."""
    found = []
    for path, route in all_routes(app):
        rules = rules_of(route)
        if len(rules) != 1:
            found.append(f"{path}: {len(rules)} rules")
        elif rules[0].kind == "open" and path not in OPEN:
            found.append(f"{path}: open without being listed")
        elif rules[0].kind == "scope" and not isinstance(route, GuardedRoute):
            found.append(f"{path}: not a GuardedRoute")
    return found


def protected(app: FastAPI) -> list[tuple[str, str, Rule]]:
    """(method, path with made-up ids, rule) of every route that asks for credentials."""
    return [
        (method, re.sub(r"\{[^}]+\}", "0" * 32, path), rules_of(route)[0])
        for path, route in all_routes(app)
        for method in sorted(route.methods)
        if rules_of(route)[0].kind != "open"
    ]


@pytest.fixture(scope="module")
def stranger(shared: Service) -> Iterator[TestClient]:
    """A client of the shared service without credentials."""
    with TestClient(shared.app, raise_server_exceptions=False) as http:
        yield http


def key_with(service: Service, *scopes: str) -> dict[str, str]:
    with service.context.database.write() as unit:
        return {"Authorization": f"Bearer {keys.create_key(unit, 'k', scopes)[1]}"}


def test_every_route_has_exactly_one_rule(shared: Service) -> None:
    assert len(all_routes(shared.app)) > 40
    assert faults(shared.app) == []
    assert {p for p, r in all_routes(shared.app) if rules_of(r)[0].kind == "open"} == OPEN


def test_route_without_a_rule_is_found(service: Service) -> None:
    @service.app.get("/api/v1/forgotten")
    def forgotten() -> None: ...

    assert faults(service.app) == ["/api/v1/forgotten: 0 rules"]


def test_nothing_but_routes_answers(shared: Service) -> None:
    """Mounted applications and websockets would have no rule."""
    seen = {type(r).__name__ for r in shared.app.routes if not isinstance(r, APIRoute)}
    assert seen <= {"_IncludedRouter", "IncludedRouter"}, seen


STRANGERS = ({}, {"Authorization": "Bearer had_00000000_" + "A" * 43}, {"Cookie": "x=y"})


STRANGERS: tuple[dict[str, str], ...] = (
    {},
    {"Authorization": "Bearer had_00000000_" + "A" * 43},
    {"Cookie": "hadapt_session=y"},
)


def test_no_route_answers_a_stranger(shared: Service, stranger: TestClient) -> None:
    for method, path, _ in protected(shared.app):
        for given in STRANGERS:
            # A body that is no JSON shows that nothing is parsed before the rule.
            headers = {**given, "Content-Type": "application/json"}
            response = stranger.request(method, path, content=b"{", headers=headers)
            assert response.status_code == 401, (method, path)
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            if method != "HEAD":
                assert response.json()["type"] == "urn:hadapt:problem:unauthorized"


def test_no_route_answers_without_its_scope(shared: Service, stranger: TestClient) -> None:
    ways = {name: key_with(shared, *(s for s in SCOPES if s != name)) for name in SCOPES}
    for method, path, rule in protected(shared.app):
        if rule.kind != "scope":
            continue
        headers = {**ways[rule.name], "Content-Type": "application/json"}
        response = stranger.request(method, path, content=b"{", headers=headers)
        assert response.status_code == 403, (method, path)
        assert rule.name in response.json()["detail"]


def test_each_scope_is_needed_somewhere_and_suffices(shared: Service, stranger: TestClient) -> None:
    used = {rule.name for _, _, rule in protected(shared.app) if rule.kind == "scope"}
    assert used == set(SCOPES)
    for method, path, rule in protected(shared.app):
        if rule.kind == "scope" and method == "GET":
            response = stranger.get(path, headers=key_with(shared, rule.name))
            assert response.status_code not in (401, 403), path


def test_reading_scopes_read_and_writing_scopes_write(shared: Service) -> None:
    for method, path, rule in protected(shared.app):
        if rule.kind == "scope":
            assert rule.name.endswith("read" if method == "GET" else "write"), (method, path)


def test_description_names_each_rule(shared: Service) -> None:
    paths = shared.http.get("/openapi.json").json()["paths"]
    assert paths["/api/v1/models"]["post"]["x-scope"] == "models:write"
    assert paths["/api/v1/models"]["post"]["security"] == [{"key": []}, {"session": []}]
    assert paths["/healthz"]["get"]["security"] == []


def test_first_key_is_made_once_and_stored_as_a_digest(service: Service) -> None:
    assert keys.first_key(service.context) is None
    token = service.http.headers["Authorization"].removeprefix("Bearer ")
    assert keys.TOKEN.fullmatch(token)
    with service.context.database.read() as unit:
        stored = str(unit.api_keys.page(order="id", after=None, limit=10))
    assert token.split("_")[1] in stored, "the prefix is there"
    assert token.split("_", 2)[2] not in stored


def make_key(service: Service, **body: Any) -> httpx2.Response:
    return service.http.post("/api/v1/keys", json={"name": "ci", **body})


def test_key_expires_and_is_revoked(service: Service) -> None:
    made = make_key(service, scopes=["jobs:read"], expires_days=1).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert service.http.get("/api/v1/jobs", headers=headers).status_code == 200
    listed = service.http.get("/api/v1/keys").json()["items"]
    assert listed[0]["prefix"] == made["prefix"]
    assert made["key"] not in str(listed)
    service.http.post(f"/api/v1/keys/{made['id']}/revoke")
    assert service.http.get("/api/v1/jobs", headers=headers).status_code == 401
    old = make_key(service, scopes=["jobs:read"], expires_days=1).json()
    headers = {"Authorization": f"Bearer {old['key']}"}
    past = utc_text((datetime.now(UTC) - timedelta(seconds=1)).timestamp)
    with service.context.database.write() as unit:
        unit.api_keys.change({"id": old["id"]}, expires_at=past)
    assert service.http.get("/api/v1/jobs", headers=headers).status_code == 401


def test_nobody_gives_more_than_they_hold(service: Service) -> None:
    headers = key_with(service, "access:write", "jobs:read")
    for scopes in (["models:read"], [ALL]):
        body = {"name": "more", "scopes": scopes}
        response = service.http.post("/api/v1/keys", json=body, headers=headers)
        assert response.status_code == 422
        user = {**body, "password": PASSWORD}
        assert service.http.post("/api/v1/users", json=user, headers=headers).status_code == 422
    ok = {"name": "same", "scopes": ["jobs:read"]}
    assert service.http.post("/api/v1/keys", json=ok, headers=headers).status_code == 201
    assert make_key(service, scopes=["jobs:odd"]).status_code == 422


def test_answers_are_not_replayed_to_another_client(service: Service) -> None:
    model = service.ready_model()
    body = {"name": "d", "model_id": model.id, "board": "host"}
    board = service.client.boards()[0].name
    body["board"] = board
    first = service.http.post("/api/v1/devices", json=body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 201
    again = service.http.post("/api/v1/devices", json=body, headers={"Idempotency-Key": "k"})
    assert again.headers["Idempotent-Replayed"] == "true"
    other = {**key_with(service, "devices:write"), "Idempotency-Key": "k"}
    assert service.http.post("/api/v1/devices", json=body, headers=other).status_code == 409


@pytest.fixture
def person(service: Service) -> Iterator[TestClient]:
    """A browser of a person who may read and cancel jobs."""
    body = {"name": "ada", "password": PASSWORD, "scopes": ["jobs:read", "jobs:write"]}
    assert service.http.post("/api/v1/users", json=body).status_code == 201
    with TestClient(service.app, raise_server_exceptions=False) as http:
        yield http


def log_in(http: TestClient, password: str = PASSWORD, name: str = "ada") -> httpx2.Response:
    return http.post("/api/v1/sessions", json={"name": name, "password": password})


def test_person_logs_in_acts_and_logs_out(service: Service, person: TestClient) -> None:
    answer = log_in(person)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    token = answer.json()["csrf_token"]
    assert person.get("/api/v1/sessions/current").json() == answer.json()
    assert person.get("/api/v1/jobs").status_code == 200
    assert person.get("/api/v1/models").status_code == 403
    cancel = f"/api/v1/jobs/{'0' * 32}/cancel"
    for headers in ({}, {CSRF_HEADER: "x"}, {CSRF_HEADER: people.csrf_token("other")}):
        assert person.post(cancel, headers=headers).status_code == 403
    assert person.post(cancel, headers={CSRF_HEADER: token}).status_code == 404
    value = person.cookies["hadapt_session"]
    assert person.post("/api/v1/sessions/current/end", headers={CSRF_HEADER: token}).is_success
    person.cookies.set("hadapt_session", value)
    assert person.get("/api/v1/jobs").status_code == 401, "the session is gone, not only the cookie"


def test_cookie_is_secure_over_https(service: Service, person: TestClient) -> None:
    with TestClient(service.app, base_url="https://testserver") as http:
        answer = log_in(http)
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_wrong_login_says_nothing_and_leaves_no_secret(
    service: Service, person: TestClient
) -> None:
    wrong, unknown = log_in(person, "wrong"), log_in(person, name="nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    with service.context.database.read() as unit:
        user = unit.users.find(name="ada")
    assert user is not None and user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash


def test_disabled_or_expired_session_ends(service: Service, person: TestClient) -> None:
    log_in(person)
    with service.context.database.write() as unit:
        past = utc_text((datetime.now(UTC) - timedelta(seconds=1)).timestamp)
        unit.sessions.change({}, expires_at=past)
    assert person.get("/api/v1/jobs").status_code == 401
    log_in(person)
    with service.context.database.read() as unit:
        assert unit.sessions.count() == 1  # the one that has expired is gone
    assert person.get("/api/v1/jobs").status_code == 200
    (user,) = service.http.get("/api/v1/users").json()["items"]
    service.http.post(f"/api/v1/users/{user['id']}/disable")
    assert person.get("/api/v1/jobs").status_code == 401
    assert log_in(person).status_code == 401


def test_short_password_is_refused(service: Service) -> None:
    body = {"name": "bob", "password": "short", "scopes": ["jobs:read"]}
    assert service.http.post("/api/v1/users", json=body).status_code == 422


@pytest.fixture
def one_minute() -> None:
    """Windows begin with the minute: counts are exact within one."""
    left_s = 60 - time.time() % 60
    if left_s < 4:
        time.sleep(left_s)


@pytest.mark.usefixtures("one_minute")
@pytest.mark.parametrize("service", [{"rate_limit_per_minute": 20}], indirect=True)
def test_client_beyond_its_limit_waits_and_others_do_not(service: Service) -> None:
    one, other = key_with(service, "jobs:read"), key_with(service, "jobs:read")
    answers = [service.http.get("/api/v1/jobs", headers=one) for _ in range(25)]
    assert [a.status_code for a in answers] == [200] * 20 + [429] * 5
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].json()["type"] == "urn:hadapt:problem:too-many-requests"
    assert service.http.get("/api/v1/jobs", headers=other).status_code == 200


@pytest.mark.usefixtures("one_minute")
@pytest.mark.parametrize("service", [{"rate_limit_unknown_per_minute": 5}], indirect=True)
def test_guessing_is_limited_and_does_not_lock_out_the_owner(service: Service) -> None:
    guess = {"Authorization": "Bearer had_00000000_" + "B" * 43}
    answers = [service.http.get("/api/v1/jobs", headers=guess).status_code for _ in range(8)]
    assert answers == [401] * 5 + [429] * 3
    assert service.http.get("/api/v1/jobs").status_code == 200


@pytest.mark.usefixtures("one_minute")
@pytest.mark.parametrize("service", [{"rate_limit_login_per_minute": 3}], indirect=True)
def test_logins_are_limited(service: Service, person: TestClient) -> None:
    answers = [log_in(person, "wrong wrong wrong").status_code for _ in range(5)]
    assert answers == [401] * 3 + [429] * 2


def test_every_answer_carries_security_headers(shared: Service) -> None:
    for path in ("/healthz", "/docs", "/api/v1/models", "/nothing"):
        headers = shared.http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy and "*" not in policy


def test_docs_page_needs_no_other_host_and_no_script(shared: Service) -> None:
    page = shared.http.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert all(link.startswith(("#", "/")) for link in links)
    assert "<script" not in page.text and "style=" not in page.text
    for link in {link for link in links if link.startswith("/")}:
        assert shared.http.get(link).status_code == 200, link
    for path, route in all_routes(shared.app):
        assert not route.include_in_schema or path in page.text


def test_rules_also_hold_on_plain_routes(tmp_path: Any) -> None:
    """A rule given as a dependency of a plain route is checked too, only later."""
    from server.api.access import device_route, scope

    def check(request: Any) -> None:
        if request.headers.get("authorization") != "TargetToken t":
            raise UnauthorizedError("A device token is needed.")

    settings = make_settings(tmp_path / "data")
    app = create_app(settings, FakeEngine(settings))

    @app.get("/plain", dependencies=[scope("jobs:read")])
    def plain() -> str:
        return "secret"

    @app.get("/device", dependencies=[device_route("target token", check)])
    def device() -> str:
        return "packet"

    with TestClient(app, raise_server_exceptions=False) as http:
        assert http.get("/plain").status_code == 401
        assert http.get("/device").status_code == 401
        assert http.get("/device", headers={"Authorization": "TargetToken t"}).json() == "packet"
    assert faults(app) == ["/plain: not a GuardedRoute"]
