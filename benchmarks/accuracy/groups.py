# SPDX-License-Identifier: Apache-2.0
"""Records by what they share: settings, the arithmetics compared within one, their seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.learning.metrics import Summary, paired_difference

Record = dict[str, Any]
Runs = Mapping[int, Record]  # by seed
Arms = Mapping[str, Runs]
PLAIN = "average_incremental_accuracy"
BALANCED = "average_incremental_balanced_accuracy"
LAST, FORGETTING = "last_accuracy", "forgetting_chaudhry"


@dataclass(frozen=True, order=True)
class Group:
    """What all arithmetics that are compared have in common."""

    dataset: str
    network: str
    base_classes: int
    step_classes: int
    exemplar_slots: int
    epochs: int
    batch: int
    learning_rate: float
    normaliser_floor: float
    method: str

    @property
    def setting(self) -> tuple[Any, ...]:
        """All but data and method."""
        own = (self.network, self.base_classes, self.step_classes, self.exemplar_slots)
        return (*own, self.epochs, self.batch, self.learning_rate, self.normaliser_floor)


def group_of(record: Record) -> Group:
    """The group of a record; a setting that an older one does not have was at its default."""
    return Group(**{"normaliser_floor": 0.1, **{k: record[k] for k in _FIELDS if k in record}})


def arm_of(record: Record) -> str:
    """Arithmetic, with what differs from its default in brackets."""
    notes = [f"{name}={value}" for name, value in sorted(record["quantizer"].items())]
    if record.get("base", "float32") != "float32":
        notes.append(f"base learned in {record['base']}")
    if record.get("distillation") is not None:
        notes.append(f"distillation {record['distillation']}")
    arithmetic: str = record["arithmetic"]
    return f"{arithmetic} ({', '.join(notes)})" if notes else arithmetic


def grouped(records: Sequence[Record]) -> dict[Group, dict[str, dict[int, Record]]]:
    """Records by group, arithmetic and seed."""
    found: dict[Group, dict[str, dict[int, Record]]] = defaultdict(dict)
    for record in records:
        found[group_of(record)].setdefault(arm_of(record), {})[record["seed"]] = record
    return found


def difference(runs: Runs, reference: Runs, metric: str) -> Summary | None:
    """Paired over the seeds that both have; None if there is no pair, or both are the same."""
    shared = sorted(set(runs) & set(reference))
    if runs is reference or not shared:
        return None
    pairs = ([own[seed][metric] for seed in shared] for own in (runs, reference))
    return paired_difference(*pairs)


_FIELDS = tuple(Group.__dataclass_fields__)
