# SPDX-License-Identifier: Apache-2.0
"""What devices download, in the form that each demands; and rollouts over the whole service."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.fleet import DDI, Device, add_device
from tests.api.fleet_fixtures import Fleet, device, ended, fleet
from tests.api.harness import Service

__all__ = ["device", "ended", "fleet"]
IMGTOOL = str(Path(sys.executable).with_name("imgtool"))


def test_deployment_has_one_chunk_one_artifact_all_hashes_and_links(
    fleet: Fleet, device: Device
) -> None:
    number = device.offered()
    body = device.get(f"deploymentBase/{number}?c=-2127183556&actionHistory=10").json()
    assert body["id"] == str(number)
    deployment = body["deployment"]
    assert (deployment["download"], deployment["update"]) == ("forced", "forced")
    assert "maintenanceWindow" not in deployment
    ((chunk,), (artifact,)) = deployment["chunks"], deployment["chunks"][0]["artifacts"]
    assert (chunk["part"], chunk["name"]) == ("bApp", "model")
    data = device.get(_rest(artifact["_links"]["download"]["href"], device)).content
    assert artifact["size"] == len(data)
    for name in ("sha1", "md5", "sha256"):
        assert artifact["hashes"][name] == hashlib.new(name, data).hexdigest()
    assert set(artifact["_links"]) == {"download", "download-http", "md5sum", "md5sum-http"}
    assert data == fleet.http.get(f"/api/v1/packets/{fleet.packet['id']}/artifacts/suit").content


def _rest(href: str, device: Device) -> str:
    return href.partition(f"/controller/v1/{device.name}/")[2]


def artifact_of(device: Device) -> dict[str, Any]:
    body = device.get(f"deploymentBase/{device.offered()}").json()
    artifact: dict[str, Any] = body["deployment"]["chunks"][0]["artifacts"][0]
    return artifact


def test_zephyr_limits_are_kept(device: Device) -> None:
    number = device.offered()
    link = device.poll()["deploymentBase"]
    assert len(link[link.index("deploymentBase/") :]) < 50
    artifact = artifact_of(device)
    plain = artifact["_links"]["download-http"]["href"]
    assert plain.startswith("http://")
    assert f"/DEFAULT/controller/v1/{device.name}/" in plain
    assert len(plain.partition("testserver")[2]) < 200
    assert 0 < int(str(number)) < 2**31
    lower = device.service.http.get(
        f"/default/controller/v1/{device.name}", headers=device.headers
    ).json()
    assert "/DEFAULT/controller/v1/" in lower["_links"]["deploymentBase"]["href"]


def test_links_use_the_host_that_the_device_asked(device: Device) -> None:
    links = device.get(Host="10.0.2.2:8080").json()["_links"]
    assert links["deploymentBase"]["href"].startswith("http://10.0.2.2:8080/DEFAULT/")


@pytest.mark.parametrize("device", ["mcuboot"], indirect=True)
def test_zephyr_gets_an_mcuboot_image_that_imgtool_verifies(
    fleet: Fleet, device: Device, tmp_path: Path
) -> None:
    artifact = artifact_of(device)
    data = device.get(_rest(artifact["_links"]["download-http"]["href"], device)).content
    (tmp_path / "i.bin").write_bytes(data)
    key = fleet.settings_folder / "release.pem"
    done = subprocess.run(
        [IMGTOOL, "verify", "-k", str(key), str(tmp_path / "i.bin")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.0.1" in done.stdout
    broken = bytearray(data)
    broken[40] ^= 1
    (tmp_path / "i.bin").write_bytes(broken)
    again = subprocess.run(
        [IMGTOOL, "verify", "-k", str(key), str(tmp_path / "i.bin")],
        capture_output=True, check=False,
    )  # fmt: skip
    assert again.returncode != 0
    envelope = fleet.http.get(f"/api/v1/packets/{fleet.packet['id']}/artifacts/suit").content
    assert data[32 : 32 + len(envelope)] == envelope
    assert bytes.fromhex(fleet.packet["result_digest"]) in data


def test_artifact_ranges_tags_and_head(device: Device) -> None:
    rest = _rest(artifact_of(device)["_links"]["download"]["href"], device)
    whole = device.get(rest)
    data, tag = whole.content, whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    assert tag == f'"{hashlib.sha256(data).hexdigest()}"'
    part = device.get(rest, Range="bytes=3-9")
    assert (part.status_code, part.content) == (206, data[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(data)}"
    assert device.get(rest, Range="bytes=-4").content == data[-4:]
    assert device.get(rest, Range=f"bytes={len(data) - 1}-").content == data[-1:]
    assert device.get(rest, Range=f"bytes={len(data)}-").status_code == 416
    assert device.get(rest, Range="bytes=5-2").status_code == 416
    assert device.get(rest, Range="bytes=0-4", **{"If-Range": '"other"'}).status_code == 200
    assert device.get(rest, **{"If-Match": tag}).status_code == 200
    assert device.get(rest, **{"If-Match": '"other"'}).status_code == 412
    head = device.service.http.head(f"{DDI}/{device.name}/{rest}", headers=device.headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))
    assert head.headers["etag"] == tag


def test_artifact_md5sum_list_and_strangers(fleet: Fleet, device: Device) -> None:
    artifact = artifact_of(device)
    rest = _rest(artifact["_links"]["md5sum"]["href"], device)
    assert device.get(rest).text == f"{artifact['hashes']['md5']}  {artifact['filename']}"
    module = rest.split("/")[1]
    assert device.get(f"softwaremodules/{module}/artifacts").json() == [artifact]
    assert device.get(f"softwaremodules/{module}/artifacts/other").status_code == 404
    stranger = add_device(fleet, fleet.model_id, device.name[:50] + "-stranger")
    assert stranger.get(f"softwaremodules/{module}/artifacts").status_code == 404


def test_packet_is_reproducible_and_has_a_way_back(fleet: Fleet) -> None:
    packet = fleet.packet
    back = fleet.http.get(f"/api/v1/packets/{packet['counterpart']}").json()
    assert (back["base_version"], back["version"]) == (2, 1)
    assert back["sequence"] == packet["sequence"] + 1
    assert (back["base_digest"], back["result_digest"]) == (
        packet["result_digest"],
        packet["base_digest"],
    )
    assert [a["form"] for a in packet["artifacts"]] == ["suit", "mcuboot", "swu"]
    again = fleet.http.post("/api/v1/packets", json={"model_id": fleet.model_id})
    assert again.status_code == 409


def test_device_without_an_artifact_of_its_form_is_named(service: Service, tmp_path: Path) -> None:
    refused = service.http.post("/api/v1/packets", json={"model_id": "0" * 32})
    assert refused.status_code == 503
    assert {i["where"] for i in refused.json()["errors"]} == {"HADAPT_TRUST_FILE", "HADAPT_SIGNER"}


def test_rollout_over_devices_reaches_canary_then_all(fleet: Fleet) -> None:
    devices = [add_device(fleet, fleet.model_id, f"unit-{i}") for i in range(8)]
    body = {
        "packet_id": fleet.packet["id"],
        "targets": [d.name for d in devices],
        "policy": {"shares": [0.25, 1.0], "soak_s": 0, "min_reports": 2},
    }
    rollout = fleet.http.post("/api/v1/rollouts", json=body).json()
    assert rollout["stages"] == [{"waiting": 2}, {"waiting": 6}]
    again = fleet.http.post("/api/v1/rollouts", json=body)
    assert again.status_code == 409
    offered = [d for d in devices if d.offered()]
    assert len(offered) == 2
    for unit in offered:
        unit.tell(f"deploymentBase/{unit.offered()}")
    for unit in devices:
        number = unit.offered()
        if number:
            unit.tell(f"deploymentBase/{number}")
    for unit in devices:
        if number := unit.offered():
            unit.tell(f"deploymentBase/{number}")
    done = fleet.http.get(f"/api/v1/rollouts/{rollout['id']}").json()
    assert (done["state"], done["stages"]) == ("finished", [{"installed": 2}, {"installed": 6}])
    actions = [
        row["action"]
        for row in fleet.http.get("/api/v1/audit?limit=200").json()["items"]
        if row["subject"] == rollout["id"]
    ]
    assert actions[0] == "rollout.create"
    assert "rollout.state" in actions


def test_rollout_of_a_forgetting_update_leads_canaries_back(fleet: Fleet) -> None:
    devices = [add_device(fleet, fleet.model_id, f"canary-{i}") for i in range(8)]
    for unit in devices:
        unit.config(accuracy="0.95")
    body = {
        "packet_id": fleet.packet["id"],
        "targets": [d.name for d in devices],
        "policy": {"shares": [0.25, 1.0], "soak_s": 0, "min_reports": 2},
    }
    rollout = fleet.http.post("/api/v1/rollouts", json=body).json()
    for unit in (d for d in devices if d.offered()):
        said = ("hadapt.accuracy=0.94", "hadapt.forgetting=0.4")
        unit.tell(f"deploymentBase/{unit.offered()}", "closed", "success", *said)
    found = fleet.http.get(f"/api/v1/rollouts/{rollout['id']}").json()
    assert found["state"] == "rolling_back"
    assert "forgetting is 0.4000 over 2 devices, the limit is 0.0500" in found["reasons"]
    back = [d for d in devices if d.offered()]
    assert len(back) == 2
    for unit in back:
        unit.tell(f"deploymentBase/{unit.offered()}")
    found = fleet.http.get(f"/api/v1/rollouts/{rollout['id']}").json()
    assert (found["state"], found["stages"]) == ("rolled_back", [{"reverted": 2}, {"waiting": 6}])
    for unit in devices:
        assert unit.offered() is None
        assert fleet.http.get(f"/api/v1/targets/{unit.name}").json()["version"] == 1


def test_roll_out_refuses_shares_that_do_not_reach_all(fleet: Fleet) -> None:
    for shares in ([0.5], [0.5, 0.2, 1.0], [1.0, 1.0]):
        body = {"packet_id": fleet.packet["id"], "policy": {"shares": shares}}
        answer = fleet.http.post("/api/v1/rollouts", json=body)
        assert answer.status_code == 422
        assert "shares" in answer.text
