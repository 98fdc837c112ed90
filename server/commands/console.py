# SPDX-License-Identifier: Apache-2.0
"""What all commands share: results to stdout, progress and errors to stderr, exit codes.

    0  done
    1  it was tried and failed, or a check came out wrong (a device that is not bit-exact)
    2  it was called wrongly: unknown option, missing file, unknown board

A wrong input is one line on stderr, never a traceback; with --json stdout holds the same as a
problem document. NO_COLOR is honoured (rich does so by itself).
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.errors import HadaptError, InternalError, InvalidInputError, Issue

FAILED = 1
USAGE = 2
INTERRUPTED = 130
TRACE_VARIABLE = "HADAPT_TRACEBACK"
PIPE_WIDTH = 160  # of tables that no terminal shows: a file has no edge to wrap at

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class UsageError(HadaptError):
    """The command was called wrongly; exit code 2."""

    status, code, title = 422, "usage", "The command was called wrongly"


def wrong(what: str, where: str, expected: str) -> UsageError:
    """A usage error with one issue."""
    return UsageError(f"{where}: {what}; expected {expected}.", [Issue(what, where, expected)])


def stdout() -> Console:
    """Where results go."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=wide)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _settings_error(error: ValidationError) -> HadaptError:
    """What is wrong with the service's settings, by the names of their variables."""
    issues = [
        Issue(
            f"{str(entry['input'])[:60]!r}: {entry['msg']}",
            "HADAPT_" + "_".join(str(part) for part in entry["loc"]).upper(),
            "see docs/reference/settings.md",
        )
        for entry in error.errors(include_url=False)
    ]
    return InvalidInputError("The settings are wrong.", issues)


@contextmanager
def command(as_json: bool) -> Iterator[None]:
    """Run a command's body: errors become one line and an exit code."""
    try:
        yield
    except HadaptError as error:
        fail(error, as_json)
    except KeyboardInterrupt:
        stderr().print("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of stdout has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        fail(HadaptError(f"{name}{error.strerror or error}."), as_json)
    except typer.Exit:
        raise
    except ValidationError as error:
        fail(_settings_error(error), as_json)
    except Exception as error:
        # A fault of ours; its trace is for those who will mend it.
        if os.environ.get(TRACE_VARIABLE):
            raise
        hint = f"set {TRACE_VARIABLE}=1 for the trace"
        fail(InternalError(f"internal fault, {type(error).__name__}: {error} ({hint})"), as_json)


def fail(error: HadaptError, as_json: bool) -> None:
    """Report an error and leave.

    Raises: typer.Exit with code 2 for a wrong call, else 1.
    """
    stderr().print(f"[red]error:[/red] {escape(one_line(error))}")
    if as_json:
        print_json(error.to_problem("hadapt"))
    raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from error


def one_line(error: HadaptError) -> str:
    """The detail, and what its first issue adds to it.

    Example:
        >>> one_line(HadaptError("Too large.", [Issue("9 bytes", "file", "at most 8")]))
        'Too large. (file: 9 bytes; expected at most 8)'
    """
    text = " ".join(error.detail.split())
    if not error.errors:
        return text
    first = error.errors[0]
    if first.what not in error.detail:
        return f"{text} ({first.where}: {first.what}; expected {first.expected})"
    if first.expected in error.detail:
        return text
    where = "" if first.where in error.detail else f"{first.where}: "
    return f"{text} ({where}expected {first.expected})"


def print_json(value: Any) -> None:
    """A value as indented JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; columns whose names end in `#` hold numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in columns:
        table.add_column(name.removesuffix("#"), justify="right" if name.endswith("#") else "left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    stdout().print(table)


def print_facts(title: str, facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    console = stdout()
    console.print(f"[bold]{escape(title)}[/bold]")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        console.print(f"  {escape(name.ljust(width))}  {escape(str(value))}")


def say(text: str) -> None:
    """A line of progress on stderr."""
    stderr().print(f"[dim]{escape(text)}[/dim]")


def number(value: int | None) -> str:
    """An integer with thin groups of three; a dash where there is none.

    Example:
        >>> number(1234567), number(None)
        ('1 234 567', '-')
    """
    return "-" if value is None else f"{value:,}".replace(",", " ")


def percent(value: float | None) -> str:
    """A share in percent with one decimal.

    Example:
        >>> percent(0.9876), percent(None)
        ('98.8 %', '-')
    """
    return "-" if value is None else f"{100 * value:.1f} %"


def read_input(path: Path, what: str) -> bytes:
    """The bytes of an input file.

    Raises: UsageError if it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise wrong(reason, str(path), what) from error


def write_output(path: Path, data: bytes) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
