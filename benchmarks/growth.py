# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.growth`: cost of a step against growing width, depth, batch and classes.

Each axis leaves the other sizes of 64-32-10, batch 16, as they are. Exact instructions in QEMU, of
random weights on random samples; builds are GCC -O2, code of the M0 runs on the M3's board.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.executions import Execution
from benchmarks.measure import m0_on_large_board, measure
from benchmarks.models import Subject, drawn
from benchmarks.records import FOLDER
from benchmarks.work import step_macs
from device.harness.boards import BOARDS
from device.twin.model import Arithmetic
from server.demo.html import join, tag, void
from server.learning.firmwares import cache_folder

SAMPLES = 200
BOARDS_MEASURED = (m0_on_large_board(), BOARDS["mps2-an385"])
PANEL, LEFT, TOP, GAP = 200, 70, 30, 100  # of the picture, in its units
COLOURS = ("#1f6feb", "#d9480f")
STYLE = "text { font: 11px sans-serif; fill: #333 } .grid { stroke: #ddd } .line { fill: none }"


@dataclass(frozen=True)
class Sizes:
    """Of a network that is measured."""

    hidden: tuple[int, ...] = (32,)
    batch: int = 16
    classes: int = 10

    def subject(self) -> Subject:
        """Its model and samples."""
        arithmetic = Arithmetic(master_bits=8, batch=self.batch)
        widths = (64, *self.hidden, self.classes)
        name = f"{'-'.join(map(str, widths))} b{self.batch} int8"
        return drawn(name, widths, arithmetic, SAMPLES)


@dataclass(frozen=True)
class Point:
    """What was measured: position on an axis, core, and instructions."""

    axis: str
    at: int
    core: str
    model: str
    step: int
    inference: int
    macs: int


AXES: dict[str, dict[int, Sizes]] = {
    "width of the hidden layer": {n: Sizes(hidden=(n,)) for n in (16, 32, 64, 128)},
    "hidden layers": {n: Sizes(hidden=(32,) * n) for n in (1, 2, 3, 4)},
    "batch": {n: Sizes(batch=n) for n in (8, 16, 32, 64)},
    "classes": {n: Sizes(classes=n) for n in (5, 10, 20, 40)},
}


def measured(cache: Path) -> list[Point]:
    """Every point of every axis on every board; a network on two axes is measured once.

    Raises: HarnessError.
    """
    known: dict[tuple[Sizes, str], tuple[Subject, int, int]] = {}
    points = []
    for axis, sizes_at in AXES.items():
        for at, sizes in sizes_at.items():
            for board in BOARDS_MEASURED:
                key = (sizes, board.core)
                if key not in known:
                    item = sizes.subject()
                    found = measure(item, Execution("qemu", board, "gcc"), cache, detailed=False)
                    value = {r.figure: int(r.value) for r in found.records}
                    known[key] = (item, value["train_step"], value["inference"])
                item, step, inference = known[key]
                macs = step_macs(item.model)
                points.append(Point(axis, at, board.core, item.name, step, inference, macs))
    return points


def page(points: Sequence[Point]) -> str:
    """The table, as Markdown."""
    lines = [
        "# Cost against size",
        "",
        "Written by `make bench-growth`: GCC -O2, exact instructions in QEMU, of random weights on",
        "random samples. Each axis leaves the other sizes of 64-32-10, batch 16, as they are.",
        "",
        "![instructions of a step](growth.svg)",
        "",
        "| axis | network | core | training step | insn/MAC | inference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for p in points:
        figures = f"{p.step:,} | {p.step / p.macs:.3g} | {p.inference:,}"
        lines.append(f"| {p.axis} | {p.model} | {p.core} | {figures} |")
    return "\n".join(lines) + "\n"


def picture(points: Sequence[Point]) -> str:
    """A panel an axis: instructions of a step, both scales linear from zero."""
    panels = [_panel(n, axis, points) for n, axis in enumerate(AXES)]
    width = LEFT + len(AXES) * (PANEL + GAP)
    height = TOP + PANEL + 60
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
    return f"{opening}{join(*panels)}<style>{STYLE}</style></svg>\n"


def _panel(number: int, axis: str, points: Sequence[Point]) -> str:
    left = LEFT + number * (PANEL + GAP)
    here = [p for p in points if p.axis == axis]
    most, top = max(p.at for p in here), max(p.step for p in here)
    parts = [tag("text", f"{axis}; a step, up to {top:,} instructions", x=left, y=TOP - 12)]
    for share in (0, 0.5, 1):
        y = TOP + PANEL * (1 - share)
        parts.append(void("line", x1=left, x2=left + PANEL, y1=y, y2=y, class_="grid"))
        label = f"{share * top / 1000:,.0f} k"
        parts.append(tag("text", label, x=left - 6, y=y + 4, text_anchor="end"))
    for at in sorted({p.at for p in here}):
        x = left + PANEL * at / most
        parts.append(tag("text", str(at), x=x, y=TOP + PANEL + 16, text_anchor="middle"))
    for n, board in enumerate(BOARDS_MEASURED):
        line = [(left + PANEL * p.at / most, TOP + PANEL * (1 - p.step / top))
                for p in here if p.core == board.core]  # fmt: skip
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        colour = COLOURS[n]
        parts.append(void("polyline", points=path, class_="line", stroke=colour))
        parts += [void("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, fill=colour) for x, y in line]
        y = TOP + PANEL + 34 + 14 * n
        parts.append(void("circle", cx=left, cy=y - 4, r=3, fill=colour))
        parts.append(tag("text", board.core, x=left + 10, y=y))
    return join(*parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the results")
    options = parser.parse_args(arguments)
    points = measured(cache_folder())
    (options.out / "growth.md").write_text(page(points))
    (options.out / "growth.svg").write_text(picture(points))
    print(page(points))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
