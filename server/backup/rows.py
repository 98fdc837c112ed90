# SPDX-License-Identifier: Apache-2.0
"""Rows as lines of JSON, the same for SQLite and PostgreSQL, of whatever version the schema has.

Columns are those that the database tells of, not those of this version's tables: so a backup can
be made before an upgrade, and an older one restored and then upgraded.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import (
    JSON,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    func,
    insert,
    null,
    select,
    text,
)

BATCH = 1000
LINE_MAX_BYTES = 1 << 28
# Who lives and who is logged in now says nothing of a service that is restored later.
LEFT_OUT = ("alembic_version", "workers", "sessions")


def stored_tables(connection: Connection) -> list[Table]:
    """Tables to keep, those that others refer to first."""
    found = MetaData()
    found.reflect(bind=connection)
    return [table for table in found.sorted_tables if table.name not in LEFT_OUT]


def lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """The columns' names, then one line a row."""
    yield _line([column.name for column in table.columns])
    binary = [isinstance(column.type, LargeBinary) for column in table.columns]
    options = {"yield_per": BATCH}
    for row in connection.execute(select(table), execution_options=options):
        values = [
            base64.b64encode(value).decode() if raw and value is not None else value
            for raw, value in zip(binary, row, strict=True)
        ]
        yield _line(values)


def _line(values: list[Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), sort_keys=True).encode() + b"\n"


@dataclass
class Sum:
    """A digest of lines in whatever order: databases give rows in orders of their own."""

    count: int = 0
    total: int = 0

    def add(self, line: bytes) -> None:
        """One more line."""
        self.count += 1
        self.total += int.from_bytes(hashlib.sha256(line).digest())


def sum_of(found: Iterable[bytes]) -> Sum:
    """The digest of some lines."""
    total = Sum()
    for line in found:
        total.add(line)
    return total


def load(connection: Connection, table: Table, file: IO[bytes]) -> Sum:
    """Insert the rows of a member. Returns: the digest of its lines.

    Raises: ValueError if a line is not a row of this table.
    """
    total, waiting = Sum(), list[dict[str, Any]]()
    head = file.readline(LINE_MAX_BYTES)
    total.add(head)
    names = json.loads(head)
    if sorted(names) != sorted(column.name for column in table.columns):
        raise ValueError(f"columns {names}")
    while line := file.readline(LINE_MAX_BYTES):
        total.add(line)
        waiting.append(_values(table, names, json.loads(line)))
        if len(waiting) == BATCH:
            connection.execute(insert(table), waiting)
            waiting = []
    if waiting:
        connection.execute(insert(table), waiting)
    return total


def _values(table: Table, names: list[str], values: list[Any]) -> dict[str, Any]:
    row = dict(zip(names, values, strict=True))
    for name, value in row.items():
        kind = table.c[name].type
        if isinstance(kind, LargeBinary) and value is not None:
            row[name] = base64.b64decode(value, validate=True)
        if isinstance(kind, JSON) and value is None and table.c[name].nullable:
            row[name] = null()
    return row


def set_counters(connection: Connection, tables: Iterable[Table]) -> None:
    """Let PostgreSQL number new rows after those that came with numbers of their own."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        for column in table.primary_key.columns:
            sequence = connection.scalar(
                text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": table.name, "c": column.name}
            )
            last = connection.scalar(select(func.max(column))) if sequence else None
            if last is not None:
                connection.execute(text("SELECT setval(:s, :n)"), {"s": sequence, "n": last})
