# SPDX-License-Identifier: Apache-2.0
"""A training session: its options, its position and its statistics (SPEC.md 7 and 8.6)."""

from dataclasses import dataclass
from typing import get_args

from device.twin.correction import MAX_HOLD, MAX_STEPS
from device.twin.distillation import NONE, Distillation
from device.twin.exemplars import NEW, Sampling
from device.twin.expansion import Block
from device.twin.kernels import IntArray
from device.twin.model import IntModel
from device.twin.scale import Scale


class LearnerError(Exception):
    """An operation was refused; `status` is the wire's status (SPEC.md 10)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


ARGUMENT, STATE, FULL, FORMAT, DIGEST = -1, -2, -3, -4, -5


@dataclass
class Session:
    """A training session under way: options, position, and statistics since its start."""

    seed: int
    steps: int
    schedule: tuple[tuple[int, Scale], ...]
    sampling: Sampling
    distillation: Distillation = NONE
    hold: int = 0
    expand: bool = False
    block: Block | None = None
    targets: list[IntArray] | None = None
    done: int = 0
    operation: int = 0
    row: int = 0
    seen: int = 0
    correct: int = 0
    probability: int = 0

    @property
    def rate(self) -> Scale:
        """Learning rate of the current step (SPEC.md 7)."""
        return [scale for start, scale in self.schedule if start <= self.done][-1]


@dataclass(frozen=True)
class TrainResult:
    """Answer of `train`: work done, steps left, and statistics since train_begin."""

    units: int
    steps_left: int
    seen: int
    correct: int
    probability: int


def check_options(model: IntModel, session: Session) -> None:
    """Raises: LearnerError -1 for options that `train_begin` cannot take (SPEC.md 10)."""
    schedule = session.schedule
    starts = [start for start, _ in schedule]
    if not 1 <= len(schedule) <= 4 or starts[0] != 0 or sorted(set(starts)) != starts:
        raise LearnerError(ARGUMENT, "schedule")
    if not all(scale.is_storable for _, scale in schedule):
        raise LearnerError(ARGUMENT, "a rate's exponent does not fit 16 bits")
    if session.steps < 1 or session.sampling not in get_args(Sampling):
        raise LearnerError(ARGUMENT, "steps or sampling")
    if not session.distillation.is_valid:
        raise LearnerError(ARGUMENT, "distillation")
    if not model.distillation and (session.distillation.weight or session.sampling in NEW):
        raise LearnerError(ARGUMENT, "this model holds no distillation")
    if not 0 <= session.hold <= (MAX_HOLD if model.bias_correction else 0):
        raise LearnerError(ARGUMENT, "hold")
    if session.expand and model.expansion is None:
        raise LearnerError(ARGUMENT, "this model reserves no blocks")
    if session.hold and session.sampling in NEW:
        raise LearnerError(ARGUMENT, "hold-out of new samples")


def check_correction(model: IntModel, hold: int, steps: int) -> None:
    """Raises: LearnerError for a hold-out and steps that `commit` cannot take (SPEC.md 8.8)."""
    if hold == steps == 0:
        return
    if not model.bias_correction:
        raise LearnerError(FORMAT, "this model holds no bias correction")
    if not (1 <= hold <= MAX_HOLD and 1 <= steps <= MAX_STEPS):
        raise LearnerError(ARGUMENT, "hold or steps")
