# SPDX-License-Identifier: Apache-2.0
"""Rollouts over the database: rows in, the state machine of server.fleet.rollout, rows out."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, cast

from server.errors import ConflictError, InvalidInputError, Issue, NotFoundError
from server.fleet import audit, rollout
from server.fleet.packets import artifacts_of, require_packet
from server.fleet.rollout import Member, Policy, Rollout, Verb
from server.fleet.standing import base_text, packets_from, stands_at_base, stands_at_result
from server.fleet.stored_fleet import StoredFleet
from server.ids import new_id, steady_s, utc_text
from server.services.context import Context
from server.services.paging import Page, decode_cursor, make_page
from server.storage.fleet import (
    ACTION_CANCELING,
    ACTION_OPEN,
    ACTION_WAITING,
    ActionRecord,
    Json,
    MemberRecord,
    PacketRecord,
    RolloutRecord,
    TargetRecord,
)
from server.storage.ports import Unit

MAX_MEMBERS = 100_000
OPEN = (ACTION_OPEN, ACTION_CANCELING, ACTION_WAITING)
# Attribute of a device that confirms every update by itself; only confirmationBase sets it.
AUTO_CONFIRM = "hadapt.auto_confirm"
MOVING = ("running", "paused", "rolling_back")
# A device in another state has nothing to expect of a rollout any more.
CONCERNED = ("waiting", "offered", "installed", "reverting")
# Of a device's history only the newest can concern it; what is older costs nothing.
RECENT = 50


def policy_of(record: RolloutRecord) -> Policy:
    """The policy as it was asked for."""
    fields = {**record.spec["policy"], "shares": tuple(record.spec["policy"]["shares"])}
    return Policy(**fields)


def create_rollout(
    unit: Unit, packet_id: str, policy: Policy, names: list[str] | None, actor: str
) -> RolloutRecord:
    """Begin to deliver a packet to devices of its model that stand at its base version.

    Args:
        names: controller ids; all of the model that stand there if None.
    Raises: NotFoundError, InvalidInputError, ConflictError if another rollout moves the model.
    """
    packet = require_packet(unit, packet_id)
    _check_alone(unit, packet)
    chosen = _choose(unit, packet, names)
    record = RolloutRecord(
        id=new_id(),
        model_id=packet.model_id,
        packet_id=packet.id,
        created_at=utc_text(),
        spec={"policy": dataclasses.asdict(policy), "named": names is not None},
        state="running",
        stage=0,
        since_s=0.0,
    )
    unit.fleet.rollouts.add(record)
    stages = rollout.deal([t.controller_id for t in chosen], policy, record.id)
    for target in chosen:
        member = Member(target.controller_id, stages[target.controller_id], seen_s=target.polled_s)
        unit.fleet.members.add(_member_record(record.id, _with_accuracy(member, target)))
    audit.record(unit, actor, "rollout.create", record.id, packet_id=packet.id, **record.spec)
    return record


def _check_alone(unit: Unit, packet: PacketRecord) -> None:
    moving = unit.fleet.rollouts.page(
        order="id",
        after=None,
        limit=1,
        model_id=packet.model_id,
        state=MOVING,
    )
    if moving:
        issue = Issue(f"rollout {moving[0].id}", "packet_id", "one rollout of a model at a time")
        raise ConflictError(f"Rollout {moving[0].id} has not ended.", [issue])


def _choose(unit: Unit, packet: PacketRecord, names: list[str] | None) -> list[TargetRecord]:
    found = unit.fleet.targets.page(
        order="controller_id", after=None, limit=MAX_MEMBERS, model_id=packet.model_id
    )
    known = {t.controller_id: t for t in found if stands_at_base(t, packet)}
    issues = [
        Issue(f"device {n[:100]!r}", "targets", f"a device {base_text(packet)}")
        for n in names or []
        if n not in known
    ]
    chosen = list(known.values()) if names is None else [known[n] for n in names if n in known]
    if not chosen and not issues:
        issues = [Issue("no device", "targets", f"devices {base_text(packet)}")]
    made = {a.form for a in artifacts_of(unit, packet.id)}
    issues += [
        Issue(f"{t.controller_id} wants {t.form}", "targets", "keys for that form, see settings")
        for t in chosen
        if t.form not in made
    ]
    if issues:
        raise InvalidInputError("Some devices cannot be served.", issues[:20])
    return chosen


def _with_accuracy(member: Member, target: TargetRecord) -> Member:
    accuracy = share(target.attributes.get("hadapt.accuracy"))
    return dataclasses.replace(member, accuracy_before=accuracy)


def share(value: Any) -> float | None:
    """A figure in [-1, 1] that a device sent as text or number, or None.

    Example:
        >>> share("0.5"), share("nan"), share("7"), share(None)
        (0.5, None, None, None)
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if -1 <= number <= 1 else None


