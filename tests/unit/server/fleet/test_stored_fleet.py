# SPDX-License-Identifier: Apache-2.0
"""A fleet counted by the database says the same as one counted in Python, on both databases."""

import random
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from server.fleet.rollout import Listed, Member, MemberState, Policy
from server.fleet.stored_fleet import StoredFleet
from server.storage import fleet as f
from server.storage import records as r
from server.storage.database import SqlDatabase, open_engine
from server.storage.migrate import upgrade
from tests.postgres import cluster

POLICY, NOW = Policy(shares=(0.1, 0.5, 1.0), offline_after_s=100.0), 1000.0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlDatabase]:
    if request.param == "sqlite":
        yield from opened(f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'd.sqlite3'}")
        return
    with cluster() as found:
        yield from opened(found.new_database())


def opened(url: str) -> Iterator[SqlDatabase]:
    engine = open_engine(url)
    upgrade(engine)
    made = SqlDatabase(engine)
    yield made
    made.close()


def draw_member(draw: random.Random, name: str) -> Member:
    def maybe() -> float | None:
        return draw.choice([None, draw.random()])

    state: MemberState = draw.choice(get_args(MemberState))
    seen_s = draw.choice([0.0, 899.0, 900.0, 901.0, 1000.0, 1100.0, 1101.0])
    return Member(name, draw.randrange(3), state, seen_s, maybe(), maybe(), maybe())


def add(unit: Any, rollout_id: str, members: list[Member]) -> None:
    at = "2026-11-27T00:00:00.000000Z"
    unit.fleet.rollouts.add(f.RolloutRecord(rollout_id, "m", "p", at, {}, "running", 0, 0.0))
    for member in members:
        fields = {k: v for k, v in vars(member).items() if k != "name"}
        unit.fleet.members.add(f.MemberRecord(rollout_id, member.name, **fields))


def test_stored_fleet_equals_the_listed_one(store: SqlDatabase) -> None:
    draw, at = random.Random(7), "2026-11-27T00:00:00.000000Z"
    digest = "0" * 64
    with store.write() as unit:
        unit.jobs.add(r.JobRecord("j", "import", "s", "queued", at))
        unit.models.add(r.ModelRecord("m", "n", at, "j", digest, digest, 1, 1, {}, {}))
        unit.fleet.packets.add(
            f.PacketRecord("p", "m", at, 1, 2, 1, "q", "k", digest, 1, digest, digest, {})
        )
        for number in range(40):
            unit.fleet.targets.add(f.TargetRecord(f"d{number}", at, "suit", "x", "m"))
    for turn in range(12):
        members = [draw_member(draw, f"d{i}") for i in range(draw.choice([0, 1, 5, 40]))]
        with store.write() as unit:
            add(unit, f"r{turn}", members)
        with store.read() as unit:
            stored = StoredFleet(unit.fleet.members, f"r{turn}", 3, NOW - 100.0, NOW + 100.0)
            listed = Listed(POLICY, members, NOW)
            assert stored.undone() == listed.undone()
            for stage in range(3):
                assert vars(stored.tally(stage)) == pytest.approx(vars(listed.tally(stage)))
