# SPDX-License-Identifier: Apache-2.0
"""A rollout over 200 emulated devices: a good update reaches all, a harmful one none.

    python -m benchmarks.fleet [--devices 200] [--qemu 2]

The service runs in process, its jobs too; each device is a real firmware behind a gateway that
speaks hawkBit DDI: host builds, and the first of each stage in QEMU. Data: digits, classes 0 to 5,
then 6 (good), then 7 with most labels of 6 and 7 and of the old classes mixed up (harmful).
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from device.packet import state_digest
from server import logs
from server.app import create_app
from server.client import HadaptClient, npz_bytes
from server.fleet.device_memory import Memory
from server.fleet.field_device import FieldDevice
from server.fleet.gateway import DdiClient, Gateway
from server.fleet.keys import generate_key
from server.fleet.trust import changed, first_trust, signed
from server.jobs.kinds import MACHINES
from server.jobs.runner import run_to_end
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import DIGITS, load
from server.learning.engine import HadaptEngine
from server.learning.firmwares import cache_folder
from server.learning.float_reference import TrainOptions, train_base
from server.learning.learner_data import LearnerData
from server.services.keys import first_key
from server.settings import Settings

RESULT = Path(__file__).parent / "results" / "fleet.md"
BASE, GOOD, BAD = 6, 6, 7
SHARES = [0.05, 0.25, 1.0]
QEMU_BOARD = "mps2-an386"
OWN_SAMPLES = 60
MAX_ROUNDS = 12


@dataclass(frozen=True)
class Outcome:
    """A rollout's end: its state, devices by state a stage, reasons, and what the fleet holds.

    held: state digests (SPEC.md 11.1) of all devices, with how many hold each.
    rounds: polls of the whole fleet.
    """

    state: str
    stages: list[dict[str, int]]
    reasons: list[str]
    held: dict[str, int]
    accuracy: float
    rounds: int
    seconds: float


class Trial:
    """A service, a model, and devices.

    Args:
        qemu: how many of the devices are boards in QEMU.
        more: settings of the service.
    """

    def __init__(self, folder: Path, devices: int, qemu: int, **more: Any) -> None:
        self.folder = folder
        self.data = load(DIGITS)
        self.key = generate_key(folder / "release.pem")
        settings = Settings(data_dir=folder / "data", log_level="ERROR", **self._signing(), **more)
        logs.configure(settings)
        engine = HadaptEngine()
        self.app = create_app(settings, engine)
        self.http = TestClient(self.app, base_url="http://fleet")
        self.client = HadaptClient(key=first_key(self.app.state.context), http=self.http)
        self.model_id = self._upload()
        self.gateways = [self._device(i, i < qemu) for i in range(devices)]

    def _signing(self) -> dict[str, Any]:
        now = time.time()
        root = generate_key(self.folder / "root.pem")
        trust = changed(first_trust(root, now), now, add_release=self.key.public_key)
        (self.folder / "trust.json").write_bytes(signed(trust, root).to_bytes())
        return {"trust_file": self.folder / "trust.json", "signer": str(self.key.path)}

    def _upload(self) -> str:
        base = self.data.y_train < BASE
        x, y = self.data.x_train[base], self.data.y_train[base]
        normaliser = fit_normaliser(x)
        options = TrainOptions(hidden=(32,))
        params = train_base(normaliser.apply(x), y, BASE, options, seed=1)
        onnx = to_onnx(params, normaliser, name="digits").SerializeToString()
        model = self.client.upload_model("digits", onnx, npz_bytes(x, y.tolist()), {})
        self.run(model.job_id)
        return model.id

    def run(self, job_id: str) -> None:
        """Run a job here and now."""
        run_to_end(self.app.state.context, MACHINES, job_id)
        job = self.client.job(job_id)
        if job.state != "succeeded":
            raise RuntimeError(f"job {job_id}: {job.error}")

    def post(self, path: str, **body: Any) -> Any:
        """POST to the API; its answer's JSON."""
        answer = self.http.post(f"/api/v1{path}", json=body)
        if answer.status_code >= 400:
            raise RuntimeError(answer.text)
        return answer.json()

    def _device(self, number: int, emulated: bool) -> Gateway:
        board = QEMU_BOARD if emulated else "host"
        name = f"unit-{number:03d}"
        made = self.post("/devices", name=name, model_id=self.model_id, board=QEMU_BOARD)
        token = self.post("/targets", device_id=made["id"])["token"]
        learner = LearnerData.from_bytes(self.client.version_learner(self.model_id, 1))
        device = FieldDevice(
            self.client.int_model(self.model_id),
            Memory(learner),
            board,
            [self.key.public_key],
            cache_folder(),
        )
        rows = np.random.default_rng(number).permutation(len(self.data.y_test))[:OWN_SAMPLES]
        x, y = self.data.x_test[rows], self.data.y_test[rows].astype(np.int64)
        ddi = DdiClient(self.http, "DEFAULT", name, f"TargetToken {token}")
        return Gateway(ddi, device, x, y)

    def update(self, label: int, poisoned: bool) -> str:
        """Learn a class; poisoned: labels drawn at random. Returns: id of the signed packet."""
        rows = self.data.y_train == label
        x, y = self.data.x_train[rows], self.data.y_train[rows].astype(np.int64)
        if poisoned:
            old = self.data.y_train < label
            x = np.concatenate([x, self.data.x_train[old]])
            draws = np.random.default_rng(7).integers(0, label + 1, len(x))
            y = np.concatenate([y, draws[len(y) :]])
        self.client.send_samples(x, y.tolist(), model_id=self.model_id)
        chosen = [str(n) for n in range(label + 1)] if poisoned else [str(label)]
        spec = {"model_id": self.model_id, "steps": 150, "selection": {"classes": chosen}}
        made = self.post("/updates", **spec)
        self.run(made["job_id"])
        return str(self.post("/packets", model_id=self.model_id)["id"])

    def roll_out(self, packet_id: str) -> Outcome:
        """Deliver, every device polling in turn, until the rollout has ended."""
        begin = time.perf_counter()
        for gateway in self.gateways:
            gateway.report()
        # A new class alone lowers accuracy a little: what was known before must stay known.
        policy = {
            "shares": SHARES,
            "soak_s": 0,
            "min_reports": 5,
            "max_accuracy_drop": 0.1,
            "max_forgetting": 0.05,
        }
        made = self.post("/rollouts", packet_id=packet_id, policy=policy)
        rounds = 0
        while rounds < MAX_ROUNDS:
            rounds += 1
            turns = [gateway.turn() for gateway in self.gateways]
            found = self.http.get(f"/api/v1/rollouts/{made['id']}").json()
            if found["state"] in ("finished", "rolled_back") and set(turns) == {"idle"}:
                break
        held: dict[str, int] = {}
        for gateway in self.gateways:
            digest = gateway.device.state_digest
            held[digest] = held.get(digest, 0) + 1
        accuracy = float(np.mean([g.figures.accuracy for g in self.gateways if g.figures]))
        return Outcome(
            found["state"],
            found["stages"],
            found["reasons"],
            held,
            accuracy,
            rounds,
            time.perf_counter() - begin,
        )


