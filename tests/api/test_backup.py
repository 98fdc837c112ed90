# SPDX-License-Identifier: Apache-2.0
"""A service's whole life goes into a backup and comes out again, from either store into either."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from server import logs
from server.app import create_app
from server.backup.make import Contents, back_up
from server.backup.restore import restore
from server.backup.rows import lines, stored_tables
from server.errors import ConflictError
from server.jobs.kinds import MACHINES
from server.jobs.runner import FIRST, run_step
from server.settings import Settings
from server.storage.database import open_engine
from tests.api.conftest import Backend
from tests.api.fake_engine import FakeEngine
from tests.api.fleet import add_device, roll_out, sign, signing
from tests.api.harness import Service, make_samples, make_settings


@dataclass
class Kept:
    """A service, a backup of it, and jobs that had not ended then: one waiting, one begun."""

    service: Service
    settings: Settings
    path: Path
    contents: Contents
    rows: dict[str, list[bytes]]
    model_id: str
    updates: tuple[str, str]


def fill(service: Service) -> tuple[str, tuple[str, str]]:
    """Something in every table that an ordinary life fills."""
    model = service.ready_model()
    service.send(model.id, 3, 4)
    service.send(model.id, 0, 1, 2, 3, 4, split="test")
    http = service.http
    body = {"model_id": model.id, "steps": 20, "selection": {"classes": ["3"]}}
    first = http.post("/api/v1/updates", json=body, headers={"Idempotency-Key": "k"}).json()
    service.run(first["job_id"])
    made = {"model_id": model.id, "board": "good", "layout": "plain"}
    service.run(http.post("/api/v1/firmware", json=made).json()["job_id"])
    device = add_device(service, model.id, "d1")
    roll_out(service, sign(service, model.id)["id"])
    device.config(state_hash="ab" * 32, accuracy="0.9")
    person = {"name": "bob", "password": "a long password", "scopes": ["jobs:read"]}
    assert http.post("/api/v1/users", json=person).status_code == 201
    body = {"model_id": model.id, "steps": 20, "selection": {"classes": ["4"]}}
    waiting = http.post("/api/v1/updates", json=body).json()
    begun = http.post("/api/v1/updates", json={**body, "seed": 5}).json()
    assert run_step(service.context, MACHINES["update"], begun["job_id"], FIRST) is not None
    return model.id, (waiting["id"], begun["id"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Kept]:
    """A filled service with its backup."""
    folder = tmp_path_factory.mktemp("kept")
    stores = backend.settings(keep=True)
    settings = make_settings(folder / "data", **stores, **signing(folder))
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        model_id, updates = fill(service)
        path = folder / "all.tar.gz"
        contents = back_up(settings, path)
        yield Kept(service, settings, path, contents, all_rows(settings), model_id, updates)


@pytest.fixture(params=["sqlite", "postgresql-s3"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of empty stores of either kind."""
    stores: dict[str, str] = {}
    if request.param != "sqlite":
        scaled: Backend = request.getfixturevalue("scaled")
        stores = scaled.settings(keep=True)
    return make_settings(tmp_path / "new", **stores)


def all_rows(settings: Settings) -> dict[str, list[bytes]]:
    """Every row, in an order of our own."""
    engine = open_engine(settings.app_database_url)
    with engine.connect() as connection:
        found = {t.name: sorted(lines(connection, t)) for t in stored_tables(connection)}
    engine.dispose()
    return found


def test_backup_restored_is_the_same_service(kept: Kept, empty: Settings) -> None:
    assert restore(empty, kept.path) == kept.contents
    before, after = kept.rows, all_rows(empty)
    filled = {name for name, rows in before.items() if len(rows) > 1}
    assert filled > {"jobs", "samples", "versions", "packets", "artifacts", "fleet_audit", "users"}
    assert {n: r for n, r in before.items() if n != "jobs"} == {
        n: r for n, r in after.items() if n != "jobs"
    }
    assert sum(a != b for a, b in zip(before["jobs"], after["jobs"], strict=True)) == 1
    app = create_app(empty, FakeEngine(empty))
    key = {"Authorization": kept.service.http.headers["Authorization"]}
    with TestClient(app, raise_server_exceptions=False, headers=key) as http:
        lives_on(kept, Service.around(app, http))


def lives_on(kept: Kept, service: Service) -> None:
    """Keys hold, downloads are the same bytes, rows get new numbers, jobs come to the same end."""
    old, new = kept.service.http, service.http
    for rest in ("int-model", "versions/2/state", "versions/2/learner", "versions/1/onnx"):
        path = f"/api/v1/models/{kept.model_id}/{rest}"
        assert new.get(path).content == old.get(path).content, path
    firmware = old.get("/api/v1/firmware").json()["items"][0]["id"]
    path = f"/api/v1/firmware/{firmware}/zip"
    assert (new.get(path).status_code, new.get(path).content) == (200, old.get(path).content)
    x, y = make_samples(3, 5, seed=77)
    service.client.send_samples(x, y, model_id=kept.model_id)
    add_device(service, kept.model_id, "d2")
    for update in kept.updates:
        job = new.get(f"/api/v1/updates/{update}").json()["job_id"]
        assert new.get(f"/api/v1/jobs/{job}").json()["state"] == "queued"
        service.run(job)
        kept.service.run(job)
        ended, expected = (h.get(f"/api/v1/updates/{update}").json() for h in (new, old))
        assert ended["result"]["state_hash"] == expected["result"]["state_hash"]


def test_stores_that_are_not_empty_are_left_alone(kept: Kept) -> None:
    before = all_rows(kept.settings)
    with pytest.raises(ConflictError, match="nothing was restored"):
        restore(kept.settings, kept.path)
    assert all_rows(kept.settings) == before


def test_backup_is_of_one_moment_while_samples_arrive(
    service: Service, empty: Settings, tmp_path: Path
) -> None:
    model, stop = service.ready_model(), threading.Event()

    def send() -> None:
        seed = 100
        while not stop.is_set():
            x, y = make_samples(seed % 5, 3, seed=seed)
            service.client.send_samples(x, y, model_id=model.id)
            seed += 1

    service.send(model.id, 3)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        contents = back_up(service.context.settings, tmp_path / "live.tar.gz")
    finally:
        stop.set()
        sender.join()
    assert contents.tables["samples"] >= 10
    restore(empty, tmp_path / "live.tar.gz")
    app = create_app(empty, FakeEngine(empty))
    with app.state.context.database.read() as unit:
        counted = sum(count for _, _, count in unit.samples.counts(model.id))
        assert counted == unit.samples.total() == contents.tables["samples"]
    app.state.context.database.close()
