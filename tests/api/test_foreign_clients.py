# SPDX-License-Identifier: Apache-2.0
"""Clients in other languages, written from docs/reference/api.md alone, against a live service.

What they say they saw is compared with what our own client finds in the same service.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.client import npz_bytes
from tests.api.fake_engine import fake_onnx
from tests.api.harness import calibration, make_samples
from tests.faults.service_process import ServiceProcess, running

CLIENTS = Path(__file__).parent / "clients"
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """API and worker as processes of their own."""
    with running(tmp_path_factory.mktemp("live") / "data") as service:
        service.wait_ready()
        yield service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the clients upload."""
    (tmp_path / "model.onnx").write_bytes(fake_onnx())
    (tmp_path / "calibration.npz").write_bytes(calibration())
    (tmp_path / "new.npz").write_bytes(npz_bytes(*make_samples(3, 12)))
    return tmp_path


def run(live: ServiceProcess, folder: Path, *program: str) -> str:
    """What a client prints."""
    command = [*program, live.url, str(live.key), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_node_client_follows_the_documentation_alone(live: ServiceProcess, folder: Path) -> None:
    node = Path(sys.executable).with_name("node")
    seen = json.loads(run(live, folder, str(node), str(CLIENTS / "client.mjs")))
    model = live.client.model(seen["model"])
    assert (model.name, seen["ready"]) == ("from node", True)
    assert seen["imported"]["state"] == seen["trained"]["state"] == "succeeded"
    assert seen["trained"]["kinds"].count("progress") >= 1
    assert seen["stored"] == seen["repeated"]
    assert (seen["stored"]["stored"], seen["again"]["duplicates"]) == (10, 10)
    assert seen["listed"] == [sample.label for sample in live.client.samples(model.id)]
    assert len(seen["listed"]) == 30
    assert (seen["outcome"], seen["version"]) == ("accepted", 2)
    state = live.client.version_state(model.id, 2)
    assert seen["state_sha256"] == hashlib.sha256(state).hexdigest()
    assert seen["state_is_named"] is True
    assert seen["zip_magic"] == "PK"
    assert (seen["wrong"]["status"], seen["absent"]["status"]) == (422, 404)
    assert seen["wrong"]["errors"][0]["where"] == "row 0, column 1"
    assert any("stepz" in error["where"] for error in seen["unknown"]["errors"])


def test_shell_client_follows_the_documentation_alone(live: ServiceProcess, folder: Path) -> None:
    text = run(live, folder, "sh", str(CLIENTS / "client.sh"))
    seen = dict(line.split(" ", 1) for line in text.splitlines())
    model = live.client.model(seen["model"])
    assert (model.name, seen["stored"], seen["version"]) == ("from sh", "12", "2")
    assert (folder / "new.state").read_bytes() == live.client.version_state(model.id, 2)
    assert seen["refused"] == "404 application/problem+json"
    assert "99" in seen["because"]


def test_client_that_gets_no_answer_it_can_use_fails(live: ServiceProcess, folder: Path) -> None:
    """The runs above can fail: without a key, neither client gets far."""
    command = ["sh", str(CLIENTS / "client.sh"), live.url, "had_wrong", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode != 0
    assert "401" in done.stderr
    assert not list(folder.glob("*.state"))
