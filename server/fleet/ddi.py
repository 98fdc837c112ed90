# SPDX-License-Identifier: Apache-2.0
"""hawkBit's Direct Device Integration, version 1: what devices are told, and what they tell.

The interface is that of the hawkBit project (EPL-2.0); nothing of its code is here. Clients need
more than it says: ids are small integers, links are short and use the request's own host, the
tenant's case does not matter and is printed upper-case, one chunk named bApp with one artifact, all
three hashes and four links, keys that nobody knows are ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from server.errors import InvalidInputError, Issue, NotFoundError
from server.fleet import rollouts, targets
from server.fleet.errors import GoneError
from server.fleet.packets import artifacts_of, require_packet
from server.ids import steady_s, utc_text
from server.services.context import Context
from server.storage.fleet import (
    ACTION_CANCELED,
    ACTION_CANCELING,
    ACTION_FAILED,
    ACTION_FINISHED,
    ACTION_OPEN,
    ACTION_WAITING,
    PACKET_FIRMWARE,
    ActionRecord,
    ArtifactRecord,
    Json,
    LearningRecord,
    PacketRecord,
    TargetRecord,
)
from server.storage.ports import Unit

EXECUTIONS = (
    "closed",
    "proceeding",
    "canceled",
    "scheduled",
    "rejected",
    "resumed",
    "downloaded",
    "download",
)
MAX_ATTRIBUTES, MAX_ATTRIBUTE_CHARS = 100, 400
MAX_MESSAGES, MAX_MESSAGE_CHARS = 50, 500
METRIC = re.compile(
    r"hadapt\.(accuracy|forgetting|state_digest|image_digest|state_hash|reason)=(.{1,400})",
    re.DOTALL,
)
DIGEST = re.compile("[0-9a-f]{64}")
# Where an open action is found.
KINDS = {ACTION_CANCELING: "cancelAction", ACTION_WAITING: "confirmationBase"}


@dataclass(frozen=True)
class Links:
    """Where a device finds things: scheme and host as it asked for them."""

    base: str
    tenant: str
    controller_id: str

    def to(self, rest: str, base: str | None = None) -> str:
        """A link of the device."""
        root = f"{base or self.base}/{self.tenant.upper()}/controller/v1/{self.controller_id}"
        return f"{root}/{rest}" if rest else root

    def plain(self, rest: str) -> str:
        """The same over plain HTTP, which Zephyr asks for by name."""
        return self.to(rest, "http://" + self.base.partition("://")[2])


def poll(context: Context, target: TargetRecord, links: Links) -> Json:
    """The answer to a poll; the only place where actions come into being."""
    now = steady_s()
    with context.database.read() as unit:
        due = rollouts.is_due(context, unit, target, now)
        action = rollouts.open_action(unit, target.controller_id)
    if due:
        with context.database.write() as unit:
            action = rollouts.on_poll(context, unit, target, now)
    elif seen := context.sightings.note(target.controller_id, now):
        with context.database.write() as unit:
            rollouts.see(unit, seen)
    found: dict[str, Json] = {}
    if action is not None:
        kind = KINDS.get(action.state, "deploymentBase")
        tag = f"?c={action.number}" if kind == "deploymentBase" else ""
        found[kind] = {"href": links.to(f"{kind}/{action.number}{tag}")}
    if not set(target.attributes) - {rollouts.AUTO_CONFIRM}:
        found["configData"] = {"href": links.to("configData")}
    return {
        "config": {"polling": {"sleep": clock_text(context.settings.ddi_poll_interval_s)}},
        "_links": found,
    }


def clock_text(seconds: int) -> str:
    """Seconds as HH:MM:SS.

    Example:
        >>> clock_text(300), clock_text(3661)
        ('00:05:00', '01:01:01')
    """
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def clean(value: Any, limit: int) -> str:
    """Text of a device as it can be stored and shown: nothing that no UTF-8 or no database has.

    Example:
        >>> clean("a\\ud800b\\0", 3), clean(True, 9)
        ('a?b', 'True')
    """
    text = str(value)[:limit].replace("\0", "?")
    return text.encode("utf-8", "replace").decode()


def config_data(context: Context, target: TargetRecord, body: Mapping[str, Any]) -> None:
    """Take attributes of a device: merge (the default), replace or remove.

    Raises: InvalidInputError.
    """
    mode, data = body.get("mode", "merge"), body.get("data")
    if mode not in ("merge", "replace", "remove") or not isinstance(data, Mapping):
        raise _wrong("configData", "mode merge, replace or remove, and data")
    fresh = {clean(k, 128): clean(v, MAX_ATTRIBUTE_CHARS) for k, v in data.items()}
    fresh.pop(rollouts.AUTO_CONFIRM, None)
    with context.database.write() as unit:
        known = targets.require_target(unit, target.controller_id).attributes
        merged = {
            "merge": {**known, **fresh},
            "replace": {**{k: v for k, v in known.items() if k == rollouts.AUTO_CONFIRM}, **fresh},
            "remove": {k: v for k, v in known.items() if k not in fresh},
        }[mode]
        if len(merged) > MAX_ATTRIBUTES:
            raise _wrong(f"{len(merged)} attributes", f"at most {MAX_ATTRIBUTES}")
        key = {"controller_id": target.controller_id}
        unit.fleet.targets.change(key, attributes=merged)
        current = targets.require_target(unit, target.controller_id)
        targets.apply_attributes(unit, current)
        _learned(unit, current, fresh)


def _learned(unit: Unit, target: TargetRecord, fresh: Mapping[str, str]) -> None:
    """Keep what a device tells of its own learning: its hash and figures, never a sample."""
    digest = fresh.get("hadapt.state_hash", "")
    if not DIGEST.fullmatch(digest):
        return
    metrics = {
        name: rollouts.share(fresh.get(f"hadapt.{name}")) for name in ("accuracy", "forgetting")
    }
    log = {"text": fresh["hadapt.log"]} if "hadapt.log" in fresh else {}
    if target.state_hash != digest or log:
        unit.fleet.learning.add(
            LearningRecord(target.controller_id, utc_text(), digest, metrics, log)
        )
    rollouts.on_metrics(unit, target, metrics, steady_s())


def require_action(unit: Unit, target: TargetRecord, number: int) -> ActionRecord:
    """An action of this device. Raises: NotFoundError."""
    action = unit.fleet.actions.find(number=number, controller_id=target.controller_id)
    if action is None:
        raise NotFoundError(f"Device {target.controller_id} has no action {number}.")
    return action


def deployment(context: Context, target: TargetRecord, number: int, links: Links) -> Json:
    """The update to install. Raises: NotFoundError, also while it is being cancelled."""
    with context.database.read() as unit:
        action = require_action(unit, target, number)
        if action.state == ACTION_CANCELING:
            raise NotFoundError(f"Action {number} is being cancelled.")
        if action.state == ACTION_WAITING:
            raise NotFoundError(f"Action {number} waits for confirmation.")
        return deployment_body(unit, target, action, links)


def installed(context: Context, target: TargetRecord, number: int, links: Links) -> Json:
    """The last installed update, in the same form. Raises: NotFoundError."""
    with context.database.read() as unit:
        action = require_action(unit, target, number)
        if action.state != ACTION_FINISHED:
            raise NotFoundError(f"Action {number} is not installed.")
        return deployment_body(unit, target, action, links)


def deployment_body(unit: Unit, target: TargetRecord, action: ActionRecord, links: Links) -> Json:
    """An action's update: one chunk with one artifact."""
    packet = require_packet(unit, action.packet_id)
    artifact = _artifact_for(unit, target, action)
    chunk = {
        "part": "bApp",
        "version": f"{packet.version}.0.{packet.sequence}",
        "name": "firmware" if packet.kind == PACKET_FIRMWARE else "model",
        "artifacts": [artifact_body(artifact, links)],
    }
    deployment = {"download": "forced", "update": "forced", "chunks": [chunk]}
    return {"id": str(action.number), "deployment": deployment}


