# SPDX-License-Identifier: Apache-2.0
"""The first example of README.md runs, and prints what it shows.

An example is a block that opens with ```console. Lines after "$ " are commands for bash, run in an
empty folder with `hadapt` on the PATH; the lines below a command are what it prints, where "..."
stands for anything.
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


def first_example(text: str) -> list[tuple[str, str]] | None:
    """Commands and their shown output, of the first console block; None without one."""
    block = re.search(r"^```console\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        return None
    parts = re.split(r"^\$ (.*)\n", block[1], flags=re.MULTILINE)
    assert parts[0].strip() == "", "the block starts with output, not with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def check_example(example: list[tuple[str, str]], folder: Path) -> None:
    """Run the commands; AssertionError if one fails or prints something else."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}
    for command, shown in example:
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
        assert same, f"{command}\nREADME.md shows:\n{shown}\nit prints:\n{done.stdout}"


EXAMPLE = first_example((ROOT / "README.md").read_text())

if EXAMPLE is not None:

    def test_readme_first_example_prints_what_it_shows(tmp_path: Path) -> None:
        assert EXAMPLE
        check_example(EXAMPLE, tmp_path)


TEXT = "# A\n```console\n$ echo a b > f\n$ cat f\na ...\n$ echo end\nend\n```\n"


def test_first_example_block_gives_commands_and_output() -> None:
    expected = [("echo a b > f", ""), ("cat f", "a ...\n"), ("echo end", "end\n")]
    assert first_example(TEXT) == expected
    assert first_example("```python\n1\n```\n") is None


def test_check_example_right_output_passes(tmp_path: Path) -> None:
    check_example(first_example(TEXT) or [], tmp_path)


@pytest.mark.parametrize(("command", "shown"), [("echo b", "a\n"), ("false", ""), ("true", "a\n")])
def test_check_example_planted_fault_is_found(tmp_path: Path, command: str, shown: str) -> None:
    with pytest.raises(AssertionError, match=command):
        check_example([(command, shown)], tmp_path)
