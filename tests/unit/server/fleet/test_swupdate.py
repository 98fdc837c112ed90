# SPDX-License-Identifier: Apache-2.0
"""Debian's unmodified swupdate pulls, verifies and installs a packet, and hands it to a device."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from benchmarks.fleet import GOOD, Trial
from device.harness.errors import ToolchainMissingError
from server.commands.model_file import ModelFile
from server.fleet.device_memory import Memory
from server.fleet.field_device import FieldDevice
from server.fleet.image_keys import generate
from server.learning.firmwares import cache_folder
from tests.unit.server.fleet.test_device_firmware import binary

ROOT = Path(__file__).parents[4]
BOARD = "mps2-an386"
NAME = "swupdate-1"
SCRIPT = """#!/bin/sh
cd {folder}
PYTHONPATH={root} exec {python} -m server.cli device apply base.hadapt --packet "$1" \\
    --trust trust.json --state unit --board {board} --json > applied.json 2> apply.err
"""


def swupdate() -> str:
    """The program. Raises: ToolchainMissingError, which the suite reports as a skip."""
    path = shutil.which("swupdate")
    if path is None:
        raise ToolchainMissingError("swupdate is missing; get it with `apt install swupdate`")
    return path


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A service with a signed packet in swupdate's form, and a device that demands it."""
    swupdate()
    folder = tmp_path_factory.mktemp("swupdate")
    key, certificate = generate(folder, 30, time.time())
    apply = folder / "apply"
    apply.write_text(SCRIPT.format(folder=folder, root=ROOT, python=sys.executable, board=BOARD))
    apply.chmod(0o755)
    made = Trial(
        folder,
        0,
        0,
        image_key_file=key,
        image_certificate_file=certificate,
        image_install_path=str(folder / "packet.suit"),
        image_apply_command=str(apply),
        ddi_poll_interval_s=1,
    )
    with made.http:
        yield made


@pytest.fixture(scope="module")
def packet(trial: Trial) -> str:
    """Id of the signed packet of version 2."""
    return trial.update(GOOD, poisoned=False)


def save_base(trial: Trial) -> None:
    """The model as the device shipped."""
    client, number = trial.client, trial.model_id
    version = client.version(number, 1)
    ModelFile(
        name="digits",
        class_names=tuple(version.classes),
        feature_count=64,
        max_classes=client.model(number).max_classes or 0,
        feature_min=0.0,
        feature_max=16.0,
        state_hash=version.state_hash,
        int_model=client.int_model(number),
        learner=client.version_learner(number, 1),
        state=client.version_state(number, 1),
    ).save(trial.folder / "base.hadapt")


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The application on a free port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def daemon(folder: Path, certificate: Path, options: str) -> Iterator[None]:
    """swupdate as a device runs it."""
    command = [swupdate(), "-l", "5", "-k", str(certificate), "-H", "hadapt:1.0", "-u", options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (folder / "swupdate.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_for(condition: Callable[[], bool], log: Path, limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)


def test_swupdate_pulls_verifies_installs_and_hands_over(trial: Trial, packet: str) -> None:
    save_base(trial)
    device = trial.post("/devices", name=NAME, model_id=trial.model_id, board=BOARD)
    token = trial.post("/targets", device_id=device["id"], form="swu")["token"]
    policy = {"shares": [1.0], "soak_s": 0, "min_reports": 1}
    rollout = trial.post("/rollouts", packet_id=packet, policy=policy)
    expected = trial.http.get(f"/api/v1/packets/{packet}").json()
    folder, log = trial.folder, trial.folder / "swupdate.log"

    def state() -> str:
        return str(trial.http.get(f"/api/v1/rollouts/{rollout['id']}").json()["state"])

    with listening(trial.app) as url:
        options = f"-t DEFAULT -u {url} -i {NAME} -k {token} -p 1"
        applied = folder / "applied.json"
        with daemon(folder, folder / "image.crt", options):
            wait_for(lambda: applied.exists() and applied.stat().st_size > 0, log)
        answer = json.loads(applied.read_text())
        assert answer == {"state_digest": expected["result_digest"], "sequence": 1}
        assert state() == "running", "swupdate reports success after its restart, not before"
        with daemon(folder, folder / "image.crt", options + " -c 2"):
            wait_for(lambda: state() != "running", log)
    assert state() == "finished"
    assert trial.http.get(f"/api/v1/targets/{NAME}").json()["version"] == 2


def test_swupdate_brings_firmware_that_keeps_what_was_learned(trial: Trial, packet: str) -> None:
    """After the packet: the device holds version 2 and is given another build of its firmware."""
    client, folder = trial.client, trial.folder
    firmwares = []
    for _ in range(2):
        made = client.create_firmware(trial.model_id, BOARD, layout="field")
        trial.run(made.job_id)
        firmwares.append(made.id)
    device = FieldDevice(
        client.int_model(trial.model_id), Memory.load(folder / "unit") or pytest.fail("no memory"),
        BOARD, [trial.key.public_key], cache_folder(),
    )  # fmt: skip
    held = device.state_digest
    path = f"/api/v1/firmware/{firmwares[1]}/image"
    kind = {"Content-Type": "application/octet-stream"}
    assert trial.http.put(path, content=binary(device), headers=kind).status_code == 200
    bring = trial.post(f"/firmware/{firmwares[1]}/packets", base_firmware_id=firmwares[0])
    made = trial.post("/devices", name="swupdate-2", model_id=trial.model_id, board=BOARD)
    target = {"device_id": made["id"], "form": "swu", "version": 2}
    token = trial.post("/targets", **target, firmware_id=firmwares[0])["token"]
    policy = {"shares": [1.0], "soak_s": 0, "min_reports": 1}
    trial.post("/rollouts", packet_id=bring["id"], policy=policy, targets=["swupdate-2"])
    applied = folder / "applied.json"
    applied.unlink()
    with listening(trial.app) as url:
        options = f"-t DEFAULT -u {url} -i swupdate-2 -k {token} -p 1"
        with daemon(folder, folder / "image.crt", options):
            wait_for(
                lambda: applied.exists() and applied.stat().st_size > 0, folder / "swupdate.log"
            )
    answer = json.loads(applied.read_text())
    digests = {"image_digest": bring["result_digest"], "state_digest": held}
    assert answer == {**digests, "sequence": 1}
    after = Memory.load(folder / "unit")
    assert after is not None
    assert (after.image, after.learner) == (binary(device), device.memory.learner)


@pytest.mark.parametrize("fault", ["none", "bit", "certificate"])
def test_swupdate_checks_the_signature(
    trial: Trial, packet: str, tmp_path: Path, fault: str
) -> None:
    image = bytearray(trial.http.get(f"/api/v1/packets/{packet}/artifacts/swu").content)
    certificate = trial.folder / "image.crt"
    if fault == "bit":
        image[image.index(b"Hadapt packet")] ^= 1
    if fault == "certificate":
        _, certificate = generate(tmp_path, 30, time.time())
    (tmp_path / "p.swu").write_bytes(image)
    command = [swupdate(), "-c", "-i", str(tmp_path / "p.swu"), "-k", str(certificate)]
    done = subprocess.run(
        [*command, "-H", "hadapt:1.0"], cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    # Its exit code is 1 whatever -c finds: its verdict is in what it says.
    verdict = b"SWUPDATE successful" in done.stdout
    assert verdict == (fault == "none"), done.stdout[-1500:]
