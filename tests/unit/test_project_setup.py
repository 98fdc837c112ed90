# SPDX-License-Identifier: Apache-2.0
"""The set-up scripts, and the rule that a skip fails in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
CONFTEST = ROOT / "tests" / "conftest.py"


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with exactly this environment; both outputs in stdout."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )


def bare_path(folder: Path) -> str:
    """A PATH with what the scripts themselves use, and no compiler or emulator."""
    for name in ("bash", "env", "id", "timeout"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def test_debian_tools_missing_and_not_installable_are_one_line_each(tmp_path: Path) -> None:
    script = [str(TOOLS / "debian_tools.sh")]
    done = run(script, ROOT, PATH=bare_path(tmp_path), HADAPT_APT="0")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    for lost in ("gcc on the host", "Cortex-M55", "RV32"):
        assert any(lost in line and line.startswith("setup: not to be had") for line in lines), lost
    in_ci = run(script, ROOT, PATH=str(tmp_path), HADAPT_APT="0", CI="true")
    assert in_ci.returncode == 1
    assert "a missing tool is a failure" in in_ci.stdout


def test_setup_unknown_extra_is_refused() -> None:
    done = run([str(TOOLS / "setup.sh"), "everything"], ROOT, PATH=os.environ["PATH"])
    assert done.returncode == 1
    assert "usage" in done.stdout


def test_setup_without_python_says_what_is_needed(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(TOOLS, copy / "tools")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    (tmp_path / "bin").mkdir()
    path = bare_path(tmp_path / "bin")
    (tmp_path / "bin" / "dirname").symlink_to(str(shutil.which("dirname")))
    done = run(["bash", "tools/setup.sh", "dev"], copy, PATH=path)
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stdout


SUITE = {
    "skip_inside": "import pytest\ndef test_a():\n    pytest.skip('no tool')\n",
    "skip_file": "import pytest\npytest.importorskip('no_such_module')\ndef test_a(): pass\n",
    "skip_mark": "import pytest\n@pytest.mark.skip(reason='later')\ndef test_a(): pass\n",
}


def run_suite(folder: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One test file under the project's conftest."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_one.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(folder)]
    return run(command, folder, PATH=os.environ["PATH"], PYTHONPATH=str(ROOT), **environment)


@pytest.mark.parametrize("source", SUITE.values(), ids=SUITE)
def test_skip_in_ci_is_a_failure_with_the_reason(tmp_path: Path, source: str) -> None:
    done = run_suite(tmp_path, source, CI="true")
    assert done.returncode in (1, 2), done.stdout
    assert "in CI a skip is a failure" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_skip_elsewhere_is_a_skip(tmp_path: Path) -> None:
    done = run_suite(tmp_path, SUITE["skip_inside"])
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout


def test_expected_failure_in_ci_stays_one(tmp_path: Path) -> None:
    source = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_a(): raise ValueError\n"
    done = run_suite(tmp_path, source, CI="true")
    assert done.returncode == 0, done.stdout
    assert "1 xfailed" in done.stdout


LACKS_TOOL = """import pytest
from device.harness.errors import ToolchainMissingError
@pytest.fixture
def firmware():
    raise ToolchainMissingError("no compiler for mars")
def test_a(firmware): pass
def test_b():
    raise ToolchainMissingError("no emulator for mars")
"""


def test_missing_tool_elsewhere_is_a_skip_that_names_it(tmp_path: Path) -> None:
    done = run_suite(tmp_path, LACKS_TOOL)
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    assert "no compiler for mars" in done.stdout
    assert "no emulator for mars" in done.stdout


def test_missing_tool_in_ci_is_a_failure(tmp_path: Path) -> None:
    done = run_suite(tmp_path, LACKS_TOOL, CI="true")
    assert done.returncode == 1, done.stdout
    assert "no compiler for mars" in done.stdout
    assert "no emulator for mars" in done.stdout
