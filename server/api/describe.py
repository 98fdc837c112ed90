# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI description with each route's rule in it, and a page that shows it.

The page is HTML alone, without a script: it works offline and under a policy that runs nothing.
"""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment

from server.api.access import COOKIE, CSRF_HEADER, GuardedRoute, Rule, open_route, rules_of
from server.api.security_headers import PAGE

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)
SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, had_.."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"A person's session; changes also need the header {CSRF_HEADER}.",
    },
    "device": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "A device's own token.",
    },
}


def all_routes(app: Any) -> list[tuple[str, APIRoute]]:
    """Every route with its full path, those of included routers too."""
    found: list[tuple[str, APIRoute]] = []

    def walk(routes: Any, prefix: str) -> None:
        for route in routes:
            if isinstance(route, APIRoute):
                found.append((prefix + route.path, route))
                continue
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None:
                context = getattr(route, "include_context", None)
                walk(inner.routes, prefix + str(getattr(context, "prefix", "")))

    walk(app.routes, "")
    return found


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application; made once."""
    if not app.openapi_schema or "securitySchemes" not in app.openapi_schema["components"]:
        document = app.openapi()
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
        for path, route in all_routes(app):
            for verb in route.methods or ():
                operation = document["paths"].get(path, {}).get(verb.lower())
                if operation is not None:
                    _describe_rule(operation, rules_of(route))
    return dict(app.openapi_schema or {})


def _describe_rule(operation: dict[str, Any], rules: list[Rule]) -> None:
    for rule in rules:
        if rule.kind == "scope":
            operation["security"] = [{"key": []}, {"session": []}]
            operation["x-scope"] = rule.name
        elif rule.kind == "self":
            operation["security"] = [{"key": []}, {"session": []}]
        elif rule.kind == "device":
            operation["security"] = [{"device": []}]
        else:
            operation["security"] = []


OPEN_DOCS = open_route("the description holds no data of anybody")


@router.get("/openapi.json", dependencies=[OPEN_DOCS])
def openapi(request: Request) -> JSONResponse:
    """The OpenAPI description."""
    return JSONResponse(description(request.app))


@router.get("/docs", dependencies=[OPEN_DOCS])
def docs(request: Request) -> HTMLResponse:
    """The description as a page."""
    html = _page(description(request.app))
    return HTMLResponse(html, headers={"Content-Security-Policy": PAGE})


@router.get("/docs/style.css", dependencies=[OPEN_DOCS])
def style() -> Response:
    """The page's style."""
    text = files("server.api").joinpath("docs.css").read_text()
    return Response(text, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def _page(document: dict[str, Any]) -> str:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("server.api").joinpath("docs.html").read_text())
    operations = [
        {"path": path, "verb": verb.upper(), **operation}
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    tags = list(dict.fromkeys(tag for op in operations for tag in op.get("tags", ["other"])))
    return template.render(document=document, tags=tags, operations=operations, name=_type_name)


def _type_name(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type_name(option) for option in schema[key])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type_name(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")
