# SPDX-License-Identifier: Apache-2.0
"""Many runs over processes, each result kept as soon as it is there: a stopped campaign goes on."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.accuracy.run import run
from benchmarks.accuracy.setting import Setting
from server.learning.datasets import Dataset
from server.learning.firmwares import cache_folder

Record = dict[str, Any]
_DEFAULTS = Setting("", "replay", "float32").record()


class RecordsError(Exception):
    """The file of results holds something else; the message says which."""


@dataclass(frozen=True, eq=False)
class Job:
    """A run that is wanted."""

    setting: Setting
    data: Dataset
    seed: int


def load_records(path: Path) -> list[Record]:
    """Results so far; none if there is no file.

    Raises: RecordsError.
    """
    try:
        records: list[Record] = json.loads(path.read_text()) if path.exists() else []
        for record in records:
            key_of(record)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise RecordsError(f"{path}: no results of this command ({error}); name another") from error
    return records


def missing(jobs: Sequence[Job], records: Sequence[Record]) -> list[Job]:
    """Jobs whose result is not there."""
    known = {key_of(record) for record in records}
    return [job for job in jobs if key_of({**job.setting.record(), "seed": job.seed}) not in known]


def key_of(record: Record) -> str:
    """What makes two records results of the same run: the setting and the seed.

    A setting that an older record does not have was at its default.
    """
    fields = {name: record.get(name, value) for name, value in _DEFAULTS.items()}
    return json.dumps({**fields, "seed": record["seed"]}, sort_keys=True)


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[Record]:
    """Results as they come, with progress on standard error."""
    # Fresh processes, each with one thread: those of the linear algebra only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    started, cache = time.monotonic(), cache_folder()
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = [pool.submit(run, job.setting, job.data, job.seed, cache) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            record = future.result()
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            print(
                f"{done}/{len(jobs)} {record['dataset']} {record['method']} "
                f"{record['arithmetic']} seed {record['seed']}: "
                f"{record['average_incremental_accuracy']:.2f} ({left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )
            yield record


def save(path: Path, records: Sequence[Record]) -> None:
    """Write all results, in an order of their own; the file is old or new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(r, sort_keys=True) for r in sorted(records, key=key_of))
    draft = path.with_suffix(".tmp")
    draft.write_text(f"[\n{rows}\n]\n")
    draft.replace(path)
