# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/ are run: every example works as shown, in a folder of its own a page.

A block that opens with ```console is an example: lines after "$ " are commands for bash, run in an
empty folder with `hadapt` on the PATH; the lines below a command are what it prints, where "..."
stands for anything. A block that opens with ```python NAME or ```c NAME is written to that file.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 240
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "```console" in path.read_text()
]

Step = tuple[str, str]


def steps_of(text: str) -> list[Step]:
    """Commands and what they print, in order; ("write NAME", content) for a file."""
    steps: list[Step] = []
    for language, name, body in BLOCK.findall(text):
        if name:
            steps.append((f"write {name}", body))
        elif language == "console":
            parts = re.split(r"^\$ (.*)\n", body, flags=re.MULTILINE)
            assert parts[0].strip() == "", "a block starts with output, not with a command"
            steps += zip(parts[1::2], parts[2::2], strict=True)
    return steps


def check(steps: list[Step], folder: Path) -> None:
    """Do the steps; AssertionError if a command fails or prints something else."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}
    for command, shown in steps:
        if command.startswith("write "):
            (folder / command.removeprefix("write ")).write_text(shown)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        same = doctest.OutputChecker().check_output(
            shown, done.stdout, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        assert same, f"{command}\nthe page shows:\n{shown}\nit prints:\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_examples_print_what_they_show(page: Path, tmp_path: Path) -> None:
    steps = steps_of(page.read_text())
    assert steps
    check(steps, tmp_path)


def test_readme_is_among_the_pages() -> None:
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_page_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


TEXT = (
    "# A\n```console\n$ echo a b > f\n$ cat f\na ...\n```\n"
    "```python g.py\n1\n```\n```console\n$ cat g.py\n1\n```\n"
)


def test_steps_of_page_gives_commands_files_and_output() -> None:
    assert steps_of(TEXT) == [
        ("echo a b > f", ""),
        ("cat f", "a ...\n"),
        ("write g.py", "1\n"),
        ("cat g.py", "1\n"),
    ]
    assert steps_of("```python\n1\n```\n") == []


def test_check_right_output_passes(tmp_path: Path) -> None:
    check(steps_of(TEXT), tmp_path)


@pytest.mark.parametrize(("command", "shown"), [("echo b", "a\n"), ("false", ""), ("true", "a\n")])
def test_check_planted_fault_is_found(tmp_path: Path, command: str, shown: str) -> None:
    with pytest.raises(AssertionError, match=command):
        check([(command, shown)], tmp_path)
