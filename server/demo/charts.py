# SPDX-License-Identifier: Apache-2.0
"""The report's plots as inline SVG. Colours come from the page's style, so dark mode works."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from server.demo.html import Markup, join, tag, void

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 40, 16, 14, 40
ARENA_HEIGHT = 200
LONG_NAME = 4  # characters; longer column heads are turned
MARKERS = ("circle", "square", "diamond")


@dataclass(frozen=True)
class Series:
    """One curve: shares in [0, 1], None where there is nothing to draw."""

    name: str
    values: Sequence[float | None]


def accuracy_chart(name: str, labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Accuracy over tasks.

    Args:
        name: prefix of the ids of title and description.
        labels: one a task, below the axis.
        series: at most three; each has a marker of its own, not colour alone.
    """
    known = [v for s in series for v in s.values if v is not None]
    low = max(0, floor((min(known, default=0.0) * 100 - 4) / 10) * 10)
    frame = _Frame(low, len(labels))
    parts: list[Markup] = [_grid(frame, labels)]
    for index, one in enumerate(series):
        parts.append(_curve(frame, one, index))
    return _svg(name, "Accuracy over tasks", _describe(labels, series), HEIGHT, *parts)


@dataclass(frozen=True)
class _Frame:
    """From values to coordinates."""

    low_percent: int
    count: int

    def x(self, index: int) -> float:
        """Middle of a task's column."""
        return LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / self.count

    def y(self, share: float) -> float:
        """Height of a share in [0, 1]."""
        part = (share * 100 - self.low_percent) / (100 - self.low_percent)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _grid(frame: _Frame, labels: Sequence[str]) -> Markup:
    step = 10 if frame.low_percent >= 40 else 20
    parts = []
    for level in range(frame.low_percent, 101, step):
        y = f"{frame.y(level / 100):.1f}"
        parts.append(void("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        label = f"{level} %"
        parts.append(tag("text", label, x=LEFT - 5, y=y, dy="4", class_="tick", text_anchor="end"))
    for index, label in enumerate(labels):
        x = f"{frame.x(index):.1f}"
        below = HEIGHT - BOTTOM + 16
        task = f"task {index}"
        parts.append(tag("text", task, x=x, y=below, class_="tick", text_anchor="middle"))
        parts.append(tag("text", label, x=x, y=below + 14, class_="small", text_anchor="middle"))
    return join(*parts)


def _curve(frame: _Frame, series: Series, index: int) -> Markup:
    points = [
        (frame.x(i), frame.y(value), value)
        for i, value in enumerate(series.values)
        if value is not None
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    marks = [
        tag("g", tag("title", f"{series.name}: {100 * value:.1f} %"), _marker(index, x, y))
        for x, y, value in points
    ]
    return tag("g", void("polyline", points=line, class_="line"), *marks, class_=f"series{index}")


def _marker(index: int, x: float, y: float) -> Markup:
    kind = MARKERS[index % len(MARKERS)]
    if kind == "circle":
        return void("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4.5")
    turned = f"rotate(45 {x:.1f} {y:.1f})" if kind == "diamond" else None
    return void("rect", x=f"{x - 4:.1f}", y=f"{y - 4:.1f}", width="8", height="8", transform=turned)


def legend(names: Sequence[str]) -> Markup:
    """Names of curves with their markers."""
    items = []
    for index, name in enumerate(names):
        mark = tag("g", _marker(index, 8, 8), class_=f"series{index}")
        sign = tag("svg", mark, viewBox="0 0 16 16", width="16", height="16", aria_hidden="true")
        items.append(tag("li", sign, " ", name))
    return tag("ul", *items, class_="legend")


def _describe(labels: Sequence[str], series: Sequence[Series]) -> str:
    texts = []
    for one in series:
        values = ", ".join("none" if v is None else f"{100 * v:.1f} %" for v in one.values)
        texts.append(f"{one.name}: {values}")
    return f"Tasks {', '.join(labels)}. " + ". ".join(texts) + "."


@dataclass(frozen=True)
class Part:
    """A piece of memory."""

    name: str
    size_bytes: int


def memory_chart(name: str, title: str, parts: Sequence[Part], available_bytes: int) -> Markup:
    """One bar of memory, its parts to scale; what is free is left open if it is not too wide."""
    used = sum(part.size_bytes for part in parts)
    whole = max(used, min(available_bytes, 2 * used), 1)
    width = WIDTH - 2
    x, drawn = 1.0, []
    for index, part in enumerate(parts):
        wide = part.size_bytes * width / whole
        block = void("rect", x=f"{x:.2f}", y="1", width=f"{max(wide, 0.4):.2f}", height="34")
        text = tag("title", f"{part.name}: {part.size_bytes} bytes")
        drawn.append(tag("g", text, block, class_=f"part{index % 8}"))
        x += wide
    outline = void("rect", x="1", y="1", width=width, height="34", class_="outline")
    listing = ", ".join(f"{part.name} {part.size_bytes} bytes" for part in parts)
    return _svg(name, title, f"{listing}.", 36, *drawn, outline)


@dataclass(frozen=True)
class Block:
    """A buffer of the arena: bytes from an offset, live from one operation to another."""

    name: str
    offset: int
    size_bytes: int
    first: int
    last: int


def arena_chart(
    name: str, blocks: Sequence[Block], arena_bytes: int, operations: Sequence[str]
) -> Markup:
    """Buffers over time: operations from left to right, offsets from the top down."""
    wide = (WIDTH - LEFT - RIGHT) / max(len(operations), 1)
    high = ARENA_HEIGHT / max(arena_bytes, 1)
    parts = [_block(block, index, wide, high) for index, block in enumerate(blocks)]
    outline = void(
        "rect", x=LEFT, y="1", width=WIDTH - LEFT - RIGHT, height=ARENA_HEIGHT, class_="outline"
    )
    ends = [
        tag("text", "0", x=LEFT - 5, y="10", class_="tick", text_anchor="end"),
        tag("text", arena_bytes, x=LEFT - 5, y=ARENA_HEIGHT, class_="tick", text_anchor="end"),
        tag("text", operations[0], x=LEFT, y=ARENA_HEIGHT + 16, class_="tick"),
        tag(
            "text",
            operations[-1],
            x=WIDTH - RIGHT,
            y=ARENA_HEIGHT + 16,
            class_="tick",
            text_anchor="end",
        ),
    ]
    listing = ", ".join(f"{b.name} {b.size_bytes} bytes at {b.offset}" for b in blocks)
    return _svg(name, "Training arena", f"{listing}.", ARENA_HEIGHT + 22, outline, *parts, *ends)


def _block(block: Block, index: int, wide: float, high: float) -> Markup:
    x, y = LEFT + block.first * wide, 1 + block.offset * high
    width, height = (block.last - block.first + 1) * wide, block.size_bytes * high
    text = f"{block.name}: {block.size_bytes} bytes at {block.offset}"
    shape = void(
        "rect",
        x=f"{x:.2f}",
        y=f"{y:.2f}",
        width=f"{width:.2f}",
        height=f"{max(height, 0.5):.2f}",
        class_="block",
    )
    fits = height >= 11 and width >= 6.5 * len(block.name)
    label = (
        tag("text", block.name, x=f"{x + 3:.2f}", y=f"{y + height / 2 + 4:.2f}", class_="on")
        if fits
        else None
    )
    return tag("g", tag("title", text), shape, label, class_=f"part{index % 8}")


def swatch(index: int) -> Markup:
    """The colour of a part, for its row in a table."""
    block = tag("g", void("rect", x="1", y="1", width="14", height="14"), class_=f"part{index % 8}")
    return tag("svg", block, viewBox="0 0 16 16", width="14", height="14", aria_hidden="true")


def _svg(name: str, title: str, description: str, height: int, *content: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *content,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="plot",
    )


def confusion_table(caption: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Confusion matrix: rows true, columns predicted; darker is more of the row."""
    head = [tag("th", "true \\ predicted", scope="col")]
    turned = "turned" if max(len(name) for name in names) > LONG_NAME else "upright"
    head += [tag("th", name, scope="col", class_=turned) for name in names]
    body = []
    for index, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = max(sum(row), 1)
        cells = [_confusion_cell(n, n / total, i == index) for i, n in enumerate(row)]
        body.append(tag("tr", tag("th", name, scope="row"), *cells))
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_="confusion",
    )
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _confusion_cell(count: int, share: float, right: bool) -> Markup:
    level = 0 if count == 0 else 1 + min(4, int(share * 5))
    kind = "good" if right else "bad"
    return tag("td", count if count else "·", class_=f"{kind}{level}")
