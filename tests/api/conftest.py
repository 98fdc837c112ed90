# SPDX-License-Identifier: Apache-2.0
"""The whole service in process, jobs run by hand."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from server import logs
from server.app import create_app
from server.storage.database import open_engine
from server.storage.migrate import upgrade
from tests.api.fake_engine import FakeEngine
from tests.api.harness import Service, make_settings
from tests.postgres import Cluster, cluster
from tests.s3 import s3_server


class Backend:
    """Settings of empty stores of one kind."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._cluster = cluster
        self._kept: str | None = None
        self._count = 0

    def settings(self, *, keep: bool = False) -> dict[str, str]:
        """An empty database and an empty place for blobs.

        Args:
            keep: the database is another one than that which single tests empty and use.
        """
        if self._cluster is None:
            return {}
        self._count += 1
        if keep or self._kept is None:
            url = self._cluster.new_database()
            self._kept = self._kept if keep else url
        else:
            url = self._kept
            self._cluster.empty(url)
        return {"database_url": url, "blob_url": f"s3://hadapt-blobs/{id(self)}-{self._count}"}


@pytest.fixture(scope="session")
def scaled() -> Iterator[Backend]:
    """PostgreSQL and an S3 server, each real, both gone afterwards."""
    with cluster() as found, s3_server():
        yield Backend(found)


@pytest.fixture(scope="module", params=["sqlite", "postgresql-s3"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every test of the service runs on both kinds of stores."""
    if request.param == "sqlite":
        return Backend()
    made: Backend = request.getfixturevalue("scaled")
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Service]:
    """One service for requests that must change nothing; it has one ready model, `model`."""
    settings = make_settings(
        tmp_path_factory.mktemp("shared") / "data", **backend.settings(keep=True)
    )
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Service(app, http)
        service.model = service.ready_model()
        yield service


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database of the newest schema, to be copied: migrations take time."""
    path = tmp_path_factory.mktemp("migrated") / "hadapt.sqlite3"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def service(
    tmp_path: Path, backend: Backend, migrated: Path, request: pytest.FixtureRequest
) -> Iterator[Service]:
    """A service over an empty folder; parametrise indirectly with settings."""
    given = {**backend.settings(), **getattr(request, "param", {})}
    settings = make_settings(tmp_path / "data", **given)
    if "database_url" not in given:
        settings.data_dir.mkdir()
        shutil.copy(migrated, settings.data_dir)
    logs.configure(settings)
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Service(app, http)
