# SPDX-License-Identifier: Apache-2.0
"""Incremental updates: what is asked for, and the gate that accepts or refuses the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import InvalidInputError, Issue, NotFoundError
from server.ids import new_id, utc_text
from server.learning.metrics import forgetting_chaudhry
from server.services.context import Context
from server.services.devices import require_device
from server.services.jobs import create_job
from server.services.models import (
    class_names,
    require_learning,
    require_ready_model,
    require_version,
)
from server.services.paging import Page, decode_cursor, make_page
from server.storage.ports import Unit
from server.storage.records import Json, UpdateRecord, VersionRecord


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in [0, 1] on the held-out samples; None where a group has none.

    per_class: by name. per_task: in the order of tasks. confusion: rows true, columns predicted.
    """

    accuracy: float | None
    per_task: list[float | None]
    per_class: dict[str, float | None]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Verdict:
    """The gate's answer; reasons is empty if it accepts."""

    reasons: list[str]
    forgetting: float | None
    worst_class_drop: float | None

    @property
    def accepted(self) -> bool:
        """True if no limit is broken."""
        return not self.reasons


def check_update(context: Context, spec: Json) -> None:
    """Ask the engine whether the model can do what is asked for, before a job is queued.

    Raises: NotFoundError, NotReadyError, InvalidInputError.
    """
    with context.database.read() as unit:
        model = require_ready_model(unit, spec["model_id"])
        require_learning(model)
    int_model = context.blobs.get(str(model.int_model_sha256))
    context.engine.check_update(int_model, spec["method"], spec["batch"], spec["options"])


def create_update(context: Context, unit: Unit, spec: Json) -> UpdateRecord:
    """Check a request against the samples there are, and queue its job.

    Args:
        spec: the request as the API took it: model_id, base_version, method, selection,
            steps, learning_rate, batch, seed, options, gate.
    Raises: NotFoundError, NotReadyError, InvalidInputError.
    """
    base = require_version(unit, spec["model_id"], spec["base_version"])
    if spec["steps"] > context.settings.job_max_steps:
        expected = f"at most {context.settings.job_max_steps}"
        raise InvalidInputError("Too many steps.", [Issue("too many", "steps", expected)])
    chosen = choose_classes(unit, base, spec["selection"])
    _check_gate(unit, base, chosen, spec["gate"])
    update_id = new_id()
    job = create_job(context, unit, "update", update_id)
    update = UpdateRecord(
        id=update_id,
        model_id=base.model_id,
        job_id=job.id,
        created_at=utc_text(),
        base_version=base.number,
        method=spec["method"],
        spec={**spec, "base_version": base.number, "classes": chosen},
        last_seq=unit.samples.last_seq(base.model_id),
    )
    unit.updates.add(update)
    return update


def choose_classes(unit: Unit, base: VersionRecord, selection: Mapping[str, Any]) -> list[str]:
    """Names of the classes to train on: those asked for, else all that the base does not know.

    Raises: InvalidInputError if a class is unknown or has no training samples.
    """
    names = class_names(unit, base.model_id)
    counts = {names[p]: n for p, split, n in unit.samples.counts(base.model_id) if split == "train"}
    wanted = selection.get("classes")
    if selection.get("device_id") is not None:
        require_device(unit, selection["device_id"])
    if wanted is None:
        wanted = [n for n in names if n in counts and n not in base.classes]
    issues = [
        Issue(
            f"class {n[:100]!r} has no training samples",
            "selection.classes",
            "samples of it",
        )
        for n in wanted
        if n not in counts
    ]
    if not wanted:
        expected = "samples of a class that the version does not know, or classes named"
        issues = [Issue("nothing new to learn", "selection", expected)]
    if issues:
        raise InvalidInputError(f"{issues[0].what}.", issues)
    return [n for n in names if n in wanted]


def _check_gate(
    unit: Unit, base: VersionRecord, chosen: list[str], gate: Mapping[str, Any]
) -> None:
    """A gate needs held-out samples of every class, or it would judge blindly."""
    if all(limit is None for limit in gate.values()):
        return
    names = class_names(unit, base.model_id)
    tested = {names[p] for p, split, _ in unit.samples.counts(base.model_id) if split == "test"}
    missing = [n for n in dict.fromkeys([*base.classes, *chosen]) if n not in tested]
    if missing:
        expected = "samples with split=test of every class, or a gate without limits"
        issues = [Issue(f"class {n!r} has no test samples", "gate", expected) for n in missing]
        raise InvalidInputError("The gate has no test samples of some classes.", issues)


def slots_and_tasks(base: VersionRecord, chosen: list[str]) -> tuple[list[str], list[list[str]]]:
    """Classes in slot order, and tasks, after learning the chosen ones."""
    fresh = [n for n in chosen if n not in base.classes]
    tasks = [*base.tasks, fresh] if fresh else list(base.tasks)
    return [*base.classes, *fresh], tasks


def judge(
    gate: Mapping[str, float | None],
    before: Evaluation,
    after: Evaluation,
    history: list[list[float | None]],
) -> Verdict:
    """Hold the result against the limits.

    Args:
        gate: min_accuracy, max_forgetting, max_class_drop in [0, 1], or None for no limit.
        history: rows of the accuracy matrix up to the base version, task by task.
    """
    forgetting = _forgetting([*history, after.per_task])
    drops = [
        old - new
        for name, old in before.per_class.items()
        if old is not None and (new := after.per_class.get(name)) is not None
    ]
    drop = max(drops) if drops else None
    checks = (
        ("accuracy", after.accuracy, gate.get("min_accuracy"), -1),
        ("forgetting", forgetting, gate.get("max_forgetting"), 1),
        ("largest fall of a class", drop, gate.get("max_class_drop"), 1),
    )
    reasons = [
        f"{what} is {value:.4f}, the limit is {limit:.4f}"
        for what, value, limit, sign in checks
        if limit is not None and value is not None and sign * (value - limit) > 1e-12
    ]
    return Verdict(reasons, forgetting, drop)


def _forgetting(matrix: list[list[float | None]]) -> float | None:
    """Forgetting over the matrix; None if a needed entry is missing."""
    rows = [[v for v in row if v is not None] for row in matrix]
    if any(len(row) != k + 1 for k, row in enumerate(rows)):
        return None
    return forgetting_chaudhry(rows)


def accuracy_history(unit: Unit, base: VersionRecord) -> list[list[float | None]]:
    """Rows of the accuracy matrix along the base version's ancestors, one a task."""
    found = unit.versions.page(
        order="number", after=base.number, limit=base.number, down=True, model_id=base.model_id
    )
    older = {version.number: version for version in found}
    rows: dict[int, list[float | None]] = {}
    version: VersionRecord | None = base
    while version is not None:
        # Of several versions with the same tasks the newest one counts.
        rows.setdefault(len(version.tasks), version.accuracy)
        version = None if version.parent is None else older[version.parent]
    return [rows[k] for k in sorted(rows)]


def require_update(unit: Unit, update_id: str) -> UpdateRecord:
    """Raises: NotFoundError."""
    update = unit.updates.find(id=update_id)
    if update is None:
        raise NotFoundError(f"There is no update {update_id}.")
    return update


def list_updates(
    context: Context, model_id: str | None, cursor: str | None, limit: int
) -> Page[UpdateRecord]:
    """Updates, the newest first."""
    after = decode_cursor(cursor, str)
    where = {} if model_id is None else {"model_id": model_id}
    with context.database.read() as unit:
        found = unit.updates.page(order="id", after=after, limit=limit + 1, down=True, **where)
    return make_page(found, limit, lambda update: update.id)
