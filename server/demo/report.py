# SPDX-License-Identifier: Apache-2.0
"""demo.json to report.html: one file, nothing fetched, readable on a phone and in the dark."""

from pathlib import Path
from typing import Any

from server.demo.charts import (
    Block,
    Part,
    Series,
    accuracy_chart,
    arena_chart,
    confusion_table,
    legend,
    memory_chart,
    swatch,
)
from server.demo.html import Markup, join, table, tag, void
from server.demo.words import bytes_text, count, percent, points, short, span_of

_FIGURES = frozenset({2, 3, 4})
CHART_LABEL_CHARS = 72  # below the whole axis
Json = dict[str, Any]


def render(document: Json) -> str:
    """The whole page.

    Args:
        document: what demo.json holds; see server.demo.results.
    """
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    title = f"Hadapt demo: {', '.join(d['title'] for d in document['datasets'])}"
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    sections = [_dataset(document, dataset) for dataset in document["datasets"]]
    body = tag("body", _header(document), tag("main", *sections, _steps(document)), _footer())
    page = tag("html", head, body, lang="en")
    return "<!DOCTYPE html>\n" + page + "\n"


def _header(document: Json) -> Markup:
    first = document["datasets"][0]
    done = [b for b in document["boards"] if b["bit_exact"] is not None]
    exact = sum(bool(b["bit_exact"]) for b in done)
    cards = [
        (percent(first["average_incremental_accuracy"]), "average incremental accuracy"),
        (percent(first["float32"]["average_incremental_accuracy"]), "float32, same stream"),
        (points(first["forgetting"]), "forgetting, in points"),
        (f"{exact} of {len(done)}", "device tests bit-exact"),
        (bytes_text(first["delivered_bytes"]), "delivered per update, at most"),
        (f"{document['seconds']:.0f} s", "the whole run"),
    ]
    items = [tag("li", tag("strong", value), tag("span", text)) for value, text in cards]
    return tag(
        "header",
        tag("h1", "A microcontroller learns new classes"),
        tag("p", _lead(first), class_="lead"),
        tag("ul", *items, class_="cards"),
    )


def _lead(dataset: Json) -> str:
    network = "-".join(str(n) for n in dataset["network"])
    return (
        f"A {network} network learned {dataset['base_classes']} classes of {dataset['title']} in "
        f"float32. As integer firmware it then learned {dataset['new_classes']} more, some at a "
        "time: 4-bit operands, 8-bit accumulators, no float anywhere. Every update was computed by "
        "the service, proved in an emulator, and delivered as state bytes to a device that kept "
        "running."
    )


def _dataset(document: Json, dataset: Json) -> Markup:
    name = dataset["name"]
    tasks = [t for t in document["tasks"] if t["dataset"] == name]
    boards = [b for b in document["boards"] if b["dataset"] == name]
    return join(
        tag("h2", f"{dataset['title']}: accuracy"),
        tag("div", _curve(name, tasks), _summary(dataset), class_="pair"),
        _task_table(tasks),
        tag("h3", "Accuracy on each task, after each task"),
        _matrix(tasks),
        tag("h3", "Which classes are taken for which"),
        confusion_table(
            f"Confusion after the last task, {dataset['title']}, device arithmetic",
            dataset["class_names"],
            dataset["confusion"],
        ),
        tag("h2", f"{dataset['title']}: on the running device"),
        _fielded(dataset, tasks),
        tag("h2", f"{dataset['title']}: boards"),
        _boards(boards),
        *(_memory(name, memory) for memory in dataset["memory"]),
        _arena(name, dataset["arena"]),
    )


