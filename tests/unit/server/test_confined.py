# SPDX-License-Identifier: Apache-2.0
"""Compilers and emulators of the service run under limits; jobs' values are JSON."""

import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.harness import confine
from device.harness.run import run_limited
from server.jobs.worker import JsonSerializer

LOOK = """
import json, os, resource, socket
names = ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE")
limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in names}
print(json.dumps({"limits": limits, "net": [n for _, n in socket.if_nameindex()]}))
"""


@pytest.fixture
def limits() -> Iterator[confine.Limits]:
    chosen = confine.Limits(cpu_s=7, memory_bytes=1 << 30, file_bytes=1 << 20, open_files=64)
    confine.enable(chosen)
    yield chosen
    confine.disable()


def run(code: str, folder: Path) -> tuple[int, str]:
    done = run_limited([sys.executable, "-c", code], cwd=folder, timeout_s=30)
    return done.returncode, done.stdout


def test_confined_process_has_limits_and_no_network(limits: confine.Limits, tmp_path: Path) -> None:
    code, output = run(LOOK, tmp_path)
    assert code == 0, output
    found = json.loads(output)
    assert found["limits"] == {
        "RLIMIT_CPU": 7,
        "RLIMIT_AS": 1 << 30,
        "RLIMIT_FSIZE": 1 << 20,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    if "no network" in confine.status():
        assert found["net"] == ["lo"]
    else:
        assert os.geteuid() != 0, confine.status()


def test_limits_end_a_process_that_wants_more(limits: confine.Limits, tmp_path: Path) -> None:
    code, output = run("bytearray(2 << 30)", tmp_path)
    assert code != 0 and "MemoryError" in output
    code, output = run("open('x', 'wb').write(bytes(2 << 20))", tmp_path)
    assert code != 0
    assert (tmp_path / "x").stat().st_size <= 1 << 20


def test_without_enabling_commands_are_as_they_were() -> None:
    assert confine.confined(["a", "b"]) == ["a", "b"]
    assert confine.status() == "compilers and emulators are not confined"


def test_job_values_are_json_and_never_pickle() -> None:
    serializer = JsonSerializer()
    assert json.loads(serializer.serialize({"phase": "begin"})) == {"phase": "begin"}
    with pytest.raises(ValueError):
        serializer.deserialize(pickle.dumps(1, protocol=0).decode())
    with pytest.raises(TypeError):
        serializer.serialize({"x": object()})
