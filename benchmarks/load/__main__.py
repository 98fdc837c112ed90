# SPDX-License-Identifier: Apache-2.0
"""The service under load, measured by wrk over loopback; the table goes to results/load.md.

    python -m benchmarks.load [--seconds 20] [--soak-s 600] [--devices 10000]
                              [--rows 1000 10000 100000] [--part NAME ..] [--out FOLDER]

Each part is kept in FOLDER/load.json, so that parts can be measured one by one. The stores are
those of the environment (HADAPT_DATABASE_URL, ..); SQLite and files without any.
"""

import argparse
from pathlib import Path

from benchmarks.load import parts, report
from benchmarks.records import FOLDER


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--soak-s", type=float, default=600.0, help="of the mixed load")
    parser.add_argument("--devices", type=int, default=10_000, help="that poll")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--part", nargs="+", choices=sorted(parts.PARTS), default=None)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    plan = parts.Plan(given.seconds, given.soak_s, given.devices, tuple(given.rows))
    rows = " ".join(map(str, plan.rows))
    options = f"--seconds {plan.seconds:g} --soak-s {plan.soak_s:g} --devices {plan.devices}"
    for name in given.part or parts.PARTS:
        report.keep(given.out, name, parts.PARTS[name](plan), f"{options} --rows {rows}")
        print(f"{name}: kept", flush=True)


if __name__ == "__main__":
    main()
