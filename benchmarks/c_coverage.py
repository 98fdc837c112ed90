# SPDX-License-Identifier: Apache-2.0
"""Coverage of the runtime, line and branch, by chosen parity tests on the host, with gcovr.

Tests that plant errors, emulate a board or repeat an optimisation level bring no line and are left
out. Each part leaves a trace file, named by what it depends on, so that a run that was ended goes
on with the parts that are missing. A `gcc` of our own, first on the PATH, adds the instrumentation
and keeps the notes that the build would throw away.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WITHOUT = "not planted and not emulat and not qemu and not cortex and not clang"
# Parts: test files, and what of them.
PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "sessions": (
        ("tests/parity/test_sessions.py",),
        "not optimisation and not fifty and not native and not budget and not distillation",
    ),
    "methods": (("tests/parity/test_sessions.py",), "distillation and host"),
    "sums": (("tests/parity/test_largest_sums.py",), "not board"),
    "convolutions": (("tests/parity/test_conv_training.py",), ""),
    "front": (
        ("tests/parity/test_front.py", "tests/parity/test_suite.py"),
        "host or behind or cnn",
    ),
    "signals": (("tests/parity/test_signal_parity.py", "tests/parity/test_mfcc_parity.py"), ""),
    "growing": (("tests/parity/test_expansion.py",), ""),
    "wire": (("tests/parity/test_wire_hostile.py", "tests/parity/test_wire_refusals.py"), ""),
    "field": (
        (
            "tests/parity/test_field_device.py",
            "tests/parity/test_learning_log.py",
            "tests/parity/test_guard.py",
        ),
        "not mps2",
    ),
    "powercut": (("tests/faults/test_powercut.py",), "64"),
}
WRAPPER = """#!/usr/bin/env bash
# gcc with coverage; the notes go where the counts will be looked for. Optimised code has no lines
# of its own, so whatever level is asked for, none is used.
set -euo pipefail
"{gcc}" --coverage -fprofile-prefix-map="$PWD"="{device}" "$@" -O0
previous=
for argument in "$@"; do
    if [ "$previous" = -o ] && [ -e "${{argument%.o}}.gcno" ]; then
        notes=$(realpath "${{argument%.o}}.gcno")
        mkdir -p "{data}$(dirname "$notes")"
        cp "$notes" "{data}$notes"
    fi
    previous=$argument
done
"""


def cover(name: str, folder: Path) -> Path:
    """The trace file of a part: the one that is there, or a new one.

    Raises: RuntimeError if there is no gcc; CalledProcessError if a test or gcovr failed.
    """
    trace = folder / f"coverage-{name}-{sources_digest(PARTS[name][0])}.json"
    if not trace.exists():
        with tempfile.TemporaryDirectory() as work:
            _run_tests(name, Path(work))
            unfinished = trace.with_suffix(".part")
            _gcovr("--json", str(unfinished), "-j", "2", f"{work}/data")
            unfinished.rename(trace)
    return trace


def sources_digest(tests: tuple[str, ...]) -> str:
    """Of all that a part's coverage follows from, but for the compiler."""
    digest = hashlib.sha256()
    runtime = ROOT / "device" / "runtime"
    for path in [*sorted(runtime.rglob("*.[ch]")), *(ROOT / name for name in tests)]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _run_tests(name: str, work: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        raise RuntimeError("coverage needs gcc; get it with `apt install gcc`")
    files, chosen = PARTS[name]
    wrapper = work / "bin" / "gcc"
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER.format(gcc=gcc, device=ROOT / "device", data=work / "data"))
    wrapper.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{wrapper.parent}:{os.environ['PATH']}",
        "GCOV_PREFIX": str(work / "data"),
        "HADAPT_CACHE_DIR": str(work / "cache"),
    }
    which = f"({WITHOUT}) and ({chosen})" if chosen else WITHOUT
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not long", "-k", which]
    pytest += ["-p", "no:cacheprovider", f"--basetemp={work / 'tests'}", *files]
    subprocess.run(pytest, cwd=ROOT, env=environment, check=True)


def tables(traces: list[Path]) -> tuple[str, str]:
    """gcovr's tables of lines and of branches over all traces."""
    together = [argument for trace in traces for argument in ("-a", str(trace))]
    return tuple(_gcovr(*together, "--txt-metric", m, "--txt", "-") for m in ("line", "branch"))  # type: ignore[return-value]


def _gcovr(*arguments: str) -> str:
    command = [sys.executable, "-m", "gcovr", "--root", ".", "--filter", "runtime/src/"]
    command += ["--gcov-ignore-errors=all", "--exclude-unreachable-branches"]
    # A static function may stand once for each variant.
    command += ["--merge-mode-functions=separate", *arguments]
    done = subprocess.run(command, cwd=ROOT / "device", capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"gcovr failed: {done.stderr[-2000:]}")
    return done.stdout