def _artifact_for(unit: Unit, target: TargetRecord, action: ActionRecord) -> ArtifactRecord:
    """The packet in the form that the device demands."""
    for artifact in artifacts_of(unit, action.packet_id):
        if artifact.form == target.form:
            return artifact
    raise NotFoundError(f"Packet {action.packet_id} has no artifact for {target.form}.")


def artifact_body(artifact: ArtifactRecord, links: Links) -> Json:
    """An artifact with all hashes and links."""
    rest = f"softwaremodules/{artifact.number}/artifacts/{artifact.file_name}"
    return {
        "filename": artifact.file_name,
        "size": artifact.size_bytes,
        "hashes": {"sha1": artifact.sha1, "md5": artifact.md5, "sha256": artifact.sha256},
        "_links": {
            "download": {"href": links.to(rest)},
            "download-http": {"href": links.plain(rest)},
            "md5sum": {"href": links.to(rest + ".MD5SUM")},
            "md5sum-http": {"href": links.plain(rest + ".MD5SUM")},
        },
    }


def module_artifacts(context: Context, target: TargetRecord, number: int) -> list[ArtifactRecord]:
    """Artifacts of a module that was offered to this device. Raises: NotFoundError."""
    with context.database.read() as unit:
        artifact = unit.fleet.artifacts.find(number=number)
        offered = artifact is not None and unit.fleet.actions.count(
            controller_id=target.controller_id, packet_id=artifact.packet_id
        )
    if artifact is None or not offered:
        raise NotFoundError(f"There is no module {number} for this device.")
    return [artifact]


