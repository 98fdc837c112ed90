# SPDX-License-Identifier: Apache-2.0
"""A staged rollout as a pure state machine: rows and clock in, new rows out; no I/O.

States: running -> finished | paused | aborted | rolling_back -> rolled_back. Rules:

- devices are dealt to stages by a hash of seed and name: nobody chooses the canaries, and anybody
  can check the choice;
- only devices of the stages reached so far are offered the update;
- a stage is complete when each of its devices has reported or is offline, and at least
  `min_reports` (or all, if fewer) have reported; `soak_s` later the next stage begins;
- limits are looked at with every report, over all reports so far; once `min_reports` are there, a
  broken limit rolls back: what is installed is offered the way back, what is offered is cancelled;
- devices that join late are dealt to the last stage, and served after the end as well, unless the
  rollout was stopped; devices that were away during a roll-back are led back when they return.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from server.errors import ConflictError, Issue

State = Literal["running", "paused", "aborted", "rolling_back", "rolled_back", "finished"]
MemberState = Literal[
    "waiting", "offered", "installed", "failed", "canceled", "reverting", "reverted", "stuck"
]
Offer = Literal["update", "revert", "cancel"]
Verb = Literal["pause", "resume", "abort", "rollback"]

REPORTED: tuple[MemberState, ...] = ("installed", "failed", "reverting", "reverted", "stuck")
PENDING: tuple[MemberState, ...] = ("waiting", "offered")
UNDONE: tuple[MemberState, ...] = ("offered", "installed", "reverting")
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Policy:
    """How far, how fast, and what stops it.

    shares: of the devices reached with each stage, ascending in (0, 1], the first is the canary.
    soak_s: wait after a stage is complete. offline_after_s: unseen so long, a device is not waited
    for. Limits in [0, 1], None for none: failures as a share of reports, the others as means over
    the devices that report them (accuracy before minus after, for the drop). confirm: a device is
    offered the update once it agrees (hawkBit's confirmationBase).
    """

    shares: tuple[float, ...] = (0.05, 0.25, 1.0)
    soak_s: float = 3600.0
    min_reports: int = 3
    offline_after_s: float = 86400.0
    max_failure_share: float = 0.1
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = 0.05
    max_forgetting: float | None = 0.05
    confirm: bool = False


@dataclass(frozen=True)
class Rollout:
    """Where it stands; complete_s: when the stage became complete, 0 until then."""

    state: State = "running"
    stage: int = 0
    complete_s: float = 0.0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """A device in the rollout; seen_s: its last poll, 0 for never."""

    name: str
    stage: int
    state: MemberState = "waiting"
    seen_s: float = 0.0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    forgetting: float | None = None


def deal(names: Sequence[str], policy: Policy, seed: str) -> dict[str, int]:
    """Stage of each device. Every stage reaches at least one device more than the one before,
    while there are any.

    Example:
        >>> sorted(deal(["a", "b", "c", "d"], Policy(shares=(0.25, 1.0)), "s").values())
        [0, 1, 1, 1]
    """
    order = sorted(names, key=lambda n: (hashlib.sha256(f"{seed}:{n}".encode()).digest(), n))
    stages: dict[str, int] = {}
    start = 0
    for stage, share in enumerate(policy.shares):
        # The tolerance keeps 0.07 * 100 from being rounded up to 8 devices.
        end = max(start + 1, math.ceil(share * len(order) - TOLERANCE))
        stages.update(dict.fromkeys(order[start:end], stage))
        start = min(end, len(order))
    return stages


def join(rollout: Rollout, policy: Policy, name: str, now: float) -> Member | None:
    """A late device's place, or None if the rollout takes no more."""
    if rollout.state not in ("running", "paused", "finished"):
        return None
    return Member(name, len(policy.shares) - 1, seen_s=now)


def offer(rollout: Rollout, member: Member) -> Offer | None:
    """What a device that polls is to be told."""
    if rollout.state in ("running", "finished"):
        due = member.state == "waiting" and member.stage <= rollout.stage
        return "update" if due else None
    if rollout.state == "paused":
        return None
    if member.state == "offered":
        return "cancel"
    if member.state == "installed" and rollout.state in ("rolling_back", "rolled_back"):
        return "revert"
    return None


def accept(member: Member, told: Offer) -> Member:
    """The device after it was told."""
    states: dict[Offer, MemberState] = {"update": "offered", "revert": "reverting"}
    return replace(member, state=states.get(told, member.state))


def report(
    member: Member,
    outcome: Literal["success", "failure", "canceled"],
    accuracy: float | None = None,
    forgetting: float | None = None,
) -> Member:
    """The device after it reported the end of what it was offered."""
    if member.state == "reverting":
        return replace(member, state="reverted" if outcome == "success" else "stuck")
    if outcome == "canceled":
        return replace(member, state="canceled")
    if outcome == "failure":
        return replace(member, state="failed")
    return replace(member, state="installed", accuracy_after=accuracy, forgetting=forgetting)


@dataclass(frozen=True)
class Tally:
    """What the devices up to a stage say together.

    pending: have not ended and are not offline. accuracy, drop, forgetting: means over the devices
    that report them, failed ones left out; None if none does.
    """

    reached: int
    reports: int
    failed: int
    pending: int
    accuracy: float | None = None
    drop: float | None = None
    forgetting: float | None = None


class Fleet(Protocol):
    """The devices of a rollout, counted."""

    def tally(self, stage: int) -> Tally:
        """Over the devices of all stages up to this one."""

    def undone(self) -> int:
        """Devices that are not offline and still hold or may install what is to be taken back."""


@dataclass(frozen=True)
class Listed:
    """A fleet as a list of its devices."""

    policy: Policy
    members: Sequence[Member]
    now: float

    def tally(self, stage: int) -> Tally:
        """See Fleet."""
        reached = [m for m in self.members if m.stage <= stage]
        reports = [m for m in reached if m.state in REPORTED]
        done = [m for m in reports if m.state != "failed"]
        drops = [
            m.accuracy_before - m.accuracy_after
            for m in done
            if m.accuracy_before is not None and m.accuracy_after is not None
        ]
        return Tally(
            reached=len(reached),
            reports=len(reports),
            failed=len(reports) - len(done),
            pending=sum(m.state in PENDING and not self._offline(m) for m in reached),
            accuracy=_mean([m.accuracy_after for m in done if m.accuracy_after is not None]),
            drop=_mean(drops),
            forgetting=_mean([m.forgetting for m in done if m.forgetting is not None]),
        )

    def undone(self) -> int:
        """See Fleet."""
        return sum(m.state in UNDONE and not self._offline(m) for m in self.members)

    def _offline(self, member: Member) -> bool:
        # Both ways: a clock that ran ahead must not make devices seen for years to come.
        return abs(self.now - member.seen_s) > self.policy.offline_after_s


def judge(policy: Policy, tally: Tally) -> list[str]:
    """Which limits are broken, in words; nothing as long as too few have reported."""
    if not tally.reports or tally.reports < min(policy.min_reports, tally.reached):
        return []
    checks = (
        ("share of failures", tally.failed / tally.reports, policy.max_failure_share, 1),
        ("accuracy", tally.accuracy, policy.min_accuracy, -1),
        ("fall of accuracy", tally.drop, policy.max_accuracy_drop, 1),
        ("forgetting", tally.forgetting, policy.max_forgetting, 1),
    )
    return [
        f"{what} is {value:.4f} over {tally.reports} devices, the limit is {limit:.4f}"
        for what, value, limit, sign in checks
        if value is not None and limit is not None and sign * (value - limit) > TOLERANCE
    ]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def evaluate(rollout: Rollout, policy: Policy, fleet: Fleet, now: float) -> Rollout:
    """The rollout after a report, or after time has passed."""
    if rollout.state == "rolling_back":
        return rollout if fleet.undone() else replace(rollout, state="rolled_back")
    if rollout.state not in ("running", "paused", "finished"):
        return rollout
    tally = fleet.tally(rollout.stage)
    broken = judge(policy, tally)
    if broken:
        return replace(rollout, state="rolling_back", reasons=tuple(broken))
    return _advance(rollout, policy, tally, now) if rollout.state == "running" else rollout


def _advance(rollout: Rollout, policy: Policy, tally: Tally, now: float) -> Rollout:
    if tally.pending or tally.reports < min(policy.min_reports, tally.reached):
        return replace(rollout, complete_s=0.0)
    # After now: the clock was set back since; the soak begins anew.
    if not 0.0 < rollout.complete_s <= now:
        rollout = replace(rollout, complete_s=now)
    if now - rollout.complete_s < policy.soak_s:
        return rollout
    if rollout.stage + 1 == len(policy.shares):
        return replace(rollout, state="finished")
    return replace(rollout, stage=rollout.stage + 1, complete_s=0.0)


def command(rollout: Rollout, verb: Verb) -> Rollout:
    """What an operator does. Raises: ConflictError if the state does not allow it."""
    allowed: dict[Verb, tuple[tuple[State, ...], State]] = {
        "pause": (("running",), "paused"),
        "resume": (("paused",), "running"),
        "abort": (("running", "paused"), "aborted"),
        "rollback": (("running", "paused", "aborted", "finished"), "rolling_back"),
    }
    states, after = allowed[verb]
    if rollout.state not in states:
        expected = "a rollout that is " + " or ".join(states)
        issue = Issue(f"rollout is {rollout.state}", verb, expected)
        raise ConflictError(f"The rollout is {rollout.state}: it cannot {verb}.", [issue])
    reasons = ("rolled back by hand",) if verb == "rollback" else rollout.reasons
    return replace(rollout, state=after, reasons=reasons)
