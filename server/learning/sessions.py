# SPDX-License-Identifier: Apache-2.0
"""Learning sessions on any learner: twin, host build or emulated board.

A session is restartable: everything that a chunk needs is the learner it starts from, the samples,
and a checkpoint of the working state (SPEC.md 9).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.twin.scale import Scale
from server.errors import DeviceFailedError, Issue
from server.learning.learner_data import LearnerData, StoredExemplar, missing_exemplars
from server.learning.methods import NO_DISTILLATION, Distillation, Sampling

UNITS_A_SLICE = 200_000
# The learning rate falls to this part of itself for the last part of a session.
MILESTONE_AT, MILESTONE_FACTOR = 0.7, 0.2


class Progress(Protocol):
    """Answer of a learner to `train`; statistics since train_begin."""

    @property
    def steps_left(self) -> int:
        """Steps of the session still to do."""

    @property
    def seen(self) -> int:
        """Samples seen since train_begin."""

    @property
    def correct(self) -> int:
        """How many of them were classified rightly."""

    @property
    def probability(self) -> int:
        """Sum of p[label] >> 8 over them, p in 2**-15."""


class LearnerOps(Protocol):
    """What a session needs of a learner; TwinLearner and DeviceClient both have it."""

    def learn(self, raw: NDArray[np.int16], label: int, prototype_only: bool = False) -> int:
        """Store a raw sample; the free slots after it."""

    def add_class(self) -> int:
        """One class more; its slot."""

    def train_begin(
        self,
        seed: int,
        steps: int,
        schedule: list[tuple[int, Scale]],
        sampling: Sampling = "balanced",
        distill: int = 0,
        soften: int = 0,
        hold: int = 0,
        expand: bool = False,
    ) -> None:
        """Open a session."""

    def train(self, budget: int) -> Progress:
        """Train for about `budget` units."""

    def commit(self, hold: int = 0, steps: int = 0) -> bytes:
        """Make what was learned current; the state hash."""

    def export_state(self, working: bool = False) -> bytes:
        """State bytes (SPEC.md 9), of the working copy if asked."""

    def import_state(self, data: bytes) -> bytes:
        """Take over state bytes; the state hash."""

    def put_exemplar(self, label: int, rank: int, packed: bytes) -> int:
        """Store an exemplar; the free slots after it."""

    def get_exemplar(self, index: int) -> tuple[int, int, bytes]:
        """Label, rank and packed values of an exemplar."""


@dataclass(frozen=True)
class TrainPlan:
    """Length, seed, learning rate and method of a whole session (SPEC.md 7, 8.2, 6.6)."""

    steps: int
    seed: int
    learning_rate: float
    sampling: Sampling = "balanced"
    distillation: Distillation = NO_DISTILLATION
    hold: int = 0
    expand: bool = False

    def schedule_from(self, done: int) -> list[tuple[int, Scale]]:
        """The schedule as seen by a chunk that starts after `done` steps."""
        high = Scale.from_real(self.learning_rate)
        low = Scale.from_real(self.learning_rate * MILESTONE_FACTOR)
        milestone = int(self.steps * MILESTONE_AT) - done
        return [(0, high), (milestone, low)] if milestone > 0 else [(0, low)]


def deliver(device: LearnerOps, held: tuple[StoredExemplar, ...], learner: LearnerData) -> bytes:
    """Bring a device to a learner's committed state.

    Args:
        device: at rest, holding the exemplars `held`.
        learner: the state to arrive at.
    Returns: the device's state hash after its commit.
    """
    device.import_state(learner.state)
    for exemplar in missing_exemplars(held, learner.exemplars):
        if device.put_exemplar(exemplar.label, exemplar.rank, exemplar.packed) == 0:
            device.commit()  # takes in what is staged, and makes room
    return device.commit()


def restore(device: LearnerOps, held: tuple[StoredExemplar, ...], learner: LearnerData) -> None:
    """`deliver`, and insist on the learner's own hash.

    Raises: DeviceFailedError if the device arrives anywhere else.
    """
    arrived = deliver(device, held, learner)
    if arrived != learner.state_hash:
        raise DeviceFailedError(
            "The learner did not arrive at its recorded state.",
            [Issue(f"state hash {arrived.hex()}", "learner", learner.state_hash.hex())],
        )


def stage(
    device: LearnerOps,
    raw: NDArray[np.int16],
    labels: NDArray[np.int64],
    known_classes: int,
    class_count: int,
    prototype_only: bool = False,
) -> None:
    """Add the missing classes and learn the samples, in order."""
    for _ in range(known_classes, class_count):
        device.add_class()
    for sample, label in zip(raw, labels.tolist(), strict=True):
        device.learn(sample, label, prototype_only)


def train_some(
    device: LearnerOps,
    plan: TrainPlan,
    done: int,
    steps: int,
    keep_going: Callable[[], None],
) -> Progress:
    """Train `steps` steps of a session of which `done` are behind.

    Args:
        keep_going: called between slices; raises to stop.
    """
    how = plan.distillation
    schedule = plan.schedule_from(done)
    options = (plan.sampling, how.weight, how.soften, plan.hold, plan.expand)
    device.train_begin(plan.seed, steps, schedule, *options)
    progress = device.train(UNITS_A_SLICE)
    while progress.steps_left:
        keep_going()
        progress = device.train(UNITS_A_SLICE)
    return progress


def collect(device: LearnerOps, state_hash: bytes, stored: int) -> LearnerData:
    """The committed learner of a device that holds `stored` exemplars."""
    exemplars = tuple(StoredExemplar(*device.get_exemplar(i)) for i in range(stored))
    return LearnerData(device.export_state(), state_hash, exemplars)
