# SPDX-License-Identifier: Apache-2.0
"""Progress of the demo: lines on stderr, and the list of steps for the report."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Clock:
    """Says what is being done, and remembers how long it took."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.steps: list[dict[str, object]] = []
        self.notes: list[str] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        """A line of progress."""
        self._console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {escape(text)}")

    def note(self, text: str) -> None:
        """A line of progress that also belongs in the report."""
        self.say(text)
        self.notes.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step: said when it begins, listed when it has ended."""
        self.say(text)
        begun = time.monotonic()
        yield
        self.steps.append({"text": text, "seconds": round(time.monotonic() - begun, 3)})
