# SPDX-License-Identifier: Apache-2.0
"""hawkBit's device interface: polls, attributes, feedback, cancelling, tokens.

swupdate 2022.12, Zephyr's client and rauc-hawkbit-updater each send and demand things of their own;
the tests that carry their names are about those. Artifacts are in test_ddi_artifacts.py.
"""

import re
from typing import Any

import cbor2
import pytest

from tests.api.fleet import DDI, Device, add_device
from tests.api.fleet_fixtures import Fleet, device, ended, fleet

__all__ = ["device", "ended", "fleet"]


def test_poll_has_the_form_that_all_clients_read(device: Device) -> None:
    answer = device.get()
    body = answer.json()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", body["config"]["polling"]["sleep"])
    assert set(body["_links"]) == {"deploymentBase", "configData"}
    href = body["_links"]["deploymentBase"]["href"]
    assert re.fullmatch(
        rf"http://testserver/DEFAULT/controller/v1/{device.name}/deploymentBase/\d+\?c=\d+", href
    )
    assert "content-length" in answer.headers
    assert "transfer-encoding" not in answer.headers


def test_poll_repeated_makes_no_second_action(device: Device) -> None:
    assert device.offered() == device.offered() is not None


def test_config_data_merges_replaces_and_removes(fleet: Fleet, device: Device) -> None:
    def put(mode: str | None, data: dict[str, str]) -> None:
        body = {"data": data} if mode is None else {"mode": mode, "data": data}
        path = f"{DDI}/{device.name}/configData"
        answer = fleet.http.put(path, json=body, headers=device.headers)
        assert (answer.status_code, answer.content) == (200, b"")

    def known() -> Any:
        return fleet.http.get(f"/api/v1/targets/{device.name}").json()["attributes"]

    put(None, {"a": "1", "b": "2"})
    put("merge", {"b": "3"})
    assert known() == {"a": "1", "b": "3"}
    put("remove", {"a": ""})
    assert known() == {"b": "3"}
    put("replace", {"c": "4"})
    assert known() == {"c": "4"}
    assert "configData" not in device.poll()


def test_feedback_closes_the_action_and_then_answers_410(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    rest = f"deploymentBase/{number}"
    for execution in ("proceeding", "scheduled", "resumed", "download", "downloaded"):
        assert device.tell(rest, execution, "none", "on my way").status_code == 200
        assert device.offered() == number
    assert device.get(f"installedBase/{number}").status_code == 404
    said = (f"hadapt.state_digest={fleet.packet['result_digest']}", f"hadapt.state_hash={'5' * 64}")
    assert device.tell(rest, "closed", "success", *said).status_code == 200
    assert device.offered() is None
    assert device.tell(rest).status_code == 410
    assert device.get(f"installedBase/{number}").json()["id"] == str(number)
    target = fleet.http.get(f"/api/v1/targets/{device.name}").json()
    assert (target["version"], target["state_hash"]) == (2, "5" * 64)


@pytest.mark.parametrize("end", [("closed", "failure"), ("rejected", "none")])
def test_feedback_of_failure_leaves_the_device_where_it_was(
    fleet: Fleet, device: Device, end: tuple[str, str]
) -> None:
    assert device.tell(f"deploymentBase/{device.offered()}", *end).status_code == 200
    assert fleet.http.get(f"/api/v1/targets/{device.name}").json()["version"] == 1
    assert device.offered() is None


def test_feedback_of_another_state_is_a_failure(fleet: Fleet, device: Device) -> None:
    said = f"hadapt.state_digest={'0' * 64}"
    device.tell(f"deploymentBase/{device.offered()}", "closed", "success", said)
    assert fleet.http.get(f"/api/v1/targets/{device.name}").json()["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {
            "id": 1,
            "time": "20261123T185827",
            "status": {
                "result": {"finished": "success"},
                "execution": "closed",
                "details": [""],
            },
        },
        {
            "id": "5",
            "status": {
                "result": {"finished": "success", "progress": {"cnt": 2, "of": 5}},
                "execution": "closed",
                "details": ["Software bundle installed."],
                "code": 7,
            },
        },
        {"timestamp": 1764000000000, "status": {"result": {}, "execution": "closed"}},
    ],
    ids=["swupdate", "rauc", "spec"],
)
def test_feedback_as_real_clients_send_it(
    fleet: Fleet, device: Device, body: dict[str, Any]
) -> None:
    path = f"{DDI}/{device.name}/deploymentBase/{device.offered()}/feedback"
    answer = fleet.http.post(path, json=body, headers=device.headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert device.offered() is None


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (None, "execution"),
        ({"execution": "done", "result": {"finished": "success"}}, "'done'"),
        ({"execution": "closed", "result": {"finished": "perhaps"}}, "'perhaps'"),
    ],
)
def test_feedback_that_means_nothing_is_refused(
    fleet: Fleet, device: Device, status: Any, text: str
) -> None:
    path = f"{DDI}/{device.name}/deploymentBase/{device.offered()}/feedback"
    answer = fleet.http.post(path, json={"status": status}, headers=device.headers)
    assert answer.status_code == 422
    assert text in answer.json()["detail"]
    for data in (b"{", b"[]"):
        answer = fleet.http.post(path, content=data, headers=device.headers)
        assert answer.status_code == 400


