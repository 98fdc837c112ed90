# SPDX-License-Identifier: Apache-2.0
"""The database: SQLAlchemy Core over SQLite (write-ahead log) or PostgreSQL.

Only portable SQL is used; what differs between the two is in `_prepare_sqlite`.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.errors import ConflictError, DatabaseLostError, StorageFullError, is_storage_full
from server.storage import fleet as f
from server.storage import fleet_tables as ft
from server.storage import records as r
from server.storage import tables as t
from server.storage.ports import FleetRows, Rows, SampleRows, Unit, Where

Record = TypeVar("Record")
BATCH_ROWS = 500
# As many as Starlette has threads for endpoints, so that none waits for a connection in vain.
POOL_SIZE = 40
# A database server has about a hundred connections for all processes; threads beyond wait.
SERVER_POOL_SIZE = 10


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
            self._connection.execute(insert(self._table).values(_values(record)))
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


class TableSamples(TableRows[r.SampleRecord]):
    """Samples; see ports.SampleRows."""

    def add_new(self, records: Iterable[r.SampleRecord]) -> int:
        """Insert what is new.

        A concurrent upload of the same sample is caught by the unique constraint: ConflictError,
        and the caller repeats its transaction.
        """
        fresh = list({record.content_sha256: record for record in records}.values())
        added = 0
        if fresh:
            lock_sequence(self._connection, fresh[0].model_id)
        for start in range(0, len(fresh), BATCH_ROWS):
            added += self._add_batch(fresh[start : start + BATCH_ROWS])
        return added

    def _add_batch(self, batch: Sequence[r.SampleRecord]) -> int:
        digests = [record.content_sha256 for record in batch]
        query = select(self._table.c.content_sha256).where(
            self._table.c.model_id == batch[0].model_id,
            self._table.c.content_sha256.in_(digests),
        )
        known = set(self._connection.scalars(query))
        rows = [_values(record) for record in batch if record.content_sha256 not in known]
        if rows:
            try:
                self._connection.execute(insert(self._table), rows)
            except IntegrityError as error:
                raise ConflictError(
                    "The same sample is being stored by another request."
                ) from error
        return len(rows)

    def counts(self, model_id: str) -> list[tuple[int, str, int]]:
        """(class position, split, count)."""
        key = (self._table.c.class_position, self._table.c.split)
        query = select(*key, func.count()).where(self._table.c.model_id == model_id).group_by(*key)
        return [(int(p), str(s), int(n)) for p, s, n in self._connection.execute(query)]

    def last_seq(self, model_id: str) -> int:
        """Newest sequence number, 0 without samples."""
        query = select(func.max(self._table.c.seq)).where(self._table.c.model_id == model_id)
        return int(self._connection.scalar(query) or 0)

    def select(
        self, model_id: str, last_seq: int, split: str, positions: Sequence[int]
    ) -> list[r.SampleRecord]:
        """Samples in an order that depends on their content alone."""
        c = self._table.c
        query = (
            select(self._table)
            .where(c.model_id == model_id, c.seq <= last_seq, c.split == split)
            .where(c.class_position.in_(positions))
            .order_by(c.class_position, c.content_sha256)
        )
        return [self._kind(**row) for row in self._connection.execute(query).mappings()]


def _values(record: Any) -> dict[str, Any]:
    """Columns of a record; an unset sequence number is left to the database."""
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {k: v for k, v in values.items() if not (k in ("seq", "number") and v is None)}


def fleet_rows(connection: Connection) -> FleetRows:
    """The fleet's tables within a transaction."""
    return FleetRows(
        audit=TableRows(connection, ft.audit, f.AuditRecord),
        packets=TableRows(connection, ft.packets, f.PacketRecord),
        artifacts=TableRows(connection, ft.artifacts, f.ArtifactRecord),
        targets=TableRows(connection, ft.targets, f.TargetRecord),
        gateways=TableRows(connection, ft.gateways, f.GatewayRecord),
        actions=TableRows(connection, ft.actions, f.ActionRecord),
        rollouts=TableRows(connection, ft.rollouts, f.RolloutRecord),
        members=TableRows(connection, ft.members, f.MemberRecord),
        learning=TableRows(connection, ft.learning, f.LearningRecord),
        withdrawals=TableRows(connection, ft.withdrawals, f.WithdrawalRecord),
    )


def lock_sequence(connection: Connection, name: str) -> None:
    """Let only this transaction number rows of this name until it ends.

    Readers take "everything up to seq" as fixed. SQLite has one writer; PostgreSQL numbers rows
    when they are inserted and shows them when they are committed, in another order.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(name))))


class TableEvents(TableRows[r.JobEventRecord]):
    """Lines of jobs' histories, numbered in the order in which they are seen."""

    def add(self, record: r.JobEventRecord) -> None:
        """Insert; ConflictError if a unique column is taken."""
        lock_sequence(self._connection, record.job_id)
        super().add(record)


