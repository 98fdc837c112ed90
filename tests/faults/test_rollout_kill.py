# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the service in the middle of a rollout: every device is offered its update once, what
was acknowledged stays, and the rollout ends.
"""

import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.client import HadaptClient
from tests.api.fleet import DDI, signing
from tests.faults.service_process import ServiceProcess, running
from tests.faults.test_service_kill import prepare

SHORT_KILLS, LONG_KILLS = 4, 100
DEVICES = 6
LONGEST_DELAY_S = 0.03
DONE = {"status": {"execution": "closed", "result": {"finished": "success"}, "details": []}}


class Fleet:
    """Devices that ask a service which is killed under their requests.

    kills: still to come.
    """

    def __init__(self, service: ServiceProcess, rng: random.Random, kills: int) -> None:
        self.service, self.rng, self.kills = service, rng, kills
        self.offered: dict[str, set[str]] = {}

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx2.Response:
        """An answer, however often the service has to be started again for it."""
        key = f"TargetToken {token}" if token else f"Bearer {self.service.key}"
        while True:
            dying = token is not None and self.kills > 0 and self.rng.random() < 0.3
            timer = threading.Timer(self.rng.random() * LONGEST_DELAY_S, self.service.kill_server)
            if dying:
                self.kills -= 1
                timer.start()
            try:
                url = self.service.url + path
                answer = httpx2.request(
                    method, url, headers={"Authorization": key}, timeout=30, **more
                )
            except httpx2.TransportError:
                answer = None
            if dying:
                timer.join()
                self.service.start()
            if answer is not None:
                return answer

    def turn(self, name: str, token: str) -> None:
        """Poll, and install what is offered."""
        links = self.ask("GET", f"{DDI}/{name}", token).json()["_links"]
        if "deploymentBase" not in links:
            return
        number = links["deploymentBase"]["href"].rpartition("/")[2].partition("?")[0]
        self.offered[name].add(number)
        offer = self.ask("GET", f"{DDI}/{name}/deploymentBase/{number}", token)
        assert offer.json()["id"] == number
        told = self.ask("POST", f"{DDI}/{name}/deploymentBase/{number}/feedback", token, json=DONE)
        # 410: the answer to the first time was lost, what it told was not.
        assert told.status_code in (200, 410)

    def post(self, path: str, **body: Any) -> Any:
        answer = self.ask("POST", f"/api/v1{path}", json=body)
        assert answer.status_code in (201, 202), answer.text
        return answer.json()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    settings = {f"HADAPT_{k.upper()}": str(v) for k, v in signing(tmp_path).items()}
    with running(tmp_path / "data", **settings) as made:
        made.wait_ready()
        yield made


def make_packet(client: HadaptClient, fleet: Fleet) -> tuple[str, str]:
    """Ids of a model and of the signed packet of its version 2."""
    model = prepare(client)
    update = fleet.post("/updates", model_id=model, steps=20)
    client.wait_job(update["job_id"], timeout_s=60)
    return model, fleet.post("/packets", model_id=model)["id"]


def roll_out(service: ServiceProcess, kills: int, seed: int) -> None:
    fleet = Fleet(service, random.Random(seed), kills)
    model, packet = make_packet(service.client, fleet)
    tokens = {}
    for number in range(DEVICES):
        name = f"unit-{seed}-{number}"
        device = fleet.post("/devices", name=name, model_id=model, board="good")
        tokens[name] = fleet.post("/targets", device_id=device["id"])["token"]
        fleet.offered[name] = set()
    policy = {"shares": [0.3, 1.0], "soak_s": 0, "min_reports": 1}
    rollout = fleet.post("/rollouts", packet_id=packet, policy=policy)
    for _ in range(40 + 10 * kills):
        for name, token in tokens.items():
            fleet.turn(name, token)
        found = fleet.ask("GET", f"/api/v1/rollouts/{rollout['id']}").json()
        if found["state"] == "finished" and fleet.kills == 0:
            break
    assert (found["state"], fleet.kills) == ("finished", 0)
    assert {name: len(numbers) for name, numbers in fleet.offered.items()} == dict.fromkeys(
        tokens, 1
    )
    for name in tokens:
        assert fleet.ask("GET", f"/api/v1/targets/{name}").json()["version"] == 2
    rows = fleet.ask("GET", "/api/v1/audit?limit=200").json()["items"]
    assert [row["action"] for row in rows].count("packet.sign") == 2
    for before, row in pairwise(rows):
        assert row["previous_sha256"] == before["row_sha256"]


def test_rollout_ends_though_the_service_is_killed_under_requests(service: ServiceProcess) -> None:
    roll_out(service, SHORT_KILLS, seed=1)


@pytest.mark.long
def test_rollout_ends_through_many_kills(service: ServiceProcess) -> None:
    roll_out(service, LONG_KILLS, seed=2)
