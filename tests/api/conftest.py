# SPDX-License-Identifier: Apache-2.0
"""The whole service in process, jobs run by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from server import logs
from server.app import create_app
from tests.api.fake_engine import FakeEngine
from tests.api.harness import Service, make_settings


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for requests that must change nothing; it has one ready model, `model`."""
    settings = make_settings(tmp_path_factory.mktemp("shared") / "data")
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        service.model = service.ready_model()
        yield service


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service over an empty folder; parametrise indirectly with settings."""
    settings = make_settings(tmp_path / "data", **getattr(request, "param", {}))
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Service(app, http)
