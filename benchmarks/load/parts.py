# SPDX-License-Identifier: Apache-2.0
"""The parts of the measurement: each starts a service of its own and returns rows of figures."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import history, service, wrk
from server.client import HadaptClient
from server.demo.service import Service
from server.errors import HadaptError

Row = dict[str, Any]
NO_LIMIT = {"rate_limit_per_minute": 100_000_000, "log_level": "WARNING"}


@dataclass(frozen=True)
class Plan:
    """How long, how many."""

    seconds: float
    soak_s: float
    devices: int
    rows: tuple[int, ...]


def _row(what: str, load: wrk.Load, **more: object) -> Row:
    return {
        "what": what,
        "answers_per_s": round(load.answers_per_s, 1),
        "p50_ms": round(load.p50_ms, 1),
        "p99_ms": round(load.p99_ms, 1),
        "statuses": load.statuses,
        "socket_errors": load.errors,
        **more,
    }


class Sender:
    """Sends samples to one model, and compares what was acknowledged with what is stored."""

    def __init__(self, running: Service, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.client: HadaptClient = running.client
        self.model = service.make_model(self.client, folder)
        self._runs: list[tuple[str, int]] = []

    def send(self, clients: int, seconds: float, batch: int) -> wrk.Load:
        """Post new samples for some time."""
        name = f"run{len(self._runs)}"
        self._runs.append((name, batch))
        return wrk.run(
            self.running.url,
            clients,
            seconds,
            kind="samples",
            path=f"/api/v1/models/{self.model}/samples",
            run=name,
            key=self.running.key,
            folder=self.folder,
            features=service.FEATURES,
            batch=batch,
            start=len(self._runs) * 10_000_000,
        )

    def get(self, clients: int, seconds: float, path: str) -> wrk.Load:
        """Ask for one path."""
        key = self.running.key
        return wrk.run(self.running.url, clients, seconds, kind="get", path=path, key=key)

    def _calm(self) -> None:
        """Wait until the service has done what wrk no longer waits for."""
        for _ in range(120):
            time.sleep(0.5)
            with contextlib.suppress(HadaptError):
                began = time.monotonic()
                self.client.model(self.model)
                if time.monotonic() - began < 0.2:
                    return

    def compared(self) -> Row:
        """Acknowledged samples, those of them that are missing, and rows stored twice."""
        acknowledged: set[str] = set()
        for name, batch in self._runs:
            acknowledged |= service.acknowledged(self.folder, name, batch)
        self._calm()
        stored = history.stored_digests(self.folder / "data", self.model)
        return {
            "acknowledged": len(acknowledged),
            "lost": len(acknowledged - set(stored)),
            "doubled": len(stored) - len(set(stored)),
            "stored": len(stored),
        }


def samples(plan: Plan) -> list[Row]:
    """Samples one by one and in batches, and a read beside them."""
    rows = []
    with service.running(**NO_LIMIT) as (running, folder):
        sender = Sender(running, folder)
        for clients, batch in ((1, 1), (8, 1), (64, 1), (8, 100)):
            load = sender.send(clients, plan.seconds, batch)
            rate = load.count(201) * batch / load.seconds
            what = f"samples in {'batches of 100' if batch > 1 else 'requests of one'}"
            rows.append(_row(what, load, clients=clients, samples_per_s=round(rate, 1)))
        path = f"/api/v1/models/{sender.model}"
        rows.append(_row("reads of a model", sender.get(64, plan.seconds, path), clients=64))
        rows[0]["compared"] = sender.compared()
    return rows


def devices(plan: Plan) -> list[Row]:
    """Many devices that poll, each with its own token."""
    with service.running(**NO_LIMIT) as (running, folder):
        history.add_targets(folder / "data", folder, plan.devices)
        load = wrk.run(running.url, 64, plan.seconds, kind="poll", folder=folder)
        # Stored times of polls come from the last second at the latest.
        seen = history.polled(folder / "data")
    return [_row(f"polls of {plan.devices} devices", load, clients=64, seen=seen)]


def overload(plan: Plan) -> list[Row]:
    """More clients than a process takes at once, and a client beyond its own limit."""
    rows = []
    with service.running(**NO_LIMIT, requests_at_once=64) as (running, folder):
        sender = Sender(running, folder)
        load = sender.send(512, plan.seconds, 1)
        rows.append(
            _row("512 clients, 64 at once", load, clients=512, retry_after=load.retry_after)
        )
        rows[0]["compared"] = sender.compared()
    with service.running(rate_limit_per_minute=600, log_level="WARNING") as (running, folder):
        sender = Sender(running, folder)
        load = sender.get(64, plan.seconds, f"/api/v1/models/{sender.model}")
        rows.append(
            _row("a client with 600 a minute", load, clients=64, retry_after=load.retry_after)
        )
    return rows


def soak(plan: Plan) -> list[Row]:
    """Mixed load for long; resident memory every few seconds."""
    with service.running(**NO_LIMIT) as (running, folder):
        sender = Sender(running, folder)
        stop, memory = threading.Event(), [service.rss_mib(folder / "data")]

        def watch() -> None:
            while not stop.wait(max(1.0, plan.soak_s / 60)):
                memory.append(service.rss_mib(folder / "data"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        loads, deadline = [], time.monotonic() + plan.soak_s
        path = f"/api/v1/models/{sender.model}/samples"
        while time.monotonic() < deadline:
            loads.append(sender.send(16, 5, 1))
            loads.append(sender.send(4, 5, 100))
            loads.append(sender.get(16, 5, path))
        stop.set()
        watcher.join()
        kinds = {kind for entry in memory for kind in entry}
        figures = {k: [round(m[k], 1) for m in memory if k in m] for k in sorted(kinds)}
        answered = sum(load.answered for load in loads)
        failed = sum(load.answered - load.count(200, 201) + load.errors for load in loads)
        row = {"what": f"mixed load for {plan.soak_s:g} s", "answers": answered, "failed": failed}
        return [{**row, "rss_mib": figures, "compared": sender.compared()}]


def growth(plan: Plan) -> list[Row]:
    """What requests cost beside more and more rows of everything, one client at a time."""
    rows: list[Row] = []
    for count in plan.rows:
        with service.running(**NO_LIMIT) as (running, folder):
            sender = Sender(running, folder)
            history.grow(folder / "data", folder, sender.model, count)
            for what, path in history.requests(sender.model):
                load = sender.get(1, max(3.0, plan.seconds / 5), path)
                rows.append(_row(what, load, rows=count))
            poll = wrk.run(running.url, 1, max(3.0, plan.seconds / 5), kind="poll", folder=folder)
            rows.append(_row("poll of a device", poll, rows=count))
            rows.append(_row("a new sample", sender.send(1, 4, 1), rows=count))
    return rows


PARTS: dict[str, Callable[[Plan], list[Row]]] = {
    "samples": samples,
    "devices": devices,
    "overload": overload,
    "growth": growth,
    "soak": soak,
}
