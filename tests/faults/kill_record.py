# SPDX-License-Identifier: Apache-2.0
"""What the long form of the kill test has done so far, so that it can be stopped and gone on with.

HADAPT_KILL_RECORD names a folder: kill.json there has one entry a round, kill.md the table.
"""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

HEAD = """# The service, killed

`make kill`: real processes, each killed with `kill -9` (or its connections to PostgreSQL cut) at
a random moment, mostly in mid-training, and started again. `sqlite`: one service over SQLite and
files. `postgresql`: two services, each an API process and a worker, over one PostgreSQL and an S3
emulator.

After every round of 25 kills: each acknowledged sample is stored exactly once; every update has
ended exactly once, with the state hash of an undisturbed run, with one version, and with each
training chunk once in its history; no process is left. Otherwise the round counts as faulty.

| stores | killed | of that | samples acknowledged | lost | doubled | updates | faulty rounds |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Round:
    """One round of kills over fresh stores; `fault` says what was wrong with it."""

    stores: str
    kills: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    stored: int = 0
    updates: int = 0
    seed: int = 0
    seconds: float = 0.0
    fault: str | None = None


def folder() -> Path | None:
    """Where to record, if anywhere."""
    name = os.environ.get("HADAPT_KILL_RECORD")
    return Path(name) if name else None


def rounds(path: Path | None) -> list[Round]:
    """Rounds recorded so far."""
    file = None if path is None else path / "kill.json"
    if file is None or not file.is_file():
        return []
    return [Round(**entry) for entry in json.loads(file.read_text())]


def kills_done(path: Path | None, stores: str) -> int:
    """Kills recorded over these stores."""
    return sum(sum(r.kills.values()) for r in rounds(path) if r.stores == stores)


def add(path: Path | None, done: Round) -> None:
    """Record a round, and write the table anew; nothing without a folder."""
    if path is None:
        return
    path.mkdir(parents=True, exist_ok=True)
    found = [*rounds(path), done]
    lines = ",\n".join(json.dumps(asdict(r)) for r in found)
    (path / "kill.json").write_text(f"[\n{lines}\n]\n")
    (path / "kill.md").write_text(HEAD + "".join(map(_row, _by_stores(found).values())))


def _by_stores(found: list[Round]) -> dict[str, list[Round]]:
    groups: dict[str, list[Round]] = {}
    for entry in found:
        groups.setdefault(entry.stores, []).append(entry)
    return groups


def _row(group: list[Round]) -> str:
    kinds: Counter[str] = Counter()
    for entry in group:
        kinds.update(entry.kills)
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    acknowledged = sum(r.acknowledged for r in group)
    stored = sum(r.stored for r in group)
    lost, doubled = max(0, acknowledged - stored), max(0, stored - acknowledged)
    updates = sum(r.updates for r in group)
    return (
        f"| {group[0].stores} | {sum(kinds.values())} | {told} | {acknowledged} | {lost} "
        f"| {doubled} | {updates} | {sum(r.fault is not None for r in group)} |\n"
    )
