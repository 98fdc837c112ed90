# SPDX-License-Identifier: Apache-2.0
"""The service under load: started with settings, filled, watched, and asked what it holds."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from server.client import HadaptClient
from server.demo.example import write_example
from server.demo.service import Service

FEATURES = 64
# Settings of empty stores for one service; none are SQLite and files in its folder.
new_stores: Callable[[], dict[str, str]] = dict


@contextmanager
def running(**settings: object) -> Iterator[tuple[Service, Path]]:
    """A service over an empty folder, gone afterwards. Settings by name, without the prefix."""
    kept = dict(os.environ)
    os.environ.update({f"HADAPT_{k.upper()}": str(v) for k, v in settings.items()})
    stores = new_stores()
    os.environ.update(stores)
    try:
        with tempfile.TemporaryDirectory(prefix="hadapt-load-") as name:
            folder = Path(name)
            with Service(folder, stores) as service:
                yield service, folder
    finally:
        os.environ.clear()
        os.environ.update(kept)


def make_model(client: HadaptClient, folder: Path) -> str:
    """The digits model of the README, ready for samples."""
    write_example(folder)
    model = client.upload_model(
        "digits", (folder / "digits.onnx").read_bytes(), (folder / "calib.npz").read_bytes()
    )
    client.wait_job(model.job_id, timeout_s=300)
    return model.id


def sample_row(number: int) -> bytes:
    """Features of sample `number` as stored; requests.lua sends the same."""
    digits = []
    for _ in range(FEATURES):
        digits.append(number % 10)
        number //= 10
    return np.array(digits, dtype="<f4").tobytes()


def sample_digest(number: int) -> str:
    """What the service calls sample `number`: SHA-256 of its features, a zero byte, its class."""
    return hashlib.sha256(sample_row(number) + b"\0" + b"0").hexdigest()


def acknowledged(folder: Path, run: str, batch: int) -> set[str]:
    """Digests of all samples that were acknowledged in a run of requests.lua."""
    found: set[str] = set()
    for path in folder.glob(f"{run}-*.ids"):
        for line in path.read_text().split():
            found.update(sample_digest(int(line) * batch + i) for i in range(batch))
    return found


def rss_mib(data: Path) -> dict[str, float]:
    """Resident memory of the service's processes, MiB by kind: api, worker."""
    found: dict[str, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode()
            place = (entry / "environ").read_bytes()
            status = (entry / "status").read_text()
        except OSError:
            continue
        kind = _kind(line, str(data), place)
        if kind:
            kib = int(status.split("VmRSS:")[1].split()[0])
            found[kind] = found.get(kind, 0.0) + kib / 1024
    return found


def _kind(line: str, data: str, place: bytes) -> str | None:
    if "server.serve" in line and data in line:
        return "api"
    if line.endswith("server.jobs.worker\0") and "warden" not in line and data.encode() in place:
        return "worker"
    return None
