# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: measure every cost, write the tables, say what changed."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cost import run
from benchmarks.records import COST_NAME, FOLDER, TOLERANCE, changes, committed, renewed, save
from benchmarks.report import CORES, cost_page, profile_sections, targets_table
from server.learning.firmwares import cache_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns: 1 if counters disagree, or with --check a figure is behind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    behind_help = f"fail if a figure is more than {TOLERANCE:.0%}% behind the committed baseline"
    parser.add_argument("--check", action="store_true", help=behind_help)
    core_help = "measure these cores only; the other figures stay as they are committed"
    parser.add_argument("--core", nargs="+", choices=CORES, default=CORES, help=core_help)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the results")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    report = run(cache_folder(), _say, options.core)
    before = committed()
    found = changes(before, report.records)
    others = [core for core in CORES if core not in options.core]
    report.records = renewed(before, report.records, others)
    save(report.records, options.out / COST_NAME)
    page = FOLDER / "cost.md"
    kept = profile_sections(page.read_text(), others) if others else {}
    (options.out / page.name).write_text(cost_page(report, kept))
    new = sum(change.before is None for change in found)
    behind = sum(change.is_behind for change in found)
    for change in found:
        if change.before is not None:
            _say(change.text)
    _say("\n".join(targets_table(report.records)))
    _say(
        f"{len(report.records)} figures in {time.monotonic() - started:.0f} s; against the "
        f"committed baseline {new} are new, {len(found) - new} differ, {behind} of them are "
        f"behind; results in {options.out}"
    )
    return 1 if report.disagreements or (options.check and behind) else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
