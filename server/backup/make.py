# SPDX-License-Identifier: Apache-2.0
"""Making a backup of a service that may be running."""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, Table

from server import __version__
from server.backup import archive
from server.backup.rows import lines, stored_tables
from server.errors import InternalError, Issue, NotFoundError
from server.ids import utc_text
from server.settings import Settings
from server.storage.blobs import ObstoreBlobs, open_blobs
from server.storage.database import failures_named, open_engine
from server.storage.migrate import current_revision

DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Blobs without which the rows that name them would be of no use.
NEEDED = {
    "models": ("onnx_sha256", "calibration_sha256", "int_model_sha256"),
    "versions": ("learner_sha256", "state_sha256"),
    "firmware": ("zip_sha256",),
    "packets": ("envelope_sha256",),
    "artifacts": ("sha256",),
}


@dataclass(frozen=True)
class Contents:
    """What a backup holds."""

    version: str
    revision: str
    created_at: str
    tables: dict[str, int]
    blobs: int

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())


def back_up(settings: Settings, path: Path) -> Contents:
    """Write a backup. All its rows are of one moment; blobs never change.

    Jobs that have not ended are kept as requests: restored, they begin again, and come to the same
    bits. Keys that lie outside the stores (trust file, release key) are not part of it.
    Raises: NotFoundError without a service; InternalError if a blob is missing or damaged.
    """
    engine = opened(settings)
    blobs = open_blobs(settings)
    try:
        with failures_named(), _snapshot(engine) as connection:
            return _write(connection, blobs, path)
    finally:
        engine.dispose()


def opened(settings: Settings) -> Engine:
    """The database that the settings name. Raises: NotFoundError if SQLite's file is not there."""
    file = settings.data_dir / "hadapt.sqlite3"
    if settings.database_url is None and not file.is_file():
        issue = Issue("no database", str(settings.data_dir), "the folder of `hadapt serve`")
        raise NotFoundError(f"{settings.data_dir} has no database.", [issue])
    return open_engine(settings.app_database_url)


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A reading transaction that sees one moment from its first statement on."""
    with engine.connect() as connection:
        options: dict[str, object] = {"hadapt_read": True}
        if engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        yield connection.execution_options(**options)


def _write(connection: Connection, blobs: ObstoreBlobs, path: Path) -> Contents:
    revision = current_revision(connection)
    if revision is None:
        issue = Issue("no schema", "database", "a database that `hadapt serve` has used")
        raise NotFoundError("The database is not Hadapt's, or empty.", [issue])
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".hadapt-backup-") as name:
        folder, named, tables = Path(name), set[str](), dict[str, int]()
        needed: dict[str, str] = {}
        for table in stored_tables(connection):
            tables[table.name] = _dump(connection, table, folder / table.name, named, needed)
        # A row is stored after its blobs: whatever the snapshot names is there by now.
        there = blobs.digests()
        _check_needed(needed, there)
        chosen = sorted(named & there)
        contents = Contents(__version__, revision, utc_text(), tables, len(chosen))
        with archive.written(path) as writer:
            head = {"format": archive.FORMAT, **vars(contents)}
            writer.add(archive.HEAD, json.dumps(head, indent=1).encode())
            for digest in chosen:
                writer.add(f"blobs/{digest}", blobs.get(digest))
            for table_name in tables:
                writer.add_file(f"tables/{table_name}.jsonl", folder / table_name)
    return contents


def _dump(
    connection: Connection, table: Table, path: Path, named: set[str], needed: dict[str, str]
) -> int:
    """Write a table. Returns: its rows. Adds whatever looks like a digest to `named`."""
    count = -1
    columns = [(i, c.name) for i, c in enumerate(table.columns) if c.name in _needed_of(table)]
    with path.open("wb") as file:
        for line in lines(connection, table):
            file.write(line)
            count += 1
            named.update(match.decode() for match in DIGEST.findall(line))
            if columns and count:
                row = json.loads(line)
                needed |= {row[i]: f"{table.name}.{n}" for i, n in columns if row[i] is not None}
    return count


def _needed_of(table: Table) -> tuple[str, ...]:
    return NEEDED.get(table.name, ())


def _check_needed(needed: dict[str, str], there: set[str]) -> None:
    issues = [
        Issue(f"blob {digest} is missing", column, "the blob store that belongs to the database")
        for digest, column in needed.items()
        if digest not in there
    ]
    if issues:
        raise InternalError(f"{len(issues)} blobs are missing; no backup was made.", issues)
