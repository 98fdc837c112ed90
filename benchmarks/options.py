# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.options: the arithmetic's options, each switched alone, on real data.

    python -m benchmarks.options --seeds 6
    python -m benchmarks.options --data hapt_561 --seeds 8 --only 12 --only tile

Class-incremental learning, judged by held-out samples of the training split, never by test samples
(benchmarks/README.md). Rows of group C are the generated C; the others a simulation of it, to be
compared with its own default. Results are added to --out; no run is repeated.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.arguments import count
from benchmarks.accuracy.campaign import (
    Job,
    Record,
    RecordsError,
    key_of,
    load_records,
    missing,
    run_all,
    save,
)
from benchmarks.accuracy.setting import Arithmetic, Setting
from benchmarks.accuracy.validation import held_out
from server.learning.datasets import DatasetError, data_folder, load
from server.learning.metrics import paired_difference

RESULTS = Path(__file__).parent / "results" / "options.json"
EPOCHS = 5  # half of the core table's: the table has many rows
METRICS = ("average_incremental_balanced_accuracy", "forgetting_chaudhry")


@dataclass(frozen=True)
class Option:
    """One row: what is changed, in which arithmetic, against that arithmetic's default."""

    group: str
    name: str
    arithmetic: Arithmetic
    changes: tuple[tuple[str, Any], ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()

    def setting(self, data: str, method: str, epochs: int = EPOCHS) -> Setting:
        """The run of it."""
        plain = Setting(
            dataset=data,
            method=method,
            arithmetic=self.arithmetic,
            epochs=epochs,
            normaliser_floor=0.5,
            quantizer=tuple(sorted(self.changes)),
        )
        return replace(plain, **dict(self.fields))


def _generated(group: str, name: str, bits: int = 16, /, **changes: Any) -> Option:
    arithmetic: Arithmetic = "hdqt-int8" if bits == 8 else "hdqt-int16"
    return Option(group, name, arithmetic, tuple(changes.items()))


def _simulated(group: str, name: str, /, **changes: Any) -> Option:
    return Option(group, name, "simulated-hdqt", tuple(changes.items()))


OPTIONS: tuple[Option, ...] = (
    Option("reference", "float32", "float32"),
    _generated("C", "default: int16, order 16, tiles of 32, 8-bit accumulators"),
    _generated("C", "int8 masters", 8),
    *(
        _generated("C", f"order {n}" if n > 1 else "order 1: off", order=n)
        for n in (1, 4, 8, 32, 64)
    ),
    *(_generated("C", f"tiles of {n}", tile_k=n) for n in (8, 16, 64, 128)),
    *(_generated("C", f"{n}-bit accumulators", acc_bits=n) for n in (12, 16, 32)),
    _generated("C", "saturation at every addition", saturation="every_add"),
    _generated("C", "int8 masters, tiles of 16", 8, tile_k=16),
    _generated("C", "int8 masters, 12-bit accumulators", 8, acc_bits=12),
    _simulated("simulation", "default"),
    _simulated("rounding", "d, input gradient: nearest", error="nearest"),
    _simulated("rounding", "W, input gradient: stochastic", weights="stochastic"),
    _simulated("rounding", "d, weight gradient: nearest", error_rows="nearest"),
    _simulated("rounding", "x, weight gradient: nearest", inputs="nearest"),
    _simulated("rounding", "x, forward in training: stochastic", activations="stochastic"),
    _simulated("rounding", "update: nearest", update="nearest"),
    _simulated("rounding", "int8 masters", master_bits=8),
    _simulated("rounding", "int8 masters, update: nearest", master_bits=8, update="nearest"),
    _simulated("rounding", "float masters", master_bits=32),
    _simulated("transform", "random signs", signs=True),
    _simulated("transform", "none over the batch", order_batch=1),
    _simulated("transform", "none over the outputs", order_error=1),
    _simulated("scales", "W, forward: per tensor", weight_scale="tensor"),
    _simulated("scales", "W, forward: power of two a tile", weight_scale="block"),
    _simulated("scales", "d, input gradient: per row", error_scale="row"),
    _simulated("scales", "d, input gradient: power of two a tile", error_scale="block"),
    _simulated("scales", "d, weight gradient: per tensor", error_rows_scale="tensor"),
    _simulated("scales", "d, weight gradient: power of two a row", error_rows_scale="block"),
    _simulated("scales", "x, weight gradient: per row", inputs_scale="row"),
    _simulated("ranges", "x0 half as wide again", x0_range=1.5),
    _simulated("ranges", "x0 twice as wide", x0_range=2.0),
    _simulated("ranges", "activations: tracked in training too", ranges="tracked"),
    _simulated("forward", "x0 in float32", stored="none"),
    _simulated("forward", "x0, activations and weights in float32", stored="none", forward="none"),
    _simulated("masks", "errors less the share of saturated tiles", masks="saturated"),
    _simulated("weight gradient", "8-bit operands", batch_bits=8),
    _simulated("weight gradient", "8-bit, 8 of 16 coefficients (HOT)", batch_bits=8, rank=8),
    _simulated("weight gradient", "8-bit, 4 of 16 coefficients (HOT)", batch_bits=8, rank=4),
    _simulated("descent", "weight decay 5e-4", weight_decay=5e-4),
    Option(
        "descent",
        "momentum 0.9, a tenth of the rate",
        "simulated-hdqt",
        (("momentum", 0.9),),
        (("learning_rate", 0.005),),
    ),
)


def chosen(only: Sequence[str], options: Sequence[Option] = OPTIONS) -> list[Option]:
    """Options whose group or name holds one of the texts; all without texts."""
    return [o for o in options if not only or any(t in f"{o.group}: {o.name}" for t in only)]


def as_markdown(records: Sequence[Record], command: str) -> str:
    """A table a data set and method: differences to float32, and to the arithmetic's default."""
    lines = [
        "# Options of the arithmetic",
        "",
        f"Made by `{command}`: average incremental accuracy (balanced)",
        "on held-out samples of the training split, never on test samples. Percentage points,",
        "mean of the paired seeds ± standard error. C: the generated C; other groups: a",
        "simulation, to be compared with its own default. Forgetting: difference to float32, less",
        "is better.",
    ]
    for place in sorted({(r["dataset"], r["method"], r["epochs"]) for r in records}):
        rows = {o: runs_of(records, o, *place) for o in OPTIONS}
        lines += ["", "## {}, {}, {} epochs".format(*place), "", *_table(rows)]
    return "\n".join(lines) + "\n"


def runs_of(
    records: Sequence[Record], option: Option, data: str, method: str, epochs: int
) -> dict[int, Record]:
    """Results of an option, by seed."""
    wanted = option.setting(data, method, epochs).record()
    runs = (r for r in records if key_of(r) == key_of({**wanted, "seed": r["seed"]}))
    return {r["seed"]: r for r in runs}


def _table(rows: dict[Option, dict[int, Record]]) -> Iterator[str]:
    defaults = {o.arithmetic: runs for o, runs in rows.items() if not o.changes}
    yield "| group | what is changed | seeds | accuracy | to float32 | to default | forgetting |"
    yield "| --- " * 7 + "|"
    for option, runs in rows.items():
        if not runs:
            continue
        mean = sum(r[METRICS[0]] for r in runs.values()) / len(runs)
        reference = {} if option.arithmetic == "float32" else defaults.get("float32", {})
        own = defaults.get(option.arithmetic, {}) if option.changes else {}
        cells = [gap(runs, *g) for g in ((reference, METRICS[0]), (own, METRICS[0]))]
        cells.append(gap(runs, reference, METRICS[1]))
        row = (option.group, option.name, len(runs), f"{mean:.2f}", *cells)
        yield "| " + " | ".join(map(str, row)) + " |"


def gap(runs: dict[int, Record], other: dict[int, Record], metric: str) -> str:
    """Mean difference of the paired seeds ± standard error; nothing without pairs."""
    seeds = sorted(set(runs) & set(other))
    if not seeds:
        return ""
    gap = paired_difference([runs[s][metric] for s in seeds], [other[s][metric] for s in seeds])
    return f"{gap.mean:+.2f}" + (f" ± {gap.std / len(seeds) ** 0.5:.2f}" if len(seeds) > 1 else "")


def main(arguments: list[str]) -> int:
    """Run what is missing, write results and table."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.options",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--data", default="dsads_405", help="digits, or a file of HADAPT_DATA by name")
    p.add_argument("--method", default="replay", choices=("replay", "icarl", "bic"))
    p.add_argument("--seeds", type=count, default=3, help="seeds 0 to N - 1")
    p.add_argument("--epochs", type=count, default=EPOCHS, help="of a session")
    p.add_argument("--only", action="append", default=[], help="options whose name holds this text")
    p.add_argument("--jobs", type=count, default=1, help="processes")
    p.add_argument("--out", type=Path, default=RESULTS)
    args = p.parse_args(arguments)
    try:
        folder = data_folder()
        data = load(args.data, folder)
        records = load_records(args.out)
    except (DatasetError, RecordsError) as error:
        print(error, file=sys.stderr)
        return 1
    wanted = chosen(args.only)
    if not wanted:
        print(f"--only {args.only}: no option's name holds that", file=sys.stderr)
        return 1
    jobs = [
        Job(option.setting(held.name, args.method, args.epochs), held, seed)
        for seed in range(args.seeds)
        for held in [held_out(data, folder, seed)]
        for option in wanted
    ]
    for record in run_all(missing(jobs, records), args.jobs):
        records.append(record)
        save(args.out, records)
    text = as_markdown(records, "python -m benchmarks.options")
    args.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
