# SPDX-License-Identifier: Apache-2.0
"""What the client reads off the wire: problem documents and server-sent events."""

import json
from collections.abc import Iterator

import httpx2

from server.api import schemas as s
from server.errors import from_problem


def check(response: httpx2.Response) -> None:
    """Raise the error that a problem document stands for."""
    if response.status_code < 400:
        return
    wait = response.headers.get("Retry-After", "1")
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": f"HTTP {response.status_code}: {response.text[:200]}"}
    raise from_problem(problem, int(wait) if wait.isdecimal() else 1)


def parse_events(lines: Iterator[str]) -> Iterator[s.JobEventRead]:
    """Events of a text/event-stream body."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield s.JobEventRead.model_validate(
                {
                    "seq": int(fields.get("id", "0")),
                    "kind": fields.get("event", "progress"),
                    "data": json.loads(fields["data"]),
                    "created_at": "",
                }
            )
            fields = {}
