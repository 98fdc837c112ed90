# SPDX-License-Identifier: Apache-2.0
"""Figures for Prometheus: queue, jobs, workers, gates, devices and rollouts.

Read from the database when they are fetched, so every API process tells the same. What has ended
is counted when it ends (the table totals); only counts of resources and devices read their tables,
at most every 30 s.
"""

import time
from collections.abc import Callable, Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from server.api.access import GuardedRoute, scope
from server.api.problems import documented
from server.fleet.rollouts import MOVING
from server.ids import seconds_between, steady_s, utc_text
from server.services.context import Context
from server.services.workers import silence_s
from server.storage.ports import Unit
from server.storage.records import JOB_ENDED, JOB_KINDS, JOB_OPEN, JOB_QUEUED

router = APIRouter(route_class=GuardedRoute, tags=["health"])
KEEP_S = 30.0
MANY = 1000


class StoreCollector(Collector):
    """Metrics read from the database."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.time) -> None:
        self._context = context
        self._clock = clock
        self._counted_s = 0.0
        self._counts: list[tuple[str, str, int]] = []

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        now = self._clock()
        steady = steady_s()
        with self._context.database.read() as unit:
            yield from _jobs(unit, now)
            yield _gates(unit)
            yield _workers(unit)
            yield from _rollouts(unit)
            if steady - self._counted_s >= KEEP_S:
                self._counts, self._counted_s = list(self._count(unit, steady)), steady
        stored = GaugeMetricFamily("hadapt_stored", "Stored resources", labels=["resource"])
        targets = GaugeMetricFamily(
            "hadapt_targets",
            "Devices that pull updates: seen within 3 poll intervals, silent longer, never seen",
            labels=["state"],
        )
        for family, label, count in self._counts:
            (stored if family == "stored" else targets).add_metric([label], count)
        yield stored
        yield targets

    def _count(self, unit: Unit, now: float) -> Iterator[tuple[str, str, int]]:
        yield "stored", "models", unit.models.count()
        yield "stored", "devices", unit.devices.count()
        yield "stored", "samples", unit.samples.total()
        since_s = now - 3 * self._context.settings.ddi_poll_interval_s
        for state, count in unit.fleet.targets.by_sight(since_s).items():
            yield "targets", state, count

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the database is not asked at registration."""
        return []


def _jobs(unit: Unit, now: float) -> Iterator[Metric]:
    """Depth and age of the queue, jobs by state, and how long they ran."""
    states = GaugeMetricFamily("hadapt_jobs", "Jobs by state", labels=["state"])
    for state in JOB_OPEN:
        states.add_metric([state], unit.jobs.count(state=state))
    totals = unit.totals.page(order="kind", after=None, limit=MANY, name="job")
    for state in JOB_ENDED:
        states.add_metric([state], sum(t.count for t in totals if t.state == state))
    yield states
    depth = GaugeMetricFamily("hadapt_queue_depth", "Queued jobs by kind", labels=["kind"])
    for kind in JOB_KINDS:
        depth.add_metric([kind], unit.jobs.count(state=JOB_QUEUED, kind=kind))
    yield depth
    seconds = SummaryMetricFamily(
        "hadapt_job_seconds", "Time from start to end of ended jobs", labels=["kind", "state"]
    )
    for total in totals:
        seconds.add_metric([total.kind, total.state], total.count, total.seconds)
    yield seconds
    oldest = unit.jobs.page(order="id", after=None, limit=1, state=JOB_QUEUED)
    yield GaugeMetricFamily(
        "hadapt_queue_oldest_seconds",
        "How long the oldest queued job has waited; 0 without one",
        value=max(0.0, seconds_between(oldest[0].created_at, _text(now))) if oldest else 0.0,
    )


def _text(now: float) -> str:
    return utc_text(lambda: now)


def _gates(unit: Unit) -> Metric:
    family = CounterMetricFamily(
        "hadapt_gate_verdicts", "Updates that the gate judged", labels=["method", "outcome"]
    )
    for total in unit.totals.page(order="kind", after=None, limit=MANY, name="gate"):
        family.add_metric([total.kind, total.state], total.count)
    return family


def _workers(unit: Unit) -> Metric:
    family = GaugeMetricFamily(
        "hadapt_worker_silence_seconds", "Since a worker was last seen", labels=["executor"]
    )
    for worker in unit.workers.page(order="executor_id", after=None, limit=MANY):
        family.add_metric([worker.executor_id], silence_s(worker.seen_at))
    return family


def _rollouts(unit: Unit) -> Iterator[Metric]:
    """Rollouts that have not ended, and their devices by state."""
    moving = unit.fleet.rollouts.page(order="id", after=None, limit=MANY, state=MOVING)
    states = GaugeMetricFamily("hadapt_rollouts", "Rollouts under way", labels=["state"])
    for state in MOVING:
        states.add_metric([state], sum(r.state == state for r in moving))
    yield states
    devices = GaugeMetricFamily(
        "hadapt_rollout_devices", "Devices of rollouts under way", labels=["rollout", "state"]
    )
    for record in moving:
        found: dict[str, int] = {}
        for _, state, count in unit.fleet.members.by_stage(record.id):
            found[state] = found.get(state, 0) + count
        for state, count in sorted(found.items()):
            devices.add_metric([record.id, state], count)
    yield devices


@router.get(
    "/metrics",
    response_class=Response,
    responses=documented(),
    dependencies=[scope("metrics:read")],
)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    registry: CollectorRegistry = request.app.state.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
