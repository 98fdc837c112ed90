# SPDX-License-Identifier: Apache-2.0
"""Clients of hawkBit's protocol, scripted as RAUC's and Zephyr's send, and as others might."""

import json
from typing import Any

import cbor2
import pytest

from tests.api.fleet import DDI, Device
from tests.api.fleet_fixtures import Fleet, device, ended, fleet

__all__ = ["device", "ended", "fleet"]
ALL = "gzip, deflate, br"


def below(device: Device, href: str) -> str:
    """What a link adds to the device's base."""
    return href.partition(f"/controller/v1/{device.name}/")[2]


def artifact_link(device: Device, name: str = "download") -> str:
    """Path of the artifact offered, below the device's base."""
    body = device.get(f"deploymentBase/{device.offered()}").json()
    href = body["deployment"]["chunks"][0]["artifacts"][0]["_links"][name]["href"]
    return below(device, href)


def put(device: Device, body: Any) -> Any:
    """PUT configData."""
    path = f"{DDI}/{device.name}/configData"
    return device.service.http.put(path, json=body, headers=device.headers)


def test_rauc_hawkbit_updater_installs_and_resumes(fleet: Fleet, device: Device) -> None:
    """Poll, identify, read chunk, size and sha1, download with a cut, report with progress."""
    device.headers["Accept"] = "application/json"
    poll = device.get()
    assert poll.headers["content-type"] == "application/json"
    assert poll.json()["config"]["polling"]["sleep"].count(":") == 2
    identity = {
        "id": "",
        "time": "20261127T180000",
        "status": {"result": {"finished": "success"}, "execution": "closed", "details": []},
        "data": {"product": "Terminator", "model": "T-1000", "serial": "8922673153"},
        "mode": "replace",
    }
    assert put(device, identity).status_code == 200
    number = device.offered()
    body = device.get(f"deploymentBase/{number}").json()
    ((chunk,), artifacts) = (body["deployment"]["chunks"], body["deployment"]["chunks"][0])
    (artifact,) = artifacts["artifacts"]
    assert isinstance(artifact["size"], int) and len(artifact["hashes"]["sha1"]) == 40
    assert chunk["version"] and chunk["name"]
    rest = below(device, artifact["_links"]["download"]["href"])
    whole = device.get(rest).content
    resumed = device.get(rest, Range=f"bytes={len(whole) // 2}-")
    assert whole[: len(whole) // 2] + resumed.content == whole
    path = f"{DDI}/{device.name}/deploymentBase/{number}/feedback"
    for step in (1, 2, 3):
        result = {"finished": "none", "progress": {"cnt": step, "of": 3}}
        status = {"result": result, "execution": "proceeding", "details": ["Downloading..."]}
        told = {"id": str(number), "time": "20261127T180101", "status": status}
        assert fleet.http.post(path, json=told, headers=device.headers).status_code == 200
    assert device.tell(f"deploymentBase/{number}").status_code == 200
    assert device.offered() is None


@pytest.mark.parametrize("device", ["mcuboot"], indirect=True)
def test_zephyr_reads_its_links_from_deployment_base_on(fleet: Fleet, device: Device) -> None:
    """No Accept, the tenant in lower case; a link is what follows the word deploymentBase."""
    base = f"/default/controller/v1/{device.name}"
    headers = {"Authorization": device.headers["Authorization"]}

    def get(path: str) -> Any:
        answer = fleet.http.get(path, headers=headers)
        assert answer.status_code == 200 and "content-length" in answer.headers
        assert "transfer-encoding" not in answer.headers
        return answer

    poll = get(base).json()
    config = {"mode": "merge", "data": {"VIN": device.name, "hwRevision": "3"}}
    kind = {"Content-Type": "application/json;charset=UTF-8"}
    answer = fleet.http.put(f"{base}/configData", json=config, headers={**headers, **kind})
    assert (answer.status_code, answer.content) == (200, b"")
    href = poll["_links"]["deploymentBase"]["href"]
    deployment = get(f"{base}/{href[href.index('deploymentBase/') :]}").json()
    (chunk,) = deployment["deployment"]["chunks"]
    (artifact,) = chunk["artifacts"]
    assert chunk["part"] == "bApp" and len(artifact["hashes"]["sha256"]) == 64
    link = artifact["_links"]["download-http"]["href"]
    assert len(get(link[link.index("/DEFAULT/") :]).content) == artifact["size"]
    told = {"id": deployment["id"], "status": {"result": {"finished": "success"}}}
    told["status"]["execution"] = "closed"
    path = f"{base}/deploymentBase/{int(deployment['id'])}/feedback"
    assert fleet.http.post(path, json=told, headers={**headers, **kind}).status_code == 200


@pytest.mark.parametrize(
    ("execution", "finished", "goes_on"),
    [("closed", "success", False), ("rejected", "failure", True), ("closed", "failure", True)],
)
def test_cancel_as_clients_answer_it(
    fleet: Fleet, device: Device, execution: str, finished: str, goes_on: bool
) -> None:
    """stopId names the action; a client too far to stop says so, and may then finish."""
    number = device.offered()
    rollout = fleet.http.get("/api/v1/rollouts").json()["items"][0]["id"]
    fleet.http.post(f"/api/v1/rollouts/{rollout}/abort")
    stop = device.get(below(device, device.poll()["cancelAction"])).json()
    assert stop["cancelAction"]["stopId"] == str(number)
    rest = f"cancelAction/{stop['cancelAction']['stopId']}"
    assert device.tell(rest, execution, finished, "").status_code == 200
    assert (device.tell(f"deploymentBase/{number}").status_code == 200) == goes_on


ODD = {
    "lone surrogate": b'{"data": {"a\\ud800": "b\\udfff"}}',
    "null character": b'{"data": {"a\\u0000": "b\\u0000"}}',
    "other types": b'{"data": {"a": null, "b": true, "c": 1e400, "d": {"e": [1]}, "": ""}}',
    "long and wide": b'{"data": {"%s": "%s"}}' % (b"k" * 300, "é".encode() * 5000),
    "twice": b'{"data": {"a": "1", "a": "2"}, "mode": "merge", "mode": "replace"}',
}


@pytest.mark.parametrize("name", ODD)
def test_odd_config_data_is_kept_and_can_be_shown(fleet: Fleet, device: Device, name: str) -> None:
    path = f"{DDI}/{device.name}/configData"
    kind = {"Content-Type": "application/json"}
    answer = fleet.http.put(path, content=ODD[name], headers={**device.headers, **kind})
    assert answer.status_code == 200, answer.text
    for shown in (f"/api/v1/targets/{device.name}", "/api/v1/targets?limit=200"):
        assert fleet.http.get(shown).status_code == 200
    attributes = fleet.http.get(f"/api/v1/targets/{device.name}").json()["attributes"]
    assert attributes and all(isinstance(v, str) for v in attributes.values())


def test_odd_details_of_a_failure_can_be_shown(fleet: Fleet, device: Device) -> None:
    number = device.offered()
    lines = ["\ud800", "\0", "hadapt.reason=\udc00\0", 7, None, {"a": 1}]
    told = {"status": {"execution": "closed", "result": {"finished": "failure"}, "details": lines}}
    path = f"{DDI}/{device.name}/deploymentBase/{number}/feedback"
    body = cbor2.dumps({"status": {**told["status"], "details": [7, None]}})
    kind = {"Content-Type": "application/cbor"}
    put(device, {"data": {"seen": "1"}})
    escaped = json.dumps(told).encode()
    sent = {**device.headers, "Content-Type": "application/json"}
    assert fleet.http.post(path, content=escaped, headers=sent).status_code == 200
    assert fleet.http.post(path, content=body, headers={**sent, **kind}).status_code == 410
    for shown in ("/api/v1/rollouts", "/api/v1/audit", f"/api/v1/targets/{device.name}"):
        assert fleet.http.get(shown).status_code == 200


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/hal+json"),
        ("application/json, application/cbor;q=0.5", "application/json"),
        ("application/cbor;q=0.2, application/hal+json;q=0.8", "application/hal+json"),
        ("application/json;q=0.4, application/cbor", "application/cbor"),
        ("application/cbor;q=0", "application/hal+json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/cbor;q=x, ;;,", "application/hal+json"),
    ],
)
def test_answer_is_of_the_kind_that_the_client_likes_best(
    device: Device, accept: str, media: str
) -> None:
    assert device.get(Accept=accept).headers["content-type"] == media


