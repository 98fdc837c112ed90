# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests: its own cluster in a temporary folder, over a Unix socket only."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from server.errors import ToolMissingError

OPTIONS = "-c listen_addresses='' -c max_connections=200"
# Tests kill processes, never the machine: the cluster need not wait for the disk.
HASTY = "-c fsync=off -c full_page_writes=off"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise ToolMissingError("PostgreSQL is missing; get it with `apt install postgresql`.")
    return found[-1].parent


def _run(command: list[str], user: str | None) -> None:
    # postgres refuses to run as root: Debian's package made a user for it.
    more: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    done = subprocess.run(
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=120, **more,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


class Cluster:
    """A running cluster; `new_database` gives a URL of an empty database in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def url(self, name: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def connect(self, name: str = "postgres") -> Any:
        """A connection for the tests' own statements."""
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=name, autocommit=True)

    def new_database(self) -> str:
        """URL of a fresh database."""
        self._count += 1
        name = f"d{os.getpid()}_{self._count}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def empty(self, url: str) -> None:
        """Delete every row of a migrated database."""
        with self.connect(str(make_url(url).database)) as connection:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            names = {row[0] for row in connection.execute(query)} - {"alembic_version"}
            if names:
                # The audit refuses to be emptied; as a replica, this session asks no trigger.
                connection.execute("SET session_replication_role = replica")
                connection.execute(f"TRUNCATE {', '.join(sorted(names))} RESTART IDENTITY CASCADE")

    def cut_connections(self) -> int:
        """End every other connection, as a failing network would; returns how many."""
        with self.connect() as connection:
            query = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            return int(connection.execute(query).fetchone()[0])


@contextlib.contextmanager
def cluster(durable: bool = False) -> Iterator[Cluster]:
    """A cluster that is gone afterwards; `durable` waits for the disk, as PostgreSQL does."""
    programs, user = _programs(), "postgres" if os.geteuid() == 0 else None
    # Not below pytest's folder: only its owner may enter that, and socket paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="hadapt-pg-"))
    if user:
        shutil.chown(folder, user, user)
    data = folder / "data"
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", "60"]
    try:
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        _run([*initdb, "-E", "UTF8", "--no-sync"], user)
        log = ["-l", str(folder / "log")]
        options = OPTIONS if durable else f"{OPTIONS} {HASTY}"
        _run([*control, *log, "-o", f"{options} -k {folder}", "start"], user)
        yield Cluster(folder)
    finally:
        with contextlib.suppress(AssertionError):
            _run([*control, "-m", "immediate", "stop"], user)
        time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)
