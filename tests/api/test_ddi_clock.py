# SPDX-License-Identifier: Apache-2.0
"""Soaks and absences of a rollout while the clock is set: only time that passed counts."""

import time

import pytest

from server.fleet import rollout as ro
from server.ids import steady_s
from tests.api.fleet import Device, add_device
from tests.api.fleet_fixtures import Fleet, ended, fleet

DAY_S = 86400.0
__all__ = ["ended", "fleet"]


def set_clock(monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    """What everything in the process reads as the time; monotonic time goes on as it did."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + by_s)


def canary_and_rest(fleet: Fleet, soak_s: float) -> tuple[str, Device, list[Device]]:
    """A rollout whose only canary has installed; its id, the canary, the others."""
    devices = [add_device(fleet, fleet.model_id, f"soak-{soak_s}-{i}") for i in range(4)]
    body = {
        "packet_id": fleet.packet["id"],
        "targets": [d.name for d in devices],
        "policy": {"shares": [0.25, 1.0], "soak_s": soak_s, "min_reports": 1},
    }
    made = fleet.http.post("/api/v1/rollouts", json=body)
    assert made.status_code == 201, made.text
    (canary,) = [d for d in devices if d.offered()]
    canary.tell(f"deploymentBase/{canary.offered()}")
    return str(made.json()["id"]), canary, [d for d in devices if d is not canary]


def test_clock_set_forwards_by_two_days_ends_no_soak(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout_id, _, rest = canary_and_rest(fleet, 600.0)
    set_clock(monkeypatch, 2 * DAY_S)
    monkeypatch.setattr("server.services.sightings.LOOK_S", 0.0)
    assert [d.offered() for d in rest] == [None] * 3
    assert fleet.http.get(f"/api/v1/rollouts/{rollout_id}").json()["stage"] == 0


def test_clock_set_back_by_an_hour_lengthens_no_soak(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, rest = canary_and_rest(fleet, 0.2)
    set_clock(monkeypatch, -3600.0)
    monkeypatch.setattr("server.services.sightings.LOOK_S", 0.0)
    time.sleep(0.25)
    assert all(d.offered() for d in rest)


def test_steady_time_follows_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    before = steady_s()
    set_clock(monkeypatch, DAY_S)
    assert 0 <= steady_s() - before < 60


def test_soak_that_began_in_the_future_begins_anew_and_such_devices_are_offline() -> None:
    """A process that was started after the clock was set back."""
    policy = ro.Policy(shares=(1.0,), soak_s=100, min_reports=1, offline_after_s=DAY_S)
    now, ahead = 1e9, 1e9 + 400 * DAY_S
    members = [ro.Member("a", 0, "installed", seen_s=now), ro.Member("b", 0, seen_s=ahead)]
    state = ro.Rollout(complete_s=ahead)
    state = ro.evaluate(state, policy, ro.Listed(policy, members, now), now)
    assert (state.state, state.complete_s) == ("running", now)
    state = ro.evaluate(state, policy, ro.Listed(policy, members, now + 100), now + 100)
    assert state.state == "finished"
