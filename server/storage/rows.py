# SPDX-License-Identifier: Apache-2.0
"""Records of one table within one transaction, in SQL that SQLite and PostgreSQL share."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from server.errors import ConflictError
from server.storage.ports import Where

Record = TypeVar("Record")


def _conditions(table: Table, where: Mapping[str, Where]) -> ColumnElement[bool]:
    terms: list[ColumnElement[bool]] = []
    for name, value in where.items():
        column = table.c[name]
        terms.append(column == value if isinstance(value, str | int) else column.in_(value))
    return and_(literal(True), *terms)


class TableRows(Generic[Record]):
    """Records of one table within one transaction; see ports.Rows."""

    def __init__(self, connection: Connection, table: Table, kind: type[Record]) -> None:
        self._connection = connection
        self._table = table
        self._kind = kind

    def add(self, record: Record) -> None:
        """Insert; ConflictError if a unique column is taken."""
        try:
            self._connection.execute(insert(self._table).values(values_of(record)))
        except IntegrityError as error:
            raise ConflictError(f"A {self._table.name} entry with this key exists.") from error

    def find(self, **where: Where) -> Record | None:
        """The one record, or None."""
        query = select(self._table).where(_conditions(self._table, where))
        row = self._connection.execute(query).mappings().one_or_none()
        return None if row is None else self._kind(**row)

    def page(
        self,
        *,
        order: str,
        after: str | int | None,
        limit: int,
        down: bool = False,
        **where: Where,
    ) -> list[Record]:
        """Records beyond `after`, ordered."""
        column = self._table.c[order]
        query = select(self._table).where(_conditions(self._table, where))
        if after is not None:
            query = query.where(column < after if down else column > after)
        query = query.order_by(column.desc() if down else column).limit(limit)
        return [self._kind(**row) for row in self._connection.execute(query).mappings()]

    def change(self, where: Mapping[str, Where], **values: Any) -> int:
        """Set columns of the records that match."""
        statement = update(self._table).where(_conditions(self._table, where)).values(values)
        return self._connection.execute(statement).rowcount

    def count(self, **where: Where) -> int:
        """Number of records that match."""
        query = select(func.count()).select_from(self._table)
        return int(self._connection.scalar(query.where(_conditions(self._table, where))) or 0)

    def remove(self, *, before: Mapping[str, str]) -> int:
        """Delete records whose columns lie below the values."""
        terms = [self._table.c[name] < value for name, value in before.items()]
        return self._connection.execute(delete(self._table).where(*terms)).rowcount

    def delete(self, **where: Where) -> int:
        """Delete the records that match."""
        return self._connection.execute(
            delete(self._table).where(_conditions(self._table, where))
        ).rowcount


def values_of(record: Any) -> dict[str, Any]:
    """Columns of a record; an unset sequence number is left to the database."""
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {k: v for k, v in values.items() if not (k in ("seq", "number") and v is None)}


def lock_sequence(connection: Connection, name: str) -> None:
    """Let only this transaction number rows of this name until it ends.

    Readers take "everything up to seq" as fixed. SQLite has one writer; PostgreSQL numbers rows
    when they are inserted and shows them when they are committed, in another order.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))
