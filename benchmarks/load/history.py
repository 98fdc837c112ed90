# SPDX-License-Identifier: Apache-2.0
"""Rows as years of use would leave them, written to the database of a running service."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, insert, select

from server.fleet.targets import token_hash
from server.ids import new_id, utc_text
from server.settings import Settings
from server.storage import fleet_tables as ft
from server.storage import tables as t
from server.storage.database import open_engine

BATCH = 5000


@contextmanager
def _engine(data: Path) -> Iterator[Engine]:
    engine = open_engine(Settings(data_dir=data).app_database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), BATCH):
        connection.execute(insert(table), rows[start : start + BATCH])


def _targets(names: list[str], model: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    rows, lines = [], []
    for name in names:
        token = secrets.token_hex(32)
        rows.append(
            {
                "controller_id": name,
                "created_at": utc_text(),
                "form": "suit",
                "token_sha256": token_hash(token),
                "model_id": model,
                "version": 1,
                "attributes": {"known": "yes"},
                "polled_s": 0.0,
            }
        )
        lines.append(f"/DEFAULT/controller/v1/{name} {token}\n")
    return rows, lines


def add_targets(data: Path, folder: Path, count: int, model: str | None = None) -> None:
    """Devices with tokens; folder/devices.txt has "<path> <token>" a line for requests.lua."""
    rows, lines = _targets([f"device-{i:06d}" for i in range(count)], model)
    with _engine(data) as engine, engine.begin() as connection:
        _insert(connection, ft.targets, rows)
    (folder / "devices.txt").write_text("".join(lines))


def polled(data: Path) -> int:
    """Devices whose poll is stored."""
    with _engine(data) as engine, engine.connect() as connection:
        query = select(func.count()).select_from(ft.targets).where(ft.targets.c.polled_s > 0)
        return int(connection.scalar(query) or 0)


def stored_digests(data: Path, model: str) -> list[str]:
    """Digests of a model's samples, as often as they are stored."""
    with _engine(data) as engine, engine.connect() as connection:
        query = select(t.samples.c.content_sha256).where(t.samples.c.model_id == model)
        return list(connection.scalars(query))


def grow(data: Path, folder: Path, model: str, count: int) -> None:
    """So many more models, jobs, devices, targets, and samples of the model."""
    ids = [new_id() for _ in range(count)]
    at = utc_text()
    with _engine(data) as engine, engine.begin() as connection:
        known = connection.execute(select(t.models).where(t.models.c.id == model)).mappings().one()
        job = connection.execute(select(t.jobs).limit(1)).mappings().one()
        _insert(connection, t.jobs, [{**job, "id": i, "subject_id": i} for i in ids])
        _insert(connection, t.models, [{**known, "id": i, "job_id": i} for i in ids])
        _insert(
            connection,
            t.devices,
            [
                {
                    "id": i,
                    "name": f"d-{i}",
                    "model_id": model,
                    "board": "microbit",
                    "created_at": at,
                }
                for i in ids
            ],
        )
        _insert(
            connection,
            t.samples,
            [
                {
                    "model_id": model,
                    "content_sha256": hashlib.sha256(i.encode()).hexdigest(),
                    "class_position": n % 6,
                    "split": "train",
                    "features": b"\0" * 256,
                    "created_at": at,
                    "device_id": i,
                }
                for n, i in enumerate(ids)
            ],
        )
    add_targets(data, folder, count, model)


def requests(model: str) -> list[tuple[str, str]]:
    """Reads whose cost must not grow: name and path."""
    root = "/api/v1"
    return [
        ("a model", f"{root}/models/{model}"),
        ("newest models, a page", f"{root}/models"),
        ("newest jobs, a page", f"{root}/jobs"),
        ("failed jobs, a page", f"{root}/jobs?state=failed"),
        ("devices, a page", f"{root}/devices"),
        ("samples of a model, a page", f"{root}/models/{model}/samples"),
        ("classes with their counts", f"{root}/models/{model}/classes"),
        ("targets of a model, a page", f"{root}/targets?model_id={model}"),
        ("metrics", "/metrics"),
    ]
