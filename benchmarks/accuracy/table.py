# SPDX-License-Identifier: Apache-2.0
"""The results as a Markdown table: mean and deviation over seeds, paired differences."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from server.learning.metrics import paired_difference, summary

Record = dict[str, Any]
_SAME = ("dataset", "method", "network", "base_classes", "step_classes", "exemplar_slots")

_HEAD = """\
# Class-incremental accuracy

Made by `python -m benchmarks.accuracy`, whose --help says how; accuracy.json has every setting,
matrix and class order. Mean and standard deviation over seeds, which also draw the class order.
Difference: paired with float32 on the same seeds; in brackets the lower bound of its one-sided
95 % interval. Linear head for replay, nearest mean for ncm.
""".splitlines()
_COLUMNS = (
    *("data", "method", "network", "tasks", "memory", "epochs", "arithmetic", "seeds"),
    *("average incremental", "last", "forgetting", "difference to float32"),
)


def write_table(records: list[Record], path: Path) -> None:
    """Write the table of all records."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, Record]]] = defaultdict(dict)
    for record in records:
        key = tuple(record[name] for name in (*_SAME, "epochs", "batch", "learning_rate"))
        options = ", ".join(f"{k}={v}" for k, v in sorted(record["quantizer"].items()))
        arm = record["arithmetic"] + (f" ({options})" if options else "")
        groups[key].setdefault(arm, {})[record["seed"]] = record
    lines = [*_HEAD, "", "| " + " | ".join(_COLUMNS) + " |", "| --- " * len(_COLUMNS) + "|"]
    for key in sorted(groups, key=str):
        arms = groups[key]
        lines += [_row(key, arm, arms[arm], arms.get("float32", {})) for arm in sorted(arms)]
    path.write_text("\n".join(lines) + "\n")


def _row(
    key: tuple[Any, ...], arm: str, runs: dict[int, Record], reference: dict[int, Record]
) -> str:
    dataset, method, network, base, step, slots, epochs = key[:7]
    values = [_mean(runs, name) for name in _METRICS]
    cells = [dataset, method, network, f"{base} + {step}", slots, epochs, arm, len(runs)]
    return "| " + " | ".join(str(c) for c in (*cells, *values, _gap(runs, reference))) + " |"


_METRICS = ("average_incremental_accuracy", "last_accuracy", "forgetting_chaudhry")


def _mean(runs: dict[int, Record], name: str) -> str:
    found = summary([run[name] for run in runs.values()])
    return f"{found.mean:.2f} ± {found.std:.2f}"


def _gap(runs: dict[int, Record], reference: dict[int, Record]) -> str:
    shared = sorted(set(runs) & set(reference))
    if runs is reference or len(shared) < 2:
        return ""
    name = "average_incremental_accuracy"
    gap = paired_difference(
        [runs[seed][name] for seed in shared], [reference[seed][name] for seed in shared]
    )
    return f"{gap.mean:+.2f} (≥ {gap.lower_95:.2f})"
