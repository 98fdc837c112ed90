# SPDX-License-Identifier: Apache-2.0
"""Records and baselines."""

from dataclasses import replace
from pathlib import Path

from benchmarks.records import Record, changes, committed, parse, renewed, save
from benchmarks.report import profile_sections

STEP = Record("b", "M0", "m", "train_step", 1000, "instructions", "gcc 12", "gcc", "-O2")
FLASH = replace(STEP, figure="flash_bytes", value=100, unit="bytes")


def test_save_and_parse_give_the_same_records(tmp_path: Path) -> None:
    save([STEP, FLASH], tmp_path / "cost.json")
    assert parse((tmp_path / "cost.json").read_text()) == [STEP, FLASH]


def test_changes_of_equal_runs_are_none() -> None:
    assert changes([STEP, FLASH], [FLASH, STEP]) == []


def test_changes_within_tolerance_are_not_behind() -> None:
    (change,) = changes([STEP], [replace(STEP, value=1030)])
    assert not change.is_behind
    assert "+3.0 %" in change.text


def test_changes_beyond_tolerance_are_behind() -> None:
    (change,) = changes([STEP], [replace(STEP, value=1031)])
    assert change.is_behind
    assert change.text.startswith("BEHIND")


def test_changes_name_a_figure_that_is_gone_and_one_that_is_new() -> None:
    gone, new = changes([STEP], [FLASH])
    assert gone.is_behind
    assert gone.text.startswith("GONE")
    assert not new.is_behind
    assert new.text.startswith("new")


def test_changes_leave_builds_out_that_were_not_measured() -> None:
    other = replace(STEP, board="other")
    assert changes([STEP, other], [STEP]) == []


def test_changes_compare_across_versions_of_a_compiler() -> None:
    assert changes([STEP], [replace(STEP, compiler="gcc 13")]) == []


def test_committed_without_git_reads_the_file(tmp_path: Path) -> None:
    assert committed(tmp_path) == []
    save([STEP], tmp_path / "cost.json")
    assert committed(tmp_path) == [STEP]


def test_renewed_keeps_other_cores_and_the_order() -> None:
    other = replace(STEP, core="M4")
    measured = replace(STEP, value=900)
    assert renewed([STEP, FLASH, other], [measured], ["M4"]) == [measured, other]


def test_profile_sections_are_those_of_the_cores() -> None:
    page = "# P\n\n## Targets\n\n## Where a, M4\n\n| x |\n\n## Where a, M55\n\n| y |\n"
    assert profile_sections(page, ["M55"]) == {"## Where a, M55": "\n| y |\n"}
