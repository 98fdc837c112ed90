# SPDX-License-Identifier: Apache-2.0
"""The gateway of an emulated device: pulls by hawkBit DDI as any client would, applies, reports.

Samples stay where they are: what is sent is the state hash, accuracy and forgetting.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from server.errors import HadaptError, UnavailableError
from server.fleet.field_device import FieldDevice, Figures, measure
from server.learning.ports import Float32Array, Int64Array

MAX_ARTIFACT_BYTES = 32 << 20
DOWNLOAD_S = 600.0


class DdiClient:
    """hawkBit DDI v1 for one controller.

    Args:
        http: with the service's base URL.
        token: as in "TargetToken <t>" or "GatewayToken <t>".
    """

    def __init__(self, http: httpx2.Client, tenant: str, controller_id: str, token: str) -> None:
        self._http = http
        self.download_s = DOWNLOAD_S
        self._base = f"/{tenant}/controller/v1/{controller_id}"
        self._headers = {"Authorization": token, "Accept": "application/json"}

    def poll(self) -> dict[str, str]:
        """Links by kind: deploymentBase, cancelAction, configData."""
        with _understood():
            links = self._send("GET", self._base).json()["_links"]
            return {str(kind): str(link["href"]) for kind, link in links.items()}

    def configure(self, data: Mapping[str, str]) -> None:
        """Merge attributes."""
        body = {"mode": "merge", "data": dict(data)}
        self._send("PUT", f"{self._base}/configData", json=body)

    def deployment(self, href: str) -> tuple[int, bytes]:
        """Action number and artifact, its size and SHA-256 compared.

        Raises: UnavailableError: what came is not what was announced, or takes too long.
        """
        with _understood():
            body = self._send("GET", href).json()
            artifact = body["deployment"]["chunks"][0]["artifacts"][0]
            url, size = str(artifact["_links"]["download"]["href"]), int(artifact["size"])
            expected, number = str(artifact["hashes"]["sha256"]), int(body["id"])
        if not 0 < size <= MAX_ARTIFACT_BYTES:
            raise UnavailableError(f"The artifact has {size} bytes, not 1 to {MAX_ARTIFACT_BYTES}.")
        data = self._download(url, size)
        if len(data) != size or hashlib.sha256(data).hexdigest() != expected:
            raise UnavailableError(
                f"The artifact was damaged on its way, at {len(data)} of {size}."
            )
        return number, data

    def _download(self, url: str, size: int) -> bytes:
        """No more than `size` bytes, in no more than DOWNLOAD_S."""
        data, end = bytearray(), time.monotonic() + self.download_s
        try:
            with self._http.stream("GET", url, headers=self._headers) as answer:
                _check_status("GET", url, answer.status_code, "")
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > size:
                        raise UnavailableError(f"The artifact has more than its {size} bytes.")
                    if time.monotonic() > end:
                        text = f"{len(data)} of {size} bytes in {self.download_s:g} s"
                        raise UnavailableError(f"The artifact comes too slowly: {text}.")
        except httpx2.TransportError as error:
            raise UnavailableError(f"The download broke off: {error}.") from error
        return bytes(data)

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
        _check_status(method, url, answer.status_code, answer.text[:300])
        return answer


def _check_status(method: str, url: str, status: int, text: str) -> None:
    if status >= 400:
        raise UnavailableError(f"{method} {url} was answered {status}: {text}")


@contextmanager
def _understood() -> Iterator[None]:
    """Answers of another form are a fault of the service, not of this device."""
    try:
        yield
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UnavailableError(f"The service answered what is not DDI: {error!r}.") from error


@dataclass
class Gateway:
    """A device and its way to the service.

    x, y: the device's own samples (N, features) and class slots (N,), to measure with.
    keep: stores the device's memory; called before the service is told, so that a device that dies
        in between is never behind what the service knows of it.
    """

    client: DdiClient
    device: FieldDevice
    x: Float32Array
    y: Int64Array
    figures: Figures | None = None
    keep: Callable[[], None] = field(default=lambda: None)

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
            with _understood():
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
        self.keep()
        self.figures = measure(self.device, self.x, self.y)
        details = [
            *(f"hadapt.{name}={digest}" for name, digest in digests.items()),
            f"hadapt.state_hash={self.device.state_hash}",
            f"hadapt.accuracy={self.figures.accuracy:.6f}",
            f"hadapt.forgetting={self.figures.forgetting_since(before):.6f}",
        ]
        self.client.feedback("deploymentBase", action, "success", details)
        return "installed"
