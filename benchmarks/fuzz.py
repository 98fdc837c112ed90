# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: ten million executions of libFuzzer over the parsers of a field device.

    python -m benchmarks.fuzz [--runs 10000000] [--jobs 1] [--keep folder]

Targets and seeds are those of `tests/fuzz`. A finding ends the run; the input is printed, and
belongs into `tests/regression/issue_0006_fuzz/<target>/`, from where every later run begins.
A kept folder holds corpora and counts: a run that was ended goes on from there.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.device_fuzz import (
    PARSERS,
    SUFFIX,
    Report,
    build_target,
    run_target,
    write_seeds,
    write_sources,
)

RESULT = Path(__file__).parent / "results" / "fuzz.md"
DEFAULT_RUNS, PIECE_RUNS = 10_000_000, 100_000
PROGRESS = "progress.json"
# In percent of all executions; store and wire are sessions, and slow.
SHARES = {"payload": 45, "import": 20, "packet": 25, "wire": 4, "store": 5, "wire_in_flash": 1}
COVERAGE = ("-fprofile-instr-generate", "-fcoverage-mapping")


def fuzz(sources: Path, target: str, runs: int, folder: Path) -> Report:
    """Run a target, piece by piece; its corpus and counts are left in the folder."""
    folder.mkdir(exist_ok=True)
    report = read_progress(folder)
    if report.executions >= runs:
        return report
    fuzzer = build_target(sources, target, folder / "fuzzer")
    corpus = write_seeds(target, folder / "corpus")
    while report.executions < runs and not report.failed:
        piece = min(PIECE_RUNS, runs - report.executions)
        # In seconds of the clock, and other programs run too.
        new = run_target(fuzzer, corpus, f"-runs={piece}", "-timeout=600", limit_s=86400.0)
        edges = max(report.edges, new.edges)
        report = Report(report.executions + new.executions, edges, new.failed, new.log)
        print(f"{target}: {report.executions} executions, {edges} edges", file=sys.stderr)
        if not report.failed:
            kept = {"executions": report.executions, "edges": edges}
            (folder / PROGRESS).write_text(json.dumps(kept))
    return report


def read_progress(folder: Path) -> Report:
    """What a target has done so far."""
    path = folder / PROGRESS
    kept = json.loads(path.read_text()) if path.exists() else {"executions": 0, "edges": 0}
    return Report(kept["executions"], kept["edges"], False, "")


def coverage(folder: Path, work: Path) -> dict[str, tuple[float, float]]:
    """Lines and branches, in percent, of each parser by all corpora of a folder together."""
    sources = write_sources(work)
    profiles, programs = [], []
    # Of one build: that of the others would count other lines of the same files.
    for target in (name for name in SHARES if not name.endswith(SUFFIX)):
        place = work / target
        place.mkdir()
        build_target(sources, target, place / "covered", COVERAGE)
        run_target(place / "covered", folder / target / "corpus", "-runs=0")
        profiles.append(str(place / "default.profraw"))
        programs.append(str(place / "covered"))
    merged = work / "merged.profdata"
    subprocess.run([_llvm("profdata"), "merge", "-o", merged, *profiles], check=True)
    objects = [part for name in programs[1:] for part in ("-object", name)]
    command = [_llvm("cov"), "export", "-summary-only", f"-instr-profile={merged}"]
    done = subprocess.run(
        [*command, programs[0], *objects], capture_output=True, text=True, check=True
    )
    found = {}
    for file in json.loads(done.stdout)["data"][0]["files"]:
        name, summary = Path(file["filename"]).name, file["summary"]
        found[name] = (summary["lines"]["percent"], summary["branches"]["percent"])
    return {name: found[name] for name in PARSERS}


def _llvm(tool: str) -> str:
    for name in (f"llvm-{tool}", f"llvm-{tool}-14", f"/usr/lib/llvm-14/bin/llvm-{tool}"):
        if shutil.which(name):
            return name
    raise FileNotFoundError(f"llvm-{tool} is missing; get it with `apt install llvm-14`")


def table(
    runs: int, reports: dict[str, Report], covered: dict[str, tuple[float, float]] | None
) -> str:
    """The result as Markdown."""
    total = sum(r.executions for r in reports.values())
    lines = [
        "# Fuzzing the device's parsers",
        "",
        f"`make fuzz` (`python -m benchmarks.fuzz --runs {runs}`): libFuzzer of Debian's clang,",
        "with address and undefined-behaviour sanitizers; nothing found. Targets: `tests/fuzz`.",
        "",
        "| target | executions | edges |",
        "| --- | --- | --- |",
        *(f"| {t} | {r.executions:,} | {r.edges:,} |" for t, r in reports.items()),
        f"| all | {total:,} | |",
    ]
    if covered:
        lines += [
            "",
            "Coverage of the parsers by the corpora that the runs leave:",
            "",
            "| file | lines | branches |",
            "| --- | --- | --- |",
            *(f"| {n} | {a:.1f} % | {b:.1f} % |" for n, (a, b) in covered.items()),
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Run, print, and write the table; exit code 1 on a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--jobs", type=int, default=1, help="targets at once")
    parser.add_argument("--keep", type=Path, help="folder of corpora and counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        sources = write_sources(Path(name) / "sources")

        def run(target: str) -> Report:
            return fuzz(sources, target, options.runs * SHARES[target] // 100, folder / target)

        first = Path(name) / "first"
        build_target(sources, next(iter(SHARES)), first)  # the runtime, once
        with ThreadPoolExecutor(options.jobs) as pool:
            reports = dict(zip(SHARES, pool.map(run, SHARES), strict=True))
        for target, report in reports.items():
            if report.failed:
                sys.exit(f"{target}:\n{report.log[-6000:]}")
        text = table(options.runs, reports, coverage(folder, Path(name) / "covered"))
    print(text)
    if options.runs >= DEFAULT_RUNS:
        RESULT.write_text(text)


if __name__ == "__main__":
    main()
