# SPDX-License-Identifier: Apache-2.0
"""Restoring a backup into empty stores, which need not be of the kind it was made from."""

import tempfile
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, Table, create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from server.backup.archive import BackupInvalidError, read_head, reading, refuse
from server.backup.make import Contents
from server.backup.rows import lines, load, set_counters, stored_tables, sum_of
from server.errors import ConflictError, Issue
from server.settings import Settings
from server.storage.blobs import ObstoreBlobs, open_blobs
from server.storage.database import failures_named, open_engine
from server.storage.migrate import current_revision, downgrade, known_revisions, upgrade

OPEN_JOBS = "UPDATE jobs SET state = 'queued', dispatched = :no, started_at = NULL"
PIECE_BYTES = 1 << 20


def check_backup(path: Path) -> Contents:
    """Read a whole backup and compare every digest. Raises: BackupInvalidError."""
    head = read_head(path)
    if head["revision"] not in known_revisions():
        what = f"schema {head['revision'][:40]!r}, made by version {str(head.get('version'))[:40]}"
        refuse(what, str(path), "a version of Hadapt that knows this schema")
    blobs = head.get("blobs")
    return Contents(
        str(head.get("version")),
        head["revision"],
        str(head.get("created_at")),
        head["tables"],
        blobs if isinstance(blobs, int) else 0,
    )


def restore(settings: Settings, path: Path) -> Contents:
    """Fill empty stores from a backup, compare what they then hold, and upgrade the schema.

    The rows come in one transaction: a restore that fails leaves the database empty, and may be
    tried again.
    Raises: BackupInvalidError; ConflictError if the stores are not empty.
    """
    contents = check_backup(path)
    _require_no_jobs(settings)
    for folder in (settings.data_dir, settings.temporary_dir):
        folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(settings.app_database_url)
    try:
        with failures_named():
            _prepare(engine, contents.revision)
            _fill(engine, open_blobs(settings), settings.temporary_dir, path, contents)
            upgrade(engine)
    finally:
        engine.dispose()
    return contents


def _require_no_jobs(settings: Settings) -> None:
    """The job engine would believe that jobs of its own database have run already."""
    url = settings.engine_database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return
    engine = create_engine(url)
    try:
        with failures_named(), engine.connect() as connection:
            schema = "dbos" if engine.dialect.name == "postgresql" else None
            if not inspect(connection).has_table("workflow_status", schema=schema):
                return
            name = "dbos.workflow_status" if schema else "workflow_status"
            if connection.scalar(text(f"SELECT count(*) FROM {name}")):
                _occupied("the job engine's database", "HADAPT_JOBS_DATABASE_URL or jobs.sqlite3")
    finally:
        engine.dispose()


def _occupied(what: str, where: str) -> None:
    issue = Issue("not empty", where, "empty stores: a new folder, a new database")
    raise ConflictError(f"There is something in {what} already; nothing was restored.", [issue])


def _prepare(engine: Engine, revision: str) -> None:
    """An empty database with the backup's schema."""
    with engine.connect() as connection:
        present = current_revision(connection)
        tables = stored_tables(connection)
        if any(connection.scalar(select(func.count()).select_from(t)) for t in tables):
            _occupied("the database", "HADAPT_DATABASE_URL or the data folder")
    if present is not None and present != revision:
        downgrade(engine, "base")
    upgrade(engine, revision)


def _fill(
    engine: Engine, blobs: ObstoreBlobs, folder: Path, path: Path, contents: Contents
) -> None:
    with engine.begin() as connection, reading(path) as members:
        tables = {table.name: table for table in stored_tables(connection)}
        for name, file in members:
            kind, _, rest = name.partition("/")
            if kind == "blobs":
                _put(blobs, folder, rest, file)
            elif kind == "tables":
                _load(connection, tables, rest.removesuffix(".jsonl"), file, path)
        for name, count in contents.tables.items():
            found = connection.scalar(select(func.count()).select_from(tables[name]))
            if found != count:
                refuse(f"{found} rows of {name}", str(path), f"{count}, as its head says")
        set_counters(connection, tables.values())
        open_states = " WHERE state IN ('queued', 'running')"
        connection.execute(text(OPEN_JOBS + open_states), {"no": False})


def _put(blobs: ObstoreBlobs, folder: Path, digest: str, file: IO[bytes]) -> None:
    """A blob, by way of a file: it may be large."""
    with tempfile.NamedTemporaryFile(dir=folder) as temporary:
        while piece := file.read(PIECE_BYTES):
            temporary.write(piece)
        temporary.flush()
        blobs.put_file(Path(temporary.name), digest)
    blobs.get(digest)


def _load(
    connection: Connection, tables: dict[str, Table], name: str, file: IO[bytes], path: Path
) -> None:
    """A table's rows, which are then read back and compared."""
    if name not in tables:
        refuse(f"table {name} is unknown", str(path), "the tables of its schema")
    try:
        told = load(connection, tables[name], file)
    except (ValueError, TypeError, KeyError, DBAPIError) as error:
        issue = Issue(f"rows of {name} do not fit", str(path), "rows of its schema")
        kind = type(error).__name__
        raise BackupInvalidError(
            f"{path}: a row of {name} does not fit ({kind}).", [issue]
        ) from error
    if sum_of(lines(connection, tables[name])) != told:
        refuse(f"rows of {name} came out differently", str(path), "the rows that went in")
