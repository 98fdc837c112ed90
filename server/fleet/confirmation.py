# SPDX-License-Identifier: Apache-2.0
"""hawkBit's confirmation: an update of a rollout that asks for it waits until the device agrees.

A device that has switched on automatic confirmation is not asked. Going back is never asked for.
"""

import time
from collections.abc import Mapping
from typing import Any

from server.errors import InvalidInputError, Issue, NotFoundError
from server.fleet import ddi, rollouts, targets
from server.fleet.ddi import Links
from server.fleet.errors import GoneError
from server.services.context import Context
from server.storage.fleet import ACTION_OPEN, ACTION_WAITING, Json, TargetRecord
from server.storage.ports import Unit


def overview(context: Context, target: TargetRecord, links: Links) -> Json:
    """Whether the device confirms by itself, and what waits for it."""
    with context.database.read() as unit:
        action = rollouts.open_action(unit, target.controller_id)
    active = rollouts.AUTO_CONFIRM in target.attributes
    verb = "deactivateAutoConfirm" if active else "activateAutoConfirm"
    found: dict[str, Json] = {verb: {"href": links.to(f"confirmationBase/{verb}")}}
    if action is not None and action.state == ACTION_WAITING:
        found["confirmationBase"] = {"href": links.to(f"confirmationBase/{action.number}")}
    return {"autoConfirm": {"active": active}, "_links": found}


def waiting(context: Context, target: TargetRecord, number: int, links: Links) -> Json:
    """The update that waits, as `deploymentBase` will show it. Raises: NotFoundError."""
    with context.database.read() as unit:
        action = ddi.require_action(unit, target, number)
        if action.state != ACTION_WAITING:
            raise NotFoundError(f"Action {number} does not wait for confirmation.")
        body = ddi.deployment_body(unit, target, action, links)
    return {"id": body["id"], "confirmation": body["deployment"]}


def feedback(context: Context, target: TargetRecord, number: int, body: Mapping[str, Any]) -> None:
    """Take the device's answer; a denied update waits on.

    Raises: NotFoundError, GoneError if the action does not wait any more, InvalidInputError.
    """
    said = body.get("confirmation")
    if said not in ("confirmed", "denied"):
        issue = Issue(f"confirmation {str(said)[:40]!r}", "confirmation", "confirmed or denied")
        raise InvalidInputError("The confirmation is wrong.", [issue])
    details = body.get("details")
    told = details[: ddi.MAX_MESSAGES] if isinstance(details, list) else []
    lines = [ddi.clean(line, ddi.MAX_MESSAGE_CHARS) for line in told]
    with context.database.write() as unit:
        action = ddi.require_action(unit, target, number)
        if action.state != ACTION_WAITING:
            issue = Issue(f"action is {action.state}", f"action {number}", "a waiting action")
            raise GoneError(f"Action {number} does not wait for confirmation.", [issue])
        kept = [*action.messages, f"confirmation: {said}", *lines][-ddi.MAX_MESSAGES :]
        state = ACTION_OPEN if said == "confirmed" else ACTION_WAITING
        unit.fleet.actions.change({"number": number}, messages=kept, state=state)


def set_automatic(context: Context, target: TargetRecord, active: bool) -> None:
    """Switch automatic confirmation; on also confirms what waits."""
    with context.database.write() as unit:
        known = dict(targets.require_target(unit, target.controller_id).attributes)
        known.pop(rollouts.AUTO_CONFIRM, None)
        if active:
            known[rollouts.AUTO_CONFIRM] = str(int(time.time()))
            _confirm(unit, target)
        unit.fleet.targets.change({"controller_id": target.controller_id}, attributes=known)


def _confirm(unit: Unit, target: TargetRecord) -> None:
    where = {"controller_id": target.controller_id, "state": ACTION_WAITING}
    unit.fleet.actions.change(where, state=ACTION_OPEN)
