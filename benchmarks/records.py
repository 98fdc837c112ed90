# SPDX-License-Identifier: Apache-2.0
"""Figures as records, and what became of them since the committed baseline."""

import json
import subprocess
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
COST_NAME = "cost.json"
TOLERANCE = 0.03


@dataclass(frozen=True)
class Record:
    """One figure of one build; less is better for every one.

    Attributes:
        board: name of the board it ran on.
        core: short name of the core the code was made for.
        model: name of the model.
        figure: see README.md of this folder.
        value: exact where the unit is a count; a ratio is rounded to four decimals.
        unit: instructions, insn/MAC, insn/element, or bytes.
        compiler: version line.
        kind: gcc or zig.
        opt: optimisation flag.
    """

    board: str
    core: str
    model: str
    figure: str
    value: float
    unit: str
    compiler: str
    kind: str
    opt: str

    @property
    def group(self) -> tuple[str, ...]:
        """What was built."""
        return (self.board, self.core, self.model, self.kind, self.opt)

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies the figure between two runs."""
        return (*self.group, self.figure)


@dataclass(frozen=True)
class Change:
    """A figure in two runs; None where it is missing."""

    key: tuple[str, ...]
    before: float | None
    after: float | None

    @property
    def is_behind(self) -> bool:
        """More than the tolerance worse, or gone."""
        if self.before is None:
            return False
        return self.after is None or self.after > self.before * (1 + TOLERANCE)

    @property
    def text(self) -> str:
        """One line for people."""
        name = " ".join(self.key)
        if self.before is None:
            return f"new     {name}: {self.after:g}"
        if self.after is None:
            return f"GONE    {name}: was {self.before:g}"
        share = 100 * (self.after / self.before - 1) if self.before else float("inf")
        mark = "BEHIND " if self.is_behind else ("better " if share < 0 else "worse  ")
        return f"{mark} {name}: {self.before:g} -> {self.after:g} ({share:+.1f} %)"


def changes(before: Iterable[Record], after: Sequence[Record]) -> list[Change]:
    """Figures that differ, of the builds that were measured this time."""
    groups = {record.group for record in after}
    old = {record.key: record.value for record in before if record.group in groups}
    new = {record.key: record.value for record in after}
    pairs = [Change(key, old.get(key), new.get(key)) for key in {**old, **new}]
    return [pair for pair in pairs if pair.before != pair.after]


def renewed(
    before: Sequence[Record], after: Sequence[Record], kept: Container[str]
) -> list[Record]:
    """The figures of `after`, and for the cores in `kept` those of `before`, in its order."""
    groups = list(dict.fromkeys(r.group for r in (*before, *after)))
    both = [r for r in before if r.core in kept] + [r for r in after if r.core not in kept]
    return sorted(both, key=lambda r: groups.index(r.group))


def save(records: Sequence[Record], path: Path) -> None:
    """Write a list of records, one a line."""
    lines = [json.dumps(asdict(record)) for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def parse(text: str) -> list[Record]:
    """Records as `save` writes them."""
    values: list[dict[str, Any]] = json.loads(text)
    return [Record(**value) for value in values]


def committed(folder: Path = FOLDER) -> list[Record]:
    """The baseline of the last commit; of the file as it is where there is no git; else none."""
    try:
        done = subprocess.run(
            ["git", "show", f"HEAD:./{COST_NAME}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return parse(done.stdout)
    except (OSError, subprocess.CalledProcessError):
        path = folder / COST_NAME
        return parse(path.read_text()) if path.is_file() else []
