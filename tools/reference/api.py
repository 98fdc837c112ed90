# SPDX-License-Identifier: Apache-2.0
"""The REST API as Markdown, from its OpenAPI description."""

import tempfile
from pathlib import Path
from typing import Any

from server.api.describe import description
from server.app import create_app
from server.settings import Settings

Json = dict[str, Any]
PROBLEMS = "application/problem+json"


def document() -> Json:
    """The OpenAPI description of the application."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder)))
        found = description(app)
        app.state.context.database.close()
    return found


def page(document: Json) -> str:
    """Operations by resource, then the bodies that they name."""
    operations = [
        (path, verb, one)
        for path, verbs in document["paths"].items()
        for verb, one in verbs.items()
    ]
    tags = list(dict.fromkeys(_tag(one) for _, _, one in operations))
    lines: list[str] = []
    for tag in tags:
        lines += [f"## {tag}", ""]
        for path, verb, one in operations:
            if _tag(one) == tag:
                lines += _operation(path, verb, one)
    lines += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def _tag(operation: Json) -> str:
    return str(operation.get("tags", ["service"])[0])


def _operation(path: str, verb: str, one: Json) -> list[str]:
    lines = [f"### {verb.upper()} {path}", "", str(one.get("description", "")), ""]
    lines += [f"Scope: `{one['x-scope']}`.", ""] if "x-scope" in one else []
    parameters = [p for p in one.get("parameters", []) if p["name"] != "hadapt_session"]
    if parameters:
        lines += ["| parameter | in | type | |", "| --- | --- | --- | --- |"]
        lines += [_parameter(p) for p in parameters]
        lines += [""]
    content = one.get("requestBody", {}).get("content", {})
    for media, body in content.items():
        lines += [f"Body, {media}: {_type(body.get('schema', {}))}", ""]
        lines += _fields(body.get("schema", {}))
    lines += ["Answers: " + "; ".join(_answers(one["responses"])) + ".", ""]
    return lines


def _parameter(one: Json) -> str:
    need = "" if one.get("required") else "Optional"
    schema = one["schema"]
    if "default" in schema and schema["default"] is not None:
        need = f"Default {schema['default']}"
    words = [one.get("description") or schema.get("description") or "", need]
    text = " ".join(f"{w.rstrip('.')}." for w in words if w)
    return f"| `{one['name']}` | {one['in']} | {_cell(_type(schema))} | {_cell(text)} |"


def _answers(responses: Json) -> list[str]:
    good, bad = [], []
    for status, response in responses.items():
        content = response.get("content", {})
        if PROBLEMS in content:
            bad.append(status)
            continue
        kinds = [_type(body["schema"]) for body in content.values() if body.get("schema")]
        kinds += [media for media, body in content.items() if not body.get("schema")]
        good.append(f"{status} {' or '.join(dict.fromkeys(kinds))}".strip())
    return good + ([f"a problem with {', '.join(bad)}"] if bad else [])


def _schema(name: str, schema: Json) -> list[str]:
    lines = [f"### {name}", "", str(schema.get("description", "")), ""]
    return lines + (_fields(schema) or [f"{_type(schema)}.", ""])


def _fields(schema: Json) -> list[str]:
    rows = _rows(schema, "")
    return ["| field | type | |", "| --- | --- | --- |", *rows, ""] if rows else []


def _rows(schema: Json, prefix: str) -> list[str]:
    """Rows of an object's fields; those of objects within are `outer[].inner`."""
    lines: list[str] = []
    required = schema.get("required", [])
    for name, one in schema.get("properties", {}).items():
        words = [one.get("description", "")]
        if name not in required:
            words.append(_default(one))
        text = " ".join(f"{w.rstrip('.')}." for w in words if w)
        lines.append(f"| `{prefix}{name}` | {_cell(_type(one))} | {_cell(text)} |")
        lines += _rows(one.get("items", {}), f"{prefix}{name}[].")
    return lines


def _default(schema: Json) -> str:
    if schema.get("default") is None:
        return "Optional"
    return f"Default {schema['default']}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(schema: Json) -> str:
    """A schema in a few words, with its limits."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(option) for option in schema[key])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}{_limits(schema)}"
    return str(schema.get("format") or schema.get("type") or "any value") + _limits(schema)


def _limits(schema: Json) -> str:
    """Range and length."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    least = schema.get("minLength", schema.get("minItems"))
    most = schema.get("maxLength", schema.get("maxItems"))
    parts = []
    if low is not None or high is not None:
        left = "(" if "exclusiveMinimum" in schema or low is None else "["
        right = ")" if "exclusiveMaximum" in schema or high is None else "]"
        parts.append(
            f"{left}{'..' if low is None else low}, {'..' if high is None else high}{right}"
        )
    if most is not None:
        parts.append(f"{least or 0} to {most} long")
    elif least is not None:
        parts.append(f"at least {least} long")
    if "pattern" in schema:
        parts.append(f"matches `{schema['pattern']}`")
    return (", " + ", ".join(parts)) if parts else ""


def _number(value: float | None) -> str:
    return ".." if value is None else f"{value:.17g}"
