# SPDX-License-Identifier: Apache-2.0
"""Storage: migrations, units of work, blobs."""

import dataclasses
import errno
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from obstore.store import LocalStore, MemoryStore
from sqlalchemy import event, inspect

from server.errors import (
    ConflictError,
    InternalError,
    NotFoundError,
    StorageFullError,
    StorageReadOnlyError,
    storage_error,
)
from server.storage.blobs import ObstoreBlobs
from server.storage.database import SqlDatabase, open_engine
from server.storage.migrate import downgrade, upgrade
from server.storage.records import DeviceRecord, JobRecord, ModelRecord, SampleRecord
from server.storage.tables import metadata
from tests.postgres import cluster

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def job(number: int, state: str = "queued") -> JobRecord:
    return JobRecord(f"{number:032x}", "import", "s", state, "2026-01-01T00:00:00.000000Z")


def database(folder: Path) -> SqlDatabase:
    engine = open_engine(f"sqlite:///{folder / 'd.sqlite3'}")
    upgrade(engine)
    return SqlDatabase(engine)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def empty_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('empty') / 'd.sqlite3'}"
        return
    with cluster() as found:
        yield found.new_database()


def test_migrations_go_up_and_down_and_match_the_tables(empty_url: str) -> None:
    engine = open_engine(empty_url)
    for _ in range(2):
        upgrade(engine)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, metadata) == []
        downgrade(engine, "base")
        assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_connection_has_the_pragmas_that_durability_needs(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'd.sqlite3'}")
    with engine.connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert values == ["wal", 2, 1, 30000]
    engine.dispose()


def test_unit_that_fails_stores_nothing(tmp_path: Path) -> None:
    store = database(tmp_path)
    with pytest.raises(ZeroDivisionError), store.write() as unit:
        unit.jobs.add(job(1))
        raise ZeroDivisionError
    with store.read() as unit:
        assert unit.jobs.count() == 0
    store.close()


def test_reading_unit_never_stores(tmp_path: Path) -> None:
    store = database(tmp_path)
    with store.read() as unit:
        unit.jobs.add(job(1))
    with store.read() as unit:
        assert unit.jobs.find(id=job(1).id) is None
    store.close()


def test_rows_page_change_and_refuse_doubles(tmp_path: Path) -> None:
    store = database(tmp_path)
    with store.write() as unit:
        for number in range(5):
            unit.jobs.add(job(number))
        assert unit.jobs.change({"id": [job(1).id, job(3).id]}, state="failed") == 2
        assert unit.jobs.count(state="failed") == 2
        ids = [j.id for j in unit.jobs.page(order="id", after=job(1).id, limit=2)]
        assert ids == [job(2).id, job(3).id]
        down = unit.jobs.page(order="id", after=None, limit=9, down=True, state="queued")
        assert [j.id for j in down] == [job(n).id for n in (4, 2, 0)]
    with pytest.raises(ConflictError), store.write() as unit:
        unit.jobs.add(job(1))
    store.close()


def sample(content: str, position: int, split: str = "train") -> SampleRecord:
    return SampleRecord("m", content, position, split, b"\0", "t")


def test_samples_are_added_once_and_selected_in_an_order_of_content(tmp_path: Path) -> None:
    store = database(tmp_path)
    with store.write() as unit:
        unit.jobs.add(job(1))
        unit.models.add(ModelRecord("m", "n", "t", job(1).id, "", "", 1, 1, {}, {}))
        unit.devices.add(DeviceRecord("d", "n", "m", "b", "t"))
        assert unit.samples.add_new([sample("c", 1), sample("a", 1), sample("a", 1)]) == 2
        bound = unit.samples.last_seq("m")
        assert unit.samples.add_new([sample("b", 0), sample("c", 1), sample("0", 1)]) == 2
        found = [s.content_sha256 for s in unit.samples.select("m", 99, "train", [0, 1])]
        assert found == ["b", "0", "a", "c"]
        old = [s.content_sha256 for s in unit.samples.select("m", bound, "train", [0, 1])]
        assert old == ["a", "c"]
        assert sorted(unit.samples.counts("m")) == [(0, "train", 1), (1, "train", 3)]
    store.close()