def run(devices: int, qemu: int, folder: Path) -> tuple[Outcome, Outcome, dict[str, str]]:
    """The good and the harmful update. Returns: both outcomes, and digests by version."""
    trial = Trial(folder, devices, qemu)
    with trial.http:
        good = trial.roll_out(trial.update(GOOD, poisoned=False))
        harmful = trial.roll_out(trial.update(BAD, poisoned=True))
        versions = {
            str(v.number): state_digest(trial.client.version_state(trial.model_id, v.number)).hex()
            for v in trial.client.versions(trial.model_id)
        }
    return good, harmful, versions


def table(devices: int, qemu: int, outcomes: tuple[Outcome, Outcome, dict[str, str]]) -> str:
    """The result as Markdown; no times, so that it changes only if the outcome does."""
    good, harmful, versions = outcomes
    names = {digest: f"version {number}" for number, digest in versions.items()}
    lines = [
        "# Rollouts over emulated devices",
        "",
        f"`python -m benchmarks.fleet --devices {devices} --qemu {qemu}`: digits;",
        f"{devices - qemu} host builds and {qemu} boards ({QEMU_BOARD}) in QEMU.",
        "What a device holds is told by its state digest: equal digests, equal weights.",
        f"Stages reach {', '.join(f'{100 * s:g} %' for s in SHARES)} of the devices.",
        "",
        "| update | end | devices by stage | what the fleet holds | mean accuracy | why |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, outcome in (("class 6 (good)", good), ("class 7, poisoned labels", harmful)):
        stages = "; ".join(
            ", ".join(f"{n} {state}" for state, n in sorted(s.items())) for s in outcome.stages
        )
        held = ", ".join(f"{n} {names.get(h, 'unknown')}" for h, n in outcome.held.items())
        why = "; ".join(outcome.reasons) or "-"
        accuracy = f"{100 * outcome.accuracy:.1f} %"
        lines.append(f"| {title} | {outcome.state} | {stages} | {held} | {accuracy} | {why} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run, print, and write the committed table for the full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--qemu", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(options.devices, options.qemu, Path(folder))
    text = table(options.devices, options.qemu, outcomes)
    print(text)
    print(f"{outcomes[0].seconds:.0f} s and {outcomes[1].seconds:.0f} s")
    if (options.devices, options.qemu) == (200, 2):
        RESULT.write_text(text)


if __name__ == "__main__":
    main()
