# SPDX-License-Identifier: Apache-2.0
"""A full disk, with the service over a small tmpfs: clear errors, nothing half-stored, recovery."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from server.client import JobEndedError, npz_bytes
from server.errors import StorageFullError, StorageReadOnlyError, UnavailableError
from tests.api.fake_engine import fake_onnx
from tests.api.harness import calibration, make_samples
from tests.faults.service_process import ServiceProcess, running
from tests.faults.test_service_kill import begin_update, prepare, wait_for_progress

DISK_BYTES = 12 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """A file that takes the disk's room but for a rest."""
    path = folder / "filler"
    # The service writes too, so the disk may be full a little earlier.
    with contextlib.suppress(OSError), path.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(folder).free - leave_bytes)))
    return path


def blobs_of(service: ServiceProcess) -> set[str]:
    return {path.name for path in (service.data / "blobs" / "sha256").iterdir()}


def test_full_disk_refuses_without_half_storing_and_recovers(small_disk: Path) -> None:
    with running(small_disk / "data") as service:
        client = service.client
        model = client.upload_model("m", fake_onnx(), calibration())
        client.wait_job(model.job_id, timeout_s=30)
        before = blobs_of(service)
        filler = fill(small_disk, leave_bytes=600_000)

        with pytest.raises(StorageFullError):
            client.upload_model("big", fake_onnx(padding="x" * 900_000), calibration())
        assert not list((service.data / "tmp").iterdir())
        assert blobs_of(service) == before

        acknowledged, refused = 0, 0
        random = np.random.default_rng(0)
        for _ in range(40):
            x = random.normal(0, 1, (500, 4))
            try:
                acknowledged += client.send_samples(x, [3] * 500, model_id=model.id).stored
            except StorageFullError:
                refused += 1
            if refused == 3:
                break
        assert refused == 3
        assert sum(c.train for c in client.classes(model.id)) == acknowledged
        response = httpx2.post(
            f"{client.base_url}/api/v1/models/{model.id}/samples",
            content=npz_bytes(random.normal(0, 1, (3000, 4)), [3] * 3000),
            headers={
                "Content-Type": "application/octet-stream",
                "Authorization": f"Bearer {service.key}",
            },
        )
        assert response.status_code == 507
        assert response.headers["content-type"] == "application/problem+json"

        filler.unlink()
        client.send_samples(random.normal(0, 1, (10, 4)), [3] * 10, model_id=model.id)
        update = client.create_update(model.id, steps=8)
        client.wait_job(update.job_id, timeout_s=30)
        service.kill_server()
        assert not service.wait_gone()
        service.start()
        stored = sum(c.train for c in service.client.classes(model.id))
        assert stored == acknowledged + 10
        assert service.client.update(update.id).version == 2
        assert service.stop() == 0


def test_disk_full_in_mid_training_ends_the_job_or_lets_it_go_on(
    small_disk: Path, tmp_path: Path
) -> None:
    with running(small_disk / "data", tmp_path / "log.txt") as service:
        model_id = prepare(service.client)
        update = begin_update(service.client, model_id, step_ms=10)
        wait_for_progress(service, update.job_id)
        filler = fill(small_disk, leave_bytes=0)
        time.sleep(1.5)
        filler.unlink()
        try:
            service.client.wait_job(update.job_id, timeout_s=40)
        except JobEndedError as error:
            assert isinstance(error.cause, StorageFullError)
        after = begin_update(service.client, model_id, step_ms=0)
        service.client.wait_job(after.job_id, timeout_s=40)
        assert sum(c.test for c in service.client.classes(model_id)) == 40


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own on a loop device, which becomes read-only at its first error."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["truncate", "-s", "64M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount(image, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(image: Path, folder: Path) -> None:
    options = ["-o", "loop,errors=remount-ro"]
    done = subprocess.run(["mount", *options, str(image), str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.decode()}")


def break_disk(folder: Path) -> None:
    """What a fault of the disk does: the kernel finds an error and lets nobody write any more."""
    found = ["findmnt", "-no", "SOURCE", str(folder)]
    device = subprocess.run(found, check=True, capture_output=True, text=True).stdout.strip()
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("test")
    with pytest.raises(OSError, match="Read-only"):
        (folder / "probe").touch()


# Long: not every machine that tests has loop devices, and in CI a skip is a failure.
@pytest.mark.long
def test_disk_that_becomes_read_only_refuses_clearly_and_a_restart_goes_on(
    failing_disk: Path, tmp_path: Path
) -> None:
    settings = {"HADAPT_DISK_FREE_MIN_BYTES": "1000000"}
    log = tmp_path / "log.txt"
    with running(failing_disk / "data", log, **settings) as service:
        model_id = prepare(service.client)
        before = len(list(service.client.samples(model_id)))
        update = begin_update(service.client, model_id, step_ms=20)
        wait_for_progress(service, update.job_id)
        break_disk(failing_disk)
        x, y = make_samples(3, 10, seed=9)
        for _ in range(3):
            with pytest.raises(StorageReadOnlyError):
                service.client.send_samples(x, y, model_id=model_id)
        with pytest.raises(StorageReadOnlyError):
            service.client.upload_model("m2", fake_onnx(), calibration())
        assert len(list(service.client.samples(model_id))) == before
        with pytest.raises(UnavailableError) as caught:
            service.client.check_ready()
        assert "cannot be written" in {i.where: i.what for i in caught.value.errors}["disk"]
        time.sleep(2)
        assert service.client.job(update.job_id).state == "running"
        assert len(log.read_text()) < 40_000, "the log is flooded"
        service.kill_all()
        assert not service.wait_gone()

        subprocess.run(["umount", str(failing_disk)], check=True)
        image = tmp_path / "image"
        subprocess.run(["fsck.ext4", "-fy", str(image)], capture_output=True)
        mount(image, failing_disk)
        service.start()
        service.client.wait_job(update.job_id, timeout_s=40)
        assert service.client.update(update.id).version == 2
        assert service.client.send_samples(x, y, model_id=model_id).stored == 10
        assert service.stop() == 0


def test_oversized_stream_is_refused_by_the_real_server(tmp_path: Path) -> None:
    limit = 100_000
    with running(tmp_path / "data", HADAPT_UPLOAD_JSON_MAX_BYTES=str(limit)) as service:
        url = f"{service.client.base_url}/api/v1/updates"
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(200):
                sent += 1
                yield b" " * 10_000

        for body in (endless(), b" " * (limit + 1)):
            headers = {"Content-Type": "application/json"}
            headers["Authorization"] = f"Bearer {service.key}"
            response = httpx2.post(url, content=body, headers=headers)
            assert response.status_code == 413
            assert response.json()["type"] == "urn:hadapt:problem:payload-too-large"
        assert service.stop() == 0
        assert not service.wait_gone()