@pytest.mark.parametrize("local", [True, False])
def test_blobs_are_named_by_content_and_kept_once(tmp_path: Path, local: bool) -> None:
    (tmp_path / "sha256").mkdir()
    blobs = ObstoreBlobs(LocalStore(tmp_path), tmp_path) if local else ObstoreBlobs(MemoryStore())
    assert [blobs.put(b"hello"), blobs.put(b"hello")] == [HELLO, HELLO]
    assert (blobs.get(HELLO), blobs.size_bytes(HELLO)) == (b"hello", 5)
    path = tmp_path / "file"
    path.write_bytes(b"other")
    blobs.put_file(path, "0" * 64)
    assert b"".join(blobs.stream("0" * 64)) == b"other"
    for ask in (blobs.get, blobs.size_bytes, blobs.stream):
        with pytest.raises(NotFoundError):
            ask("1" * 64)
    blobs.check()
    with pytest.raises(InternalError, match="damaged"):
        blobs.get("0" * 64)


def test_blob_cut_short_by_a_power_cut_is_mended_by_the_next_put(tmp_path: Path) -> None:
    (tmp_path / "sha256").mkdir()
    blobs = ObstoreBlobs(LocalStore(tmp_path), tmp_path)
    (tmp_path / "sha256" / HELLO).write_bytes(b"")
    assert blobs.put(b"hello") == HELLO
    assert blobs.get(HELLO) == b"hello"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_seen_through_causes(number: int) -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = OSError(number, "x")
    assert isinstance(storage_error(outer), StorageFullError)
    known = StorageFullError()
    assert storage_error(known) is known
    assert isinstance(storage_error(OSError(errno.EROFS, "x")), StorageReadOnlyError)
    assert storage_error(OSError(errno.EACCES, "x")) is None
    assert storage_error(None) is None


def test_writers_wait_for_each_other_here_and_not_in_sqlite(tmp_path: Path) -> None:
    """With no patience in SQLite, a second writer at the same time would be refused."""
    engine = open_engine(f"sqlite:///{tmp_path / 'd.sqlite3'}")
    upgrade(engine)
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=0").close())
    engine.dispose()
    store = SqlDatabase(engine)

    def write(number: int) -> None:
        with store.write() as unit:
            unit.jobs.add(job(number))
            time.sleep(0.002)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(64)))
    with store.read() as unit:
        assert unit.jobs.count() == 64
    store.close()


def test_counts_of_samples_are_those_of_the_rows(tmp_path: Path) -> None:
    draw, store = random.Random(1), database(tmp_path)
    with store.write() as unit:
        unit.jobs.add(job(1))
        for name in "mn":
            unit.models.add(ModelRecord(name, "n", "t", job(1).id, "", "", 1, 1, {}, {}))
    for turn in range(30):
        with store.write() as unit:
            batch = [
                sample(str(draw.randrange(60)), draw.randrange(3), draw.choice(["train", "test"]))
                for _ in range(draw.randrange(8))
            ]
            model = draw.choice("mn")
            unit.samples.add_new([dataclasses.replace(s, model_id=model) for s in batch])
            if turn % 7 == 6:
                where = {"model_id": model, "class_position": 1, "split": "train"}
                unit.samples.change(where, split="x-train")
    with store.read() as unit:
        total = 0
        for model in "mn":
            rows = unit.samples.page(order="seq", after=None, limit=999, model_id=model)
            counted = Counter((s.class_position, s.split) for s in rows)
            assert {(p, s): n for p, s, n in unit.samples.counts(model)} == counted
            total += len(rows)
        assert unit.samples.total() == total > 30
    store.close()


def test_totals_count_up(tmp_path: Path) -> None:
    store = database(tmp_path)
    for seconds in (1.5, 2.0):
        with store.write() as unit:
            unit.totals.bump("job", "update", "failed", seconds)
            unit.totals.bump("gate", "replay", "accepted")
    with store.read() as unit:
        found = unit.totals.page(order="name", after=None, limit=9)
    store.close()
    assert [(t.name, t.count, t.seconds) for t in found] == [("gate", 2, 0.0), ("job", 2, 3.5)]
