# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.levers: where the integers lose accuracy, each lever switched alone, by set.

    python -m benchmarks.levers --set "two clusters" --set digits --seeds 6
    python -m benchmarks.levers --set hapt_561 --seeds 4 --only inference --metric balanced

Class-incremental learning by replay, judged by held-out samples of the training split, never by
test samples. A set is made up (benchmarks/made_up.py), digits, or a file of HADAPT_DATA. Results
are added to --out; no run is repeated. `benchmarks.options` does the same for one set and all
options of the arithmetic.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.arguments import count, widths
from benchmarks.accuracy.campaign import (
    Job,
    Record,
    RecordsError,
    load_records,
    missing,
    run_all,
    save,
)
from benchmarks.accuracy.setting import Arithmetic
from benchmarks.accuracy.simulations import INFERENCES
from benchmarks.accuracy.validation import held_out
from benchmarks.made_up import MADE_UP
from benchmarks.options import Option, chosen, gap, runs_of
from server.learning.datasets import Dataset, DatasetError, data_folder, load

RESULTS = Path(__file__).parent / "results" / "levers.json"
EPOCHS = 10
METRICS = {
    "plain": "average_incremental_accuracy",
    "balanced": "average_incremental_balanced_accuracy",
}


def _simulated(group: str, name: str, /, **changes: Any) -> Option:
    return Option(group, name, "simulated-hdqt", tuple(changes.items()))


def _descent(
    group: str, name: str, arithmetic: Arithmetic = "simulated-hdqt", /, **fields: Any
) -> Option:
    return Option(group, name, arithmetic, (), tuple(fields.items()))


def _generated(name: str, bits: int, /, **changes: Any) -> Option:
    arithmetic: Arithmetic = "hdqt-int8" if bits == 8 else "hdqt-int16"
    return Option("C", name, arithmetic, tuple(changes.items()))


_EXACT_BACKWARD = {
    "error": "none",
    "weights": "none",
    "error_rows": "none",
    "inputs": "none",
    "order_error": 1,
    "order_batch": 1,
}
# The first of an arithmetic is what the others of it are compared with; float32, what that is.
LEVERS: tuple[Option, ...] = (
    Option("reference", "float32", "float32"),
    _simulated("simulation", "default"),
    *(_simulated("inference", name, inference=name) for name in INFERENCES if name != "own"),
    _simulated("forward", "float32", stored="none", forward="none"),
    _simulated("backward", "float32", **_EXACT_BACKWARD),
    _simulated("forward", "exact accumulators", acc_bits=32),
    _simulated("forward", "tiles of 16", tile_k=16),
    _simulated("forward", "tiles of 8", tile_k=8),
    _simulated("forward", "x0 of 8 bits", stored_bits=8),
    _simulated("forward", "x0 of 8 bits, twice the range", stored_bits=8, x0_range=2.0),
    _simulated("forward", "8-bit W, exact sums", weight_levels=127, acc_bits=32),
    _simulated("forward", "8-bit activations, exact sums", activation_levels=255, acc_bits=32),
    _simulated("forward", "view clipped by least squares", weight_clip=0.0),
    _simulated("masters", "averaged over the last 10 %", average=0.1),
    _simulated("masters", "in float", master_bits=32),
    _simulated("masters", "int8", master_bits=8),
    _descent("descent", "20 epochs", epochs=20),
    _descent("descent", "rate 0.1", learning_rate=0.1),
    _descent("descent", "float32, 20 epochs", "float32", epochs=20),
    _generated("int16", 16),
    _generated("int16, tiles of 16", 16, tile_k=16),
    _generated("int16, fine inference", 16, fine_inference=True),
    _generated("int8", 8),
    _generated("int8, fine inference", 8, fine_inference=True),
    _generated("int8, tiles of 16", 8, tile_k=16),
)


def find(name: str) -> Dataset:
    """A made-up set, digits, or a file.

    Raises: DatasetError.
    """
    return MADE_UP[name]() if name in MADE_UP else load(name, data_folder())


