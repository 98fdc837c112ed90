# SPDX-License-Identifier: Apache-2.0
"""Withdrawal of a sample, a class or a contributor, and where to rebuild from.

The features are erased at once and are never trained on again; digest and label stay, so that the
same sample is not taken in a second time, and lineage can say which versions had used it. The model
is rebuilt by an update from the version named here (`rebuild_spec`): later versions keep what they
have learned until they are replaced.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

from server.errors import ConflictError, Issue, NotFoundError
from server.fleet import audit
from server.fleet.lineage import ancestors
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.models import class_names, require_ready_model
from server.services.updates import check_update, create_update, require_update
from server.storage.fleet import WithdrawalRecord
from server.storage.ports import Unit
from server.storage.records import Json, UpdateRecord

Kind = Literal["sample", "class", "contributor"]
# What a withdrawn sample was; no use case but lineage asks for these splits.
WITHDRAWN = {"train": "x-train", "test": "x-test"}
MAX_VERSIONS = 100_000


@dataclass(frozen=True)
class Withdrawal:
    """What was done, and who is concerned.

    versions: numbers of those that had used the samples; targets: devices that run one of them.
    """

    record: WithdrawalRecord
    versions: list[int]
    targets: list[str]


def withdraw(unit: Unit, model_id: str, kind: Kind, subject: str, actor: str) -> Withdrawal:
    """Take samples out of a model for good.

    Args:
        subject: content digest, class name, or device id.
    Raises: NotFoundError if there are none; ConflictError for a class of the imported network.
    """
    require_ready_model(unit, model_id)
    where = {"model_id": model_id, **_where(unit, model_id, kind, subject)}
    count = 0
    for split, gone in WITHDRAWN.items():
        count += unit.samples.change({**where, "split": split}, split=gone, features=b"")
    if count == 0:
        raise NotFoundError(f"Model {model_id} has no samples of {kind} {subject[:100]}.")
    touched, clean = _versions(unit, model_id, where)
    record = WithdrawalRecord(new_id(), model_id, utc_text(), kind, subject, clean, count)
    unit.fleet.withdrawals.add(record)
    told = {"model_id": model_id, "kind": kind, "samples": count, "versions": touched}
    audit.record(unit, actor, "samples.withdraw", subject, **told)
    return Withdrawal(record, touched, _targets(unit, model_id, touched))


def _where(unit: Unit, model_id: str, kind: Kind, subject: str) -> dict[str, Any]:
    if kind == "sample":
        return {"content_sha256": subject}
    if kind == "contributor":
        return {"device_id": subject}
    names = class_names(unit, model_id)
    if subject not in names:
        raise NotFoundError(f"Model {model_id} has no class {subject[:100]!r}.")
    position = names.index(subject)
    if position < require_ready_model(unit, model_id).base_class_count:
        issue = Issue("class of the imported network", subject, "a class learned later")
        raise ConflictError("The network itself was trained on it: import another one.", [issue])
    return {"class_position": position}


def _versions(unit: Unit, model_id: str, where: dict[str, Any]) -> tuple[list[int], int]:
    """Versions that the withdrawn samples had a part in, and the newest that they had not."""
    digests = _digests(unit, where)
    found = unit.versions.page(order="number", after=None, limit=MAX_VERSIONS, model_id=model_id)
    used = {
        version.number: any(
            digests & set(a.samples) for a in ancestors(unit, model_id, version.number)
        )
        for version in found
    }
    touched = [number for number, is_used in used.items() if is_used]
    return touched, max(number for number, is_used in used.items() if not is_used)


def _digests(unit: Unit, where: dict[str, Any]) -> set[str]:
    """Of withdrawn samples."""
    gone = unit.samples.page(
        order="seq", after=None, limit=10**6, **{**where, "split": tuple(WITHDRAWN.values())}
    )
    return {sample.content_sha256 for sample in gone}


def _targets(unit: Unit, model_id: str, versions: list[int]) -> list[str]:
    if not versions:
        return []
    found = unit.fleet.targets.page(
        order="controller_id", after=None, limit=MAX_VERSIONS, model_id=model_id, version=versions
    )
    return [target.controller_id for target in found]


def rebuild_spec(unit: Unit, withdrawal_id: str) -> Json:
    """The update that makes the model anew without what was withdrawn.

    From the newest version that had no part in it, all classes that the newest version had learned
    since, from the samples that are left; method, steps, gate and the rest as in that version's own
    update. The version that it makes descends from the clean one, and so does its lineage.

    Raises: NotFoundError; ConflictError if no version had used the samples, or none are left.
    """
    record = unit.fleet.withdrawals.find(id=withdrawal_id)
    if record is None:
        raise NotFoundError(f"There is no withdrawal {withdrawal_id}.")
    newest = unit.versions.page(
        order="number", after=None, limit=1, down=True, model_id=record.model_id
    )[0]
    line = ancestors(unit, record.model_id, newest.number)
    where = {"model_id": record.model_id}
    where |= _where(unit, record.model_id, cast(Kind, record.kind), record.subject)
    digests = _digests(unit, where)
    touched = [i for i, ancestor in enumerate(line) if digests & set(ancestor.samples)]
    if not touched:
        what = f"Version {newest.number} has not learned from what was withdrawn."
        raise ConflictError(what, [Issue("nothing to rebuild", withdrawal_id, "a later version")])
    # The oldest that used them, and all that has learned on top of it.
    since, clean = line[: touched[-1] + 1], line[touched[-1] + 1].version
    updates = [require_update(unit, str(a.update_id)) for a in since]
    wanted = {name for update in updates for name in update.spec["classes"]}
    names = class_names(unit, record.model_id)
    left = {names[p] for p, split, _ in unit.samples.counts(record.model_id) if split == "train"}
    classes = [name for name in names if name in wanted & left]
    if not classes:
        issue = Issue("no samples are left", withdrawal_id, f"a rollback to version {clean}")
        raise ConflictError(f"Version {clean} is the model without them.", [issue])
    selection = {"classes": classes, "device_id": None}
    return {**updates[0].spec, "base_version": clean, "selection": selection}


def start_rebuild(context: Context, withdrawal_id: str, actor: str) -> UpdateRecord:
    """Queue `rebuild_spec` as one job. Raises: as that, and what an update raises."""
    with context.database.read() as unit:
        spec = rebuild_spec(unit, withdrawal_id)
    check_update(context, spec)
    with context.database.write() as unit:
        return queue_rebuild(context, unit, withdrawal_id, spec, actor)


def queue_rebuild(
    context: Context, unit: Unit, withdrawal_id: str, spec: Json, actor: str
) -> UpdateRecord:
    """The update's job, and a line in the audit."""
    made = create_update(context, unit, spec)
    told = {"update_id": made.id, "base_version": made.base_version}
    audit.record(unit, actor, "samples.rebuild", withdrawal_id, **told)
    return made
