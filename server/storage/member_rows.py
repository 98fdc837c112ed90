# SPDX-License-Identifier: Apache-2.0
"""Devices of rollouts, counted by the database: a report must not read the whole fleet."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from server.storage import fleet as f
from server.storage import fleet_tables as ft
from server.storage.rows import TableRows

C = ft.members.c


class MemberRows(TableRows[f.MemberRecord]):
    """See ports.MemberRows."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, ft.members, f.MemberRecord)

    def by_stage(self, rollout_id: str) -> list[tuple[int, str, int]]:
        """(stage, state, count)."""
        key = (C.stage, C.state)
        query = select(*key, func.count()).where(C.rollout_id == rollout_id).group_by(*key)
        return [(int(s), str(state), int(n)) for s, state, n in self._connection.execute(query)]

    def sums(self, rollout_id: str, stage: int, states: tuple[str, ...]) -> tuple[Any, ...]:
        """Means over members up to a stage in some states: accuracy, its fall, forgetting."""
        query = select(
            func.avg(C.accuracy_after),
            func.avg(C.accuracy_before - C.accuracy_after),
            func.avg(C.forgetting),
        ).where(C.rollout_id == rollout_id, C.stage <= stage, C.state.in_(states))
        return tuple(self._connection.execute(query).one())

    def count_seen(
        self, rollout_id: str, stage: int, states: tuple[str, ...], seen_s: tuple[float, float]
    ) -> int:
        """Members up to a stage in some states that were last seen within a span of time."""
        seen: ColumnElement[int] = case((C.seen_s.between(*seen_s), 1), else_=0)
        query = select(func.sum(seen)).where(
            C.rollout_id == rollout_id, C.stage <= stage, C.state.in_(states)
        )
        return int(self._connection.scalar(query) or 0)


class TargetRows(TableRows[f.TargetRecord]):
    """See ports.TargetRows."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, ft.targets, f.TargetRecord)

    def by_sight(self, since_s: float) -> dict[str, int]:
        """Devices by when they were last seen; reads all of them."""
        polled = ft.targets.c.polled_s
        state = case((polled >= since_s, "seen"), (polled > 0, "silent"), else_="never")
        found = {"seen": 0, "silent": 0, "never": 0}
        for name, count in self._connection.execute(select(state, func.count()).group_by(state)):
            found[str(name)] = int(count)
        return found
