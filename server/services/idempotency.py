# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: the same request sent twice acts once and answers the same."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.errors import ConflictError, IdempotencyMismatchError, Issue
from server.ids import utc_text
from server.services.context import Context
from server.storage.ports import Unit
from server.storage.records import IdempotencyRecord, Json

ATTEMPTS = 5


@dataclass(frozen=True)
class Answer:
    """Status and body of a response; `replayed` if it is an earlier request's."""

    status: int
    body: Json
    replayed: bool = False


@dataclass(frozen=True)
class Request:
    """What identifies a request: scope (method and path), key or None, digest of its content."""

    scope: str
    key: str | None
    fingerprint: str


def fingerprint(*parts: object) -> str:
    """SHA-256 over JSON-ready parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def run_once(context: Context, request: Request, action: Callable[[Unit], Answer]) -> Answer:
    """Run the action in one transaction, unless its key has an answer already.

    The answer is stored with the effect, so after a crash either both are there or neither. When
    two requests collide, one is undone and tried again; then it finds the other's result.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _attempt(context, request, action)
        except ConflictError as error:
            if attempt + 1 == ATTEMPTS or error.__cause__ is None:
                raise
    raise ConflictError("Too many requests store the same thing at once.")


def _attempt(context: Context, request: Request, action: Callable[[Unit], Answer]) -> Answer:
    with context.database.write() as unit:
        if request.key is None:
            return action(unit)
        known = unit.idempotency.find(scope=request.scope, key=request.key)
        if known is not None:
            return _replay(known, request)
        answer = action(unit)
        unit.idempotency.add(
            IdempotencyRecord(
                request.scope,
                request.key,
                request.fingerprint,
                utc_text(),
                answer.status,
                answer.body,
            )
        )
        return answer


def _replay(known: IdempotencyRecord, request: Request) -> Answer:
    if known.fingerprint != request.fingerprint:
        issue = Issue("key was used before", "header Idempotency-Key", "a fresh key per request")
        raise IdempotencyMismatchError("This Idempotency-Key belongs to another request.", [issue])
    return Answer(known.status, known.body, replayed=True)


def forget_old(context: Context) -> int:
    """Delete keys older than the settings say; returns how many."""
    oldest = datetime.now(UTC) - timedelta(days=context.settings.idempotency_keep_days)
    with context.database.write() as unit:
        return unit.idempotency.remove(before={"created_at": utc_text(oldest.timestamp)})
