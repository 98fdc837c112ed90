# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/ are run: every example works as shown, in a folder of its own a page.

A block that opens with ```console is an example: lines after "$ " are commands for bash, run in an
empty folder with `hadapt` on the PATH, all of a page in one shell; the lines below a command are
what it prints, where "..." stands for anything. ```long ENVIRONMENT is the same for
tools/docs_long.py, which runs it with packages that are too heavy for here. A block that opens with
```LANGUAGE NAME is written to the file NAME, which a later command must use. A port 8600 is a free
one here. ```text is text.
"""

import doctest
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 280
GRACE_S = 10
PORT = "8600"
BLOCK = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [path for path in DOCUMENTS if "```console" in path.read_text()]
SOURCES = {"python", "c", "js", "sh", "json"}

Step = tuple[str, str]


def steps_of(text: str, environment: str = "") -> list[Step]:
    """Commands and what they print, in order; ("write NAME", content) for a file.

    With an environment, the commands of its ```long blocks instead (tools/docs_long.py).
    """
    steps: list[Step] = []
    for language, name, body in BLOCK.findall(text):
        ours = name == environment if language == "long" else language == "console"
        if name and language != "long":
            steps.append((f"write {name}", body))
        elif ours and (language == "long") == bool(environment):
            parts = re.split(r"^\$ (.*)\n", body, flags=re.MULTILINE)
            assert parts[0].strip() == "", "a block starts with output, not with a command"
            steps += zip(parts[1::2], parts[2::2], strict=True)
    return steps


def idle_blocks(text: str) -> list[str]:
    """Blocks that nothing would run: sources without a name, or in a file that no command uses."""
    environments = ["", *(name for language, name, _ in BLOCK.findall(text) if language == "long")]
    steps = [step for environment in environments for step in steps_of(text, environment)]
    commands = " ".join(command for command, _ in steps if not command.startswith("write "))
    found = []
    for language, name, body in BLOCK.findall(text):
        runs = language in ("console", "text", "long") or (
            language in SOURCES and name in commands and name
        )
        if not runs:
            found.append(f"```{language} {name}".strip() + f": {body.splitlines()[0][:40]}")
    return found


def script_of(steps: list[Step], port: int) -> str:
    """A page as one script: each step's output in a file of its own."""
    lines = ["set -euo pipefail"]
    for number, (command, shown) in enumerate(steps):
        ours = command.replace(PORT, str(port))
        if command.startswith("write "):
            ours = f"printf %s {shlex.quote(shown.replace(PORT, str(port)))} > {command[6:]}"
        lines += ["{", ours, f"}} > .step{number}.out 2> .step{number}.err < /dev/null"]
    return "\n".join(lines) + "\n"


def check(steps: list[Step], folder: Path, first: str = "", limit_s: float = LIMIT_S) -> None:
    """Do the steps; AssertionError if a command fails or prints something else.

    Args:
        first: a folder of programs before all others, if any.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    path = f"{first}:{path}" if first else path
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}
    environment |= {"HADAPT_PORT": str(port)}
    (folder / ".page.sh").write_text(script_of(steps, port))
    # A session of its own: whatever a page leaves running ends with it.
    shell = subprocess.Popen(
        ["bash", ".page.sh"], cwd=folder, env=environment, start_new_session=True
    )
    try:
        status: int | str = shell.wait(limit_s)
    except subprocess.TimeoutExpired:
        status = f"still running after {limit_s} s"
    finally:
        end(shell.pid)
        shell.wait()
    compare(steps, folder, port, status)


def running(session: int) -> list[int]:
    """Processes of a session; those that nobody has reaped run no more."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of_session = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        if int(of_session) == session and state != "Z":
            found.append(int(entry.name))
    return found


def end(session: int) -> None:
    """End a page's shell and all that it started; services stop their workers themselves."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in running(session):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + GRACE_S
        while running(session) and time.monotonic() < deadline:
            time.sleep(0.1)


def compare(steps: list[Step], folder: Path, port: int, status: int | str) -> None:
    """AssertionError for the first step that went wrong; status: the shell's, in the end."""
    outputs = [folder / f".step{number}.out" for number in range(len(steps))]
    reached = [path for path in outputs if path.exists()]
    for number, (command, shown) in enumerate(steps[: len(reached)]):
        out = outputs[number].read_text().replace(str(port), PORT)
        error = (folder / f".step{number}.err").read_text()[-2000:]
        last = number == len(reached) - 1
        assert status == 0 or not last, f"{command}\nended with {status}\n{out}{error}"
        if command.startswith("write "):
            continue
        same = doctest.OutputChecker().check_output(
            shown, out, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        )
        assert same, f"{command}\nthe page shows:\n{shown}\nit prints:\n{out}\n{error}"
    assert status == 0, f"the page's shell ended with {status}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_examples_print_what_they_show(page: Path, tmp_path: Path) -> None:
    steps = steps_of(page.read_text())
    assert steps
    check(steps, tmp_path)


def test_readme_is_among_the_pages() -> None:
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_is_run(page: Path) -> None:
    assert idle_blocks(page.read_text()) == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    for page in DOCUMENTS[1:]:
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "README.md" or f"({name})" in contents, name


TEXT = (
    "# A\n```console\n$ n=8600; echo a b > f\n$ cat f\na ...\n```\n"
    "```python g.py\n1\n```\n```console\n$ cat g.py\n1\n$ echo $n\n8600\n```\n"
)


def test_steps_of_page_gives_commands_files_and_output() -> None:
    assert steps_of(TEXT) == [
        ("n=8600; echo a b > f", ""),
        ("cat f", "a ...\n"),
        ("write g.py", "1\n"),
        ("cat g.py", "1\n"),
        ("echo $n", "8600\n"),
    ]
    assert steps_of("```python\n1\n```\n") == []
    assert steps_of("```long a\n$ b\nc\n```\n") == steps_of("```long a\n$ b\n```\n", "d") == []
    assert steps_of("```long a\n$ b\nc\n```\n", "a") == [("b", "c\n")]


def test_check_right_output_passes(tmp_path: Path) -> None:
    check(steps_of(TEXT), tmp_path)


@pytest.mark.parametrize("command", ["echo b", "true", "false", "exit 3", "cat nothing"])
@pytest.mark.parametrize("later", [[], [("true", "")]])
def test_check_planted_fault_is_found(tmp_path: Path, command: str, later: list[Step]) -> None:
    with pytest.raises(AssertionError, match=command):
        check([("true", ""), (command, "a\n"), *later], tmp_path)


def test_check_leaves_nothing_running(tmp_path: Path) -> None:
    check([("sleep 1000 > sleep.out & echo $! > pid", "")], tmp_path)
    state = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split(") ")[1].startswith("Z")


@pytest.mark.parametrize(
    "block",
    ["```python\n1\n```\n", "```c a.c\nint a;\n```\n", "```\na\n```\n", "```bash\nls\n```\n"],
)
def test_block_that_nothing_runs_is_found(block: str) -> None:
    assert idle_blocks(TEXT) == []
    assert len(idle_blocks(TEXT + block)) == 1
