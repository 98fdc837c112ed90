# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy: accuracy tables, resumable.

    python -m benchmarks.accuracy --data digits --method replay --arithmetic hdqt-int8 --seeds 3
    python -m benchmarks.accuracy --npz FILE --method replay --arithmetic float32 --seeds 10

Results are appended to --out; runs that are already there are not repeated.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.accuracy.run import run
from benchmarks.accuracy.setting import ARITHMETICS, METHODS, Setting
from benchmarks.accuracy.table import write_table
from server.learning.datasets import Dataset, data_folder, load
from server.learning.firmwares import cache_folder

RESULTS = Path(__file__).parents[1] / "results" / "accuracy.json"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--npz", type=Path, help="file with x_train, y_train, x_test, y_test")
    source.add_argument("--data", help="digits, or a file of HADAPT_DATA by name")
    p.add_argument("--method", action="append", choices=METHODS)
    p.add_argument("--arithmetic", action="append", choices=ARITHMETICS)
    p.add_argument("--seeds", type=int, default=3, help="seeds 0 to N - 1")
    p.add_argument("--hidden", default="128,128", help="widths of the hidden layers")
    p.add_argument("--base-classes", type=int, default=2)
    p.add_argument("--step-classes", type=int, default=2)
    p.add_argument("--slots", type=int, default=200, help="exemplars kept")
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--learning-rate", type=float, default=0.05)
    p.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="quantizer")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    p.add_argument("--out", type=Path, default=RESULTS)
    return p.parse_args(arguments)


def settings(args: argparse.Namespace, name: str) -> list[Setting]:
    """The settings that the command line asks for."""
    pairs = (text.partition("=") for text in args.option)
    quantizer = tuple(sorted((k, int(v) if v.lstrip("-").isdigit() else v) for k, _, v in pairs))
    return [
        Setting(
            dataset=name,
            method=method,
            arithmetic=arithmetic,
            hidden=tuple(int(width) for width in args.hidden.split(",")),
            base_classes=args.base_classes,
            step_classes=args.step_classes,
            exemplar_slots=args.slots,
            epochs=args.epochs,
            batch=args.batch,
            learning_rate=args.learning_rate,
            quantizer=() if arithmetic == "float32" else quantizer,
        )
        for method in args.method or METHODS
        for arithmetic in args.arithmetic or ARITHMETICS
    ]


def main(arguments: list[str]) -> int:
    """Run what is missing, write results and table."""
    args = parse(arguments)
    folder = args.npz.parent if args.npz else data_folder()
    data = load(args.npz.stem if args.npz else args.data, folder)
    records = json.loads(args.out.read_text()) if args.out.exists() else []
    known = {_key(record) for record in records}
    wanted = [
        (setting, seed)
        for seed in range(args.seeds)
        for setting in settings(args, data.name)
        if _key({**setting.record(), "seed": seed}) not in known
    ]
    for record in _run_all(wanted, data, args.jobs):
        records.append(record)
        _save(args.out, records)
    write_table(records, args.out.with_suffix(".md"))
    print(args.out.with_suffix(".md").read_text())
    return 0


def _run_all(wanted: list[tuple[Setting, int]], data: Dataset, jobs: int) -> Any:
    started = time.monotonic()
    cache = cache_folder()
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, setting, data, seed, cache) for setting, seed in wanted]
        for done, future in enumerate(futures, start=1):
            record = future.result()
            left = (time.monotonic() - started) / done * (len(wanted) - done)
            print(
                f"{done}/{len(wanted)} {record['method']} {record['arithmetic']} "
                f"seed {record['seed']}: {record['average_incremental_accuracy']:.2f} "
                f"({left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )
            yield record


def _key(record: dict[str, Any]) -> str:
    names = (*Setting("", "replay", "float32").record(), "seed")
    return json.dumps({name: record[name] for name in names}, sort_keys=True)


def _save(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    rows = ",\n".join(json.dumps(record, sort_keys=True) for record in records)
    draft.write_text(f"[\n{rows}\n]\n")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
