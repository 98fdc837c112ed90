# SPDX-License-Identifier: Apache-2.0
"""The forgetting guard of SPEC.md 13.2, for reading and for checking the C runtime against."""

import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device.twin.exemplars import unpack_x0
from device.twin.learner import TwinLearner

OFF = 0xFFFF
CLASS_DROP, MEAN_DROP, NEW_FLOOR = 16, 17, 18


@dataclass(frozen=True)
class Limits:
    """In thousandths; OFF: none."""

    class_drop: int = OFF
    mean_drop: int = OFF
    new_floor: int = OFF


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a commit.

    Attributes:
        reason: 0 if it passes, or the number of SPEC.md 13.3; at_class: the class it is about.
        compared: old classes with reserved samples; drop: the sum of their drops in thousandths.
        right: of reserved samples, before and after, shape (2, max_classes).
    """

    reason: int
    at_class: int
    compared: int
    drop: int
    right: NDArray[np.int64]


@dataclass
class TwinGuard:
    """Reserved samples, (label, packed x0) each, and limits."""

    limits: Limits = Limits()
    reserved: list[tuple[int, bytes]] = field(default_factory=list)

    def check(self, twin: TwinLearner, hold: int = 0, steps: int = 0) -> Verdict:
        """Judge the commit of a learner, which stays as it is."""
        after = copy.deepcopy(twin)
        after.commit(hold, steps)
        right = np.stack([self._right(twin), self._right(after)])
        labels = np.array([label for label, _ in self.reserved], np.int64)
        count = np.bincount(labels, minlength=twin.model.max_classes)
        old = [c for c in range(twin.committed.n_classes) if count[c]]
        drops = {c: 1000 * int(right[0, c] - right[1, c]) // int(count[c]) for c in old}
        reason, at_class = self._reason(drops, after.committed.n_classes, right[1], count, twin)
        return Verdict(reason, at_class, len(drops), sum(drops.values()), right)

    def _reason(
        self,
        drops: dict[int, int],
        classes: int,
        right: NDArray[np.int64],
        count: NDArray[np.int64],
        twin: TwinLearner,
    ) -> tuple[int, int]:
        limits = self.limits
        for c, drop in drops.items():
            if limits.class_drop != OFF and drop > limits.class_drop:
                return CLASS_DROP, c
        if limits.mean_drop != OFF and sum(drops.values()) > limits.mean_drop * len(drops):
            return MEAN_DROP, 0
        for c in range(twin.committed.n_classes, classes):
            if limits.new_floor != OFF and 1000 * right[c] < limits.new_floor * count[c]:
                return NEW_FLOOR, c
        return 0, 0

    def _right(self, twin: TwinLearner) -> NDArray[np.int64]:
        """Right answers per class by the committed copy."""
        model, state = twin.model, twin.committed
        right = np.zeros(model.max_classes, np.int64)
        if not self.reserved:
            return right
        x0 = np.stack([unpack_x0(p, model.x0_size, model.x0_signed) for _, p in self.reserved])
        logits = twin.forward_x0(x0.astype(np.int64), state)[1][:, : state.n_classes]
        answers = state.correction.apply(logits).argmax(axis=1)
        labels = np.array([label for label, _ in self.reserved], np.int64)
        np.add.at(right, labels, answers == labels)
        return right


def guarded_commit(
    twin: TwinLearner, guard: TwinGuard, hold: int = 0, steps: int = 0
) -> Verdict | None:
    """Commit, or roll back if the guard refuses. Returns: its verdict; None without samples."""
    if not guard.reserved:
        twin.commit(hold, steps)
        return None
    verdict = guard.check(twin, hold, steps)
    if verdict.reason:
        twin.rollback()
    else:
        twin.commit(hold, steps)
    return verdict
