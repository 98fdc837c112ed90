# SPDX-License-Identifier: Apache-2.0
"""A rollout's devices for its state machine, counted by the database."""

from dataclasses import dataclass

from server.fleet.rollout import PENDING, REPORTED, UNDONE, Tally
from server.storage.ports import MemberRows


@dataclass(frozen=True)
class StoredFleet:
    """A rollout's devices, counted by the database; see rollout.Fleet.

    since_s, until_s: who has not been seen between them is offline; later than now is a clock that
    was set back since.
    """

    rows: MemberRows
    rollout_id: str
    stages: int
    since_s: float
    until_s: float

    def tally(self, stage: int) -> Tally:
        """See rollout.Fleet."""
        states: dict[str, int] = {}
        for at, state, count in self.rows.by_stage(self.rollout_id):
            if at <= stage:
                states[state] = states.get(state, 0) + count
        done = tuple(state for state in REPORTED if state != "failed")
        means = self.rows.sums(self.rollout_id, stage, done)
        return Tally(
            sum(states.values()),
            sum(states.get(state, 0) for state in REPORTED),
            states.get("failed", 0),
            self.rows.count_seen(self.rollout_id, stage, PENDING, self._span),
            *means,
        )

    def undone(self) -> int:
        """See rollout.Fleet."""
        return self.rows.count_seen(self.rollout_id, self.stages, UNDONE, self._span)

    @property
    def _span(self) -> tuple[float, float]:
        return self.since_s, self.until_s
