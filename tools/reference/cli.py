# SPDX-License-Identifier: Apache-2.0
"""The command line as Markdown: typer's own writer, with examples as code and no repetitions."""

import html
import re
import subprocess
import sys

from server.cli import EPILOG
from server.settings import Settings

LAYOUT = re.compile(r"^(A first tour|Examples):\n((?:  .*\n?)+)", flags=re.MULTILINE)


def commands() -> str:
    """Every command with arguments, options, defaults and examples."""
    writer = [sys.executable, "-m", "typer", "server.cli", "utils", "docs", "--name", "hadapt"]
    done = subprocess.run(writer, capture_output=True, text=True, check=True)
    text = html.unescape(done.stdout).replace("```console", "```text")
    head, _, rest = text.partition(EPILOG)
    text = head + EPILOG + rest.replace(EPILOG, "")
    text = LAYOUT.sub(_code, text.replace("# `hadapt`", "## hadapt", 1))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _code(match: re.Match[str]) -> str:
    lines = [line.removeprefix("  ") for line in match[2].rstrip().splitlines()]
    return f"{match[1]}:\n\n```text\n" + "\n".join(lines) + "\n```\n"


def settings() -> str:
    """Environment variables of the service with their defaults."""
    rows = [
        f"| `HADAPT_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | what |", "| --- | --- | --- |", *rows, ""])


def _default(value: object) -> str:
    return "none" if value is None else f"`{value}`"