class SqlUnit:
    """One transaction; see ports.Unit."""

    def __init__(self, connection: Connection) -> None:
        self.jobs: Rows[r.JobRecord] = TableRows(connection, t.jobs, r.JobRecord)
        self.job_events: Rows[r.JobEventRecord] = TableEvents(
            connection, t.job_events, r.JobEventRecord
        )
        self.models: Rows[r.ModelRecord] = TableRows(connection, t.models, r.ModelRecord)
        self.classes: Rows[r.ClassRecord] = TableRows(connection, t.classes, r.ClassRecord)
        self.versions: Rows[r.VersionRecord] = TableRows(connection, t.versions, r.VersionRecord)
        self.devices: Rows[r.DeviceRecord] = TableRows(connection, t.devices, r.DeviceRecord)
        self.samples: SampleRows = TableSamples(connection, t.samples, r.SampleRecord)
        self.updates: Rows[r.UpdateRecord] = TableRows(connection, t.updates, r.UpdateRecord)
        self.firmware: Rows[r.FirmwareRecord] = TableRows(connection, t.firmware, r.FirmwareRecord)
        self.device_tests: Rows[r.DeviceTestRecord] = TableRows(
            connection, t.device_tests, r.DeviceTestRecord
        )
        self.reports: Rows[r.ReportRecord] = TableRows(connection, t.reports, r.ReportRecord)
        self.report_requests: Rows[r.ReportRequestRecord] = TableRows(
            connection, t.report_requests, r.ReportRequestRecord
        )
        self.idempotency: Rows[r.IdempotencyRecord] = TableRows(
            connection, t.idempotency, r.IdempotencyRecord
        )
        self.workers: Rows[r.WorkerRecord] = TableRows(connection, t.workers, r.WorkerRecord)
        self.fleet = fleet_rows(connection)
        self.api_keys: Rows[r.ApiKeyRecord] = TableRows(connection, t.api_keys, r.ApiKeyRecord)
        self.users: Rows[r.UserRecord] = TableRows(connection, t.users, r.UserRecord)
        self.sessions: Rows[r.SessionRecord] = TableRows(connection, t.sessions, r.SessionRecord)


class SqlDatabase:
    """Units of work over one SQLAlchemy engine; see ports.Database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """A transaction that takes the write lock at once (on SQLite, see _prepare_sqlite)."""
        with _failures_named(), self._engine.begin() as connection:
            yield SqlUnit(connection)

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """A transaction that is always rolled back."""
        with _failures_named(), self._engine.connect() as connection:
            options: dict[str, Any] = {"hadapt_read": True}
            if connection.dialect.name == "postgresql":
                options["isolation_level"] = "REPEATABLE READ"
            connection = connection.execution_options(**options)
            yield SqlUnit(connection)

    def check(self) -> None:
        """Ask for the schema's version."""
        with _failures_named(), self._engine.connect() as connection:
            connection.execute(text("SELECT version_num FROM alembic_version"))

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()


@contextmanager
def _failures_named() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseLostError("No connection to the database became free.") from error
    except DBAPIError as error:
        if is_storage_full(error):
            raise StorageFullError() from error
        if error.connection_invalidated or _cannot_connect(error):
            raise DatabaseLostError("The database does not answer.") from error
        raise
    except Exception as error:
        if is_storage_full(error) and not isinstance(error, StorageFullError):
            raise StorageFullError() from error
        raise


def _cannot_connect(error: DBAPIError) -> bool:
    """True for failures to connect, which carry no statement, and for a server that shuts down."""
    state = getattr(error.orig, "sqlstate", None) or ""
    kind = type(error.orig).__name__
    connecting = error.statement is None and kind in ("OperationalError", "ConnectionTimeout")
    return connecting or state[:3] in ("57P", "080")


def _prepare_sqlite(engine: Engine) -> None:
    """Set what SQLite needs on each connection.

    synchronous=FULL: an acknowledged upload survives a power cut, not only a killed process.
    Transactions are begun by us: writers with IMMEDIATE, so that they wait for the lock at the
    start, where waiting is possible, and not in the middle, where SQLite answers "locked".
    """

    @event.listens_for(engine, "connect")
    def on_connect(dbapi_connection: Any, _: Any) -> None:
        dbapi_connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=30000",
            "foreign_keys=ON",
        ):
            dbapi_connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("hadapt_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def open_engine(url: str) -> Engine:
    """An engine with this service's connection settings."""
    sqlite = url.startswith("sqlite")
    engine = create_engine(
        url,
        pool_pre_ping=not sqlite,
        pool_size=POOL_SIZE if sqlite else SERVER_POOL_SIZE,
        max_overflow=0,
        pool_timeout=30,
    )
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return engine
