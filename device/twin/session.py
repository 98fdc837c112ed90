# SPDX-License-Identifier: Apache-2.0
"""A training session: its options, its position and its statistics (SPEC.md 7 and 8.6)."""

from dataclasses import dataclass

from device.twin.distillation import NONE, Distillation
from device.twin.exemplars import Sampling
from device.twin.kernels import IntArray
from device.twin.scale import Scale


@dataclass
class Session:
    """A training session under way: options, position, and statistics since its start."""

    seed: int
    steps: int
    schedule: tuple[tuple[int, Scale], ...]
    sampling: Sampling
    distillation: Distillation = NONE
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
