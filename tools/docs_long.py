# SPDX-License-Identifier: Apache-2.0
"""`make docs-long`: the pages' examples that need frameworks too heavy for every test run.

Each ```long block names an environment of PACKAGES, which is made in out/docs-long once; its
commands run as those of other pages do (tests/unit/test_documents.py).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.unit.test_documents import DOCUMENTS, ROOT, check, steps_of

PACKAGES = {
    "torch": ("torch", "onnx", "onnxscript", "scikit-learn"),
    "keras": ("tensorflow-cpu", "tf2onnx", "scikit-learn"),
}
ENVIRONMENTS = ROOT / "out" / "docs-long"
RESULT = ROOT / "benchmarks" / "results" / "docs-long.md"
LIMIT_S = 1800.0


def environment(name: str) -> Path:
    """The programs of an environment, made if it is not there."""
    folder = ENVIRONMENTS / name
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES[name]]
        subprocess.run(pip, check=True)
        (folder / "ready").touch()
    return folder / "bin"


def versions(programs: Path, name: str) -> str:
    """The releases that were used."""
    code = "import sys; from importlib.metadata import version as v"
    code += "; print(*(f'{n} {v(n)}' for n in sys.argv[1:]), sep=', ')"
    command = [str(programs / "python"), "-c", code, *PACKAGES[name]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Run them all; writes the result. Returns: 1 if one failed."""
    rows, failed = [], 0
    for page in DOCUMENTS:
        for name in PACKAGES:
            steps = steps_of(page.read_text(), name)
            commands = [step for step, _ in steps if not step.startswith("write ")]
            if not commands:
                continue
            programs, began, outcome = environment(name), time.monotonic(), "as shown"
            try:
                with tempfile.TemporaryDirectory() as folder:
                    check(steps, Path(folder), str(programs), LIMIT_S)
            except AssertionError as error:
                outcome, failed = f"failed: {str(error).splitlines()[0]}", 1
                print(error)
            seconds = time.monotonic() - began
            where = page.relative_to(ROOT).as_posix()
            rows.append(
                f"| {where} | {versions(programs, name)} | {len(commands)} | {outcome} "
                f"| {seconds:.0f} |"
            )
    head = ["# Examples that need heavy frameworks", "", "Written by `make docs-long`.", ""]
    head += ["| page | packages | commands | outcome | s |", "| --- | --- | --- | --- | --- |"]
    text = "\n".join([*head, *rows, ""])
    RESULT.write_text(text)
    print(text)
    return failed


if __name__ == "__main__":
    sys.exit(main())
