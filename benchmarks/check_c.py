# SPDX-License-Identifier: Apache-2.0
"""`make check-c`: the runtime's lint against MISRA C:2012 and its coverage by the parity tests.

Lint and coverage consist of parts (benchmarks/c_lint.py, benchmarks/c_coverage.py). What a part
found is kept in out/check-c under a name that follows from the sources: a run that was ended goes
on with what is missing, and `--part NAME` works on one part. A finding without a recorded reason,
or a source that no subject compiles, fails the command. This is a checked subset, no claim of
compliance.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import c_coverage, c_lint
from benchmarks.c_lint import Finding

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "check-c.md"
WORK = ROOT / "out" / "check-c"
LINT = {f"lint-{subject.name}": subject for subject in c_lint.SUBJECTS}
PARTS = [*LINT, *c_coverage.PARTS]


def linted(name: str) -> tuple[set[Finding], set[str]]:
    """What a part of the lint found: findings, and sources that are empty there."""
    sources = ("benchmarks/c_lint.py", "benchmarks/models.py")
    path = WORK / f"{name}-{c_coverage.sources_digest(sources)}.json"
    if not path.exists():
        found, empty = c_lint.lint(LINT[name])
        path.write_text(json.dumps({"found": sorted(found), "empty": sorted(empty)}))
    kept = json.loads(path.read_text())
    return {(rule, file, line) for rule, file, line in kept["found"]}, set(kept["empty"])


def work_on(name: str) -> None:
    """Do a part, unless it is done; says how long it took."""
    began = time.monotonic()
    if name in LINT:
        linted(name)
    else:
        c_coverage.cover(name, WORK)
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def unexplained(found: set[Finding]) -> list[str]:
    """Findings for which no reason is recorded."""
    return [
        f"{c_lint.name_of(f)} {f[1]}:{f[2]} has no reason in benchmarks/c_lint.py"
        for f in sorted(found)
        if c_lint.reason_of(f) is None
    ]


def render(found: set[Finding], lines: str, branches: str) -> str:
    """The result as Markdown."""
    counts = Counter((c_lint.name_of(f), c_lint.reason_of(f) or "not deviated from") for f in found)
    rows = [f"| {name} | {count} | {why} |" for (name, why), count in sorted(counts.items())]
    subjects = [f"{s.name} ({s.board})" for s in c_lint.SUBJECTS]
    return "\n".join(
        [
            "# Lint and coverage of the C runtime",
            "",
            "Written by `make check-c`. The lint is cppcheck's MISRA C:2012 addon, a subset of the",
            "rules, over every source of the runtime as it is compiled in at least one of",
            f"{', '.join(subjects)};",
            "what is not listed has no finding. Coverage is that of chosen parity tests on the",
            "host, by gcovr; kernels in assembly have none there.",
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Work on the parts; once all are done, print and write the result. Returns: 1 for findings
    without a reason."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check_c", description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, help="work on these parts alone")
    chosen = parser.parse_args(arguments).part
    WORK.mkdir(parents=True, exist_ok=True)
    for name in chosen or PARTS:
        work_on(name)
    if chosen:
        return 0
    parts = [linted(name) for name in LINT]
    found = set().union(*(part for part, _ in parts))
    never = set.intersection(*(empty for _, empty in parts))
    traces = [c_coverage.cover(name, WORK) for name in c_coverage.PARTS]
    text = render(found, *c_coverage.tables(traces))
    RESULT.write_text(text)
    print(text)
    faults = [
        *unexplained(found),
        *(f"{name} is empty for every subject" for name in sorted(never)),
    ]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
