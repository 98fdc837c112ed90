# SPDX-License-Identifier: Apache-2.0
"""No request costs more with history: every statement finds its rows by an index.

The statements of real requests are recorded, and SQLite is asked how it would execute each. A scan
is allowed only where LIMIT ends it: with no conditions but on the column that it is ordered by.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, Engine, create_engine, event

from server import logs
from server.app import create_app
from server.fleet import rollouts
from server.services.idempotency import forget_old
from server.services.jobs import list_jobs
from server.storage import fleet as f
from server.storage.tables import metadata
from tests.api.fake_engine import FakeEngine
from tests.api.harness import Service, make_settings

SELECT = re.compile(r"^(SELECT|UPDATE|DELETE)\b")
# A handful of rows, whatever happens.
SMALL = {"workers", "alembic_version", "totals"}
# Ordered within a packet: it has one artifact a form.
FEW = ("artifacts.packet_id = ?",)
# Of /metrics, which asks these at most every 30 s and no more than that.
COUNTS = re.compile(
    r"SELECT (count\(\*\) AS count_1 FROM (models|devices) WHERE \? = 1|sum\(sample_counts.count\)"
    r"|CASE WHEN \(targets\.polled_s)"
)


@contextmanager
def recorded() -> Iterator[dict[str, Any]]:
    """Statements that are executed meanwhile, and parameters of one execution of each."""
    found: dict[str, Any] = {}

    def before(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if SELECT.match(statement):
            found.setdefault(re.sub(r"\s+", " ", statement), parameters)

    event.listen(Engine, "before_cursor_execute", before)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", before)


def faults(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """What in a statement's plan grows with its tables."""
    plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
    steps = [str(row[3]) for row in plan]
    few = COUNTS.match(statement) or any(text in statement for text in FEW)
    if few:
        return []
    bad = [s for s in steps if "TEMP B-TREE FOR ORDER BY" in s and "IN (" not in statement]
    scans = [s for s in steps if s.startswith("SCAN ") and s.split()[1] not in SMALL]
    if scans and not limited_by_order(statement):
        bad += scans
    return bad


def limited_by_order(statement: str) -> bool:
    """True if nothing but LIMIT and the order decides which rows are read."""
    order = re.search(r"ORDER BY (\w+\.\w+)", statement)
    where = statement.partition(" WHERE ")[2].partition(" ORDER BY ")[0]
    columns = set(re.findall(r"\b\w+\.\w+\b", where))
    return " LIMIT " in statement and order is not None and columns <= {order[1]}


def use_everything(service: Service) -> None:
    """Requests of every kind whose tables grow."""
    model = service.ready_model()
    service.send(model.id, 0, 1, 2, 3)
    service.send(model.id, 0, 1, 2, 3, split="test")
    update = service.client.create_update(model.id, steps=8, gate={"min_accuracy": 0.0}, key="k")
    service.run(update.job_id)
    device = service.client.create_device("d", model.id, "good")
    x, y = [[0.5] * 4], [1]
    service.client.send_samples(x, y, device_id=device.id, key="k")
    firmware = service.client.create_firmware(model.id, board="good")
    service.run(firmware.job_id)
    test = service.client.create_device_test(model.id, boards=["good"], sample_count=2)
    service.run(test.job_id)
    token = service.http.post("/api/v1/targets", json={"device_id": device.id}).json()["token"]
    add_rollout(service, model.id, "d")
    listings = [
        "models", f"models/{model.id}", f"models/{model.id}/versions", f"models/{model.id}/samples",
        f"models/{model.id}/classes", f"models/{model.id}/outliers",
        f"models/{model.id}/resource-reports", "devices",
        f"devices/{device.id}/samples", "updates", f"updates?model_id={model.id}", "firmware",
        f"firmware?model_id={model.id}", "device-tests", f"device-tests?model_id={model.id}",
        "jobs", "jobs?state=succeeded", f"jobs/{update.job_id}", f"jobs/{update.job_id}/log",
        "targets", f"targets?model_id={model.id}", "gateways", "rollouts", "audit", "packets",
        f"packets?model_id={model.id}", "keys", "users",
    ]  # fmt: skip
    for path in listings:
        answer = service.http.get(f"/api/v1/{path}")
        assert answer.status_code == 200, (path, answer.text)
        if answer.headers["content-type"] == "application/json" and "next_cursor" in answer.text:
            second = service.http.get(f"/api/v1/{path}", params={"limit": 1})
            cursor = second.json()["next_cursor"]
            if cursor:
                service.http.get(f"/api/v1/{path}", params={"limit": 1, "cursor": cursor})
    poll = {"Authorization": f"TargetToken {token}"}
    assert service.http.get("/default/controller/v1/d", headers=poll).status_code == 200
    assert service.http.get("/metrics").status_code == 200
    service.http.get("/readyz")
    forget_old(service.context)
    list_jobs(service.context, None, 5, "queued")


def add_rollout(service: Service, model_id: str, name: str) -> None:
    """A packet and a rollout over a device, as rows."""
    at = "2026-11-27T00:00:00.000000Z"
    packet = f.PacketRecord(
        "9" * 32, model_id, at, 1, 2, 1, "8" * 32, "k", "0" * 64, 1, "0" * 64, "0" * 64, {}
    )
    with service.context.database.write() as unit:
        unit.fleet.packets.add(packet)
        unit.fleet.artifacts.add(
            f.ArtifactRecord(packet.id, "suit", "p.suit", 1, "0", "0", "0" * 64, at)
        )
        unit.fleet.targets.change({"controller_id": name}, version=1)
        rollouts.create_rollout(unit, packet.id, rollouts.Policy(), None, "test")


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Connection, Any]]:
    folder = tmp_path_factory.mktemp("plans") / "data"
    settings = make_settings(folder)
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app) as http, recorded() as found:
        use_everything(Service(app, http))
    engine = create_engine(settings.app_database_url)
    with engine.connect() as connection:
        yield connection, found
    engine.dispose()


def test_no_statement_reads_more_with_history(statements: tuple[Connection, Any]) -> None:
    connection, found = statements
    bad = {s: why for s, p in found.items() if (why := faults(connection, s, p))}
    lines = (f"{why}\n    {statement}" for statement, why in bad.items())
    assert not bad, "\n".join(lines)


def test_requests_touch_the_tables_that_grow(statements: tuple[Connection, Any]) -> None:
    """So that the test above cannot pass for want of statements."""
    _, found = statements
    read = {table for s in found for table in re.findall(r"\b(?:FROM|UPDATE) (\w+)", s)}
    unread = {"report_requests", "withdrawals", "sessions", "learning_reports"}
    assert set(metadata.tables) - read <= unread


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM jobs WHERE jobs.kind = 'x' ORDER BY jobs.id LIMIT 5",
        "SELECT count(*) FROM samples",
        "SELECT * FROM jobs ORDER BY jobs.created_at LIMIT 5",
    ],
)
def test_plans_that_grow_are_found(statements: tuple[Connection, Any], statement: str) -> None:
    assert faults(statements[0], statement, ())
