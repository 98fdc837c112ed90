# SPDX-License-Identifier: Apache-2.0
"""kill -9 of worker, server and both: jobs end once with the same bits, samples are there once.

The long form has HADAPT_KILLS kills (200 by default). HADAPT_KILL_SEED sets their moments.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.api.schemas import UpdateRead
from server.client import HadaptClient, JobEndedError
from server.errors import UnavailableError
from tests.api.fake_engine import fake_onnx
from tests.api.harness import calibration, make_samples
from tests.faults.service_process import ServiceProcess, running
from tests.postgres import Cluster, cluster
from tests.s3 import s3_server

SHORT_KILLS = 6
LONG_KILLS = int(os.environ.get("HADAPT_KILLS", "200"))
SEED = int(os.environ.get("HADAPT_KILL_SEED", str(random.SystemRandom().randrange(1 << 16))))
KINDS = ("worker", "server", "both")
STEPS = 96


def prepare(client: HadaptClient) -> str:
    """An imported model with test samples of all classes and training samples of a new one."""
    model = client.upload_model("m", fake_onnx(), calibration())
    client.wait_job(model.job_id, timeout_s=30)
    for label in range(4):
        x, y = make_samples(label, 10, seed=1)
        client.send_samples(x, y, model_id=model.id, split="test")
    x, y = make_samples(3, 10, seed=2)
    client.send_samples(x, y, model_id=model.id)
    return model.id


def begin_update(client: HadaptClient, model_id: str, step_ms: int, seed: int = 1) -> UpdateRead:
    return client.create_update(
        model_id,
        base_version=1,
        steps=STEPS,
        seed=seed,
        options={"step_ms": step_ms},
        selection={"classes": ["3"]},
        gate={"min_accuracy": 0.5},
    )


@dataclass(frozen=True)
class Stores:
    """Settings that name the databases, and the cluster if there is one."""

    settings: dict[str, str] = field(default_factory=dict)
    cluster: Cluster | None = None


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Databases of both kinds; with PostgreSQL, blobs are on S3."""
    if request.param == "sqlite":
        yield Stores()
        return
    with cluster() as found, s3_server() as environment:
        urls = {
            "HADAPT_DATABASE_URL": found.new_database(),
            "HADAPT_JOBS_DATABASE_URL": found.new_database(),
            "HADAPT_BLOB_URL": "s3://hadapt-blobs/kill",
        }
        yield Stores({**urls, **environment}, found)


def kill(service: ServiceProcess, kind: str, stores: Stores | None = None) -> None:
    """Kill, check for orphans, start again if the server is gone."""
    if kind == "connections":
        assert stores is not None and stores.cluster is not None
        stores.cluster.cut_connections()
    if kind in ("worker", "both"):
        service.kill_worker()
    if kind in ("server", "both"):
        service.kill_server()
        assert not service.wait_gone(), "orphans"
        service.start()


def send_until_acknowledged(service: ServiceProcess, model_id: str, number: int) -> None:
    """One sample with a key of its own, sent again until it is acknowledged."""
    x, y = make_samples(4, 1, seed=1000 + number)
    for _ in range(50):
        try:
            service.client.send_samples(x, y, model_id=model_id, key=f"sample-{number}")
            return
        except UnavailableError:
            time.sleep(0.1)
    raise TimeoutError


@pytest.mark.parametrize(
    "kills",
    [
        SHORT_KILLS,
        pytest.param(
            LONG_KILLS, marks=[pytest.mark.long, pytest.mark.timeout(300 + 20 * LONG_KILLS)]
        ),
    ],
)
def test_killed_service_ends_the_job_once_with_the_same_bits(
    tmp_path: Path, kills: int, stores: Stores
) -> None:
    draw = random.Random(SEED)
    kinds = KINDS if stores.cluster is None else (*KINDS, "connections")
    done: Counter[str] = Counter()
    with running(tmp_path / "data", **stores.settings) as service:
        model_id = prepare(service.client)
        quiet = begin_update(service.client, model_id, step_ms=0)
        service.client.wait_job(quiet.job_id, timeout_s=30)
        wanted = service.client.update(quiet.id).result
        assert wanted is not None
        killed, sent, update = 0, 0, begin_update(service.client, model_id, step_ms=15)
        while killed < kills:
            # Mostly in mid-training, now and then while things are still starting.
            if draw.random() < 0.8:
                wait_for_progress(service, update.job_id)
            time.sleep(draw.uniform(0.0, 0.4))
            send_until_acknowledged(service, model_id, sent)
            sent += 1
            kill(service, kinds[killed % len(kinds)], stores)
            done[kinds[killed % len(kinds)]] += 1
            killed += 1
            if service.client.update(update.id).state == "succeeded" and killed < kills:
                check_update(service, update, wanted.state_hash)
                update = begin_update(service.client, model_id, step_ms=15)
        try:
            service.client.wait_job(update.job_id, timeout_s=60)
        except (JobEndedError, TimeoutError) as error:
            pytest.fail(f"rerun with HADAPT_KILL_SEED={SEED}: {error}\n{service.log()}")
        check_update(service, update, wanted.state_hash)
        stored = [s.label for s in service.client.samples(model_id)]
        assert stored.count("4") == sent, "every acknowledged sample once"
        assert service.stop() == 0
        assert not service.wait_gone(), "orphans"
    name = "PostgreSQL and S3" if stores.cluster else "SQLite"
    print(f"| {name} | {kills} | {dict(done)} | {sent} | {sent} | {SEED} |")


