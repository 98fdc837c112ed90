# SPDX-License-Identifier: Apache-2.0
"""A database of the first version, with rows in it, goes up to this one and loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text

from server.storage import tables as t
from server.storage.database import open_engine
from server.storage.migrate import downgrade, upgrade
from tests.postgres import cluster

TIME = "2026-11-23T00:00:00.000000Z"
JOB = {
    "id": "1" * 32, "kind": "import", "subject_id": "2" * 32, "state": "succeeded",
    "created_at": TIME, "progress": {"share": 1.0}, "dispatched": True,
}  # fmt: skip
MODEL = {
    "id": "2" * 32, "name": "digits", "created_at": TIME, "job_id": "1" * 32,
    "onnx_sha256": "a" * 64, "calibration_sha256": "b" * 64, "feature_count": 4,
    "base_class_count": 3, "summary": {}, "options": {"max_classes": 8},
}  # fmt: skip
DEVICE = {
    "id": "3" * 32, "name": "d", "model_id": "2" * 32, "board": "microbit", "created_at": TIME,
}  # fmt: skip
SAMPLE = {
    "model_id": "2" * 32, "content_sha256": "c" * 64, "class_position": 0, "split": "train",
    "features": b"\x00" * 16, "created_at": TIME, "device_id": "3" * 32,
}  # fmt: skip
ROWS = ((t.jobs, JOB), (t.models, MODEL), (t.devices, DEVICE), (t.samples, SAMPLE))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = open_engine(f"sqlite:///{tmp_path / 'd.sqlite3'}")
        yield made
        made.dispose()
        return
    with cluster() as found:
        made = open_engine(found.new_database())
        yield made
        made.dispose()


def stored(engine: Engine) -> list[dict[str, object]]:
    """The columns that the first version had, of every row."""
    with engine.connect() as connection:
        return [
            {name: row[name] for name in given}
            for table, given in ROWS
            for row in connection.execute(select(*(table.c[n] for n in given))).mappings()
        ]


def test_first_version_goes_up_with_its_rows_and_back(engine: Engine) -> None:
    upgrade(engine, "0001")
    with engine.begin() as connection:
        for table, row in ROWS:
            connection.execute(insert(table).values(row))
    upgrade(engine)
    assert stored(engine) == [row for _, row in ROWS]
    downgrade(engine, "0001")
    assert stored(engine) == [row for _, row in ROWS]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"


def test_counts_are_made_of_what_was_there(engine: Engine) -> None:
    upgrade(engine, "0003")
    ended = {**JOB, "started_at": TIME, "finished_at": "2026-11-23T00:00:02.500000Z"}
    with engine.begin() as connection:
        for table, row in ((t.jobs, ended), *ROWS[1:]):
            connection.execute(insert(table).values(row))
    upgrade(engine)
    with engine.connect() as connection:
        counts = connection.execute(select(t.sample_counts)).all()
        totals = connection.execute(select(t.totals)).all()
    assert [tuple(row) for row in counts] == [("2" * 32, 0, "train", 1)]
    assert [tuple(row) for row in totals] == [("job", "import", "succeeded", 1, 2.5)]
