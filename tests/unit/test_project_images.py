# SPDX-License-Identifier: Apache-2.0
"""What the images do when they are built and run, done outside Docker.

The Dockerfile is parsed; what it copies is installed into a scratch prefix, and from there, with
the environment of the stage, commands and health checks of server and worker run. Not done: pulling
base images, useradd, installing Debian's packages (their names are looked up).
"""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from server.demo.example import write_example
from server.fleet.keys import generate_key
from server.fleet.trust import changed, first_trust, signed
from tests.api.proxy import free_port

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BASES = {"python:3.11-slim-bookworm"}


@dataclass
class Stage:
    """A stage of the Dockerfile, with what it has from those that it is built on."""

    env: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    copies: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def parse(text: str) -> dict[str, Stage]:
    """Stages by name, the few instructions that this Dockerfile has."""
    stages: dict[str, Stage] = {}
    stage = Stage()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            assert base in stages or base in BASES
            known = stages.get(base, Stage())
            stage = Stage(dict(known.env), known.user, cmd=known.cmd, health=known.health)
            stages[name] = stage
        elif word == "ENV":
            stage.env.update(pair.split("=", 1) for pair in rest.split())
        elif word == "USER":
            stage.user = rest
        elif word == "COPY" and not rest.startswith("--from"):
            stage.copies += rest.split()[:-1]
        elif word == "RUN":
            stage.runs.append(rest)
        elif word in ("CMD", "ENTRYPOINT"):
            setattr(stage, word.lower(), json.loads(rest))
        elif word == "HEALTHCHECK":
            stage.health = json.loads(rest[rest.index("CMD") + 3 :])
    return stages


STAGES = parse((DOCKER / "Dockerfile").read_text())


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build stage installs, from no other files than it copies."""
    source = tmp_path_factory.mktemp("source")
    for name in STAGES["build"].copies:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        elif name != "./":
            shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("opt") / "hadapt"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--target", str(target), "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return target


def environment(stage: Stage, prefix: Path, data: Path, **more: str) -> dict[str, str]:
    """The stage's variables, with our places for /data and /opt/hadapt."""
    own = {k: v.replace("/data", str(data)) for k, v in stage.env.items()}
    tools = Path(sys.executable).parent
    own["PATH"] = f"{prefix / 'bin'}:{tools}:/usr/bin:/bin"
    return {**own, "PYTHONPATH": str(prefix), "LANG": "C.UTF-8", "COLUMNS": "200", **more}


