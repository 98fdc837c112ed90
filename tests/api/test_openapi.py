# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description, and rules that every route must keep."""

from typing import Any

from tests.api.harness import Service

# Their answers hold a secret, which must not be stored for a repetition.
SECRET_ROUTES = {
    "/api/v1/keys",
    "/api/v1/users",
    "/api/v1/sessions",
    "/api/v1/targets",
    "/api/v1/targets/{controller_id}/token",
    "/api/v1/gateways",
}
# They change what is there; doing so twice is no error.
ENDINGS = ("/cancel", "/revoke", "/disable", "/end")


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
        if verb == "post" and path not in SECRET_ROUTES and not path.endswith(ENDINGS):
            names = [p["name"] for p in operation.get("parameters", [])]
            assert "Idempotency-Key" in names, path


def test_every_route_is_described(service: Service) -> None:
    for path, verb, operation in operations(service):
        assert operation.get("description"), (path, verb)


def shows(node: object) -> bool:
    """True if there is an example anywhere in a part of the description."""
    if isinstance(node, dict):
        return bool({"example", "examples"} & node.keys()) or any(map(shows, node.values()))
    return isinstance(node, list) and any(map(shows, node))


def test_every_json_body_shows_an_example(service: Service) -> None:
    schemas = service.http.get("/openapi.json").json()["components"]["schemas"]
    bodies = [op["requestBody"]["content"] for *_, op in operations(service) if "requestBody" in op]
    assert len(bodies) > 15
    for content in bodies:
        for media, body in content.items():
            named = schemas.get(body["schema"].get("$ref", "").rpartition("/")[2], {})
            assert media == "application/octet-stream" or shows(body) or shows(named), body
