# SPDX-License-Identifier: Apache-2.0
"""The demo's tables on the terminal, from what demo.json holds."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.demo.words import count, percent, points, span_of

Json = dict[str, Any]
DIGEST_SHOWN = 16


def print_tables(document: Json, console: Console) -> None:
    """All tables of a run."""
    for dataset in document["datasets"]:
        name = dataset["name"]
        tasks = [t for t in document["tasks"] if t["dataset"] == name]
        boards = [b for b in document["boards"] if b["dataset"] == name]
        for task in tasks:
            console.print(f"task {task['task']}: {escape(span_of(task['classes']))}")
        for table in (_tasks(dataset, tasks), _summary(dataset), _boards(dataset, boards)):
            console.print(table)
        _proof(boards, console)
    for note in document["notes"]:
        console.print(escape(note))


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table


def _tasks(dataset: Json, tasks: list[Json]) -> Table:
    right = ("before", "after", "float32", "running device")
    table = _table(f"{dataset['title']}: accuracy per task", ("after", "on"), right)
    for task in tasks:
        label = f"task {task['task']}"
        for index, after in enumerate(task["accuracies"]):
            on = f"task {index}"
            cells = (task["accuracies_before"][index], after, task["float32"]["accuracies"][index])
            table.add_row(label, on, *(percent(c) for c in cells), "")
            label = ""
        device = percent(task["device"]["accuracy"]) if task["device"] else "-"
        seen = (percent(task["accuracy_seen"]), percent(task["float32"]["accuracy_seen"]))
        table.add_row("", "all known", "", *seen, device, end_section=True)
    return table


def _summary(dataset: Json) -> Table:
    table = _table(f"{dataset['title']}: the stream", ("",), ("integers", "float32"))
    figures = (
        ("average incremental accuracy", "average_incremental_accuracy", percent),
        ("accuracy after the last task", "last_accuracy", percent),
        ("forgetting, points", "forgetting", points),
        ("backward transfer, points", "backward_transfer", points),
    )
    for text, key, form in figures:
        table.add_row(text, form(dataset[key]), form(dataset["float32"][key]))
    return table


def _boards(dataset: Json, boards: list[Json]) -> Table:
    right = ("flash", "RAM", "stack", "instr. an inference", "instr. a training step")
    table = _table(f"{dataset['title']}: boards", ("board", "bit-exact"), right)
    for board in boards:
        mark = "" if board["variant"] == "main" else " *"
        sizes = (board["flash_bytes"], board["ram_bytes"], board["stack_bytes"])
        costs = (board["instructions_inference"], board["instructions_training_step"])
        cells = [count(value) for value in (*sizes, *costs)]
        table.add_row(board["board"] + mark, _verdict(board), *cells)
    return table


def _verdict(board: Json) -> str:
    if board["bit_exact"] is None:
        return "not run"
    return "yes" if board["bit_exact"] else "NO"


def _proof(boards: list[Json], console: Console) -> None:
    """State hash and ELF digest of every board that ran, or why it did not."""
    for board in boards:
        if board["state_hash"]:
            state, elf = board["state_hash"][:DIGEST_SHOWN], board["elf_sha256"][:DIGEST_SHOWN]
            console.print(f"  {board['board']:<12} state {state}..  ELF {elf}..")
        elif board["error"]:
            console.print(f"  {board['board']:<12} {escape(board['error'])}")
    for variant in sorted({b["variant"] for b in boards if b["variant"] != "main"}):
        console.print(f"  * {escape(variant)}")