def wait_for_progress(service: ServiceProcess, job_id: str) -> None:
    """Wait until the job has done one more chunk, or has ended."""
    begin = service.client.job(job_id)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = service.client.job(job_id)
        if now.finished_at or now.progress.get("steps_done", 0) > begin.progress.get(
            "steps_done", 0
        ):
            return
        time.sleep(0.02)
    raise TimeoutError(service.log())


def check_update(service: ServiceProcess, update: UpdateRead, state_hash: str) -> None:
    """The same bits, exactly one version, and a history without repetition."""
    done = service.client.update(update.id)
    assert done.result is not None
    assert done.result.state_hash == state_hash, f"rerun with HADAPT_KILL_SEED={SEED}"
    versions = [v.number for v in service.client.versions(done.model_id) if v.update_id == done.id]
    assert versions == [done.version]
    log = service.client.job_log(done.job_id)
    steps = [e.data["steps_done"] for e in log if "steps_done" in e.data]
    assert steps == list(range(0, STEPS + 1, 8))
    assert [e.data["state"] for e in log if e.kind == "state"] == ["queued", "running", "succeeded"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for what needs no kill of its own; a job may end its worker twice."""
    folder = tmp_path_factory.mktemp("service") / "data"
    with running(folder, HADAPT_JOB_MAX_RECOVERIES="1") as started:
        yield started


@pytest.fixture(scope="module")
def model_id(service: ServiceProcess) -> str:
    return prepare(service.client)


def test_cancel_reaches_the_running_worker(service: ServiceProcess, model_id: str) -> None:
    update = begin_update(service.client, model_id, step_ms=100)
    events = service.client.job_events(update.job_id)
    for event in events:
        if event.data.get("steps_done"):
            service.client.cancel_job(update.job_id)
            break
    assert [e.data for e in events][-1] == {"state": "cancelled"}
    after = begin_update(service.client, model_id, step_ms=0, seed=2)
    service.client.wait_job(after.job_id, timeout_s=30)
    assert service.client.update(update.id).result is None


def test_second_service_on_the_same_folder_shares_its_jobs(
    service: ServiceProcess, model_id: str
) -> None:
    second = ServiceProcess(service.data, HADAPT_EXECUTOR_ID="worker-2")
    second.key = service.key
    second.start()
    updates = [
        begin_update(client, model_id, step_ms=0, seed=seed)
        for seed, client in enumerate((service.client, second.client))
    ]
    for update in updates:
        service.client.wait_job(update.job_id, timeout_s=40)
    made = {v.update_id for v in second.client.versions(model_id)}
    assert {update.id for update in updates} <= made
    assert second.stop() == 0


def test_job_that_kills_its_worker_fails_and_others_go_on(
    service: ServiceProcess, model_id: str
) -> None:
    bad = service.client.create_update(
        model_id, base_version=1, steps=8, options={"kill_worker": 1}
    )
    good = begin_update(service.client, model_id, step_ms=0)
    with pytest.raises(JobEndedError, match="given up"):
        service.client.wait_job(bad.job_id, timeout_s=60)
    service.client.wait_job(good.job_id, timeout_s=60)


def test_jobs_of_a_worker_that_is_gone_are_adopted(tmp_path: Path) -> None:
    """Two services on PostgreSQL; one is killed for good, the other finishes its job."""
    with cluster() as found:
        settings = {
            "HADAPT_DATABASE_URL": found.new_database(),
            "HADAPT_JOBS_DATABASE_URL": found.new_database(),
            "HADAPT_BLOB_URL": f"file://{tmp_path / 'blobs'}",
        }
        (tmp_path / "blobs").mkdir()
        with running(tmp_path / "one", **settings, HADAPT_EXECUTOR_ID="one") as gone:
            model_id = prepare(gone.client)
            update = begin_update(gone.client, model_id, step_ms=50)
            wait_for_progress(gone, update.job_id)
            gone.kill_server()
            assert not gone.wait_gone()
            with running(tmp_path / "two", **settings, HADAPT_EXECUTOR_ID="two") as other:
                other.client = HadaptClient(other.url, key=gone.key)
                command = [sys.executable, "-m", "server.cli", "jobs", "adopt"]
                command += ["--executor", "one", "--data-dir", str(other.data), "--json"]
                environment = {**os.environ, **settings}
                early = subprocess.run(command, env=environment, capture_output=True, text=True)
                assert "seems alive" in early.stdout or early.returncode == 0
                done = subprocess.run(
                    [*command, "--force"], env=environment, capture_output=True, text=True
                )
                assert update.job_id in done.stdout + early.stdout, done.stdout + done.stderr
                other.client.wait_job(update.job_id, timeout_s=60)
                assert other.client.update(update.id).result is not None
