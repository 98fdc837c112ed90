# SPDX-License-Identifier: Apache-2.0
"""hawkBit's confirmation: an update that waits until the device agrees."""

from typing import Any

import pytest

from tests.api.fleet import DDI, Device, add_device
from tests.api.fleet_fixtures import Fleet, ended, fleet

__all__ = ["ended", "fleet"]


def asked(fleet: Fleet, name: str) -> Device:
    """A device that a rollout asks before it updates."""
    device = add_device(fleet, fleet.model_id, name)
    policy = {"shares": [1.0], "confirm": True}
    body = {"packet_id": fleet.packet["id"], "targets": [name], "policy": policy}
    made = fleet.http.post("/api/v1/rollouts", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["policy"]["confirm"] is True
    return device


def post(device: Device, rest: str, body: Any = None) -> Any:
    path = f"{DDI}/{device.name}/confirmationBase/{rest}"
    return device.service.http.post(path, json=body or {}, headers=device.headers)


def number_of(device: Device) -> int:
    """Of the action that waits."""
    links = device.poll()
    assert "deploymentBase" not in links
    return int(links["confirmationBase"].rpartition("/")[2])


def test_update_waits_until_the_device_confirms_it(fleet: Fleet) -> None:
    device = asked(fleet, "confirm-1")
    number = number_of(device)
    assert number_of(device) == number, "no second action"
    waiting = device.get(f"confirmationBase/{number}").json()
    assert waiting["id"] == str(number)
    assert waiting["confirmation"]["chunks"][0]["part"] == "bApp"
    overview = device.get("confirmationBase").json()
    assert overview["autoConfirm"] == {"active": False}
    assert set(overview["_links"]) == {"activateAutoConfirm", "confirmationBase"}
    assert device.get(f"deploymentBase/{number}").status_code == 404
    assert device.tell(f"deploymentBase/{number}").status_code == 404
    told = {"confirmation": "denied", "details": ["not during a shift"]}
    assert post(device, f"{number}/feedback", told).status_code == 200
    assert number_of(device) == number, "a denied update waits on"
    assert post(device, f"{number}/feedback", {"confirmation": "confirmed"}).status_code == 200
    assert device.offered() == number
    shown = device.get(f"deploymentBase/{number}").json()["deployment"]
    assert shown == waiting["confirmation"]
    assert post(device, f"{number}/feedback", {"confirmation": "confirmed"}).status_code == 410
    assert device.get(f"confirmationBase/{number}").status_code == 404
    assert device.tell(f"deploymentBase/{number}").status_code == 200
    assert fleet.http.get("/api/v1/targets/confirm-1").json()["version"] == 2


def test_automatic_confirmation_confirms_what_waits_and_what_comes(fleet: Fleet) -> None:
    device = asked(fleet, "confirm-2")
    number = number_of(device)
    assert post(device, "activateAutoConfirm", {"initiator": "me"}).status_code == 200
    assert device.offered() == number
    assert device.get("confirmationBase").json()["autoConfirm"] == {"active": True}
    device.config(x="1")
    path = f"{DDI}/{device.name}/configData"
    body = {"mode": "replace", "data": {"y": "2", "hadapt.auto_confirm": ""}}
    assert fleet.http.put(path, json=body, headers=device.headers).status_code == 200
    overview = device.get("confirmationBase").json()
    assert overview["autoConfirm"] == {"active": True}, "attributes do not switch it"
    assert set(overview["_links"]) == {"deactivateAutoConfirm"}
    assert post(device, "deactivateAutoConfirm").status_code == 200
    assert device.get("confirmationBase").json()["autoConfirm"] == {"active": False}


def test_rollout_that_ends_takes_a_waiting_update_back(fleet: Fleet) -> None:
    device = asked(fleet, "confirm-3")
    number = number_of(device)
    rollout = fleet.http.get("/api/v1/rollouts").json()["items"][0]["id"]
    assert fleet.http.post(f"/api/v1/rollouts/{rollout}/abort").status_code == 200
    links = device.poll()
    assert set(links) & {"confirmationBase", "deploymentBase", "cancelAction"} == {"cancelAction"}
    assert post(device, f"{number}/feedback", {"confirmation": "confirmed"}).status_code == 410
    assert device.tell(f"cancelAction/{number}").status_code == 200
    assert "cancelAction" not in device.poll()


@pytest.mark.parametrize("body", [{}, {"confirmation": "yes"}, {"confirmation": 1}])
def test_wrong_confirmation_is_refused(fleet: Fleet, body: Any) -> None:
    device = asked(fleet, f"confirm-bad-{len(str(body))}")
    answer = post(device, f"{number_of(device)}/feedback", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["expected"] == "confirmed or denied"
    assert post(device, "999999/feedback", {"confirmation": "denied"}).status_code == 404
