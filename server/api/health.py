# SPDX-License-Identifier: Apache-2.0
"""Liveness and readiness."""

import shutil
import tempfile

import structlog
from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError

from server import __version__
from server.api.access import GuardedRoute, open_route
from server.api.common import ContextDep
from server.api.problems import documented
from server.api.schemas import Health
from server.errors import Issue, UnavailableError
from server.services.context import Context
from server.services.workers import SILENCE_S, silence_s

router = APIRouter(route_class=GuardedRoute, tags=["health"])
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
    """Database, blobs, room on the disk and a worker are there; 503 names what is not."""
    checks = {
        "database": _outcome(context, "database"),
        "blobs": _outcome(context, "blobs"),
        "disk": _disk(context),
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


def _disk(context: Context) -> str:
    """Room for uploads and for what jobs write, in the data folder, which can be written."""
    needed = context.settings.disk_free_min_bytes
    try:
        free = shutil.disk_usage(context.settings.data_dir).free
        # Written for real: a file system that has failed may still call itself writable.
        with tempfile.TemporaryFile(dir=context.settings.data_dir) as file:
            file.write(b"hadapt")
    except OSError as error:
        return f"cannot be written: {(error.strerror or type(error).__name__).lower()}"
    return "ok" if free >= needed else f"{free >> 20} MiB free, less than {needed >> 20}"


def _worker(context: Context) -> str:
    try:
        with context.database.read() as unit:
            workers = unit.workers.page(order="executor_id", after=None, limit=1000)
    except SQLAlchemyError as error:
        return type(error).__name__
    alive = any(silence_s(w.seen_at) < SILENCE_S for w in workers)
    return "ok" if alive else "no worker was seen lately"
