# SPDX-License-Identifier: Apache-2.0
"""What every use case works with."""

from dataclasses import dataclass

from server.learning.ports import Engine
from server.settings import Settings
from server.storage.blobs import open_blobs, remove_unfinished
from server.storage.database import SqlDatabase, open_engine
from server.storage.migrate import upgrade
from server.storage.ports import BlobStore, Database


@dataclass(frozen=True)
class Context:
    """Settings, storage and engine; passed first to every use case."""

    settings: Settings
    database: Database
    blobs: BlobStore
    engine: Engine


def open_context(settings: Settings, engine: Engine) -> Context:
    """Open the storage that the settings name, and bring its schema up to date."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.temporary_dir.mkdir(parents=True, exist_ok=True)
    sql = open_engine(settings.app_database_url)
    upgrade(sql)
    return Context(settings, SqlDatabase(sql), open_blobs(settings), engine)


def clean_up(context: Context) -> None:
    """Remove what killed uploads left behind. Only while no other process writes."""
    for path in context.settings.temporary_dir.iterdir():
        path.unlink(missing_ok=True)
    if not context.settings.blob_url:
        remove_unfinished(context.settings.blob_dir)