def _curve(name: str, tasks: list[Json]) -> Markup:
    series = [
        Series("Hadapt, integers only", [t["accuracy_seen"] for t in tasks]),
        Series("float32, same stream and steps", [t["float32"]["accuracy_seen"] for t in tasks]),
        Series("measured on the running device", [_device_accuracy(t) for t in tasks]),
    ]
    room = max(4, CHART_LABEL_CHARS // len(tasks) - 2)
    labels = [short(", ".join(t["classes"]), room) for t in tasks]
    return tag(
        "figure",
        accuracy_chart(f"{name}-curve", labels, series),
        legend([s.name for s in series]),
        tag("figcaption", "Accuracy on the test rows of all classes known after each task."),
    )


def _device_accuracy(task: Json) -> float | None:
    device = task["device"]
    return device["accuracy"] if device else None


def _task_table(tasks: list[Json]) -> Markup:
    rows: list[list[object]] = []
    for task in tasks:
        for index, after in enumerate(task["accuracies"]):
            before = task["accuracies_before"][index]
            rows.append(
                [
                    f"after task {task['task']}",
                    f"task {index} ({short(span_of(tasks[index]['classes']), 30)})",
                    percent(before),
                    percent(after),
                    percent(task["float32"]["accuracies"][index]),
                ]
            )
    columns = ["", "on", "before", "after", "float32 after"]
    return table("Accuracy per task, before and after each update", columns, rows, _FIGURES)


def _summary(dataset: Json) -> Markup:
    figures = (
        ("average incremental accuracy", "average_incremental_accuracy", percent),
        ("accuracy after the last task", "last_accuracy", percent),
        ("forgetting (Chaudhry)", "forgetting", points),
        ("backward transfer", "backward_transfer", points),
    )
    rows: list[list[object]] = [
        [text, form(dataset[key]), form(dataset["float32"][key])] for text, key, form in figures
    ]
    return table("Summary", ["", "integers", "float32"], rows)


def _matrix(tasks: list[Json]) -> Markup:
    columns = ["R[k][j]", *(f"task {t['task']}" for t in tasks), "all seen", "forgetting"]
    rows: list[list[object]] = []
    for task in tasks:
        blank = [""] * (len(tasks) - len(task["accuracies"]))
        cells = [percent(value) for value in task["accuracies"]]
        tail = [percent(task["accuracy_seen"]), points(task["forgetting"])]
        rows.append([f"after task {task['task']}", *cells, *blank, *tail])
    return table("Accuracy matrix, integers", columns, rows)


def _fielded(dataset: Json, tasks: list[Json]) -> Markup:
    device = dataset["fielded"]
    if device["error"]:
        return tag("p", f"No device could be kept running here: {device['error']}")
    rows: list[list[object]] = [
        [
            f"task {t['task']}",
            percent(t["device"]["accuracy"]),
            count(t["device"]["rows"]),
            _yes(t["device"]["hash_equals_update"]),
            tag("code", t["device"]["state_hash"]),
        ]
        for t in tasks
        if t["device"]
    ]
    columns = ["after", "accuracy", "rows", "hash = update's", "state hash"]
    return join(
        tag(
            "p",
            f"One {device['title']} in {device['emulator']}, started once from the downloaded "
            "firmware. It was given state bytes and exemplars, never another ELF: ",
            tag("code", device["elf_sha256"]),
        ),
        table("Measured on the device", columns, rows, frozenset({1, 2})),
    )


def _yes(value: bool | None) -> Markup:
    if value is None:
        return tag("span", "not run", class_="note")
    return tag("span", "yes" if value else "NO", class_="yes" if value else "no")


def _boards(boards: list[Json]) -> Markup:
    columns = ["board", "core", "bit-exact", "flash", "RAM", "stack", "inference", "training step"]
    rows: list[list[object]] = [_board_row(b) for b in boards]
    digests: list[list[object]] = [
        [b["board"], tag("code", b["state_hash"]), tag("code", b["elf_sha256"]), b["compiler"]]
        for b in boards
        if b["state_hash"]
    ]
    missing = [tag("li", f"{b['board']}: {b['error']}") for b in boards if b["error"]]
    variants = sorted({b["variant"] for b in boards if b["variant"] != "main"})
    note = f"Boards marked with a variant run: {'; '.join(variants)}." if variants else None
    return join(
        table("Bytes and instructions per board", columns, rows, frozenset(range(3, 8))),
        tag("ul", *missing) if missing else None,
        tag("p", note, class_="note") if note else None,
        tag("p", "Instructions are exact counts from the emulator, not cycles.", class_="note"),
        table(
            "Proof: after training on the board, state hash equal to the host's",
            ["board", "state hash", "ELF", "compiler"],
            digests,
            frozenset(),
        ),
    )


def _board_row(board: Json) -> list[object]:
    label = board["board"] if board["variant"] == "main" else f"{board['board']} *"
    sizes = [count(board[k]) for k in ("flash_bytes", "ram_bytes", "stack_bytes")]
    costs = [count(board[k]) for k in ("instructions_inference", "instructions_training_step")]
    return [label, board["core"], _yes(board["bit_exact"]), *sizes, *costs]


def _memory(dataset: str, memory: Json) -> Markup:
    parts = [Part(p["name"], p["bytes"]) for p in memory["parts"]]
    used = sum(p.size_bytes for p in parts)
    title = f"{memory['memory']} of {memory['board']}"
    share = 100 * used / max(memory["available_bytes"], 1)
    rows: list[list[object]] = [
        [join(swatch(i), " ", part.name), count(part.size_bytes)] for i, part in enumerate(parts)
    ]
    identity = f"{dataset}-{memory['memory'].lower()}"
    return join(
        tag("h3", f"Memory map: {title}"),
        tag(
            "figure",
            memory_chart(identity, f"Memory map: {title}", parts, memory["available_bytes"]),
            tag(
                "figcaption",
                f"{count(used)} of {count(memory['available_bytes'])} bytes ({share:.1f} %).",
            ),
        ),
        table(f"Parts of {title}", ["part", "bytes"], rows),
    )


def _arena(dataset: str, arena: Json) -> Markup:
    blocks = [
        Block(b["name"], b["offset"], b["bytes"], b["first"], b["last"]) for b in arena["buffers"]
    ]
    operations = arena["operations"]
    rows: list[list[object]] = [
        [
            join(swatch(i), " ", b["name"]),
            b["owner"],
            count(b["offset"]),
            count(b["bytes"]),
            f"{operations[b['first']]} .. {operations[b['last']]}",
        ]
        for i, b in enumerate(arena["buffers"])
    ]
    least = "the least that is possible"
    if arena["bytes"] != arena["lower_bound_bytes"]:
        least = f"at least {count(arena['lower_bound_bytes'])} are needed"
    return join(
        tag("h3", "Memory map: training arena"),
        tag(
            "figure",
            arena_chart(f"{dataset}-arena", blocks, arena["bytes"], operations),
            tag(
                "figcaption",
                f"{count(arena['bytes'])} bytes, {least}. A training step runs from left to right, "
                "offsets go down; buffers share bytes when they do not live at the same time.",
            ),
        ),
        tag(
            "details",
            tag("summary", "Buffers of the training arena"),
            table(
                "Buffers of the training arena",
                ["buffer", "holds", "offset", "bytes", "lives"],
                rows,
                frozenset({2, 3}),
            ),
        ),
    )


def _steps(document: Json) -> Markup:
    items = [tag("li", f"{s['text']} ({s['seconds']:.1f} s)") for s in document["steps"]]
    return join(
        tag("h2", "What was done"),
        tag("ol", *items, class_="steps"),
        *(tag("p", note, class_="note") for note in document["notes"]),
    )


def _footer() -> Markup:
    return tag(
        "footer",
        "Accuracies are on held-out rows. Forgetting after task k is the mean over earlier tasks "
        "of their best earlier accuracy minus the present one. Nothing was measured on silicon.",
    )
