# SPDX-License-Identifier: Apache-2.0
"""kill -9 of worker, server and both: jobs end once with the same bits, samples are there once.

The long form has HADAPT_KILLS kills over each kind of stores (200 by default). HADAPT_KILL_SEED
sets their moments. After HADAPT_KILL_MINUTES no round begins; a later run goes on with the rest.
"""

import contextlib
import dataclasses
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import make_url

from server.api.schemas import UpdateRead
from server.client import HadaptClient, JobEndedError
from server.errors import UnavailableError
from tests.api.fake_engine import fake_onnx
from tests.api.harness import calibration, make_samples
from tests.faults import kill_record
from tests.faults.kill_record import Round
from tests.faults.service_process import ServiceProcess, running
from tests.postgres import Cluster, cluster
from tests.s3 import s3_server

SHORT_KILLS = 4  # every kind of kill at least once
LONG_KILLS = int(os.environ.get("HADAPT_KILLS", "200"))
ROUND_KILLS = 25
MINUTES = float(os.environ.get("HADAPT_KILL_MINUTES", "600"))
BEGAN = time.monotonic()
SEED = int(os.environ.get("HADAPT_KILL_SEED", str(random.SystemRandom().randrange(1 << 16))))
Answer = TypeVar("Answer")
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


def begin_update(
    client: HadaptClient, model_id: str, step_ms: int, seed: int = 1, key: str | None = None
) -> UpdateRead:
    return client.create_update(
        model_id,
        base_version=1,
        steps=STEPS,
        seed=seed,
        options={"step_ms": step_ms},
        selection={"classes": ["3"]},
        gate={"min_accuracy": 0.5},
        key=key,
    )


@dataclass(frozen=True)
class Stores:
    """Settings that name the databases, and the cluster if there is one."""

    settings: dict[str, str] = field(default_factory=dict)
    cluster: Cluster | None = None

    @property
    def name(self) -> str:
        return "sqlite" if self.cluster is None else "postgresql"

    def renewed(self) -> "Stores":
        """The same with empty databases."""
        if self.cluster is None:
            return self
        name = self.cluster.new_database()
        urls = {
            "HADAPT_DATABASE_URL": name,
            "HADAPT_JOBS_DATABASE_URL": self.cluster.new_database(),
            "HADAPT_BLOB_URL": f"s3://hadapt-blobs/{make_url(name).database}",
        }
        return dataclasses.replace(self, settings={**self.settings, **urls})

    @property
    def kinds(self) -> tuple[str, ...]:
        """What can be killed; SQLite has no connections to cut."""
        return KINDS if self.cluster is None else (*KINDS, "connections")


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Databases of both kinds; with PostgreSQL, blobs are on S3."""
    if request.param == "sqlite":
        yield Stores()
        return
    with cluster() as found, s3_server() as environment:
        yield Stores(environment, found).renewed()


def kill(service: ServiceProcess, kind: str, stores: Stores) -> None:
    """Kill, check for orphans, start again if the server is gone."""
    if kind == "connections":
        assert stores.cluster is not None
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


@contextlib.contextmanager
def services_over(folder: Path, stores: Stores) -> Iterator[list[ServiceProcess]]:
    """One service over SQLite; over PostgreSQL two, on two machines as far as they can tell."""
    with contextlib.ExitStack() as stack:
        for name in ("one", "two"):
            (folder / name).mkdir()
        first = stack.enter_context(running(folder / "one" / "data", **stores.settings))
        if stores.cluster is None:
            yield [first]
            return
        named = {**stores.settings, "HADAPT_EXECUTOR_ID": "worker-2"}
        second = ServiceProcess(folder / "two" / "data", **named)
        second.key = first.key
        second.start()
        stack.callback(second.kill_all)
        yield [first, second]


def run_round(folder: Path, kills: int, stores: Stores, seed: int) -> Round:
    """Kill so many times over fresh stores; everything is compared before this returns."""
    draw, began = random.Random(seed), time.monotonic()
    done: Counter[str] = Counter()
    updates = 0
    with services_over(folder, stores) as services:
        client = services[0].client
        model_id = prepare(client)
        quiet = begin_update(client, model_id, step_ms=0)
        client.wait_job(quiet.job_id, timeout_s=30)
        wanted = client.update(quiet.id).result
        assert wanted is not None
        update = begin_update(client, model_id, step_ms=15)
        for number in range(kills):
            service = draw.choice(services)
            # Mostly in mid-training, now and then while things are still starting.
            if draw.random() < 0.8:
                wait_for_progress(service, update.job_id)
            time.sleep(draw.uniform(0.0, 0.4))
            send_until_acknowledged(draw.choice(services), model_id, number)
            kind = stores.kinds[number % len(stores.kinds)]
            kill(service, kind, stores)
            done[kind] += 1
            state = patiently(service.client.update, update.id).state
            if state == "succeeded" and number + 1 < kills:
                check_update(service, update, wanted.state_hash)
                updates += 1
                update = patiently(
                    begin_update, service.client, model_id, 15, key=f"update-{number}"
                )
        check_end(services[-1], update, wanted.state_hash)
        stored = [s.label for s in services[-1].client.samples(model_id)].count("4")
        assert stored == kills, f"every acknowledged sample once; HADAPT_KILL_SEED={seed}"
        for service in services:
            assert service.stop() == 0
            assert not service.wait_gone(), "orphans"
    seconds = round(time.monotonic() - began, 1)
    return Round(stores.name, dict(done), kills, stored, updates + 1, seed, seconds)


def patiently(ask: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:
    """Ask again while the database is away: the answer is then 503."""
    for _ in range(50):
        try:
            return ask(*arguments, **options)
        except UnavailableError:
            time.sleep(0.1)
    raise TimeoutError


def check_end(service: ServiceProcess, update: UpdateRead, state_hash: str) -> None:
    """The last update ends as well, with the same bits."""
    try:
        service.client.wait_job(update.job_id, timeout_s=60)
    except (JobEndedError, TimeoutError) as error:
        pytest.fail(f"rerun with HADAPT_KILL_SEED={SEED}: {error}\n{service.log()}")
    check_update(service, update, state_hash)


def test_killed_service_ends_the_job_once_with_the_same_bits(
    tmp_path: Path, stores: Stores
) -> None:
    run_round(tmp_path, SHORT_KILLS, stores, SEED)


@pytest.mark.long
@pytest.mark.timeout(300 + 40 * LONG_KILLS)
def test_service_survives_many_kills(
    tmp_path_factory: pytest.TempPathFactory, stores: Stores
) -> None:
    """Rounds are recorded (tests/faults/kill_record.py): what was done is not done again."""
    record = kill_record.folder()
    done = kill_record.kills_done(record, stores.name)
    while done < LONG_KILLS:
        if time.monotonic() - BEGAN > 60 * MINUTES:
            pytest.skip(f"{done} of {LONG_KILLS} kills so far: run it again for the rest")
        kills, seed = min(ROUND_KILLS, LONG_KILLS - done), SEED + done
        try:
            # A round has databases and folders of its own.
            folder = tmp_path_factory.mktemp("kills")
            result = run_round(folder, kills, stores.renewed(), seed)
        except BaseException as error:
            kill_record.add(record, Round(stores.name, seed=seed, fault=repr(error)[:300]))
            raise
        kill_record.add(record, result)
        done += kills


def wait_for_progress(service: ServiceProcess, job_id: str) -> None:
    """Wait until the job has done one more chunk, or has ended."""
    begin = patiently(service.client.job, job_id)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = patiently(service.client.job, job_id)
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
