# SPDX-License-Identifier: Apache-2.0
"""The audit of signing and rollout: rows that each hash the row before.

The hash of a row is SHA-256 over canonical JSON of all its other fields; the first row's
`previous_sha256` is 64 zeros. Whoever changes, drops or inserts a row breaks the chain from there
on; whoever cuts the end is found by those who know a later row's hash.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from server.errors import WRONG_JSON, ConflictError, Issue
from server.fleet.trust import canonical_json
from server.ids import utc_text
from server.storage.fleet import AuditRecord
from server.storage.ports import Unit

GENESIS = "0" * 64
ROW_START = b'{"action":"'  # of canonical JSON


def row_hash(row: AuditRecord) -> str:
    """Hash of a row, by its other fields."""
    fields = dataclasses.asdict(row)
    del fields["row_sha256"]
    return hashlib.sha256(canonical_json(fields)).hexdigest()


def _hash_or_none(row: AuditRecord) -> str | None:
    """None for a row of a file that no row of ours could be: not a number, no Unicode."""
    try:
        return row_hash(row)
    except (ValueError, TypeError, RecursionError):
        return None


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
        if (row.seq, row.previous_sha256, row.row_sha256) != (seq, previous, _hash_or_none(row)):
            issue = Issue("row changed, missing or inserted", f"row {seq}", "an unbroken chain")
            raise ConflictError(f"The audit is broken at row {seq}.", [issue])
        last, count = row, count + 1
    return count


def append_line(path: Path, actor: str, action: str, subject: str, **data: Any) -> AuditRecord:
    """Append to an audit file of JSON lines: what is done with offline keys.

    One writer at a time. On disk when it returns, before what it tells is done: so a row whose
    writing was cut short, at the end of the file, tells of nothing, and is replaced.
    Raises: ConflictError if the audit is broken.
    """
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = file.read()
        rows, whole = _read_rows(path, before)
        check_chain(rows)
        row = next_row(rows[-1] if rows else None, actor, action, subject, data, utc_text())
        file.truncate(whole)
        start = b"" if before[:whole].endswith(b"\n") or not whole else b"\n"
        file.write(start + canonical_json(dataclasses.asdict(row)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return row


def read_lines(path: Path) -> list[AuditRecord]:
    """Rows of an audit file; empty if there is none. Raises: ConflictError if it is damaged."""
    return _read_rows(path, path.read_bytes())[0] if path.exists() else []


def unfinished_bytes(path: Path) -> int:
    """Bytes at the end of an audit file of a row whose writing was cut short."""
    data = path.read_bytes()
    return len(data) - _read_rows(path, data)[1]


def _read_rows(path: Path, data: bytes) -> tuple[list[AuditRecord], int]:
    """Rows, and the bytes that they take; only the end of the last line may be missing."""
    whole = data.rfind(b"\n") + 1
    rows = [_read_row(path, line) for line in data[:whole].splitlines()]
    tail = data[whole:]
    if _is_cut(tail):
        return rows, whole
    return [*rows, _read_row(path, tail)], len(data)


def _is_cut(tail: bytes) -> bool:
    """True for the beginning of a row; a row that lacks its line's end alone is whole."""
    try:
        json.loads(tail)
    except WRONG_JSON:
        return ROW_START.startswith(tail[: len(ROW_START)])
    return False


def _read_row(path: Path, line: bytes) -> AuditRecord:
    try:
        return AuditRecord(**json.loads(line))
    except WRONG_JSON as error:
        issue = Issue("damaged", str(path), "lines written by `hadapt keys`")
        raise ConflictError(f"{path} is no audit.", [issue]) from error
