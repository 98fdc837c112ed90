# SPDX-License-Identifier: Apache-2.0
"""kill -9 of `hadapt device run` while it takes an update: old state or new, and never behind what
the service knows of it; the rollout ends.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fleet import GOOD, Trial
from device.packet import state_digest
from server.fleet.device_memory import Memory
from tests.unit.server.fleet.test_swupdate import listening, save_base

ROOT = Path(__file__).parents[2]
SHORT_KILLS, LONG_KILLS, KILLS_A_DEVICE = 2, 100, 8
LONGEST_S = 8.0


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = Trial(tmp_path_factory.mktemp("kill"), 0, 0, ddi_poll_interval_s=1)
    with made.http:
        save_base(made)
        yield made


def start(trial: Trial, url: str, name: str, token: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "server.cli", "device", "run", "base.hadapt", "--url", url,
        "--name", name, "--token", token, "--trust", "trust.json", "--state", name,
        "--data", "own.npz", "--interval", "0.05",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (trial.folder / "device.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=trial.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def known(trial: Trial, name: str) -> int:
    return int(trial.http.get(f"/api/v1/targets/{name}").json()["version"])


def held(trial: Trial, name: str, digests: dict[str, int]) -> int:
    """The version that the device's folder holds; fails for anything between."""
    memory = Memory.load(trial.folder / name)
    return 1 if memory is None else digests[state_digest(memory.learner.state).hex()]


def kill_until_done(trial: Trial, packet: str, kills: int, seed: int) -> int:
    """Returns: kills before the device was through."""
    x, y = trial.data.x_test[:8], trial.data.y_test[:8].astype(str)
    np.savez(trial.folder / "own.npz", x=x, y=y)
    name = f"kill-{seed}"
    made = trial.post("/devices", name=name, model_id=trial.model_id, board="host")
    token = trial.post("/targets", device_id=made["id"])["token"]
    policy = {"shares": [1.0], "soak_s": 0, "min_reports": 1, "max_accuracy_drop": None}
    policy["max_forgetting"] = None
    rollout = trial.post("/rollouts", packet_id=packet, policy=policy, targets=[name])
    offer = trial.http.get(f"/api/v1/packets/{packet}").json()
    digests = {offer["base_digest"]: 1, offer["result_digest"]: 2}
    rng, done = random.Random(seed), 0
    with listening(trial.app) as url:
        while known(trial, name) == 1:
            process = start(trial, url, name, token)
            end = time.monotonic() + (rng.random() * LONGEST_S if done < kills else 300.0)
            while time.monotonic() < end and known(trial, name) == 1 and process.poll() is None:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
            assert held(trial, name, digests) >= known(trial, name)
            done += 1
            assert done < kills + 3, (trial.folder / "device.log").read_text()[-2000:]
    assert held(trial, name, digests) == 2
    state = trial.http.get(f"/api/v1/rollouts/{rollout['id']}").json()["state"]
    assert state == "finished"
    return done


@pytest.fixture(scope="module")
def packet(trial: Trial) -> str:
    """Id of the signed packet of version 2."""
    return trial.update(GOOD, poisoned=False)


def test_killed_device_is_never_behind_what_the_service_knows(trial: Trial, packet: str) -> None:
    assert kill_until_done(trial, packet, SHORT_KILLS, seed=1) >= 1


@pytest.mark.long
def test_many_devices_are_killed_at_random_moments(trial: Trial, packet: str) -> None:
    kills = seed = 0
    while kills < LONG_KILLS:
        seed += 1
        kills += kill_until_done(trial, packet, KILLS_A_DEVICE, seed=100 + seed)
    print(f"{kills} kills of {seed} devices")
