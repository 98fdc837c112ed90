# SPDX-License-Identifier: Apache-2.0
"""What every use case works with."""

import contextlib
import fcntl
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from server.errors import Issue, UnavailableError
from server.learning.ports import Engine
from server.services.sightings import Sightings
from server.settings import Settings
from server.storage.blobs import open_blobs
from server.storage.database import SqlDatabase, open_engine
from server.storage.migrate import upgrade
from server.storage.ports import BlobStore, Database

STALE_S = 3600.0
LOCK = "migrate.lock"


@dataclass(frozen=True)
class Context:
    """Settings, storage and engine; passed first to every use case."""

    settings: Settings
    database: Database
    blobs: BlobStore
    engine: Engine
    sightings: Sightings = field(default_factory=Sightings)


def open_context(settings: Settings, engine: Engine) -> Context:
    """Open the storage that the settings name, and bring its schema up to date.

    Raises: UnavailableError if the data folder cannot be made or written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        settings.temporary_dir.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / LOCK).touch()
    except OSError as error:
        where, reason = f"data folder {settings.data_dir}", (error.strerror or str(error)).lower()
        issue = Issue(reason, where, "a folder that can be written (HADAPT_DATA_DIR, --data-dir)")
        raise UnavailableError(f"The {where} cannot be used: {reason}.", [issue]) from error
    sql = open_engine(settings.app_database_url)
    with _alone(settings):
        upgrade(sql)
    return Context(settings, SqlDatabase(sql), open_blobs(settings), engine)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One process of this data folder at a time: API and worker start together."""
    with (settings.data_dir / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def clean_up(context: Context) -> None:
    """Remove what killed processes left behind: files, folders that nobody touched lately."""
    oldest = time.time() - STALE_S
    folders = [context.settings.temporary_dir.glob("*")]
    if not context.settings.blob_url:
        # obstore's staging files are named <key>#<n>.
        folders.append((context.settings.blob_dir / "sha256").glob("*#*"))
    for path in itertools.chain(*folders):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime >= oldest:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
