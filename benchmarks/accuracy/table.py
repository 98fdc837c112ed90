# SPDX-License-Identifier: Apache-2.0
"""The results as a Markdown table: mean and deviation over seeds, paired differences."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.learning.metrics import paired_difference, summary

Record = dict[str, Any]
_SAME = (
    *("dataset", "method", "network", "base_classes", "step_classes", "exemplar_slots"),
    *("epochs", "batch", "learning_rate"),
)
_PLAIN, _BALANCED = "average_incremental_accuracy", "average_incremental_balanced_accuracy"
_METRICS = (_PLAIN, _BALANCED, "last_accuracy", "forgetting_chaudhry")

_HEAD = """\
# Class-incremental accuracy

Made by `make bench-accuracy` (core table) and `python -m benchmarks.accuracy`; accuracy.json has
every setting, matrix and class order. Percent; mean and standard deviation over seeds, which also
draw the class order. Differences: percentage points of average incremental accuracy, paired with
float32, and with the tuned float loop, on the same seeds; in brackets the lower bound of the
one-sided 95 % interval. The head is the method's own: nearest mean for ncm and icarl, linear for
the others; the other head's figures are in accuracy.json.
`float32-tuned` and `simulated-*`: see benchmarks/README.md.
""".splitlines()
_COLUMNS = (
    *("data", "method", "network", "tasks", "memory", "epochs", "floor", "arithmetic", "seeds"),
    *("average incremental", "the same, balanced", "last", "forgetting"),
    *("difference to float32", "balanced", "to float32-tuned", "balanced"),
)


def write_table(records: Sequence[Record], path: Path) -> None:
    """Write the table of all records."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, Record]]] = defaultdict(dict)
    for record in records:
        key = (*(record[name] for name in _SAME), record.get("normaliser_floor", 0.1))
        options = ", ".join(f"{k}={v}" for k, v in sorted(record["quantizer"].items()))
        arm = record["arithmetic"] + (f" ({options})" if options else "")
        groups[key].setdefault(arm, {})[record["seed"]] = record
    lines = [*_HEAD, "", _line(_COLUMNS), "| --- " * len(_COLUMNS) + "|"]
    for key in sorted(groups, key=str):
        arms = groups[key]
        references = [arms.get(name, {}) for name in ("float32", "float32-tuned")]
        lines += [_row(key, arm, arms[arm], references) for arm in sorted(arms)]
    path.write_text("\n".join(lines) + "\n")


def _row(
    key: tuple[Any, ...], arm: str, runs: dict[int, Record], references: list[dict[int, Record]]
) -> str:
    dataset, method, network, base, step, slots, epochs = key[:7]
    setting = (dataset, method, network, f"{base} + {step}", slots, epochs, key[-1], arm)
    values = [_mean(runs, name) for name in _METRICS]
    gaps = [_gap(runs, other, name) for other in references for name in (_PLAIN, _BALANCED)]
    return _line((*setting, len(runs), *values, *gaps))


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _mean(runs: dict[int, Record], name: str) -> str:
    found = summary([run[name] for run in runs.values()])
    return f"{found.mean:.2f} ± {found.std:.2f}" if len(runs) > 1 else f"{found.mean:.2f}"


def _gap(runs: dict[int, Record], reference: dict[int, Record], name: str) -> str:
    shared = sorted(set(runs) & set(reference))
    if runs is reference or not shared:
        return ""
    gap = paired_difference(
        [runs[seed][name] for seed in shared], [reference[seed][name] for seed in shared]
    )
    return f"{gap.mean:+.2f}" + (f" (≥ {gap.lower_95:.2f})" if len(shared) > 1 else "")