def artifact_file(
    context: Context, target: TargetRecord, number: int, file_name: str
) -> ArtifactRecord:
    """One artifact by name. Raises: NotFoundError."""
    for artifact in module_artifacts(context, target, number):
        if artifact.file_name == file_name:
            return artifact
    raise NotFoundError(f"Module {number} has no such artifact.")


def cancellation(context: Context, target: TargetRecord, number: int) -> Json:
    """What is to be stopped. Raises: NotFoundError if nothing is."""
    with context.database.read() as unit:
        action = require_action(unit, target, number)
    if action.state != ACTION_CANCELING:
        raise NotFoundError(f"Action {number} is not being cancelled.")
    return {"id": str(number), "cancelAction": {"stopId": str(number)}}


def feedback(
    context: Context,
    target: TargetRecord,
    number: int,
    body: Mapping[str, Any],
    kind: Literal["deployment", "cancel"],
) -> None:
    """Take what a device says of an action.

    Raises: NotFoundError, GoneError once it is closed, InvalidInputError.
    """
    execution, finished, messages = _parse(body)
    with context.database.write() as unit:
        action = require_action(unit, target, number)
        if action.state not in rollouts.OPEN:
            issue = Issue(f"action has {action.state}", f"action {number}", "an open action")
            raise GoneError(f"Action {number} is closed.", [issue])
        if kind == "deployment" and action.state == ACTION_WAITING:
            raise NotFoundError(f"Action {number} waits for confirmation.")
        if kind == "cancel" and action.state != ACTION_CANCELING:
            raise NotFoundError(f"Action {number} is not being cancelled.")
        kept = [*action.messages, *messages][-MAX_MESSAGES:]
        unit.fleet.actions.change({"number": number}, messages=kept)
        after = _after(kind, execution, finished)
        if after == ACTION_OPEN:
            unit.fleet.actions.change({"number": number}, state=ACTION_OPEN)
        elif after is not None:
            _close(unit, target, action, after, _metrics(messages))


