# SPDX-License-Identifier: Apache-2.0
"""The engine behind the local commands, and how its long operations show progress."""

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from server.commands.console import say, stderr, wrong
from server.errors import InvalidInputError
from server.learning.firmwares import cache_folder
from server.learning.ports import BoardInfo, Engine, load_engine
from server.settings import Settings

LINES_A_BAR = 5


@functools.cache
def engine() -> Engine:
    """The engine named by HADAPT_ENGINE, by default the real one; its builds go to the cache."""
    settings = Settings()
    if "data_dir" not in settings.model_fields_set:
        settings = Settings(data_dir=cache_folder())
    return load_engine(settings)


def choose_boards(names: Sequence[str], available_only: bool = False) -> list[BoardInfo]:
    """Boards by name; "all" means every one.

    Raises: UsageError naming the boards there are.
    """
    if "all" in names:
        found = list(engine().boards())
    else:
        found = [_board(name) for name in dict.fromkeys(names)]
    if not available_only:
        return found
    for board in found:
        if not board.available:
            say(f"{board.name} is left out: {board.missing}")
    return [board for board in found if board.available]


def _board(name: str) -> BoardInfo:
    try:
        return engine().board(name)
    except InvalidInputError as error:
        issue = error.errors[0]
        raise wrong(issue.what, f"--board {name[:60]}", issue.expected) from error


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """A signal for an operation, set when the body is left, by an interrupt too."""
    stop = threading.Event()
    try:
        yield stop
    finally:
        stop.set()


class Bar:
    """Progress of counted work on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._shown = text, max(total, 1), 0
        self._rich = self._make() if stderr().is_terminal else None

    def _make(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        progress = Progress(*columns, console=stderr(), transient=True)
        progress.add_task(self._text, total=self._total)
        progress.start()
        return progress

    def at(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are behind."""
        text = f"{self._text}: {done} of {self._total}{', ' if note else ''}{note}"
        if self._rich is not None:
            self._rich.update(self._rich.task_ids[0], completed=done, description=text)
            return
        part = done * LINES_A_BAR // self._total
        if part > self._shown:
            self._shown = part
            say(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._rich is not None:
            self._rich.stop()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