def test_cancel_is_told_and_ends_the_action(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    rollout = fleet.http.get("/api/v1/rollouts").json()["items"][0]["id"]
    assert device.get(f"cancelAction/{number}").status_code == 404
    fleet.http.post(f"/api/v1/rollouts/{rollout}/abort")
    links = device.poll()
    assert "deploymentBase" not in links
    assert links["cancelAction"].endswith(f"/cancelAction/{number}")
    body = device.get(f"cancelAction/{number}").json()
    assert body == {"id": str(number), "cancelAction": {"stopId": str(number)}}
    assert device.get(f"deploymentBase/{number}").status_code == 404
    assert device.tell(f"cancelAction/{number}", "proceeding", "none").status_code == 200
    assert device.tell(f"cancelAction/{number}").status_code == 200
    assert not {"cancelAction", "deploymentBase"} & set(device.poll())
    assert device.tell(f"cancelAction/{number}").status_code == 410
    assert device.tell(f"deploymentBase/{number}").status_code == 410


def test_installed_base_takes_what_the_device_says(fleet: Fleet, device: Device) -> None:
    path = f"{DDI}/{device.name}/installedBase"
    body = {"name": "model", "version": "1.0.0"}
    assert fleet.http.put(path, json=body, headers=device.headers).status_code == 200
    said = fleet.http.get(f"/api/v1/targets/{device.name}").json()["attributes"]
    assert (said["installed.name"], said["installed.version"]) == ("model", "1.0.0")


def test_cbor_and_json_carry_the_same(fleet: Fleet, device: Device) -> None:
    rest = f"deploymentBase/{device.offered()}"
    binary = device.get(rest, Accept="application/cbor")
    assert binary.headers["content-type"] == "application/cbor"
    assert cbor2.loads(binary.content) == device.get(rest).json()
    assert len(binary.content) < len(device.get(rest).content)
    kinds = {"": "application/hal+json", "application/json": "application/json"}
    for accept, media in kinds.items():
        assert device.get(rest, Accept=accept).headers["content-type"] == media
    path = f"{DDI}/{device.name}/{rest}/feedback"
    status = {"status": {"execution": "closed", "result": {"finished": "success"}}}
    headers = {**device.headers, "Content-Type": "application/cbor"}
    answer = fleet.http.post(path, content=cbor2.dumps(status), headers=headers)
    assert answer.status_code == 200
    headers["Content-Type"] = "text/xml"
    assert fleet.http.post(path, content=b"<x/>", headers=headers).status_code == 415


def test_tokens_open_only_their_own_device(fleet: Fleet, device: Device) -> None:
    other = add_device(fleet, fleet.model_id, device.name[:50] + "-other")
    wrong = [
        {},
        {"Authorization": "TargetToken"},
        {"Authorization": f"TargetToken {other.token}"},
        {"Authorization": f"GatewayToken {device.token}"},
        {"Authorization": f"Bearer {device.token}"},
        {"Authorization": f"TargetToken {device.token[:-1]}"},
    ]
    for headers in wrong:
        answer = fleet.http.get(f"{DDI}/{device.name}", headers=headers)
        assert answer.status_code == 401, headers
    unknown = fleet.http.get(f"{DDI}/nobody", headers=device.headers)
    assert unknown.status_code == 401
    tenant = fleet.http.get(f"/OTHER/controller/v1/{device.name}", headers=device.headers)
    assert tenant.status_code == 401
    number = device.offered()
    assert other.get(f"deploymentBase/{number}").status_code == 404
    assert other.tell(f"deploymentBase/{number}").status_code == 404


def test_renewed_token_ends_the_old_one(fleet: Fleet, device: Device) -> None:
    fresh = fleet.http.post(f"/api/v1/targets/{device.name}/token")
    assert fresh.headers["cache-control"] == "no-store"
    assert device.get().status_code == 401
    assert Device(fleet, device.name, fresh.json()["token"]).get().status_code == 200


def test_gateway_speaks_for_all_and_brings_new_devices(fleet: Fleet, device: Device) -> None:
    made = fleet.http.post("/api/v1/gateways", json={"name": "hall 3"}).json()
    known = Device(fleet, device.name, made["token"], "GatewayToken")
    assert known.get().status_code == 200
    fresh = Device(fleet, device.name[:50] + "-new", made["token"], "GatewayToken")
    assert fresh.get().status_code == 200
    fresh.config(model=fleet.model_id, version="1", form="suit")
    target = fleet.http.get(f"/api/v1/targets/{fresh.name}").json()
    assert (target["model_id"], target["version"]) == (fleet.model_id, 1)
    fleet.http.post(f"/api/v1/gateways/{made['id']}/cancel")
    assert known.get().status_code == 401
    assert fleet.http.post(f"/api/v1/gateways/{made['id']}/cancel").status_code == 409


def test_tokens_are_kept_as_hashes_and_shown_once(fleet: Fleet, device: Device) -> None:
    assert device.token not in fleet.http.get(f"/api/v1/targets/{device.name}").text
    assert device.token not in fleet.http.get("/api/v1/audit?limit=200").text
    database = b"".join(
        p.read_bytes() for p in fleet.context.settings.data_dir.glob("hadapt.sqlite3*")
    )
    assert device.token.encode() not in database
