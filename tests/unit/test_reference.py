# SPDX-License-Identifier: Apache-2.0
"""Public names are documented, and docs/reference is what the sources say now."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.reference.api import page
from tools.reference.c import INCLUDE, headers
from tools.reference.headers import names_of, read_header, undocumented
from tools.reference.pages import MARKER, current, pages

ROOT = Path(__file__).parents[2]
HEADER = """/* SPDX-License-Identifier: Apache-2.0 */
/* What it is. */
#ifndef HADAPT_A_H
#define HADAPT_A_H

#include <stdint.h>

/* A type. */
typedef struct had_a {
    uint32_t n; /* of a field */

    uint32_t m;
} had_a;

typedef uint8_t had_b; /* another */
#define HAD_ONE 1U     /* one */

/* Begin, and end. */
void had_begin(had_a *a,
               uint32_t n);
static inline void had_end(had_a *a) {
    a->n = 0U; /* of a line */
}

enum had_kind { HAD_GOOD, HAD_BAD = 2 }; /* behind */

#endif
"""


def test_every_public_c_name_has_a_comment() -> None:
    assert [fault for header in headers().values() for fault in undocumented(header)] == []


def test_names_of_a_header_with_kind_and_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_text(HEADER)
    header = read_header(path)
    assert header.text == "What it is."
    assert [(n.name, n.kind, n.text) for n in header.names] == [
        ("had_a", "type", "A type."),
        ("had_b", "type", "another"),
        ("HAD_ONE", "macro", "one"),
        ("had_begin", "function", "Begin, and end."),
        ("had_end", "function", "Begin, and end."),
        ("had_kind", "enumeration", "behind"),
        ("HAD_GOOD", "enumerator", "behind"),
        ("HAD_BAD", "enumerator", "behind"),
    ]


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("#define HAD_TWO 2U\n", "HAD_TWO"),
        ("void had_new(void);\n", "had_new"),
        ("static inline int had_new(void) {\n    return 1; /* one */\n}\n", "had_new"),
        ("typedef struct had_new {\n    int n; /* of a field */\n} had_new;\n", "had_new"),
        ("enum { HAD_NEW };\n", "HAD_NEW"),
        ("extern const int had_new[3];\n", "had_new"),
        ("/*@ requires n > 0; */\nvoid had_new(int n);\n", "had_new"),
    ],
)
def test_name_without_a_comment_is_found(tmp_path: Path, planted: str, name: str) -> None:
    path = tmp_path / "a.h"
    path.write_text(HEADER.replace("#endif\n", f"{planted}\n#endif\n"))
    assert undocumented(read_header(path)) == [f"a.h: {name}"]


def test_header_that_says_nothing_of_itself_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.h"
    path.write_text(HEADER.replace("/* What it is. */\n", ""))
    assert undocumented(read_header(path)) == ["a.h: what it is"]


def test_no_definition_escapes_the_reader_of_headers() -> None:
    """What a coarse search finds in the headers is among the names that the reader found."""
    for path in INCLUDE.glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        coarse = set(re.findall(r"^ *# *define +(HAD_\w+)", text, re.MULTILINE))
        coarse |= set(re.findall(r"^\} (had_\w+);", text, re.MULTILINE))
        coarse |= set(re.findall(r"^(?:\w[^\n(;={]*?[ *])(had_\w+)\(", text, re.MULTILINE))
        assert coarse <= {name.name for name in names_of(text)}, path.name


@pytest.mark.parametrize(
    "planted",
    [
        "def f() -> None:\n    pass\n",
        "class A:\n    pass\n",
        'class A:\n    """A."""\n    def f(self): ...\n',
    ],
)
def test_public_python_name_without_a_docstring_fails_lint(planted: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "server/planted.py", "-"]
    for source, clean in ((f'"""A module."""\n\n\n{planted}', False), ('"""A module."""\n', True)):
        done = subprocess.run(
            command, cwd=ROOT, input=source, capture_output=True, text=True, check=False
        )
        assert ("D10" not in done.stdout) is clean, done.stdout


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_generated_part_of_a_page_is_current(path: Path) -> None:
    assert path.read_text() == current(path), "out of date: run `make reference`"


def test_page_out_of_date_is_told_from_a_current_one(tmp_path: Path) -> None:
    document = {
        "paths": {
            "/a": {"get": {"description": "A.", "responses": {"200": {}}, "x-scope": "a:read"}}
        },
        "components": {"schemas": {"B": {"properties": {"n": {"type": "integer", "minimum": 1}}}}},
    }
    text = page(document)
    assert "### GET /a\n\nA.\n\nScope: `a:read`." in text
    assert "| `n` | integer, [1, ..) | Optional. |" in text
    assert text != page({**document, "paths": {}})


def test_every_reference_page_is_generated() -> None:
    folder = ROOT / "docs" / "reference"
    assert {p for p in folder.glob("*.md") if MARKER in p.read_text()} == {
        p for p in pages() if p.parent == folder
    }


def test_figures_of_the_explanation_stand_in_the_result_files() -> None:
    """Every figure below the marker is found in the table that the benchmark itself wrote."""
    prose, _, quoted = (ROOT / "docs" / "explanation" / "method.md").read_text().partition(MARKER)
    results = ROOT / "benchmarks" / "results"
    written = " ".join((results / f"{n}.md").read_text() for n in ("accuracy", "cost", "on_device"))
    known = set(re.findall(r"[\d,.]*\d", written))
    found = set(re.findall(r"(?<![\w.-])(?:\d+\.\d\d|\d{1,3}(?:,\d{3})+)(?![\w.])", quoted))
    assert len(found) > 20
    assert found - known == set()
    assert not re.findall(r"\d+(?:\.\d+)? ?(?:%|points|percent)", prose)
