# SPDX-License-Identifier: Apache-2.0
"""Each line of the threat model names a test that exists."""

import re

from tests.unit.test_project import ROOT

LINES = [
    line
    for line in (ROOT / "docs" / "threat-model.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
]


def missing(line: str) -> str | None:
    """What a line's test lacks, or None."""
    match = re.search(r"`(tests/[\w/.]+\.py)(?:::(\w+))?` \|$", line)
    if match is None:
        return "names no test"
    path = ROOT / match[1]
    if not path.is_file():
        return f"{match[1]} is not there"
    if match[2] and f"def {match[2]}(" not in path.read_text():
        return f"{match[1]} has no {match[2]}"
    return None


def test_every_line_of_the_threat_model_names_a_test_that_exists() -> None:
    assert len(LINES) > 20
    assert {line: missing(line) for line in LINES if missing(line)} == {}


def test_line_without_a_test_is_found() -> None:
    assert missing("| a | b | c |") == "names no test"
    assert missing("| a | b | `tests/no.py::test_x` |") == "tests/no.py is not there"
    assert missing("| a | b | `tests/api/test_access.py::test_x` |") is not None