def test_polls_that_name_a_tag_or_an_encoding_get_whole_plain_bodies(device: Device) -> None:
    for rest in ("", f"deploymentBase/{device.offered()}", "confirmationBase"):
        more = {"If-None-Match": '"x", *', "Accept-Encoding": ALL, "If-Modified-Since": "x"}
        answer = device.get(rest, **more)
        assert answer.status_code == 200 and answer.json()
        assert "content-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.content)


def test_artifact_downloads_of_any_kind(device: Device) -> None:
    rest = artifact_link(device)
    whole = device.get(rest, **{"Accept-Encoding": ALL})
    data, tag = whole.content, whole.headers["etag"]
    assert "content-encoding" not in whole.headers
    for several in ("bytes=0-1,4-5", "rows=0-1", ""):
        answer = device.get(rest, Range=several)
        assert (answer.status_code, answer.content) == (200, data), several
    refused = device.get(rest, Range=f"bytes={len(data)}-")
    assert refused.status_code == 416
    assert refused.headers["content-range"] == f"bytes */{len(data)}"
    assert device.get(rest, Range="Bytes= 1-2").content == data[1:3]
    known = device.get(rest, **{"If-None-Match": f'W/"x", {tag}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert device.get(rest, **{"If-None-Match": '"x"'}).content == data
    path = f"{DDI}/{device.name}/{rest}"
    head = device.service.http.head(path, headers={**device.headers, "Range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))


@pytest.mark.parametrize("form", ["targettoken {}", "TARGETTOKEN {}", "TargetToken   {}  "])
def test_token_header_is_read_in_any_case_and_spacing(device: Device, form: str) -> None:
    header = {"Authorization": form.format(device.token)}
    path = f"{DDI}/{device.name}"
    assert device.service.http.get(path, headers=header).status_code == 200
    token = device.token
    for wrong in ("TargetToken", token, f"Bearer {token}", f"TargetToken,{token}"):
        header = {"Authorization": wrong}
        assert device.service.http.get(path, headers=header).status_code == 401
