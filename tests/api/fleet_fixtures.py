# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the fleet's tests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from server.app import create_app
from tests.api.fake_engine import FakeEngine
from tests.api.fleet import Device, accepted_version, add_device, sign, signing
from tests.api.harness import Service, make_settings


class Fleet(Service):
    """A service whose model has version 2, its packet signed."""

    model_id: str
    packet: dict[str, Any]
    settings_folder: Path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    settings = make_settings(folder / "data", ddi_auto_register=True, **signing(folder))
    app = create_app(settings, FakeEngine(settings))
    with TestClient(app, raise_server_exceptions=False) as http:
        service = Fleet(app, http)
        service.settings_folder = folder
        service.model_id = accepted_version(service)
        service.packet = sign(service, service.model_id)
        yield service


@pytest.fixture
def device(fleet: Fleet, request: pytest.FixtureRequest) -> Device:
    """A device of its own name that is offered the packet; parametrise with the form."""
    name = re.sub(r"\W+", "-", request.node.name)[-60:].strip("-_")
    form = getattr(request, "param", "suit")
    made = add_device(fleet, fleet.model_id, name, form)
    body = {"packet_id": fleet.packet["id"], "targets": [name], "policy": {"shares": [1.0]}}
    rollout = fleet.http.post("/api/v1/rollouts", json=body)
    assert rollout.status_code == 201, rollout.text
    return made


@pytest.fixture(autouse=True)
def ended(fleet: Fleet) -> Iterator[None]:
    """One rollout at a time: end the one that a test began."""
    yield
    for rollout in fleet.http.get("/api/v1/rollouts").json()["items"]:
        if rollout["state"] in ("running", "paused"):
            fleet.http.post(f"/api/v1/rollouts/{rollout['id']}/abort")
