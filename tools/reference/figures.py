# SPDX-License-Identifier: Apache-2.0
"""Figures that the explanation quotes, taken from benchmarks/results."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from server.learning.metrics import paired_difference

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SETS = ("dsads_405", "hapt_561", "fsdd_mfcc49x10")
ARMS = ("hdqt-int16", "hdqt-int8")
SETTING = (
    *("dataset", "method", "network", "base_classes", "step_classes", "exemplar_slots"),
    *("epochs", "batch", "learning_rate"),
)
METRIC = "average_incremental_accuracy"
MODEL = "64-32-10 b16 int8"
COSTS = ("inference", "train_step", "flash_bytes", "ram_bytes", "stack_bytes")
Record = dict[str, Any]


def figures() -> str:
    """Accuracy, cost and the run on the device as Markdown."""
    accuracy, cost, run = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("accuracy", "cost", "on_device")
    )
    return "\n".join([*_accuracy(accuracy), "", *_cost(cost), "", *_on_device(run), ""])


def _accuracy(records: list[Record]) -> list[str]:
    lines = [
        "## Accuracy: integers beside float32",
        "",
        "Average incremental accuracy, percent, mean over seeds; the difference is paired over the",
        "seeds that both have, of which there are as many as the table says. From",
        "[accuracy.json](../../benchmarks/results/accuracy.json), made by `make bench-accuracy`;",
        "[accuracy.md](../../benchmarks/results/accuracy.md) has deviations, intervals and all",
        "other settings.",
        "",
        "| data | method | epochs | arithmetic | tiles | seeds | float32 | integers | difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for setting, arms in sorted(_core(records).items(), key=str):
        floats = arms.get(("float32", 8), {})
        for (arm, bits), runs in sorted(arms.items()):
            shared = sorted(set(runs) & set(floats))
            if arm in ARMS and shared:
                gap = paired_difference([runs[s] for s in shared], [floats[s] for s in shared])
                means = [f"{sum(v.values()) / len(v):.2f}" for v in (floats, runs)]
                cells = [*setting[:2], setting[6], arm, f"{bits} bits", len(shared), *means]
                lines.append("| " + " | ".join(map(str, [*cells, f"{gap.mean:+.2f}"])) + " |")
    return lines


def _core(records: list[Record]) -> dict[tuple[Any, ...], dict[tuple[str, int], dict[int, float]]]:
    """Runs of the core table: accuracy by setting, then arithmetic and bits, then seed."""
    found: dict[Any, Any] = defaultdict(lambda: defaultdict(dict))
    for one in records:
        core = one["dataset"] in SETS and one.get("normaliser_floor") == 0.5
        if (
            core
            and one.get("base", "float32") == "float32"
            and set(one["quantizer"]) <= {"acc_bits"}
        ):
            setting = tuple(str(one[name]) for name in SETTING)
            arm = one["arithmetic"], int(one["quantizer"].get("acc_bits", 8))
            found[setting][arm][one["seed"]] = one[METRIC]
    return found


def _cost(records: list[Record]) -> list[str]:
    lines = [
        "## Cost: one network on every core",
        "",
        f"Network {MODEL} (widths, batch, masters): exact instructions of an inference and of a",
        "training step, and bytes of the linked firmware, GCC at -O2; counts, no times. From",
        "[cost.json](../../benchmarks/results/cost.json), made by `make bench`.",
        "",
        "| board | core | inference | training step | flash | RAM | stack |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for one in records:
        if one["model"] == MODEL and one["kind"] == "gcc" and one["opt"] == "-O2":
            rows[one["board"], one["core"]][one["figure"]] = one["value"]
    for (board, core), values in rows.items():
        cells = [f"{values[name]:,.0f}" if name in values else "" for name in COSTS]
        lines.append("| " + " | ".join([board, core, *cells]) + " |")
    return lines


def _on_device(run: Record) -> list[str]:
    counts = run["instructions"]
    return [
        "## A whole run on the device",
        "",
        f"All tasks of {run['dataset']} inside an emulated {run['board']}:",
        f"{run['ram_bytes']:,} bytes of RAM and {run['flash_bytes']:,} of flash used,",
        f"{counts['inference']:,} instructions an inference,",
        f"{counts['training_step']:,} a training step, every state hash equal to the host's. From",
        "[on_device.json](../../benchmarks/results/on_device.json), made by",
        "`make bench-on-device`.",
    ]
