# SPDX-License-Identifier: Apache-2.0
"""The gateway of an emulated device: pulls by hawkBit DDI as any client would, applies, reports.

Samples stay where they are: what is sent is the state hash, accuracy and forgetting.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from server.errors import HadaptError, UnavailableError
from server.fleet.field_device import FieldDevice, Figures, measure
from server.learning.ports import Float32Array, Int64Array


class DdiClient:
    """hawkBit DDI v1 for one controller.

    Args:
        http: with the service's base URL.
        token: as in "TargetToken <t>" or "GatewayToken <t>".
    """

    def __init__(self, http: httpx2.Client, tenant: str, controller_id: str, token: str) -> None:
        self._http = http
        self._base = f"/{tenant}/controller/v1/{controller_id}"
        self._headers = {"Authorization": token, "Accept": "application/json"}

    def poll(self) -> dict[str, str]:
        """Links by kind: deploymentBase, cancelAction, configData."""
        body = self._send("GET", self._base).json()
        return {kind: link["href"] for kind, link in body["_links"].items()}

    def configure(self, data: Mapping[str, str]) -> None:
        """Merge attributes."""
        body = {"mode": "merge", "data": dict(data)}
        self._send("PUT", f"{self._base}/configData", json=body)

    def deployment(self, href: str) -> tuple[int, bytes]:
        """Action number and artifact, its SHA-256 compared."""
        body = self._send("GET", href).json()
        artifact = body["deployment"]["chunks"][0]["artifacts"][0]
        data = self._send("GET", artifact["_links"]["download"]["href"]).content
        if hashlib.sha256(data).hexdigest() != artifact["hashes"]["sha256"]:
            raise UnavailableError("The artifact was damaged on its way.")
        return int(body["id"]), data

    def feedback(self, kind: str, action: int, finished: str, details: list[str]) -> None:
        """Close an action."""
        status = {"execution": "closed", "result": {"finished": finished}, "details": details}
        path = f"{self._base}/{kind}/{action}/feedback"
        self._send("POST", path, json={"status": status})

    def _send(self, method: str, url: str, **more: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, url, headers=self._headers, **more)
        except httpx2.TransportError as error:
            raise UnavailableError(f"The service does not answer: {error}.") from error
        if answer.status_code >= 400:
            text = answer.text[:300]
            raise UnavailableError(f"{method} {url} was answered {answer.status_code}: {text}")
        return answer


@dataclass
class Gateway:
    """A device and its way to the service.

    x, y: the device's own samples (N, features) and class slots (N,), to measure with.
    """

    client: DdiClient
    device: FieldDevice
    x: Float32Array
    y: Int64Array
    figures: Figures | None = None

    def report(self, **more: str) -> None:
        """Tell where the device stands."""
        self.figures = measure(self.device, self.x, self.y)
        self.client.configure(
            {
                "hadapt.state_hash": self.device.state_hash,
                "hadapt.accuracy": f"{self.figures.accuracy:.6f}",
                **more,
            }
        )

    def turn(self) -> str:
        """Poll once, and do what there is to do. Returns: idle, installed, failed or canceled."""
        links = self.client.poll()
        if "cancelAction" in links:
            action = int(links["cancelAction"].rpartition("/")[2])
            self.client.feedback("cancelAction", action, "success", [])
            return "canceled"
        if "deploymentBase" in links:
            return self._install(links["deploymentBase"])
        if "configData" in links:
            self.report()
        return "idle"

    def _install(self, href: str) -> str:
        before = self.figures or measure(self.device, self.x, self.y)
        action, artifact = self.client.deployment(href)
        try:
            digests = self.device.take(artifact)
        except HadaptError as error:
            reason = f"hadapt.reason={error.detail[:300]}"
            self.client.feedback("deploymentBase", action, "failure", [reason])
            return "failed"
        self.figures = measure(self.device, self.x, self.y)
        details = [
            *(f"hadapt.{name}={digest}" for name, digest in digests.items()),
            f"hadapt.state_hash={self.device.state_hash}",
            f"hadapt.accuracy={self.figures.accuracy:.6f}",
            f"hadapt.forgetting={self.figures.forgetting_since(before):.6f}",
        ]
        self.client.feedback("deploymentBase", action, "success", details)
        return "installed"