def of_widths(lever: Option, hidden: tuple[int, ...]) -> Option:
    """A lever on a network of other hidden layers."""
    return replace(lever, fields=(*lever.fields, ("hidden", hidden)))


def as_markdown(records: Sequence[Record], metric: str, command: str) -> str:
    """A table a network: a row a lever, a column a set."""
    lines = [
        "# Levers of accuracy",
        "",
        f"Made by `{command}`: {METRICS[metric].replace('_', ' ')} by replay on",
        "held-out samples of the training split, never on test samples. The simulation's first row",
        "and those of group C: difference to float32; the others: to that first row. Percentage",
        "points, mean of the paired seeds ± standard error (seeds).",
    ]
    for network in sorted({r["network"] for r in records}):
        own = [r for r in records if r["network"] == network]
        sets = sorted({r["dataset"] for r in own})
        names = [name.removesuffix(" (held out)") for name in sets]
        lines += ["", f"## {network}", "", "| group | lever | " + " | ".join(names) + " |"]
        lines += ["| --- " * (len(sets) + 2) + "|", *_rows(own, sets, METRICS[metric])]
    return "\n".join(lines) + "\n"


def _rows(records: Sequence[Record], sets: Sequence[str], metric: str) -> Iterator[str]:
    hidden = tuple(map(int, records[0]["network"].split("-")))
    reference, default = LEVERS[:2]
    for lever in LEVERS:
        other = reference if lever.group == "C" or lever == default else default
        cells = []
        for name in sets:
            pair = (of_widths(option, hidden) for option in (lever, other))
            runs, others = (runs_of(records, option, name, "replay", EPOCHS) for option in pair)
            own = sum(r[metric] for r in runs.values()) / max(1, len(runs))
            text = f"{own:.2f}" if lever == reference else gap(runs, others, metric)
            seeds = len(runs if lever == reference else set(runs) & set(others))
            cells.append(f"{text} ({seeds})" if seeds else "")
        if any(cells):
            yield "| " + " | ".join((lever.group, lever.name, *cells)) + " |"


def _slim(record: Record) -> Record:
    """A record without what the table does not need."""
    return {k: v for k, v in record.items() if k not in ("matrix", "accuracy_after_task")}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.levers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(MADE_UP)
    p.add_argument(
        "--set", action="append", dest="sets", help=f"digits, a file of HADAPT_DATA, or {names}"
    )
    p.add_argument("--seeds", type=count, default=6, help="seeds 0 to N - 1")
    p.add_argument("--hidden", type=widths, default=(128, 128), help="widths of the hidden layers")
    p.add_argument("--only", action="append", default=[], help="levers whose name holds this text")
    p.add_argument("--metric", choices=tuple(METRICS), default="plain")
    p.add_argument("--jobs", type=count, default=1, help="processes")
    p.add_argument("--out", type=Path, default=RESULTS)
    return p.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, write results and table."""
    args = parse(arguments)
    found = chosen(args.only, LEVERS)
    wanted = [lever for lever in LEVERS if lever in found or lever in LEVERS[:2]]
    if not found:
        print(f"--only {args.only}: no lever's name holds that", file=sys.stderr)
        return 1
    try:
        records = load_records(args.out)
        sets = [find(name) for name in args.sets or MADE_UP]
        jobs = [
            Job(of_widths(lever, args.hidden).setting(held.name, "replay", EPOCHS), held, seed)
            for seed in range(args.seeds)
            for held in [held_out(data, data_folder(), seed) for data in sets]
            for lever in wanted
        ]
    except (DatasetError, RecordsError) as error:
        print(error, file=sys.stderr)
        return 1
    for record in run_all(missing(jobs, records), args.jobs):
        records.append(_slim(record))
        save(args.out, records)
    text = as_markdown(records, args.metric, "python -m benchmarks.levers")
    args.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
