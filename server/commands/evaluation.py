# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a learner on labelled rows."""

from dataclasses import asdict, dataclass

import numpy as np

from server.commands.arrays import Samples, known_slots
from server.commands.engine import engine, stop_signal
from server.learning.methods import Method
from server.learning.metrics import class_accuracy, confusion, group_accuracy
from server.learning.ports import Json


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in [0, 1]; None without rows. confusion: rows true, columns predicted."""

    rows: int
    accuracy: float | None
    per_class: dict[str, float | None]
    confusion: list[list[int]]

    def to_json(self) -> Json:
        """As JSON."""
        return asdict(self)


def evaluate(
    int_model: bytes,
    learner: bytes,
    class_names: tuple[str, ...],
    samples: Samples,
    method: Method = "replay",
) -> Evaluation:
    """Predict the rows whose classes the learner knows."""
    slots = known_slots(samples, class_names)
    keep = slots < len(class_names)
    predicted = slots[:0]
    if keep.any():
        with stop_signal() as stop:
            predicted = engine().predict(int_model, learner, method, samples.x[keep], stop)
    table = confusion(slots[keep], predicted, len(class_names))
    per_class = dict(zip(class_names, class_accuracy(table), strict=True))
    overall = group_accuracy(table, range(len(class_names)))
    return Evaluation(int(np.count_nonzero(keep)), overall, per_class, table)
