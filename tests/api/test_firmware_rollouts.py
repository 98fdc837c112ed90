# SPDX-License-Identifier: Apache-2.0
"""Firmware over DDI: signed images in the form that each client demands, in stages, and back."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.fleet.firmware_image import identity_of, read_image
from server.fleet.keys import FileSigner
from tests.api.fleet import DDI, Device
from tests.api.fleet_fixtures import Fleet, ended, fleet

__all__ = ["ended", "fleet"]
IMGTOOL = str(Path(sys.executable).with_name("imgtool"))
BINARY = "application/octet-stream"
BOARD = "good"


def make_firmware(fleet: Fleet, image: bytes | None = None, board: str = BOARD) -> str:
    """Id of a field firmware of version 1; image: uploaded in place of its own."""
    body = {"model_id": fleet.model_id, "version": 1, "board": board, "layout": "field"}
    made = fleet.http.post("/api/v1/firmware", json=body).json()
    fleet.run(made["job_id"])
    if image is not None:
        assert put(fleet, made["id"], image).status_code == 200
    return str(made["id"])


def put(fleet: Fleet, firmware: str, image: bytes, kind: str = BINARY) -> Any:
    path = f"/api/v1/firmware/{firmware}/image"
    return fleet.http.put(path, content=image, headers={"Content-Type": kind})


def sign(fleet: Fleet, firmware: str, base: str) -> Any:
    body = {"base_firmware_id": base}
    return fleet.http.post(f"/api/v1/firmware/{firmware}/packets", json=body)


def add(fleet: Fleet, name: str, firmware: str, form: str = "suit", board: str = BOARD) -> Any:
    body = {"name": name, "model_id": fleet.model_id, "board": board}
    made = fleet.http.post("/api/v1/devices", json=body).json()
    target = {"device_id": made["id"], "form": form, "firmware_id": firmware}
    return fleet.http.post("/api/v1/targets", json=target)


def device(fleet: Fleet, name: str, firmware: str, form: str = "suit") -> Device:
    answer = add(fleet, name, firmware, form)
    assert answer.status_code == 201, answer.text
    return Device(fleet, name, answer.json()["token"])


def roll_out(fleet: Fleet, packet: str, names: list[str] | None = None, **policy: Any) -> str:
    body = {"packet_id": packet, "targets": names, "policy": {"soak_s": 0, **policy}}
    made = fleet.http.post("/api/v1/rollouts", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.fixture(scope="module")
def pair(fleet: Fleet) -> tuple[str, str]:
    """Ids of the firmware that devices run, and of a newer one."""
    return make_firmware(fleet), make_firmware(fleet, b"a newer binary " * 99)


@pytest.fixture(scope="module")
def packet(fleet: Fleet, pair: tuple[str, str]) -> dict[str, Any]:
    made = sign(fleet, pair[1], pair[0])
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def download(found: Device) -> bytes:
    body = found.get(f"deploymentBase/{found.offered()}").json()
    (chunk,) = body["deployment"]["chunks"]
    assert (chunk["part"], chunk["name"]) == ("bApp", "firmware")
    (artifact,) = chunk["artifacts"]
    rest = artifact["_links"]["download"]["href"].partition(f"/controller/v1/{found.name}/")[2]
    data: bytes = found.get(rest).content
    assert len(data) == artifact["size"]
    return data


def test_each_client_gets_the_firmware_in_its_form(
    fleet: Fleet, pair: tuple[str, str], packet: dict[str, Any], tmp_path: Path
) -> None:
    forms = ("suit", "mcuboot", "swu")
    devices = {form: device(fleet, f"form-{form}", pair[0], form) for form in forms}
    roll_out(fleet, packet["id"], [d.name for d in devices.values()], shares=[1.0])
    suit, image, swu = (download(devices[form]) for form in forms)
    assert suit == image
    assert (swu[:6], image in swu) == (b"070702", True)
    (tmp_path / "i.bin").write_bytes(image)
    command = [IMGTOOL, "verify", "-k", str(fleet.settings_folder / "release.pem")]
    done = subprocess.run([*command, str(tmp_path / "i.bin")], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    release = FileSigner(fleet.settings_folder / "release.pem").public_key
    found = read_image(image, [release])
    engine = fleet.app.state.context.engine
    model_id = engine.model_id(fleet.client.int_model(fleet.model_id))
    assert found.binary == b"a newer binary " * 99
    assert found.identity == identity_of("hadapt.example", BOARD, "field", model_id)
    assert (found.sequence, found.digest) == (packet["sequence"], packet["result_digest"])


def test_firmware_goes_out_in_stages_and_leaves_the_version(
    fleet: Fleet, pair: tuple[str, str], packet: dict[str, Any]
) -> None:
    devices = [device(fleet, f"stage-{n}", pair[0]) for n in range(4)]
    names = [d.name for d in devices]
    rollout = roll_out(fleet, packet["id"], names, shares=[0.25, 1.0], min_reports=1)
    offers = [d.offered() for d in devices]
    (canary,) = [n for n, offer in enumerate(offers) if offer is not None]
    right = (f"hadapt.image_digest={packet['result_digest']}", "hadapt.accuracy=0.9")
    devices[canary].tell(f"deploymentBase/{offers[canary]}", "closed", "success", *right)
    for n in range(4):
        if n != canary:
            devices[n].tell(f"deploymentBase/{devices[n].offered()}", "closed", "success", *right)
    assert fleet.http.get(f"/api/v1/rollouts/{rollout}").json()["state"] == "finished"
    told = fleet.http.get(f"/api/v1/targets/{names[0]}").json()
    assert (told["firmware_id"], told["version"]) == (pair[1], 1)
    again = device(fleet, "stage-late", pair[1])
    assert again.offered() is None, "it runs the new firmware already"


def test_failing_canary_goes_back_by_an_image_of_higher_sequence(
    fleet: Fleet, pair: tuple[str, str], packet: dict[str, Any]
) -> None:
    devices = [device(fleet, f"back-{n}", pair[0]) for n in range(4)]
    policy = {"shares": [0.5, 1.0], "max_failure_share": 0.4}
    names = [d.name for d in devices]
    rollout = roll_out(fleet, packet["id"], names, min_reports=2, **policy)
    good, bad = [d for d in devices if d.offered() is not None]
    other = f"hadapt.image_digest={'0' * 64}"
    good.tell(f"deploymentBase/{good.offered()}", "closed", "success")
    bad.tell(f"deploymentBase/{bad.offered()}", "closed", "success", other)
    state = fleet.http.get(f"/api/v1/rollouts/{rollout}").json()
    assert state["state"] in ("rolling_back", "rolled_back"), state
    back = read_image(
        download(good), [FileSigner(fleet.settings_folder / "release.pem").public_key]
    )
    assert back.binary == fleet.http.get(f"/api/v1/firmware/{pair[0]}/image").content
    assert back.sequence == packet["sequence"] + 1
    good.tell(f"deploymentBase/{good.offered()}", "closed", "success")
    assert fleet.http.get(f"/api/v1/rollouts/{rollout}").json()["state"] == "rolled_back"
    firmwares = [fleet.http.get(f"/api/v1/targets/{n}").json()["firmware_id"] for n in names]
    assert set(firmwares) == {pair[0]}


def test_firmware_that_does_not_fit_is_refused_with_the_reason(
    fleet: Fleet, pair: tuple[str, str], packet: dict[str, Any]
) -> None:
    other = make_firmware(fleet, b"other board", board="host")
    wrong = sign(fleet, other, pair[0])
    assert (wrong.status_code, wrong.json()["errors"][0]["what"]) == (422, f"board {BOARD}")
    refused = add(fleet, "misfit", other)
    assert refused.status_code == 422
    assert refused.json()["errors"][0] == {
        "what": "board host", "where": "firmware_id", "expected": BOARD,
    }  # fmt: skip
    assert sign(fleet, pair[0], pair[0]).json()["errors"][0]["what"] == "the same binary"
    assert sign(fleet, pair[1], pair[0]).status_code == 409
    assert put(fleet, pair[1], b"another").status_code == 409
    assert put(fleet, pair[1], b"").status_code == 400
    assert put(fleet, pair[1], b"x", "text/plain").status_code == 415
    stranger = device(fleet, "elsewhere", pair[1])
    body = {"packet_id": packet["id"], "targets": [stranger.name], "policy": {"shares": [1.0]}}
    answer = fleet.http.post("/api/v1/rollouts", json=body)
    assert answer.json()["errors"][0]["expected"] == f"a device with firmware {pair[0]}"
    plain = {"model_id": fleet.model_id, "board": BOARD, "layout": "plain"}
    made = fleet.http.post("/api/v1/firmware", json=plain).json()
    fleet.run(made["job_id"])
    assert fleet.http.get(f"/api/v1/firmware/{made['id']}/image").status_code == 409
    assert f"{DDI}" not in answer.text
