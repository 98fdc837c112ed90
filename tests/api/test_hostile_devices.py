# SPDX-License-Identifier: Apache-2.0
"""Devices that forge, replay and exaggerate over DDI: refused, and nobody else notices."""

from typing import Any

import cbor2
import pytest

from tests.api.fleet import DDI, Device, add_device
from tests.api.fleet_fixtures import Fleet, device, ended, fleet

__all__ = ["device", "ended", "fleet"]
DONE = {"status": {"execution": "closed", "result": {"finished": "success"}}}


def version_of(fleet: Fleet, name: str) -> int:
    return int(fleet.http.get(f"/api/v1/targets/{name}").json()["version"])


def test_feedback_for_anothers_action_is_refused(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    forger = add_device(fleet, fleet.model_id, device.name[:40] + "-forger")
    for kind in ("deploymentBase", "cancelAction", "confirmationBase"):
        path = f"{DDI}/{forger.name}/{kind}/{number}/feedback"
        body = {"confirmation": "denied"} if kind == "confirmationBase" else DONE
        told = fleet.http.post(path, json=body, headers=forger.headers)
        assert told.status_code == 404, kind
        other = f"{DDI}/{device.name}/{kind}/{number}/feedback"
        answer = fleet.http.post(other, json=DONE, headers=forger.headers)
        assert answer.status_code == 401, kind
    for path in (f"deploymentBase/{number}", f"installedBase/{number}"):
        assert forger.get(path).status_code == 404
    assert device.offered() == number, "the action is still open"
    assert version_of(fleet, device.name) == version_of(fleet, forger.name) == 1


def test_old_deployment_cannot_be_installed_again(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    assert device.tell(f"deploymentBase/{number}").status_code == 200
    for execution, finished in (("closed", "failure"), ("proceeding", "none")):
        again = device.tell(f"deploymentBase/{number}", execution, finished)
        assert again.status_code == 410
    assert device.offered() is None
    assert version_of(fleet, device.name) == 2


def nested(depth: int) -> Any:
    return b'{"status":' + b"[" * depth + b"]" * depth + b"}"


BODIES: dict[str, tuple[bytes, str, set[int]]] = {
    "beyond the limit": (b" " * (1 << 20) + b"{}", "application/json", {413}),
    "deep JSON": (nested(100_000), "application/json", {400, 422}),
    "deep CBOR": (b"\x81" * 100_000, "application/cbor", {400}),
    "CBOR that announces gigabytes": (b"\x5b" + b"\x7f" + b"\xff" * 7, "application/cbor", {400}),
    "CBOR map of 2^60": (b"\xbb\x10" + bytes(7), "application/cbor", {400}),
    "shared CBOR": (b"\xd8\x1c\x81\xd8\x1d\x00", "application/cbor", {400, 422}),
    "no object": (cbor2.dumps([1, 2]), "application/cbor", {400, 422}),
    "infinite": (b'{"status": {"execution": Infinity}}', "application/json", {400, 422}),
    "cut short": (b'{"status": {"exec', "application/json", {400}),
}


@pytest.mark.parametrize("name", BODIES)
def test_hostile_body_is_refused_and_the_action_stays_open(
    fleet: Fleet, device: Device, name: str
) -> None:
    content, kind, expected = BODIES[name]
    number = device.offered()
    path = f"{DDI}/{device.name}/deploymentBase/{number}/feedback"
    headers = {**device.headers, "Content-Type": kind}
    answer = fleet.http.post(path, content=content, headers=headers)
    assert answer.status_code in expected, answer.text[:300]
    assert device.offered() == number


def test_exaggerations_are_cut_and_counted_as_nothing(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    details = ["hadapt.accuracy=1e999", "hadapt.forgetting=-7", "hadapt.state_hash=" + "g" * 64]
    details += [f"hadapt.reason={'x' * 10_000}", *["line " * 200] * 500]
    told = device.tell(f"deploymentBase/{number}", "closed", "failure", *details)
    assert told.status_code == 200
    target = fleet.http.get(f"/api/v1/targets/{device.name}").json()
    assert (target["version"], target["state_hash"]) == (1, None)
    many = {"mode": "merge", "data": {f"k{n}": "v" for n in range(1000)}}
    put = fleet.http.put(f"{DDI}/{device.name}/configData", json=many, headers=device.headers)
    assert put.status_code == 422
