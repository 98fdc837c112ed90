# SPDX-License-Identifier: Apache-2.0
"""The table of targets takes the best measured figure and marks what is missed."""

from benchmarks.records import FOLDER, Record, parse
from benchmarks.report import targets_table
from benchmarks.targets import TARGETS, standings


def _record(core: str, value: float, kind: str) -> Record:
    target = TARGETS[0]
    return Record("board", core, target.model, target.figure, value, "insn/MAC", "c", kind, "-O2")


def test_best_compiler_counts_and_a_value_above_the_target_is_missed() -> None:
    records = [_record("M0", 1.9, "gcc"), _record("M0", 1.8, "zig"), _record("M3", 0.95, "gcc")]
    found = {s.core: s for s in standings(TARGETS[0], records)}
    assert (found["M0"].value, found["M0"].kind, found["M0"].is_missed) == (1.8, "zig", True)
    assert not found["M3"].is_missed, "a target that is just reached is met"
    assert found["M4"].value is None and not found["M4"].is_missed
    assert found["M4"].peer == 1.65


def test_table_says_missed_where_it_is_and_names_every_target() -> None:
    table = targets_table([_record("M0", 1.9, "gcc"), _record("M3", 0.9, "gcc")])
    row = next(line for line in table if line.startswith(f"| {TARGETS[0].title}"))
    assert "1.9 gcc; **missed**, target 1.7" in row
    assert "0.9 gcc; target 0.95" in row
    assert all(any(target.title in line for line in table) for target in TARGETS)


def test_table_says_what_each_compiler_reaches_alone() -> None:
    records = [_record("M0", 1.9, "gcc"), _record("M0", 1.6, "zig"), _record("M3", 0.9, "gcc")]
    table = targets_table(records)
    alone = [line for line in table if line.startswith(f"| {TARGETS[0].title} |")][1:]
    assert [line.split(" | ")[1:4] for line in alone] == [
        ["gcc -O2", "**1.9**", "0.9"],
        ["zig -O2", "1.6", ""],
    ]


def test_every_target_is_measured_in_the_committed_baseline() -> None:
    records = parse((FOLDER / "cost.json").read_text())
    for target in TARGETS:
        assert all(s.value is not None for s in standings(target, records)), target.title
