# SPDX-License-Identifier: Apache-2.0
"""The audit of signing and rollout: rows that each hash the row before.

The hash of a row is SHA-256 over canonical JSON of all its other fields; the first row's
`previous_sha256` is 64 zeros. Whoever changes, drops or inserts a row breaks the chain from there
on; whoever cuts the end is found by those who know a later row's hash.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from server.errors import ConflictError, Issue
from server.fleet.trust import canonical_json
from server.ids import utc_text
from server.storage.fleet import AuditRecord
from server.storage.ports import Unit

GENESIS = "0" * 64


def row_hash(row: AuditRecord) -> str:
    """Hash of a row, by its other fields."""
    fields = dataclasses.asdict(row)
    del fields["row_sha256"]
    return hashlib.sha256(canonical_json(fields)).hexdigest()


def next_row(
    last: AuditRecord | None, actor: str, action: str, subject: str, data: dict[str, Any], at: str
) -> AuditRecord:
    """The row that follows."""
    seq, previous = (last.seq + 1, last.row_sha256) if last else (1, GENESIS)
    row = AuditRecord(seq, at, actor, action, subject, data, previous, "")
    return dataclasses.replace(row, row_sha256=row_hash(row))


def record(unit: Unit, actor: str, action: str, subject: str, **data: Any) -> AuditRecord:
    """Append a row within the transaction of what it tells.

    Raises: ConflictError if another process appended at the same time (PostgreSQL only).
    """
    found = unit.fleet.audit.page(order="seq", after=None, limit=1, down=True)
    row = next_row(found[0] if found else None, actor, action, subject, data, utc_text())
    unit.fleet.audit.add(row)
    return row


def check_chain(rows: Iterable[AuditRecord], after: AuditRecord | None = None) -> int:
    """Number of rows, if the chain is whole. Raises: ConflictError that names the first break."""
    last, count = after, 0
    for row in rows:
        seq, previous = (last.seq + 1, last.row_sha256) if last else (1, GENESIS)
        if (row.seq, row.previous_sha256, row.row_sha256) != (seq, previous, row_hash(row)):
            issue = Issue("row changed, missing or inserted", f"row {seq}", "an unbroken chain")
            raise ConflictError(f"The audit is broken at row {seq}.", [issue])
        last, count = row, count + 1
    return count


def append_line(path: Path, actor: str, action: str, subject: str, **data: Any) -> AuditRecord:
    """Append to an audit file of JSON lines: what is done with offline keys."""
    rows = read_lines(path)
    check_chain(rows)
    row = next_row(rows[-1] if rows else None, actor, action, subject, data, utc_text())
    with path.open("ab") as file:
        file.write(canonical_json(dataclasses.asdict(row)) + b"\n")
    return row


def read_lines(path: Path) -> list[AuditRecord]:
    """Rows of an audit file; empty if there is none. Raises: ConflictError if it is damaged."""
    if not path.exists():
        return []
    try:
        return [AuditRecord(**json.loads(line)) for line in path.read_bytes().splitlines()]
    except (ValueError, TypeError) as error:
        issue = Issue("damaged", str(path), "lines written by `hadapt keys`")
        raise ConflictError(f"{path} is no audit.", [issue]) from error
