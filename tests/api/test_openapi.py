# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description, and rules that every route must keep."""

from typing import Any

from fastapi.routing import APIRoute

from tests.api.harness import Service

OPEN_ROUTES = {"/healthz", "/readyz", "/metrics"}


def operations(service: Service) -> list[tuple[str, str, dict[str, Any]]]:
    paths = service.http.get("/openapi.json").json()["paths"]
    return [(path, verb, op) for path, verbs in paths.items() for verb, op in verbs.items()]


def test_every_route_documents_its_errors(service: Service) -> None:
    found = [entry for entry in operations(service) if entry[0].startswith("/api/v1/")]
    assert len(found) > 30
    for path, verb, operation in found:
        responses = operation["responses"]
        assert {"400", "422", "500"} <= set(responses), (path, verb)
        assert ("404" in responses) >= ("{" in path), (path, verb)
        for status, response in responses.items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, verb)
                content = response["content"]["application/problem+json"]
                assert content["example"]["status"] == int(status)
                assert content["schema"]["$ref"].endswith("/Problem")


def test_every_creating_route_takes_an_idempotency_key(service: Service) -> None:
    for path, verb, operation in operations(service):
        if verb == "post" and not path.endswith("/cancel"):
            names = [p["name"] for p in operation.get("parameters", [])]
            assert "Idempotency-Key" in names, path


def test_every_route_is_described(service: Service) -> None:
    for path, verb, operation in operations(service):
        assert operation.get("description"), (path, verb)


def _routes(router: Any) -> list[APIRoute]:
    """Routes of a router, those of included routers too."""
    found = []
    for route in router.routes:
        if isinstance(route, APIRoute):
            found.append(route)
        else:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            found += _routes(inner) if inner is not None else []
    return found


def test_every_route_names_the_scope_it_needs(service: Service) -> None:
    routes = _routes(service.app)
    assert len(routes) > 30
    for route in routes:
        scopes = [
            d.dependency.__dict__["hadapt_scope"]
            for d in route.dependencies
            if d.dependency is not None and "hadapt_scope" in d.dependency.__dict__
        ]
        if route.path not in OPEN_ROUTES:
            assert len(scopes) == 1, route.path
            kind = "read" if route.methods == {"GET"} else "write"
            assert scopes[0].endswith(kind), route.path
