# SPDX-License-Identifier: Apache-2.0
"""The REST application. Importing this module does nothing."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from server import __version__
from server.api import (
    accounts,
    dashboard,
    ddi,
    describe,
    devices,
    explain,
    firmware,
    fleet,
    health,
    jobs,
    lineage,
    metrics,
    models,
    problems,
    samples,
    updates,
)
from server.api.access import AccessPolicy, StoredAccess
from server.api.middleware import BodyLimit, Overload, RequestContext
from server.errors import HadaptError
from server.fleet import rollouts
from server.learning.ports import Engine, load_engine
from server.services.context import open_context
from server.settings import Settings

API = "/api/v1"
FORM_SLACK_BYTES = 256 * 1024
DESCRIPTION = """Integer models that learn new classes on a microcontroller.

Upload a float ONNX model with calibration samples, post samples of new classes, run an update, and
fetch firmware or state bytes. What takes long is a job: the answer is 202 with the resource, and
its `job_id` leads to state, log and events. Every error is `application/problem+json`.
Send a key as `Authorization: Bearer had_...`; each operation names the scope that the key needs.
"""


def create_app(
    settings: Settings, engine: Engine | None = None, access: AccessPolicy | None = None
) -> FastAPI:
    """The application over the storage that the settings name.

    Args:
        engine: the learning domain; the one that settings.engine names if None.
        access: finds out who asks; keys and sessions of the database if None.
    """
    context = open_context(settings, engine or load_engine(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        with contextlib.suppress(HadaptError):
            rollouts.store_sightings(context)
        context.database.close()

    app = FastAPI(
        title="Hadapt",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # The usual pages load scripts of other hosts; server.api.describe has a plain one.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.context = context
    app.state.access = access or StoredAccess(context)
    app.state.registry = CollectorRegistry()
    app.state.registry.register(metrics.StoreCollector(context))
    resources = (models, explain, samples, devices, updates, firmware, jobs, accounts, fleet)
    for module in (*resources, lineage):
        app.include_router(module.router, prefix=API)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(describe.router)
    app.include_router(dashboard.router)
    app.include_router(ddi.router)
    problems.install(app)
    app.add_middleware(BodyLimit, limit_of=body_limit(settings), idle_s=settings.body_idle_s)
    app.add_middleware(RequestContext, registry=app.state.registry)
    registry = app.state.registry
    app.add_middleware(Overload, limit=settings.requests_at_once, registry=registry)
    return app


def body_limit(settings: Settings) -> Callable[[str], int]:
    """The most bytes that a path takes in a body."""
    form = settings.upload_model_max_bytes + settings.upload_calibration_max_bytes

    def limit_of(path: str) -> int:
        if path == f"{API}/models":
            return form + FORM_SLACK_BYTES
        if path.endswith("/samples"):
            return settings.upload_samples_max_bytes
        if path.endswith("/image"):
            return settings.upload_image_max_bytes
        return settings.upload_json_max_bytes

    return limit_of