def wrong_shares(shares: list[float]) -> InvalidInputError:
    """The error for shares that do not lead to all devices."""
    expected = "ascending shares, the last 1.0"
    return InvalidInputError("The shares are wrong.", [Issue(f"{shares}", "shares", expected)])


def require_rollout(unit: Unit, rollout_id: str) -> RolloutRecord:
    """Raises: NotFoundError."""
    record = unit.fleet.rollouts.find(id=rollout_id)
    if record is None:
        raise NotFoundError(f"There is no rollout {rollout_id}.")
    return record


def list_rollouts(context: Context, cursor: str | None, limit: int) -> Page[RolloutRecord]:
    """Rollouts, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.fleet.rollouts.page(order="id", after=after, limit=limit + 1, down=True)
    return make_page(found, limit, lambda record: record.id)


def counts(unit: Unit, record: RolloutRecord) -> list[dict[str, int]]:
    """Devices by state, one entry a stage."""
    stages: list[dict[str, int]] = [{} for _ in policy_of(record).shares]
    for stage, state, count in unit.fleet.members.by_stage(record.id):
        stages[stage][state] = count
    return stages


def operate(unit: Unit, rollout_id: str, verb: Verb, actor: str) -> RolloutRecord:
    """Pause, resume, abort or roll back. Raises: NotFoundError, ConflictError."""
    record = require_rollout(unit, rollout_id)
    after = rollout.command(_state(record), verb)
    audit.record(unit, actor, f"rollout.{verb}", rollout_id)
    return evaluate(unit, _save(unit, record, after, actor), steady_s())


def evaluate(unit: Unit, record: RolloutRecord, now: float) -> RolloutRecord:
    """Let the state machine look at the rows as they are, until it has nothing more to say."""
    policy = policy_of(record)
    away_s = policy.offline_after_s
    fleet = StoredFleet(
        unit.fleet.members, record.id, len(policy.shares), now - away_s, now + away_s
    )
    while (after := rollout.evaluate(_state(record), policy, fleet, now)) != _state(record):
        record = _save(unit, record, after, "rollout")
    return record


def _save(unit: Unit, record: RolloutRecord, after: Rollout, actor: str) -> RolloutRecord:
    values: Json = {
        "state": after.state,
        "stage": after.stage,
        "since_s": after.complete_s,
        "reasons": list(after.reasons),
    }
    unit.fleet.rollouts.change({"id": record.id}, **values)
    if (after.state, after.stage) != (record.state, record.stage):
        told = {"state": after.state, "stage": after.stage, "reasons": list(after.reasons)}
        audit.record(unit, actor, "rollout.state", record.id, **told)
    return dataclasses.replace(record, **values)


def on_poll(context: Context, unit: Unit, target: TargetRecord, now: float) -> ActionRecord | None:
    """What a device that polls has to do: the action that is open, or one that is made now."""
    see(unit, {**context.sightings.take(), target.controller_id: now})
    for record, member in _rollouts_of(unit, target, now):
        record = evaluate(unit, record, now)
        told = rollout.offer(_state(record), member)
        if told == "cancel":
            unit.fleet.actions.change(
                {"controller_id": target.controller_id, "state": [ACTION_OPEN, ACTION_WAITING]},
                state=ACTION_CANCELING,
            )
        elif told is not None and open_action(unit, target.controller_id) is None:
            _offer(unit, target, record, member, told)
    return open_action(unit, target.controller_id)


def is_due(context: Context, unit: Unit, target: TargetRecord, now: float) -> bool:
    """True if a poll may change more than the time of the last one. Reads only."""
    for record, member in _rollouts_of(unit, target, now):
        if rollout.offer(_state(record), member) is not None:
            return True
        # Time passes for a rollout: devices go offline, a soak ends.
        if record.state in ("running", "rolling_back") and context.sightings.may_look(
            record.id, now
        ):
            return True
    return False


def see(unit: Unit, seen: Mapping[str, float]) -> None:
    """Store when devices have polled. At most one rollout of a model moves: only it must know."""
    moving: dict[str, list[str]] = {}
    # In one order, so that two processes that store the same devices do not lock each other out.
    for name, at in sorted(seen.items()):
        target = unit.fleet.targets.find(controller_id=name)
        if target is None:
            continue
        unit.fleet.targets.change({"controller_id": name}, polled_s=at)
        model = target.model_id or ""
        if model not in moving:
            found = unit.fleet.rollouts.page(
                order="id", after=None, limit=RECENT, model_id=model, state=MOVING
            )
            moving[model] = [r.id for r in found]
        if moving[model]:
            where = {"controller_id": name, "rollout_id": moving[model]}
            unit.fleet.members.change(where, seen_s=at)


def store_sightings(context: Context) -> None:
    """Store what polls have left to be stored; at the end of a process."""
    if seen := context.sightings.take():
        with context.database.write() as unit:
            see(unit, seen)


def open_action(unit: Unit, controller_id: str) -> ActionRecord | None:
    """The device's action that has not ended; there is at most one."""
    found = unit.fleet.actions.page(
        order="number", after=None, limit=1, controller_id=controller_id, state=OPEN
    )
    return found[0] if found else None


