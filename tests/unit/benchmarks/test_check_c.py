# SPDX-License-Identifier: Apache-2.0
"""The lint of `make check-c`: what it reads, and that a new rule is told."""

from collections import Counter
from pathlib import Path

from benchmarks.check_c import DEVIATIONS, FINDING, is_name, render, unknown_rules


def test_finding_matches_a_line_of_cppcheck_only() -> None:
    match = FINDING.match("misra-c2012-15.5 runtime/src/learner/had_wire.c:12 misra violation")
    assert match is not None and match.group(1) == "misra-c2012-15.5"
    assert FINDING.match("Checking runtime/src/learner/had_wire.c ...") is None


def test_unknown_rules_names_what_has_no_deviation() -> None:
    found = Counter({"misra-c2012-15.5": 3, "misra-c2012-21.3": 1, "constParameter": 2})
    assert unknown_rules(found) == ["21.3"]
    assert unknown_rules(Counter({f"misra-c2012-{rule}": 1 for rule in DEVIATIONS})) == []


def test_render_says_why_and_where_there_is_no_reason() -> None:
    text = render(Counter({"misra-c2012-15.5": 3, "misra-c2012-21.3": 1}), "lines", "branches")
    assert f"| 15.5 | 3 | {DEVIATIONS['15.5']} |" in text
    assert "| 21.3 | 1 | not deviated from |" in text


def test_names_that_look_like_numbers_are_no_findings(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("uint8_t *cell = of(bell);\nlong n = 7l;\nlong m = 0x1fl;\n")
    found = [FINDING.match(f"misra-c2012-7.3 a.c:{line} misra violation") for line in (1, 2, 3)]
    assert [is_name(match, tmp_path) for match in found if match] == [True, False, False]
