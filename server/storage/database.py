# SPDX-License-Identifier: Apache-2.0
"""The database: SQLAlchemy Core over SQLite (write-ahead log) or PostgreSQL.

Only portable SQL is used; what differs between the two is in `_prepare_sqlite`.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.errors import DatabaseLostError, storage_error
from server.storage import fleet as f
from server.storage import fleet_tables as ft
from server.storage import records as r
from server.storage import tables as t
from server.storage.member_rows import MemberRows, TargetRows
from server.storage.ports import FleetRows, Rows, SampleRows, TotalRows, Unit
from server.storage.rows import TableRows, lock_sequence
from server.storage.sample_rows import TableSamples

Record = TypeVar("Record")
# As many as Starlette has threads for endpoints, so that none waits for a connection in vain.
POOL_SIZE = 40
# Pages that each connection to SQLite keeps; by itself it would keep 2 MiB, times POOL_SIZE.
CACHE_KIB = 512
# A database server has about a hundred connections for all processes; threads beyond wait.
SERVER_POOL_SIZE = 10


def fleet_rows(connection: Connection) -> FleetRows:
    """The fleet's tables within a transaction."""
    return FleetRows(
        audit=TableRows(connection, ft.audit, f.AuditRecord),
        packets=TableRows(connection, ft.packets, f.PacketRecord),
        artifacts=TableRows(connection, ft.artifacts, f.ArtifactRecord),
        targets=TargetRows(connection),
        gateways=TableRows(connection, ft.gateways, f.GatewayRecord),
        actions=TableRows(connection, ft.actions, f.ActionRecord),
        rollouts=TableRows(connection, ft.rollouts, f.RolloutRecord),
        members=MemberRows(connection),
        learning=TableRows(connection, ft.learning, f.LearningRecord),
        withdrawals=TableRows(connection, ft.withdrawals, f.WithdrawalRecord),
    )


class TableEvents(TableRows[r.JobEventRecord]):
    """Lines of jobs' histories, numbered in the order in which they are seen."""

    def add(self, record: r.JobEventRecord) -> None:
        """Insert; ConflictError if a unique column is taken."""
        lock_sequence(self._connection, record.job_id)
        super().add(record)


class TableTotals(TableRows[r.TotalRecord]):
    """See ports.TotalRows."""

    def bump(self, name: str, kind: str, state: str, seconds: float = 0.0) -> None:
        """One more; also if another transaction makes the row at this moment."""
        values = {"name": name, "kind": kind, "state": state, "seconds": seconds}
        self._connection.execute(
            text(
                "INSERT INTO totals (name, kind, state, count, seconds) "
                "VALUES (:name, :kind, :state, 1, :seconds) "
                "ON CONFLICT (name, kind, state) DO UPDATE SET "
                "count = totals.count + 1, seconds = totals.seconds + excluded.seconds"
            ),
            values,
        )


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
        self.totals: TotalRows = TableTotals(connection, t.totals, r.TotalRecord)
        self.fleet = fleet_rows(connection)
        self.api_keys: Rows[r.ApiKeyRecord] = TableRows(connection, t.api_keys, r.ApiKeyRecord)
        self.users: Rows[r.UserRecord] = TableRows(connection, t.users, r.UserRecord)
        self.sessions: Rows[r.SessionRecord] = TableRows(connection, t.sessions, r.SessionRecord)


class SqlDatabase:
    """Units of work over one SQLAlchemy engine; see ports.Database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # SQLite has one writer. Who waits for it in SQLite looks again and again, at growing
        # pauses; a lock of our own wakes the next thread at once.
        alone = engine.dialect.name == "sqlite"
        self._writer: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """A transaction that takes the write lock at once (on SQLite, see _prepare_sqlite)."""
        with failures_named(), self._writer, self._engine.begin() as connection:
            yield SqlUnit(connection)

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """A transaction that is always rolled back."""
        with failures_named(), self._engine.connect() as connection:
            options: dict[str, Any] = {"hadapt_read": True}
            if connection.dialect.name == "postgresql":
                options["isolation_level"] = "REPEATABLE READ"
            connection = connection.execution_options(**options)
            yield SqlUnit(connection)

    def check(self) -> None:
        """Ask for the schema's version."""
        with failures_named(), self._engine.connect() as connection:
            connection.execute(text("SELECT version_num FROM alembic_version"))

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()


@contextmanager
def failures_named() -> Iterator[None]:
    """Name what the database says. Raises: DatabaseLostError, Storage..Error."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseLostError("No connection to the database became free.") from error
    except DBAPIError as error:
        if disk := storage_error(error):
            raise disk from error
        if error.connection_invalidated or _cannot_connect(error):
            raise DatabaseLostError("The database does not answer.") from error
        raise
    except Exception as error:
        disk = storage_error(error)
        if disk is not None and disk is not error:
            raise disk from error
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
            f"cache_size=-{CACHE_KIB}",
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
        # The connection used last is taken first: few are warm, instead of all in turn.
        pool_use_lifo=True,
    )
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return engine
