# SPDX-License-Identifier: Apache-2.0
"""The lint of `make check-c`: what it reads, and that a finding without a reason is told."""

from pathlib import Path

import pytest

from benchmarks import c_coverage, c_lint
from benchmarks.c_lint import DEVIATIONS, FINDING, SUBJECTS, Subject, is_name, reason_of
from benchmarks.check_c import render, unexplained

WIRE = "runtime/src/had_wire.c"


def test_finding_matches_a_line_of_cppcheck_only() -> None:
    match = FINDING.match(f"misra-c2012-15.5 {WIRE}:12 misra violation")
    assert match is not None and match.group(1) == "misra-c2012-15.5"
    assert FINDING.match(f"Checking {WIRE} ...") is None


def test_unexplained_names_what_has_no_reason() -> None:
    found = {("misra-c2012-15.5", WIRE, 3), ("misra-c2012-21.3", WIRE, 1), ("zerodiv", WIRE, 2)}
    assert unexplained(found) == [
        f"{what} has no reason in benchmarks/c_lint.py"
        for what in (f"21.3 {WIRE}:1", f"zerodiv {WIRE}:2")
    ]


def test_reason_for_one_file_holds_there_only() -> None:
    name = "arrayIndexOutOfBoundsCond"
    assert reason_of((name, WIRE, 9)) is not None
    assert reason_of((name, "runtime/src/had_cbor.c", 9)) is None


def test_render_says_why_and_where_there_is_no_reason() -> None:
    found = {("misra-c2012-15.5", WIRE, line) for line in (1, 2, 3)}
    text = render(found | {("misra-c2012-21.3", WIRE, 1)}, "lines", "branches")
    assert f"| 15.5 | 3 | {DEVIATIONS['15.5']} |" in text
    assert "| 21.3 | 1 | not deviated from |" in text


def test_names_that_look_like_numbers_are_no_findings(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("uint8_t *cell = of(bell);\nlong n = 7l;\nlong m = 0x1fl;\n")
    found = [FINDING.match(f"misra-c2012-7.3 a.c:{line} misra violation") for line in (1, 2, 3)]
    assert [is_name(match, tmp_path) for match in found if match] == [True, False, False]


@pytest.mark.parametrize("board", ["microbit", "host"])
def test_lint_finds_a_planted_fault_where_its_switch_is_on(
    board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sources: one that breaks rules, one that is empty for this board."""
    fault = b"int f(int x);\nint f(int x) { if (x) goto end; x = 3;\nend: return x; }\n"
    thumb = b"#ifdef __thumb__\nint g(int x);\nint g(int x) { return x; }\n#endif\n"
    files = {"runtime/src/had_fault.c": fault, "runtime/src/had_thumb.c": thumb}
    monkeypatch.setattr(c_lint, "generate", lambda *_: files)
    monkeypatch.setattr(c_lint, "runtime_files", dict)
    found, empty = c_lint.lint(Subject("x", board, lambda: None))  # type: ignore[arg-type, return-value]
    rules = {rule for rule, file, _ in found if file.endswith("fault.c")}
    assert {"misra-c2012-15.1", "misra-c2012-14.4"} <= rules
    assert empty == (set() if board == "microbit" else {"had_thumb.c"})


def test_coverage_of_a_part_is_named_by_its_sources(tmp_path: Path) -> None:
    assert len({c_coverage.sources_digest(tests) for tests, _ in c_coverage.PARTS.values()}) > 8
    for tests, _ in c_coverage.PARTS.values():
        assert all((c_coverage.ROOT / name).is_file() for name in tests)
    assert len({s.name for s in SUBJECTS}) == len(SUBJECTS)
