# SPDX-License-Identifier: Apache-2.0
"""The container files, as far as that goes without an engine: no image is built."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def lint(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a linter of the virtual environment."""
    return subprocess.run(
        [str(TOOLS / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_dockerfile_hadolint_finds_nothing() -> None:
    done = lint(["hadolint", str(DOCKER / "Dockerfile")])
    assert done.returncode == 0, done.stdout


def test_dockerfile_hadolint_finds_a_planted_fault(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("python:3.11-slim-bookworm", "python"))
    assert "DL3006" in lint(["hadolint", str(tmp_path / "Dockerfile")]).stdout


@pytest.mark.parametrize("path", sorted(DOCKER.glob("compose*.yaml")), ids=lambda p: p.name)
def test_compose_file_fits_the_schema(path: Path) -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = lint(["check-jsonschema", *schema, str(path)])
    assert done.returncode == 0, done.stdout


def test_compose_file_schema_finds_a_planted_fault(tmp_path: Path) -> None:
    wrong = (DOCKER / "compose.yaml").read_text().replace("restart:", "restarts:")
    (tmp_path / "compose.yaml").write_text(wrong)
    schema = ["--builtin-schema", "vendor.compose-spec"]
    assert lint(["check-jsonschema", *schema, str(tmp_path / "compose.yaml")]).returncode == 1


def test_dockerfile_sets_only_settings_that_exist() -> None:
    names = {name.lower() for name in re.findall(r"\bHADAPT_(\w+)=", DOCKERFILE)}
    assert names
    assert names <= set(Settings.model_fields)


def test_dockerfile_copies_what_the_ignore_file_lets_through() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE))
    wanted = {name for names in copied for name in names.split()}
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert set(kept) == wanted
    assert all((ROOT / name).exists() for name in wanted)


def test_dockerfile_installs_the_packages_of_the_set_up() -> None:
    script = (ROOT / "tools" / "debian_tools.sh").read_text().split("test_tools=(")[0]
    needed = {
        p for line in re.findall(r'^    "[^|]+\|([^|]+)\|', script, re.M) for p in line.split()
    }
    image = DOCKERFILE.split("--no-install-recommends", 1)[1].split("&&", 1)[0]
    assert needed == set(image.replace("\\", " ").split())
