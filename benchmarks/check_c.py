# SPDX-License-Identifier: Apache-2.0
"""`make check-c`: the runtime's lint against MISRA C:2012 and its coverage by the parity tests.

The lint is cppcheck's `misra` addon over a generated folder. Rules that the runtime
departs from are in DEVIATIONS with the reason; a finding of any other rule fails the command. This
is a checked subset, no claim of compliance. Coverage, line and branch, is that of `tests/parity` on
the host, by gcovr: a `gcc` of our own, first on the PATH, adds the instrumentation and keeps the
notes that the build would throw away.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.models import SMALL_INT8, subject
from codegen.generate import generate, runtime_files, write_folder
from device.harness.boards import BOARDS, Board
from device.harness.run import run_limited
from device.twin.model import IntModel

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "check-c.md"
LINT_LIMIT_S = 1800.0
# Whose executions on the host are counted.
TESTS = (
    "tests/parity/test_sessions.py",
    "tests/parity/test_front.py",
    "tests/parity/test_wire_hostile.py",
    "tests/parity/test_wire_refusals.py",
    "tests/parity/test_field_device.py",
    "tests/parity/test_guard.py",
    "tests/faults/test_powercut.py",
)
FINDING = re.compile(r"^(misra-c2012-[\d.]+|[a-zA-Z]\w+) (\S+):(\d+) ")

DEVIATIONS = {
    "2.2": "a product with a switch that is 0 in this model",
    "2.3": "a type or tag serves a table that not every model has",
    "2.4": "a type or tag serves a table that not every model has",
    "2.5": "a macro serves an option that this model does not use",
    "5.6": "a typedef and its tag share the name, so that both forms can be written",
    "5.7": "a typedef and its tag share the name, so that both forms can be written",
    "5.9": "static helpers of one file may be called like those of another; one kernel a file",
    "8.7": "a function of a public header is used by programs, not always by the runtime",
    "8.9": "tables stand beside the function they serve",
    "8.14": "`restrict` tells compilers what the headers' contracts say",
    "9.3": "an initialiser `{0}` clears the whole object",
    "9.5": "an initialiser `{0}` clears the whole object",
    "10.1": "arithmetic right shift of signed values is required, and asserted at compile time",
    "10.3": "literals of an enumeration are stored in their width",
    "10.4": "signed and unsigned operands meet where the range is proved",
    "10.7": "a sum or product is widened after it was proved to fit",
    "10.8": "a sum is widened after it was proved to fit",
    "11.4": "addresses are compared with alignments",
    "11.5": "a state field is bytes when it is hashed and numbers when it is used",
    "11.9": "0 as the null pointer",
    "12.1": "usual precedence of arithmetic is relied on",
    "12.2": "a shift count is below 32 by a bound that the file states",
    "12.3": "a comma separates declarations or arguments of a macro",
    "13.3": "an increment stands with the store it belongs to",
    "13.4": "an assignment's value is used",
    "14.2": "a loop steps through blocks",
    "15.5": "early return on error, so that the main path is straight",
    "17.3": "__builtin_memset: in a freestanding build memset itself would be called, not inlined",
    "17.7": "memcpy's result is of no use",
    "17.8": "a pointer parameter walks through its array",
    "18.4": "pointers walk through arrays",
    "19.2": "the arena is a union: its owners never live at the same time, as the plan shows",
    "20.7": "pieces of inline assembly are strings side by side, which take no parentheses",
    "20.10": "inline assembly marks immediates with #, which the addon takes for the operator",
    "21.15": "words are read from octets by memcpy: the way without aliasing or alignment",
}
# What the addon takes for a literal with the suffix l: hexadecimal digits, then l, as in `cell`.
LITERAL = re.compile(r"(?<![\w.])\d[\w.]*l(?![\w])")

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


def lint(model: IntModel, board: Board) -> Counter[str]:
    """Findings a rule over the generated sources and the runtime.

    Returns: "misra-c2012-R" or cppcheck's own id to the number of findings.
    Raises: RuntimeError if cppcheck failed.
    """
    with tempfile.TemporaryDirectory() as name:
        write_folder({**generate(model, board), **runtime_files()}, Path(name))
        program = Path(sys.executable).with_name("cppcheck")
        command = [str(program), "--addon=misra", "--std=c11", "--enable=warning,style", "--quiet"]
        command += ["-I.", "-Iruntime/include", "-j2", "--template={id} {file}:{line} {message}"]
        command += ["runtime/src", "hadapt_plan.c", "hadapt_tables.c"]
        done = run_limited(command, cwd=Path(name), timeout_s=LINT_LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(f"cppcheck failed: {done.stdout[-2000:]}")
        found = [FINDING.match(line) for line in done.stdout.splitlines()]
        return Counter(m.group(1) for m in found if m and not is_name(m, Path(name)))


def is_name(finding: re.Match[str], folder: Path) -> bool:
    """True for a finding of rule 7.3 in a line where no number ends in l."""
    if finding.group(1) != "misra-c2012-7.3":
        return False
    lines = (folder / finding.group(2)).read_text().splitlines()
    return not LITERAL.search(lines[int(finding.group(3)) - 1])


def unknown_rules(found: Counter[str]) -> list[str]:
    """Rules of MISRA with findings and without a deviation."""
    rules = [rule.removeprefix("misra-c2012-") for rule in found if rule.startswith("misra-")]
    return sorted(rule for rule in rules if rule not in DEVIATIONS)


def coverage(work: Path) -> tuple[str, str]:
    """gcovr's tables of lines and of branches after the parity tests.

    Raises: RuntimeError if there is no gcc; CalledProcessError if a test or gcovr failed.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise RuntimeError("coverage needs gcc; get it with `apt install gcc`")
    data, tools = work / "data", work / "bin"
    tools.mkdir()
    wrapper = tools / "gcc"
    wrapper.write_text(WRAPPER.format(gcc=gcc, device=ROOT / "device", data=data))
    wrapper.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "GCOV_PREFIX": str(data),
        "HADAPT_CACHE_DIR": str(work / "cache"),
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not long", *TESTS]
    subprocess.run(pytest, cwd=ROOT, env=environment, check=True)
    return _gcovr(data, "line"), _gcovr(data, "branch")