def _rollouts_of(
    unit: Unit, target: TargetRecord, now: float
) -> list[tuple[RolloutRecord, Member]]:
    """Rollouts of the device's model that may concern it, the oldest first; it joins late ones."""
    if target.model_id is None:
        return []
    mine = {
        m.rollout_id: member_of(m)
        for m in unit.fleet.members.page(
            order="rollout_id",
            after=None,
            limit=RECENT,
            down=True,
            controller_id=target.controller_id,
            state=CONCERNED,
        )
    }
    pairs = []
    if mine:
        found = unit.fleet.rollouts.page(
            order="id", after=None, limit=RECENT, id=list(mine), model_id=target.model_id
        )
        pairs = [(record, mine[record.id]) for record in found]
    return sorted([*pairs, *_late(unit, target, now)], key=lambda pair: pair[0].id)


def _late(unit: Unit, target: TargetRecord, now: float) -> list[tuple[RolloutRecord, Member]]:
    """Rollouts to all devices that begin where this one stands and that it is not part of yet."""
    packets = packets_from(unit, target)
    if not packets:
        return []
    found = unit.fleet.rollouts.page(
        order="id",
        after=None,
        limit=RECENT,
        down=True,
        packet_id=[packet.id for packet in packets],
        state=("running", "paused", "finished"),
    )
    pairs = []
    for record in found:
        where = {"rollout_id": record.id, "controller_id": target.controller_id}
        if not record.spec["named"] and unit.fleet.members.find(**where) is None:
            member = rollout.join(_state(record), policy_of(record), target.controller_id, now)
            if member is not None:
                pairs.append((record, member))
    return pairs


def _offer(
    unit: Unit, target: TargetRecord, record: RolloutRecord, member: Member, told: rollout.Offer
) -> None:
    packet = require_packet(unit, record.packet_id)
    if told == "revert":
        packet = require_packet(unit, packet.counterpart)
    if not stands_at_base(target, packet):
        return
    asks = told == "update" and policy_of(record).confirm
    state = ACTION_WAITING if asks and AUTO_CONFIRM not in target.attributes else ACTION_OPEN
    unit.fleet.actions.add(
        ActionRecord(target.controller_id, packet.id, record.id, state, utc_text())
    )
    if told == "update":
        member = _with_accuracy(member, target)
    _put_member(unit, record.id, rollout.accept(member, told))


def on_result(
    unit: Unit,
    action: ActionRecord,
    outcome: Literal["success", "failure", "canceled"],
    metrics: Json,
    now: float,
) -> None:
    """Bring the end of an action to the rollout that it belongs to."""
    row = unit.fleet.members.find(rollout_id=action.rollout_id, controller_id=action.controller_id)
    record = unit.fleet.rollouts.find(id=action.rollout_id)
    if row is None or record is None:
        return
    figures = (share(metrics.get("accuracy")), share(metrics.get("forgetting")))
    member = rollout.report(member_of(row), outcome, *figures)
    _put_member(unit, record.id, dataclasses.replace(member, seen_s=now))
    evaluate(unit, record, now)


def on_metrics(unit: Unit, target: TargetRecord, metrics: Json, now: float) -> None:
    """Figures of a device at work: while they soak, they count as if reported at the end."""
    accuracy, forgetting = share(metrics.get("accuracy")), share(metrics.get("forgetting"))
    if accuracy is None and forgetting is None:
        return
    for record, member in _rollouts_of(unit, target, now):
        packet = require_packet(unit, record.packet_id)
        if member.state == "installed" and stands_at_result(target, packet):
            figures = {"accuracy_after": accuracy, "forgetting": forgetting}
            known = {k: v for k, v in figures.items() if v is not None}
            _put_member(unit, record.id, dataclasses.replace(member, **cast(Any, known)))
            evaluate(unit, record, now)


def _state(record: RolloutRecord) -> Rollout:
    state = cast(rollout.State, record.state)
    return Rollout(state, record.stage, record.since_s, tuple(record.reasons))


def member_of(record: MemberRecord) -> Member:
    """The state machine's view of a row."""
    fields = {**vars(record), "name": record.controller_id}
    del fields["rollout_id"], fields["controller_id"]
    return Member(**fields)


def _member_record(rollout_id: str, member: Member) -> MemberRecord:
    fields = {**vars(member), "controller_id": member.name}
    del fields["name"]
    return MemberRecord(rollout_id=rollout_id, **fields)


def _put_member(unit: Unit, rollout_id: str, member: Member) -> None:
    fields = vars(_member_record(rollout_id, member))
    key = {"rollout_id": rollout_id, "controller_id": member.name}
    values = {k: v for k, v in fields.items() if k not in key}
    if not unit.fleet.members.change(key, **values):
        unit.fleet.members.add(MemberRecord(**fields))
