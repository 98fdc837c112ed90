# SPDX-License-Identifier: Apache-2.0
"""Helpers of the fleet's tests: a service with a release key, devices that speak DDI."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.fleet.image_keys import generate
from server.fleet.keys import generate_key
from server.fleet.trust import changed, first_trust, signed
from tests.api.harness import Service

DDI = "/DEFAULT/controller/v1"


def signing(folder: Path) -> dict[str, Any]:
    """Settings of a service that can sign every form; keys are made in the folder."""
    root, release = generate_key(folder / "root.pem"), generate_key(folder / "release.pem")
    now = time.time()
    trust = changed(first_trust(root, now), now, add_release=release.public_key)
    (folder / "trust.json").write_bytes(signed(trust, root).to_bytes())
    key, certificate = generate(folder, 30, now)
    return {
        "trust_file": folder / "trust.json",
        "signer": str(folder / "release.pem"),
        "image_key_file": key,
        "image_certificate_file": certificate,
    }


def accepted_version(service: Service) -> str:
    """A model whose version 2 knows one class more. Returns: its id."""
    model = service.ready_model()
    service.send(model.id, 3)
    body = {"model_id": model.id, "steps": 20}
    update = service.http.post("/api/v1/updates", json=body).json()
    service.run(update["job_id"])
    return model.id


@dataclass
class Device:
    """A device over DDI, as small clients are: polls, downloads, reports."""

    service: Service
    name: str
    token: str
    kind: str = "TargetToken"
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers["Authorization"] = f"{self.kind} {self.token}"

    def get(self, rest: str = "", **headers: str) -> Any:
        """GET below the device's base."""
        path = f"{DDI}/{self.name}" + (f"/{rest}" if rest else "")
        return self.service.http.get(path, headers={**self.headers, **headers})

    def poll(self) -> dict[str, str]:
        """Links by kind."""
        answer = self.get()
        assert answer.status_code == 200, answer.text
        return {k: v["href"] for k, v in answer.json()["_links"].items()}

    def offered(self) -> int | None:
        """Number of the action to install."""
        link = self.poll().get("deploymentBase")
        return int(link.partition("deploymentBase/")[2].partition("?")[0]) if link else None

    def tell(
        self, rest: str, execution: str = "closed", finished: str = "success", *details: str
    ) -> Any:
        """POST feedback. Returns: the answer."""
        status = {"execution": execution, "result": {"finished": finished}, "details": details}
        path = f"{DDI}/{self.name}/{rest}/feedback"
        return self.service.http.post(path, json={"status": status}, headers=self.headers)

    def config(self, **data: Any) -> None:
        """PUT attributes hadapt.<name>."""
        body = {"mode": "merge", "data": {f"hadapt.{k}": v for k, v in data.items()}}
        answer = self.service.http.put(
            f"{DDI}/{self.name}/configData", json=body, headers=self.headers
        )
        assert answer.status_code == 200, answer.text


def add_device(
    service: Service, model_id: str, name: str, form: str = "suit", version: int = 1
) -> Device:
    """Register a device and its target, which runs a version."""
    http = service.http
    made = http.post("/api/v1/devices", json={"name": name, "model_id": model_id, "board": "good"})
    assert made.status_code == 201, made.text
    body = {"device_id": made.json()["id"], "form": form, "version": version}
    target = http.post("/api/v1/targets", json=body)
    assert target.status_code == 201, target.text
    return Device(service, name, target.json()["token"])


def sign(service: Service, model_id: str) -> dict[str, Any]:
    """Sign the newest version's packet."""
    made = service.http.post("/api/v1/packets", json={"model_id": model_id})
    assert made.status_code == 201, made.text
    packet: dict[str, Any] = made.json()
    return packet


def roll_out(service: Service, packet_id: str, **policy: Any) -> str:
    """Start a rollout without soak. Returns: its id."""
    body = {"packet_id": packet_id, "policy": {"soak_s": 0, **policy}}
    made = service.http.post("/api/v1/rollouts", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])