def _gcovr(data: Path, metric: str) -> str:
    command = [sys.executable, "-m", "gcovr", "--root", ".", "--filter", "runtime/src/"]
    command += ["--gcov-ignore-errors=all", "--exclude-unreachable-branches"]
    # A static function may stand once for each variant.
    command += ["--merge-mode-functions=separate"]
    command += ["--txt-metric", metric, "--txt", "-", str(data)]
    done = subprocess.run(command, cwd=ROOT / "device", check=True, capture_output=True, text=True)
    return done.stdout


def main() -> int:
    """Both checks; prints them and writes the result. Returns: 1 if the lint found a new rule."""
    model, board = subject(SMALL_INT8).model, BOARDS["mps2-an386"]
    found = lint(model, board)
    unknown = unknown_rules(found)
    with tempfile.TemporaryDirectory() as work:
        lines, branches = coverage(Path(work))
    text = render(found, lines, branches)
    RESULT.write_text(text)
    print(text)
    for rule in unknown:
        print(f"rule {rule} has findings and no deviation in benchmarks/check_c.py")
    return 1 if unknown else 0


def render(found: Counter[str], lines: str, branches: str) -> str:
    """The result as Markdown."""
    rows = [
        f"| {rule.removeprefix('misra-c2012-')} | {count} | "
        f"{DEVIATIONS.get(rule.removeprefix('misra-c2012-'), 'not deviated from')} |"
        for rule, count in sorted(found.items())
    ]
    return "\n".join(
        [
            "# Lint and coverage of the C runtime",
            "",
            "Written by `make check-c`. The lint is cppcheck's MISRA C:2012 addon, a subset of the",
            "rules; what is not listed has no finding. Coverage is that of the parity tests on the",
            "host, by gcovr.",
            "",
            "| rule | findings | why |",
            "| --- | --- | --- |",
            *rows,
            "",
            "```",
            lines.strip(),
            "",
            branches.strip(),
            "```",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
