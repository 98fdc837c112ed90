# SPDX-License-Identifier: Apache-2.0
"""Liveness, readiness and metrics."""

import time

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from server import __version__
from server.api.access import GuardedRoute, open_route, scope
from server.api.common import ContextDep
from server.api.problems import documented
from server.api.schemas import Health
from server.errors import Issue, UnavailableError
from server.services.context import Context
from server.storage.records import JOB_ENDED, JOB_OPEN

router = APIRouter(route_class=GuardedRoute, tags=["health"])
WORKER_SILENCE_S = 15.0
log = structlog.get_logger("health")


@router.get("/healthz", dependencies=[open_route("load balancers ask; says ok and the version")])
def healthz() -> Health:
    """The process is alive."""
    return Health(status="ok", version=__version__, checks={})


@router.get(
    "/readyz",
    responses=documented(503),
    dependencies=[open_route("load balancers ask; names checks and error types only")],
)
def readyz(context: ContextDep) -> Health:
    """Database, blobs and a worker for the queue are there; 503 names what is not."""
    checks = {
        "database": _outcome(context, "database"),
        "blobs": _outcome(context, "blobs"),
        "worker": _worker(context),
    }
    issues = [Issue(text, name, "ok") for name, text in checks.items() if text != "ok"]
    if issues:
        raise UnavailableError("The service is not ready.", issues)
    return Health(status="ok", version=__version__, checks=checks)


def _outcome(context: Context, name: str) -> str:
    try:
        (context.database if name == "database" else context.blobs).check()
    except Exception as error:
        log.warning("not ready", check=name, exc_info=error)
        return type(error).__name__
    return "ok"


def _worker(context: Context) -> str:
    try:
        with context.database.read() as unit:
            workers = unit.workers.page(order="executor_id", after=None, limit=1000)
    except SQLAlchemyError as error:
        return type(error).__name__
    alive = any(time.time() - w.seen_at < WORKER_SILENCE_S for w in workers)
    return "ok" if alive else "no worker was seen lately"


class StoreCollector(Collector):
    """Gauges read from the database when the metrics are fetched."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> list[GaugeMetricFamily]:
        """Jobs by state, and counts of models, devices and samples."""
        jobs = GaugeMetricFamily("hadapt_jobs", "Jobs by state", labels=["state"])
        stored = GaugeMetricFamily("hadapt_stored", "Stored resources", labels=["resource"])
        with self._context.database.read() as unit:
            for state in (*JOB_OPEN, *JOB_ENDED):
                jobs.add_metric([state], unit.jobs.count(state=state))
            stored.add_metric(["models"], unit.models.count())
            stored.add_metric(["devices"], unit.devices.count())
            stored.add_metric(["samples"], unit.samples.count())
        return [jobs, stored]

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing beforehand: the database is not asked at registration."""
        return []


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
