# SPDX-License-Identifier: Apache-2.0
"""The service under load, measured by wrk over loopback; the table goes to results/load.md.

    python -m benchmarks.load [--seconds 20] [--soak-s 600] [--devices 10000]
                              [--rows 1000 10000 100000] [--part NAME ..] [--out FOLDER]
                              [--postgresql]

Each part is kept in FOLDER/load.json, so that parts can be measured one by one.
"""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import parts, report, service
from benchmarks.records import FOLDER
from tests.postgres import Cluster, cluster


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--soak-s", type=float, default=600.0, help="of the mixed load")
    parser.add_argument("--devices", type=int, default=10_000, help="that poll")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--part", nargs="+", choices=sorted(parts.PARTS), default=None)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--postgresql", action="store_true", help="a cluster that waits for disk")
    given = parser.parse_args()
    plan = parts.Plan(given.seconds, given.soak_s, given.devices, tuple(given.rows))
    rows = " ".join(map(str, plan.rows))
    options = f"--seconds {plan.seconds:g} --soak-s {plan.soak_s:g} --devices {plan.devices}"
    with contextlib.ExitStack() as stack:
        if given.postgresql:
            service.new_stores = databases(stack.enter_context(cluster(durable=True)))
        for name in given.part or parts.PARTS:
            kept = f"{name}{report.POSTGRESQL}" if given.postgresql else name
            report.keep(given.out, kept, parts.PARTS[name](plan), f"{options} --rows {rows}")
            print(f"{kept}: kept", flush=True)


def databases(found: Cluster) -> Callable[[], dict[str, str]]:
    """Settings of two empty databases, new ones with every call."""

    def new() -> dict[str, str]:
        names = ("HADAPT_DATABASE_URL", "HADAPT_JOBS_DATABASE_URL")
        return {name: found.new_database() for name in names}

    return new


if __name__ == "__main__":
    main()
