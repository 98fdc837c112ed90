# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy: accuracy tables, resumable.

    python -m benchmarks.accuracy --core --seeds 10
    python -m benchmarks.accuracy --data digits --method replay --arithmetic hdqt-int8 --seeds 3
    python -m benchmarks.accuracy --npz FILE --method replay --arithmetic float32 --seeds 10

Results are added to --out; runs that are already there are not repeated.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks.accuracy.arguments import count, misfit, option, positive, share, weight, widths
from benchmarks.accuracy.campaign import (
    Job,
    RecordsError,
    load_records,
    missing,
    run_all,
    save,
)
from benchmarks.accuracy.plots import write_plots
from benchmarks.accuracy.setting import (
    ARITHMETICS,
    BASES,
    CORE_ARITHMETICS,
    CORE_METHODS,
    CORE_SETS,
    METHODS,
    Setting,
)
from benchmarks.accuracy.table import write_table
from benchmarks.accuracy.validation import held_out
from server.learning.datasets import Dataset, DatasetError, data_folder, load, load_file

RESULTS = Path(__file__).parents[1] / "results" / "accuracy.json"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--core", action="store_true", help=f"the core table: {CORE_SETS}")
    source.add_argument("--npz", type=Path, help="file with x_train, y_train, x_test, y_test")
    source.add_argument("--data", help="digits, or a file of HADAPT_DATA by name")
    p.add_argument("--method", action="append", choices=METHODS)
    p.add_argument("--arithmetic", action="append", choices=ARITHMETICS)
    p.add_argument("--seeds", type=count, default=3, help="seeds 0 to N - 1")
    p.add_argument("--hidden", type=widths, default=(128, 128), help="widths of the hidden layers")
    p.add_argument("--normaliser-floor", type=share, default=0.5)
    p.add_argument("--base-classes", type=count, default=2)
    p.add_argument("--step-classes", type=count, default=2)
    p.add_argument(
        "--block-rows", type=count, default=16, help="a task adds (memo, der_expandable)"
    )
    p.add_argument("--slots", type=count, default=200, help="exemplars kept")
    p.add_argument("--epochs", type=count, default=10)
    p.add_argument("--batch", type=count, default=32)
    p.add_argument("--learning-rate", type=positive, default=0.05)
    p.add_argument("--distillation", type=weight, help="weight of it, instead of the method's own")
    p.add_argument(
        "--option",
        type=option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the quantizer, as acc_bits=12",
    )
    p.add_argument(
        "--base",
        choices=BASES,
        default="float32",
        help="what learns the base task where the tasks are learned in integers",
    )
    p.add_argument(
        "--held-out", action="store_true", help="judge by held-out training samples, to choose by"
    )
    p.add_argument("--jobs", type=count, default=os.cpu_count() or 1, help="processes")
    p.add_argument("--out", type=Path, default=RESULTS)
    return p.parse_args(arguments)


def settings(args: argparse.Namespace, name: str) -> list[Setting]:
    """The settings that the command line asks for."""
    given = tuple(sorted(dict(args.option).items()))
    wanted = [
        Setting(
            dataset=name,
            method=method,
            arithmetic=arithmetic,
            hidden=args.hidden,
            base_classes=args.base_classes,
            step_classes=args.step_classes,
            exemplar_slots=args.slots,
            block_rows=args.block_rows,
            epochs=args.epochs,
            batch=args.batch,
            learning_rate=args.learning_rate,
            normaliser_floor=args.normaliser_floor,
            distillation=args.distillation,
            quantizer=given if arithmetic.startswith("hdqt") else (),
            base=args.base if arithmetic.startswith("hdqt") else "float32",
        )
        for method in args.method or (CORE_METHODS if args.core else METHODS)
        for arithmetic in args.arithmetic or (CORE_ARITHMETICS if args.core else ARITHMETICS)
    ]
    return [setting for setting in wanted if setting.is_possible]


def datasets(args: argparse.Namespace) -> list[Dataset]:
    """The sets that the command line names.

    Raises: DatasetError.
    """
    if args.npz:
        return [load_file(args.npz)]
    return [load(name, data_folder()) for name in (CORE_SETS if args.core else (args.data,))]


def main(arguments: list[str]) -> int:
    """Run what is missing, write results, table and plots."""
    args = parse(arguments)
    try:
        folder = args.npz.parent if args.npz else data_folder()
        sets = datasets(args)
        records = load_records(args.out)
        jobs = [
            Job(setting, data, seed)
            for seed in range(args.seeds)
            for data in (held_out(d, folder, seed) if args.held_out else d for d in sets)
            for setting in settings(args, data.name)
        ]
    except (DatasetError, RecordsError) as error:
        print(error, file=sys.stderr)
        return 1
    if not jobs:
        print(
            "no run is left: joint needs an --arithmetic other than hdqt-*, memo and "
            "der_expandable one other than simulated-* and a --base of float32",
            file=sys.stderr,
        )
        return 1
    for job in jobs:
        if text := misfit(job.setting, len(job.data.class_names)):
            print(text, file=sys.stderr)
            return 1
    for record in run_all(missing(jobs, records), args.jobs):
        records.append(record)
        save(args.out, records)
    write_table(records, args.out.with_suffix(".md"))
    write_plots(records, args.out.parent)
    print(args.out.with_suffix(".md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
