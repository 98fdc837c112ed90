# SPDX-License-Identifier: Apache-2.0
"""What `hadapt doctor` says of the service: its folder, databases, blobs, keys and workers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from device.harness import confine
from server.errors import HadaptError
from server.services.workers import SILENCE_S, silence_s
from server.settings import Settings
from server.storage.blobs import open_blobs
from server.storage.database import open_engine
from server.storage.migrate import current_revision, known_revisions
from server.storage.tables import workers

State = Literal["ok", "note", "wrong"]
OPENS_ONLY_FOR_OWNER = 0o077


@dataclass(frozen=True)
class Check:
    """Something that was looked at: how it is, and what to do if it is wrong."""

    name: str
    state: State
    found: str
    remedy: str | None = None


def check_service(data_dir: Path | None) -> list[Check]:
    """Look at what the settings name; nothing that was not there is made."""
    try:
        settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    except ValidationError as error:
        return [_wrong_settings(error)]
    return [
        _folder(settings),
        _disk(settings),
        _tried("database", lambda: _database(settings)),
        _tried("job database", lambda: _jobs(settings)),
        _tried("blobs", lambda: _blobs(settings)),
        _tried("workers", lambda: _workers(settings)),
        *_keys(settings),
        Check("confinement", "ok", confine.status()),
    ]


def _wrong_settings(error: ValidationError) -> Check:
    first = error.errors()[0]
    name = "_".join(str(part) for part in first["loc"]).upper()
    return Check(
        "settings", "wrong", f"HADAPT_{name}: {first['msg']}", "docs/reference/settings.md"
    )


def _tried(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except ModuleNotFoundError as error:
        return Check(name, "wrong", f"{error.name} is missing", "pip install 'hadapt[pg]'")
    except (ArgumentError, NoSuchModuleError):
        return Check(name, "wrong", "not an SQLAlchemy URL", "such as postgresql+psycopg://..")
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:160]
        remedy = "is it running, are its URL and rights right? (HADAPT_.._URL)"
        return Check(name, "wrong", reason, remedy)
    except (HadaptError, OSError) as error:
        return Check(name, "wrong", str(error)[:160], "a store that can be read and written")
    except Exception as error:
        # An object store has errors of its own.
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return Check(name, "wrong", reason, "HADAPT_BLOB_URL and the AWS_ variables")


def _folder(settings: Settings) -> Check:
    folder = settings.data_dir.absolute()
    if not folder.exists():
        return Check("data folder", "note", f"{folder} is not there yet", "`hadapt serve` makes it")
    if not folder.is_dir():
        return Check("data folder", "wrong", f"{folder} is a file", "HADAPT_DATA_DIR: a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        owner = f"chown -R {os.getuid()} {folder}"
        return Check("data folder", "wrong", f"{folder}: {error.strerror}", owner)
    return Check("data folder", "ok", str(folder))


def _disk(settings: Settings) -> Check:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, settings.disk_free_min_bytes
    found = f"{free >> 20} MiB free, {needed >> 20} needed"
    if free < needed:
        return Check("disk", "wrong", found, "make room, or HADAPT_DISK_FREE_MIN_BYTES")
    return Check("disk", "ok", found)


def _absent(url: str) -> Path | None:
    """The file of an SQLite database that is not there."""
    file = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
    return file if file and not file.exists() else None


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _database(settings: Settings) -> Check:
    url = settings.app_database_url
    if file := _absent(url):
        return Check("database", "note", f"{file} is not there yet", "`hadapt serve` makes it")
    with _opened(url) as engine, engine.connect() as connection:
        revision = current_revision(connection)
    newest = known_revisions()[0]
    if revision is None:
        return Check("database", "note", f"{_shown(url)} is empty", "`hadapt serve` fills it")
    if revision not in known_revisions():
        found = f"schema {revision}, which a newer version made"
        return Check("database", "wrong", found, "install that version, or restore a backup")
    if revision != newest:
        remedy = "the next start upgrades it; `hadapt backup` first"
        return Check("database", "note", f"schema {revision}, older than {newest}", remedy)
    return Check("database", "ok", f"{_shown(url)}, schema {revision}")


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _jobs(settings: Settings) -> Check:
    url = settings.engine_database_url
    if file := _absent(url):
        return Check("job database", "note", f"{file} is not there yet", "a worker makes it")
    with _opened(url) as engine, engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return Check("job database", "ok", _shown(url))


def _blobs(settings: Settings) -> Check:
    if settings.blob_url is None and not settings.blob_dir.is_dir():
        found = f"{settings.blob_dir} is not there yet"
        return Check("blobs", "note", found, "`hadapt serve` makes it")
    open_blobs(settings).check()
    return Check("blobs", "ok", settings.blob_url or str(settings.blob_dir))


def _workers(settings: Settings) -> Check:
    url = settings.app_database_url
    seen: list[float] = []
    if not _absent(url):
        with _opened(url) as engine, engine.connect() as connection:
            if current_revision(connection) is not None:
                seen = list(connection.scalars(select(workers.c.seen_at)))
    alive = sum(silence_s(at) < SILENCE_S for at in seen)
    if not alive:
        return Check("workers", "note", "none seen lately", "`hadapt serve`, or `hadapt worker`")
    return Check("workers", "ok", f"{alive} alive")


def _keys(settings: Settings) -> Iterator[Check]:
    if settings.trust_file is None:
        remedy = "`hadapt keys init`, then HADAPT_TRUST_FILE and HADAPT_SIGNER"
        yield Check("signing", "note", "no trust file: packets cannot be signed", remedy)
        return
    signer = settings.signer or ""
    files = [settings.trust_file, *([Path(signer)] if signer and ":" not in signer else [])]
    for file in files:
        if not file.is_file():
            yield Check("signing", "wrong", f"{file} is not there", "a file of `hadapt keys`")
        elif file != settings.trust_file and file.stat().st_mode & OPENS_ONLY_FOR_OWNER:
            yield Check("signing", "wrong", f"{file} is open to others", f"chmod 600 {file}")
        else:
            yield Check("signing", "ok", str(file))