def _after(kind: str, execution: str, finished: str) -> str | None:
    """The action's state after a feedback, None for the one it is in."""
    if kind == "cancel":
        if execution == "closed" and finished != "failure":
            return ACTION_CANCELED
        # A device that cannot stop any more goes on installing.
        return ACTION_OPEN if execution in ("closed", "rejected") else None
    if execution == "closed":
        return ACTION_FAILED if finished == "failure" else ACTION_FINISHED
    return {"canceled": ACTION_CANCELED, "rejected": ACTION_FAILED}.get(execution)


def _close(
    unit: Unit, target: TargetRecord, action: ActionRecord, state: str, metrics: Json
) -> None:
    packet = require_packet(unit, action.packet_id)
    what = "image" if packet.kind == PACKET_FIRMWARE else "state"
    digest = metrics.get(f"{what}_digest")
    if state == ACTION_FINISHED and digest is not None and digest != packet.result_digest:
        state = ACTION_FAILED
        metrics = {**metrics, "reason": f"{what} {digest}, expected {packet.result_digest}"}
    closed = {"state": state, "closed_at": utc_text(), "metrics": metrics}
    unit.fleet.actions.change({"number": int(action.number or 0)}, **closed)
    values = _arrived(packet) if state == ACTION_FINISHED else {}
    if "state_hash" in metrics:
        values["state_hash"] = metrics["state_hash"]
    if values:
        unit.fleet.targets.change({"controller_id": target.controller_id}, **values)
    outcomes: dict[str, Literal["success", "failure", "canceled"]] = {
        ACTION_FINISHED: "success",
        ACTION_CANCELED: "canceled",
    }
    rollouts.on_result(unit, action, outcomes.get(state, "failure"), metrics, steady_s())


def _arrived(packet: PacketRecord) -> Json:
    """What is known of a device that has installed a packet; a firmware leaves its version."""
    if packet.kind == PACKET_FIRMWARE:
        return {"firmware_id": packet.firmware_id}
    return {"version": packet.version}


def _parse(body: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Execution, finished and details; everything else is ignored, as clients send much else."""
    status = body.get("status")
    execution = status.get("execution") if isinstance(status, Mapping) else None
    if not isinstance(status, Mapping) or execution not in EXECUTIONS:
        raise _wrong(f"execution {str(execution)[:40]!r}", f"one of {', '.join(EXECUTIONS)}")
    result = status.get("result")
    finished = result.get("finished", "none") if isinstance(result, Mapping) else "none"
    if finished not in ("success", "failure", "none"):
        raise _wrong(f"finished {str(finished)[:40]!r}", "success, failure or none")
    details = status.get("details")
    lines = details if isinstance(details, list) else []
    messages = [clean(line, MAX_MESSAGE_CHARS) for line in lines[:MAX_MESSAGES]]
    return str(execution), str(finished), messages


def _metrics(messages: list[str]) -> Json:
    """Figures that a device sent along: details of the form hadapt.<name>=<value>."""
    found = (METRIC.fullmatch(message) for message in messages)
    metrics: Json = {m[1]: m[2] for m in found if m}
    for name in ("state_hash", "state_digest", "image_digest"):
        if not DIGEST.fullmatch(metrics.get(name, "")):
            metrics.pop(name, None)
    for name in ("accuracy", "forgetting"):
        if name in metrics:
            metrics[name] = rollouts.share(metrics[name])
    return metrics


def report_installed(context: Context, target: TargetRecord, body: Mapping[str, Any]) -> None:
    """PUT installedBase: a device says what it has. Raises: InvalidInputError."""
    name, version = body.get("name"), body.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        raise _wrong("installedBase", "name and version as texts")
    said = {"installed.name": name, "installed.version": version}
    config_data(context, target, {"mode": "merge", "data": said})


def _wrong(what: str, expected: str) -> InvalidInputError:
    return InvalidInputError(f"{what}: expected {expected}.", [Issue(what, "body", expected)])
