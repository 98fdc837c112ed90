# SPDX-License-Identifier: Apache-2.0
"""Bit-exactness: every execution of one scenario must give the twin's hashes and predictions.

`python -m benchmarks.proof` runs the short form, `--long` (`make proof`) all of it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.differences import describe
from benchmarks.executions import (
    Execution,
    boot_twin,
    long_executions,
    short_executions,
)
from benchmarks.models import SMALL_INT8, VARIANTS, Subject, subject
from benchmarks.scenario import Learner, Trace, run_scenario
from device.harness.errors import HarnessError
from server.learning.firmwares import cache_folder

RESULT = Path(__file__).parent / "results" / "proof.json"
Boot = Callable[[], AbstractContextManager[Learner]]


@dataclass(frozen=True)
class Row:
    """Result of one execution.

    Attributes:
        execution: twin, or backend, board, compiler and options.
        compiler: version line; "" for the twin.
        steps: training steps it has done.
        state_hash: the final one; the hash after every step was compared too.
        predictions_sha256: over every class and logit answered.
        elf_sha256: of the ELF of this very run; "" for the twin.
        bit_exact: every event equals the twin's.
        difference: the first one, or the error that ended the run; "" if bit-exact.
    """

    model: str
    execution: str
    board: str
    compiler: str
    opt: str
    steps: int
    state_hash: str
    predictions_sha256: str
    elf_sha256: str
    bit_exact: bool
    difference: str = ""


def prove(
    item: Subject,
    executions: Sequence[Execution],
    cache: Path,
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Run a subject on the twin and on every execution that this machine can run.

    Args:
        cache: folder for sources and builds.
        say: told one line an execution.
    Returns: rows, the twin's first. What cannot run here is said, and has no row.
    """
    with boot_twin(item) as twin:
        expected = run_scenario(twin, item)
    rows = [_twin_row(item, expected)]
    for execution in executions:
        missing = execution.missing()
        if missing is not None:
            say(f"  not here: {execution.label}: {missing}")
            continue
        started = time.monotonic()
        rows.append(prove_one(item, execution, expected, cache))
        verdict = "bit-exact" if rows[-1].bit_exact else f"DIFFERS: {rows[-1].difference}"
        say(f"  {execution.label:42} {time.monotonic() - started:5.1f} s  {verdict}")
    return rows


def prove_one(
    item: Subject,
    execution: Execution,
    expected: Trace,
    cache: Path,
    sources: Path | None = None,
) -> Row:
    """Build, run and compare one execution; an error of the device is a result, not an exception.

    Args:
        expected: the twin's trace. sources: see Execution.build.
    Raises: BuildError.
    """
    firmware = execution.build(item, cache, sources)

    def row(trace: Trace | None, difference: str) -> Row:
        return Row(
            model=item.name,
            execution=execution.label,
            board=execution.board.name,
            compiler=firmware.toolchain,
            opt=execution.opt,
            steps=trace.steps if trace else 0,
            state_hash=trace.state_hash if trace else "",
            predictions_sha256=trace.predictions if trace else "",
            elf_sha256=firmware.sha256,
            bit_exact=difference == "",
            difference=difference,
        )

    def boot() -> AbstractContextManager[Learner]:
        return execution.boot(firmware)

    try:
        with boot() as device:
            trace = run_scenario(device, item)
        return row(trace, describe(item, expected, trace, lambda: boot_twin(item), boot))
    except HarnessError as error:
        return row(None, f"{type(error).__name__}: {error}")


def _twin_row(item: Subject, trace: Trace) -> Row:
    return Row(
        model=item.name,
        execution="twin",
        board="",
        compiler="",
        opt="",
        steps=trace.steps,
        state_hash=trace.state_hash,
        predictions_sha256=trace.predictions,
        elf_sha256="",
        bit_exact=True,
    )


def run(form: str, cache: Path, say: Callable[[str], None]) -> list[Row]:
    """The whole proof: form is short or long."""
    rows: list[Row] = []
    for name, executions in _programme(form):
        say(f"{name}: {len(executions)} executions beside the twin")
        item = subject(name)
        rows += prove(item, [e for e in executions if item.fits(e.board)], cache, say)
    return rows


def _programme(form: str) -> list[tuple[str, list[Execution]]]:
    if form == "short":
        return [(SMALL_INT8, short_executions())]
    return [(SMALL_INT8, long_executions())] + [(name, short_executions()) for name in VARIANTS]


def as_document(rows: Sequence[Row], form: str) -> dict[str, Any]:
    """The result as it is written."""
    exact = all(row.bit_exact for row in rows)
    return {"form": form, "bit_exact": exact, "rows": [asdict(row) for row in rows]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns: 0 if every execution is bit-exact."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", dest="form", action="store_const", const="short")
    form.add_argument("--long", dest="form", action="store_const", const="long")
    parser.add_argument("--out", type=Path, default=RESULT, help="result file, JSON")
    parser.set_defaults(form="short")
    options = parser.parse_args(arguments)
    rows = run(options.form, cache_folder(), lambda line: print(line, flush=True))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(as_document(rows, options.form), indent=1) + "\n")
    wrong = [row.execution for row in rows if not row.bit_exact]
    steps = min(row.steps for row in rows)
    print(f"{len(rows) - len(wrong)} of {len(rows)} executions bit-exact, {steps} steps or more")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
