# SPDX-License-Identifier: Apache-2.0
"""A short run of atheris over the host's readers; the long one is `make fuzz-host`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fuzz(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.host_fuzz", "--corpus", str(folder / "corpus")]
    return subprocess.run(
        [*command, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_readers_take_or_refuse_what_coverage_leads_to(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--runs", "2000")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 2000 runs" in done.stderr
    covered = [int(n) for n in re.findall(r"cov: (\d+)", done.stderr)]
    assert covered[-1] > 300, "the readers' code is not instrumented"


def test_planted_error_of_a_reader_is_found(tmp_path: Path) -> None:
    prefix = f"{tmp_path}/"
    done = fuzz(tmp_path, "--runs", "200000", "--only", "planted", "--crashes", prefix)
    assert done.returncode != 0
    assert "KeyError" in done.stdout + done.stderr
    assert list(tmp_path.glob("crash-*"))
