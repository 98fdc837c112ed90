# SPDX-License-Identifier: Apache-2.0
"""Which builds are measured, and the loop over them."""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.executions import TARGETS, Execution
from benchmarks.measure import Measured, m0_on_large_board, measure, step_instructions
from benchmarks.models import ACTIVITY, SMALL_INT8, SMALL_INT16, SQUARE, subject
from benchmarks.records import Record
from device.harness.boards import BOARDS, Board
from device.harness.toolchain import Kind

Say = Callable[[str], None]
# Cores of which zig's builds of the large models are measured too.
ZIG_CORES = ("M0", "M3", "M4", "M55")
# Unicorn must count the same on these.
CHECKED = ("microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505")


@dataclass(frozen=True)
class Job:
    """A model on a board; detailed also measures operations and functions."""

    model: str
    execution: Execution
    detailed: bool


@dataclass
class CostReport:
    """All that a run measured.

    Attributes:
        records: every figure.
        profiles: model and core to instructions by function, of a step and of an inference.
        disagreements: where Unicorn counted differently from QEMU.
        checked: how many boards were counted by both.
    """

    records: list[Record] = field(default_factory=list)
    profiles: dict[tuple[str, str], Measured] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)
    checked: int = 0


def jobs() -> Iterator[Job]:
    """Every build that is measured, before it is known what this machine has."""
    large = [m0_on_large_board(), *(b for b in TARGETS if b.name != "microbit")]
    for model in (SMALL_INT8, SMALL_INT16, ACTIVITY, SQUARE):
        boards: Sequence[Board] = TARGETS if model == SMALL_INT8 else large
        for board in boards:
            yield Job(model, _execution(board, "gcc"), True)
    for board in TARGETS:
        yield Job(SMALL_INT8, _execution(board, "zig"), True)
    for model in (ACTIVITY, SQUARE):
        for board in (b for b in large if b.core in ZIG_CORES):
            yield Job(model, _execution(board, "zig"), True)


def _execution(board: Board, kind: Kind) -> Execution:
    """In QEMU; in Unicorn where QEMU is missing and Unicorn knows the core."""
    qemu = Execution("qemu", board, kind)
    if qemu.missing() is None or not board.unicorn:
        return qemu
    return Execution("unicorn", board, kind)


def run(cache: Path, say: Say, cores: Container[str]) -> CostReport:
    """Measure everything of these cores that this machine can build and run."""
    report = CostReport()
    for job in (j for j in jobs() if j.execution.board.core in cores):
        missing = job.execution.missing()
        if missing is not None:
            say(f"not here: {job.model} {job.execution.label}: {missing}")
            continue
        started = time.monotonic()
        item = subject(job.model)
        measured = measure(item, job.execution, cache, detailed=job.detailed)
        report.records += measured.records
        if measured.step_profile and job.execution.kind == "gcc":
            report.profiles[job.model, job.execution.board.core] = measured
        say(_line(job, measured, time.monotonic() - started))
    _compare_counters(report, cache, say, cores)
    return report


def _line(job: Job, measured: Measured, seconds: float) -> str:
    step = next(r.value for r in measured.records if r.figure == "train_step")
    core = job.execution.board.core
    return (
        f"{job.model:24} {core:4} {job.execution.label:28} {step:>13,.0f} a step  {seconds:.1f} s"
    )


def _compare_counters(report: CostReport, cache: Path, say: Say, cores: Container[str]) -> None:
    """Two counters that know nothing of each other must agree to the instruction."""
    item = subject(SMALL_INT8)
    for name in (n for n in CHECKED if BOARDS[n].core in cores):
        pair = (Execution("qemu", BOARDS[name], "gcc"), Execution("unicorn", BOARDS[name], "gcc"))
        if any(execution.missing() for execution in pair):
            continue
        firmware = pair[0].build(item, cache)
        counts = [step_instructions(item, execution, firmware) for execution in pair]
        report.checked += 1
        if counts[0] != counts[1]:
            report.disagreements.append(f"{name}: QEMU {counts[0]}, Unicorn {counts[1]}")
    for line in report.disagreements:
        say(f"COUNTERS DISAGREE on {line}")
    say(f"QEMU and Unicorn compared on {report.checked} boards")