def start(command: list[str], env: dict[str, str], cwd: Path) -> "subprocess.Popen[str]":
    """Start a command of an image; `python` and `hadapt` are found by PATH, as there."""
    found = shutil.which(command[0], path=env["PATH"])
    assert found, command[0]
    pipe = subprocess.PIPE
    # The installed script names the interpreter of the tests; only its packages differ.
    return subprocess.Popen(
        [found, *command[1:]], env=env, cwd=cwd, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def exit_code(command: list[str], env: dict[str, str], cwd: Path) -> int:
    """Run a health check."""
    process = start(command, env, cwd)
    process.communicate(timeout=60)
    return process.returncode


def wait_for(check: list[str], env: dict[str, str], cwd: Path, seconds: float = 60) -> bool:
    """Wait until a health check is content."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if exit_code(check, env, cwd) == 0:
            return True
        time.sleep(0.3)
    return False


def worker_check() -> list[str]:
    """The health check of workers in compose.scale.yaml."""
    test = scale()["services"]["worker-1"]["healthcheck"]["test"]
    assert test[0] == "CMD"
    return list(test[1:])


def scale() -> dict[str, Any]:
    """compose.scale.yaml."""
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.scale.yaml").read_text())
    return found


def test_server_image_starts_is_healthy_and_stops(prefix: Path, tmp_path: Path) -> None:
    stage, port = STAGES["server"], str(free_port())
    env = environment(stage, prefix, tmp_path / "data", HADAPT_PORT=port, HADAPT_HOST="127.0.0.1")
    check = [part.replace("8600", port) for part in stage.health]
    assert exit_code(check, env, tmp_path) != 0, "healthy before it was started"
    process = start(stage.cmd, env, tmp_path)
    try:
        assert wait_for(check, env, tmp_path), process.stdout and process.stdout.read()
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert "hadapt first key had_" in out
    assert process.returncode == 0
    assert exit_code(check, env, tmp_path) != 0, "healthy after it was stopped"


def test_worker_command_of_scale_runs_and_is_seen(prefix: Path, tmp_path: Path) -> None:
    command = scale()["services"]["worker-1"]["command"]
    env = environment(STAGES["worker"], prefix, tmp_path / "data", HADAPT_EXECUTOR_ID="worker-7")
    process = start(command, env, tmp_path)
    try:
        assert wait_for(worker_check(), env, tmp_path)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    other = {**env, "HADAPT_EXECUTOR_ID": "worker-8"}
    assert exit_code(worker_check(), other, tmp_path) == 1


class Ddi(BaseHTTPRequestHandler):
    """A service with nothing to install; it keeps what it is asked."""

    asked: ClassVar[list[str]] = []

    def answer(self) -> None:
        """200 to whatever it is."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        self.asked.append(f"{self.command} {self.path} {self.headers['Authorization']} {body}")
        answer = b'{"config": {"polling": {"sleep": "00:05:00"}}, "_links": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing to standard error."""


def device_files(folder: Path, env: dict[str, str]) -> None:
    """What is mounted at /device: a model, a trust file, samples."""
    write_example(folder)
    quantize = "hadapt quantize digits.onnx --data calib.npz -o model.hadapt --batch 16"
    assert exit_code(quantize.split(), env, folder) == 0
    key, root = generate_key(folder / "release.pem"), generate_key(folder / "root.pem")
    trust = changed(first_trust(root, time.time()), time.time(), add_release=key.public_key)
    (folder / "trust.json").write_bytes(signed(trust, root).to_bytes())
    (folder / "test.npz").rename(folder / "samples.npz")


def test_emulator_image_polls_on_an_emulated_board_and_is_healthy(
    prefix: Path, tmp_path: Path
) -> None:
    stage, device = STAGES["emulator"], tmp_path / "device"
    device.mkdir()
    env = environment(stage, prefix, tmp_path / "data", HADAPT_TARGET_TOKEN="t0ken")
    device_files(device, env)
    own = {"/device": str(device), "/data": str(tmp_path / "data")}

    def here(words: list[str]) -> list[str]:
        return [re.sub("|".join(own), lambda found: own[found[0]], word) for word in words]

    help_of = start(here(stage.entrypoint + stage.cmd), env, tmp_path)
    assert "Run a device" in help_of.communicate(timeout=60)[0]
    assert exit_code(here(stage.health), env, tmp_path) != 0, "healthy before it was started"
    with ThreadingHTTPServer(("127.0.0.1", 0), Ddi) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--url", f"http://127.0.0.1:{server.server_port}", "--name", "unit-1"]
        options += ["--board", "mps2-an385", "--polls", "2", "--interval", "0"]
        process = start(here(stage.entrypoint) + options, env, tmp_path)
        out = process.communicate(timeout=120)[0]
        server.shutdown()
    assert process.returncode == 0, out
    assert Ddi.asked[0].startswith("PUT /DEFAULT/controller/v1/unit-1/configData TargetToken t0ken")
    assert "hadapt.accuracy" in Ddi.asked[0]
    polls = [line for line in Ddi.asked if line.startswith("GET /DEFAULT/controller/v1/unit-1 ")]
    assert len(polls) == 2
    assert exit_code(here(stage.health), env, tmp_path) == 0


def test_no_image_runs_as_root() -> None:
    for name in ("server", "worker", "emulator"):
        assert STAGES[name].user == "10001:10001", name
        assert STAGES[name].health, name


def test_debian_packages_of_the_images_exist() -> None:
    line = next(run for run in STAGES["worker"].runs if "apt-get install" in run)
    names = line.split("--no-install-recommends")[1].split("&&")[0].split()
    found = subprocess.run(["apt-cache", "show", *names], capture_output=True, text=True)
    known = set(re.findall(r"^Package: (\S+)$", found.stdout, re.M))
    assert set(names) <= known


def test_scale_has_no_default_secret_and_hardens_what_is_ours() -> None:
    text = (DOCKER / "compose.scale.yaml").read_text()
    secrets = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in secrets} == {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert all(rest.startswith(":?") for _, rest in secrets)
    for name, service in scale()["services"].items():
        if name not in ("postgres", "bucket"):
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert "ports" not in service or name == "proxy"
    workers = [s for n, s in scale()["services"].items() if n.startswith("worker")]
    ids = {s["environment"]["HADAPT_EXECUTOR_ID"] for s in workers}
    assert len(ids) == len(workers) > 1


def test_compose_files_are_tidy() -> None:
    files = sorted(map(str, DOCKER.glob("compose*.yaml")))
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
    rules += "braces: {max-spaces-inside: 1}, comments: disable}}"
    tool = Path(sys.executable).parent / "yamllint"
    done = subprocess.run([str(tool), "-d", rules, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
