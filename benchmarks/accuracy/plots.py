# SPDX-License-Identifier: Apache-2.0
"""Accuracy over tasks as SVG files, mean over seeds: one file a set and method."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.groups import Record, arm_of
from benchmarks.accuracy.setting import Arithmetic
from server.demo.charts import HEIGHT, LEFT, WIDTH, Series, accuracy_chart
from server.demo.html import Markup, join, tag, void

ARITHMETICS: tuple[Arithmetic, ...] = ("float32", "hdqt-int16", "hdqt-int8")
_KEYS = HEIGHT - 100  # where the keys of the curves begin
_STYLE = """\
text { font: 11px sans-serif; fill: #333 } .small { font-size: 9px }
.grid { stroke: #ddd } .line { fill: none; stroke-width: 2 }
.series0 { stroke: #1f6feb } .series1 { stroke: #d9480f } .series2 { stroke: #2b8a3e }
circle, rect { fill: #fff; stroke-width: 2 }
"""


def write_plots(records: Sequence[Record], folder: Path) -> list[Path]:
    """A file for every set and method of the core table that has float32 and integers."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        core = arm_of(record) in ARITHMETICS
        if core and record.get("normaliser_floor") == 0.5:
            groups[record["dataset"], record["method"]].append(record)
    paths = []
    for (dataset, method), found in sorted(groups.items()):
        if len({record["arithmetic"] for record in found}) > 1:
            paths.append(folder / f"accuracy_{dataset}_{method}.svg")
            paths[-1].write_text(plot(found) + "\n")
    return paths


def plot(records: Sequence[Record]) -> Markup:
    """Curves of the arithmetics, over the seeds that all of them have."""
    names = [a for a in ARITHMETICS if any(r["arithmetic"] == a for r in records)]
    seeds = [{r["seed"] for r in records if r["arithmetic"] == name} for name in names]
    shared = set.intersection(*seeds)
    series = []
    for name in names:
        rows = [
            r["accuracy_after_task"]
            for r in records
            if r["arithmetic"] == name and r["seed"] in shared
        ]
        series.append(Series(name, (np.mean(rows, axis=0) / 100).tolist() if rows else []))
    tasks = len(records[0]["accuracy_after_task"])
    chart = accuracy_chart("accuracy", [""] * tasks, series)
    title = f"{records[0]['dataset']}, {records[0]['method']}: mean of {len(shared)} seeds"
    lines = [tag("text", title, x=LEFT + 8, y=_KEYS - 16)]
    for index, name in enumerate(names):
        y = _KEYS + 14 * index
        dash = void("line", x1=LEFT + 8, x2=LEFT + 24, y1=y - 4, y2=y - 4, class_="line")
        key = tag("text", name, x=LEFT + 30, y=y, stroke="none")
        lines.append(tag("g", dash, key, class_=f"series{index}"))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" '
    closing = f"{join(*lines)}<style>{_STYLE}</style></svg>"
    text = chart.replace("<svg ", opening, 1)
    return Markup(text[: text.rindex("</svg>")] + closing)
