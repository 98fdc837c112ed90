# SPDX-License-Identifier: Apache-2.0
"""The rollout's state machine: by hand, and by any course of events."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from server.errors import ConflictError
from server.fleet import rollout as ro
from server.fleet.rollout import Member, Policy, Rollout

DAY = 86400.0
POLICY = Policy(shares=(0.2, 1.0), soak_s=100, min_reports=2, offline_after_s=DAY)


def evaluate(state: Rollout, policy: Policy, members: list[Member], now: float) -> Rollout:
    return ro.evaluate(state, policy, ro.Listed(policy, members, now), now)


def fleet(count: int, policy: Policy = POLICY, now: float = 1.0) -> list[Member]:
    stages = ro.deal([f"d{i}" for i in range(count)], policy, "seed")
    return [Member(n, s, seen_s=now, accuracy_before=0.9) for n, s in stages.items()]


def install(members: list[Member], stage: int, after: float = 0.9) -> list[Member]:
    return [
        ro.report(ro.accept(m, "update"), "success", after, 0.0) if m.stage == stage else m
        for m in members
    ]


def test_deal_reaches_the_shares_and_depends_on_the_seed_alone() -> None:
    names = [f"d{i}" for i in range(200)]
    stages = ro.deal(names, Policy(shares=(0.05, 0.25, 1.0)), "x")
    counts = [list(stages.values()).count(s) for s in range(3)]
    assert counts == [10, 40, 150]
    assert ro.deal(names[::-1], Policy(shares=(0.05, 0.25, 1.0)), "x") == stages
    assert ro.deal(names, Policy(shares=(0.05, 0.25, 1.0)), "y") != stages


@pytest.mark.parametrize("count", range(6))
def test_deal_few_devices_lose_none(count: int) -> None:
    stages = ro.deal([str(i) for i in range(count)], Policy(), "x")
    assert len(stages) == count
    assert sorted(stages.values())[:3] == list(range(min(count, 3)))


def test_good_update_reaches_all_after_each_soak() -> None:
    members = fleet(10)
    state = Rollout()
    assert [ro.offer(state, m) for m in members].count("update") == 2
    members = install(members, 0)
    state = evaluate(state, POLICY, members, 10)
    assert (state.stage, state.complete_s) == (0, 10)
    assert evaluate(state, POLICY, members, 109).stage == 0
    state = evaluate(state, POLICY, members, 110)
    assert state.stage == 1
    assert [ro.offer(state, m) for m in members].count("update") == 8
    members = install(members, 1)
    state = evaluate(state, POLICY, members, 200)
    assert evaluate(state, POLICY, members, 300).state == "finished"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"accuracy_after": 0.7}, "fall of accuracy is 0.2000"),
        ({"forgetting": 0.3}, "forgetting is 0.3000"),
        ({"state": "failed"}, "share of failures is 1.0000"),
    ],
)
def test_harmful_update_stops_at_the_canary_and_is_led_back(
    change: dict[str, float], text: str
) -> None:
    members = [replace(m, **change) if m.stage == 0 else m for m in install(fleet(10), 0)]
    state = evaluate(Rollout(), POLICY, members, 10)
    assert (state.state, state.stage) == ("rolling_back", 0)
    assert text in state.reasons[0]
    offers = [ro.offer(state, m) for m in members]
    assert "update" not in offers
    installed = [m for m in members if m.state == "installed"]
    assert offers.count("revert") == len(installed)
    members = [
        ro.report(ro.accept(m, "revert"), "success") if m.state == "installed" else m
        for m in members
    ]
    assert evaluate(state, POLICY, members, 11).state == "rolled_back"


def test_limits_at_their_very_value_are_kept() -> None:
    policy = replace(POLICY, max_accuracy_drop=0.1, max_forgetting=0.2, min_accuracy=0.8)
    members = [replace(m, forgetting=0.2) for m in install(fleet(10), 0, 0.8) if m.stage == 0]
    assert ro.judge(policy, ro.Listed(policy, members, 0).tally(9)) == []
    assert (
        len(ro.judge(replace(policy, min_accuracy=0.81), ro.Listed(policy, members, 0).tally(9)))
        == 1
    )


def test_too_few_reports_decide_nothing() -> None:
    members = fleet(20)
    first = next(m for m in members if m.stage == 0)
    members = [ro.report(m, "failure") if m is first else m for m in members]
    assert evaluate(Rollout(), POLICY, members, 5) == Rollout()


def test_offline_devices_are_not_waited_for_and_get_their_offer_later() -> None:
    members = fleet(10)
    away = next(m for m in members if m.stage == 1)
    members = install(members, 0)
    members = [m if m.name != away.name else away for m in install(members, 1)]
    state = Rollout(stage=1)
    assert evaluate(state, POLICY, members, 50).complete_s == 0
    present = [m if m.name == away.name else replace(m, seen_s=2 * DAY) for m in members]
    state = evaluate(state, POLICY, present, 2 * DAY)
    assert state.complete_s == 2 * DAY
    state = evaluate(state, POLICY, present, 2 * DAY + 100)
    assert state.state == "finished"
    assert ro.offer(state, away) == "update"


def test_device_away_during_a_roll_back_is_led_back_when_it_returns() -> None:
    members = install(fleet(10), 0)
    state = evaluate(ro.command(Rollout(), "rollback"), POLICY, members, 3 * DAY)
    assert state.state == "rolled_back"
    assert {ro.offer(state, m) for m in members} == {"revert", None}


def test_late_device_joins_the_last_stage_unless_stopped() -> None:
    late = ro.join(Rollout(), POLICY, "new", 5)
    assert late is not None
    assert (late.stage, ro.offer(Rollout(), late)) == (1, None)
    assert ro.offer(Rollout("finished", 1), late) == "update"
    for stopped in ("aborted", "rolling_back", "rolled_back"):
        assert ro.join(Rollout(stopped), POLICY, "new", 5) is None  # type: ignore[arg-type]


def test_pause_resume_and_abort() -> None:
    members = fleet(10)
    paused = ro.command(Rollout(), "pause")
    assert {ro.offer(paused, m) for m in members} == {None}
    assert evaluate(paused, POLICY, install(members, 0), 10) == paused
    assert ro.command(paused, "resume") == Rollout()
    offered = ro.accept(members[0], "update")
    aborted = ro.command(paused, "abort")
    assert ro.offer(aborted, offered) == "cancel"
    assert ro.offer(aborted, replace(offered, state="installed")) is None
    with pytest.raises(ConflictError, match="aborted"):
        ro.command(aborted, "resume")


class Course(RuleBasedStateMachine):
    """Any order of polls, reports, absences, late devices and operators' commands."""

    names = Bundle("names")

    @initialize(
        target=names,
        count=st.integers(1, 12),
        shares=st.sampled_from([(1.0,), (0.2, 1.0), (0.1, 0.5, 1.0)]),
        reports=st.integers(1, 4),
    )
    def begin(self, count: int, shares: tuple[float, ...], reports: int) -> object:
        self.policy = Policy(shares=shares, soak_s=10, min_reports=reports, offline_after_s=100)
        self.members = {m.name: m for m in fleet(count, self.policy)}
        self.state, self.now = Rollout(), 1.0
        self.has_new: set[str] = set()
        return multiple(*self.members)

    def _evaluate(self) -> None:
        before = self.state
        self.state = evaluate(before, self.policy, list(self.members.values()), self.now)
        assert self.state.stage - before.stage in (0, 1)
        if before.state in ("aborted", "rolled_back"):
            assert self.state == before

    @rule(name=names)
    def poll(self, name: str) -> None:
        member = replace(self.members[name], seen_s=self.now)
        told = ro.offer(self.state, member)
        if told == "update":
            assert self.state.state in ("running", "finished")
            assert member.stage <= self.state.stage
        if told == "revert":
            assert name in self.has_new
        self.members[name] = ro.accept(member, told) if told else member
        self._evaluate()

    @rule(
        name=names,
        outcome=st.sampled_from(["success", "failure", "canceled"]),
        after=st.sampled_from([0.9, 0.89, 0.5]),
    )
    def answer(
        self, name: str, outcome: Literal["success", "failure", "canceled"], after: float
    ) -> None:
        member = self.members[name]
        if member.state not in ("offered", "reverting"):
            return
        if outcome == "success":
            (self.has_new.add if member.state == "offered" else self.has_new.discard)(name)
        self.members[name] = ro.report(member, outcome, after, 0.0)
        self._evaluate()

    @rule(seconds=st.sampled_from([1.0, 11.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._evaluate()

    @rule(verb=st.sampled_from(["pause", "resume", "abort", "rollback"]))
    def operate(self, verb: Literal["pause", "resume", "abort", "rollback"]) -> None:
        try:
            self.state = ro.command(self.state, verb)
        except ConflictError:
            return

    @rule(target=names, number=st.integers(0, 3))
    def arrive(self, number: int) -> object:
        name = f"late{number}"
        if name in self.members:
            return multiple()
        member = ro.join(self.state, self.policy, name, self.now)
        if member is None:
            return multiple()
        self.members[name] = member
        return name

    @invariant()
    def what_is_installed_is_known(self) -> None:
        if hasattr(self, "members"):
            known = {
                n for n, m in self.members.items() if m.state in ("installed", "reverting", "stuck")
            }
            assert self.has_new == known

    @invariant()
    def after_a_roll_back_nobody_in_reach_has_the_update(self) -> None:
        if hasattr(self, "members") and self.state.state == "rolled_back":
            for member in self.members.values():
                if member.state in ("installed", "offered"):
                    assert ro.offer(self.state, member) in ("revert", "cancel")


Course.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestCourse = Course.TestCase
