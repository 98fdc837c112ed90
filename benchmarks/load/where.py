# SPDX-License-Identifier: Apache-2.0
"""Where the time of storing one sample goes, over SQLite and PostgreSQL: statements, commits, rest.

    python -m benchmarks.load.where [--count 200]

In process, one client, so that no network is counted; PostgreSQL is a cluster that waits for its
disk. Of each part the median over the requests; CPU is that of this process and of the database's
servers together.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

from server.app import create_app
from tests.api.fake_engine import FakeEngine
from tests.api.harness import Service, make_samples, make_settings
from tests.postgres import cluster

PARTS = ("request", "statements", "commits", "rest")


class Watch:
    """Times of a request's statements and commits, milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self.statements_ms = self.commits_ms = 0.0
        self.count = 0
        self._began = 0.0
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        commit = engine.dialect.do_commit

        def timed(connection: Any) -> None:
            began = time.perf_counter()
            commit(connection)
            self.commits_ms += 1000 * (time.perf_counter() - began)

        engine.dialect.do_commit = timed  # type: ignore[method-assign, assignment]

    def _before(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.statements_ms += 1000 * (time.perf_counter() - self._began)
        self.count += 1

    def take(self) -> tuple[float, float, int]:
        """What came together since the last time."""
        found = self.statements_ms, self.commits_ms, self.count
        self.statements_ms, self.commits_ms, self.count = 0.0, 0.0, 0
        return found


def cpu_ms(name: str) -> float:
    """CPU of our own and of all processes of a program."""
    ticks = sum(os.times()[:2]) * 1000
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = entry.read_text().rpartition(") ")
        except OSError:
            continue
        if name in head:
            ticks += sum(map(int, rest.split()[11:13])) * 1000 / os.sysconf("SC_CLK_TCK")
    return ticks


def measure(folder: Path, count: int, **urls: Any) -> dict[str, float]:
    """Medians in milliseconds, statements a request, CPU a request."""
    settings = make_settings(folder / "data", rate_limit_per_minute=10**6, **urls)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app) as http:
        service = Service(app, http)
        model = service.ready_model()
        watch = Watch(service.context.database._engine)  # type: ignore[attr-defined]
        rows: list[tuple[float, ...]] = []
        for number in range(count + 20):
            if number == 20:
                rows, cpu = [], cpu_ms("postgres")
            x, y = make_samples(3, 1, seed=number)
            body = {"samples": [{"features": x[0].tolist(), "label": str(y[0])}]}
            watch.take()
            began = time.perf_counter()
            http.post(f"/api/v1/models/{model.id}/samples", json=body).raise_for_status()
            whole = 1000 * (time.perf_counter() - began)
            statements, commits, asked = watch.take()
            rows.append((whole, statements, commits, whole - statements - commits, asked))
        cpu = (cpu_ms("postgres") - cpu) / count
    found = [statistics.median(column) for column in zip(*rows, strict=True)]
    return {**dict(zip(PARTS, found[:4], strict=True)), "count": found[4], "cpu": cpu}


def main() -> None:
    """Both databases; prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.where", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="samples stored")
    count = parser.parse_args().count
    found = {}
    with tempfile.TemporaryDirectory() as folder, cluster(durable=True) as servers:
        found["sqlite"] = measure(Path(folder) / "a", count)
        url = servers.new_database()
        found["postgresql"] = measure(Path(folder) / "b", count, database_url=url)
    print(f"load average {os.getloadavg()[0]:.1f}, {count} samples")
    print("| database | statements | request ms | in statements | in commits | rest | CPU ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in found.items():
        parts = " | ".join(f"{row[part]:.2f}" for part in PARTS)
        print(f"| {name} | {row['count']:.0f} | {parts} | {row['cpu']:.2f} |")


if __name__ == "__main__":
    main()
