# SPDX-License-Identifier: Apache-2.0
"""Lineage: which device knows which classes, from which samples and ancestors.

A version's samples follow from its update: training samples of the chosen classes up to the
update's bound, of one device if it asked for that. Nothing is stored twice.
"""

from dataclasses import dataclass

from server.errors import NotReadyError
from server.fleet.targets import require_target
from server.services.models import class_names, require_version
from server.services.updates import require_update
from server.storage.ports import Unit
from server.storage.records import SampleRecord, VersionRecord


@dataclass(frozen=True)
class Ancestor:
    """A version on the way, oldest last.

    samples: content digests of what its update was trained on; contributors: device ids, "" for
    samples that no device sent.
    """

    version: int
    update_id: str | None
    classes: list[str]
    new_classes: list[str]
    samples: list[str]
    contributors: dict[str, int]


@dataclass(frozen=True)
class Lineage:
    """What a device knows and where it comes from."""

    controller_id: str
    model_id: str
    version: int
    state_hash: str | None
    classes: list[str]
    ancestors: list[Ancestor]

    def samples(self) -> set[str]:
        """Digests of every sample that had a part in it."""
        return {digest for ancestor in self.ancestors for digest in ancestor.samples}


@dataclass(frozen=True)
class Comparison:
    """Two devices beside each other; common_version: the newest that both descend from."""

    same_state: bool | None
    common_version: int | None
    classes_left: list[str]
    classes_right: list[str]
    classes_both: list[str]
    samples_left: int
    samples_right: int
    samples_both: int


def ancestors(unit: Unit, model_id: str, number: int) -> list[Ancestor]:
    """From a version back to the import. Raises: NotFoundError."""
    found = []
    version: VersionRecord | None = require_version(unit, model_id, number)
    while version is not None:
        parent = version.parent
        before = None if parent is None else require_version(unit, model_id, parent)
        found.append(_ancestor(unit, version, before))
        version = before
    return found


def _ancestor(unit: Unit, version: VersionRecord, before: VersionRecord | None) -> Ancestor:
    used = _samples(unit, version)
    contributors: dict[str, int] = {}
    for sample in used:
        name = sample.device_id or ""
        contributors[name] = contributors.get(name, 0) + 1
    known = before.classes if before is not None else []
    return Ancestor(
        version=version.number,
        update_id=version.update_id,
        classes=version.classes,
        new_classes=[n for n in version.classes if n not in known],
        samples=[sample.content_sha256 for sample in used],
        contributors=contributors,
    )


def _samples(unit: Unit, version: VersionRecord) -> list[SampleRecord]:
    """What the version's update was trained on; an import's calibration data are not samples."""
    if version.update_id is None:
        return []
    update = require_update(unit, version.update_id)
    names = class_names(unit, version.model_id)
    positions = [p for p, name in enumerate(names) if name in update.spec["classes"]]
    bounds = (version.model_id, update.last_seq)
    found = unit.samples.select(*bounds, "train", positions)
    # Samples that were withdrawn later had their part too.
    for sample in unit.samples.select(*bounds, "x-train", positions):
        end = _withdrawn_by(unit, sample, names)
        if end is None or update.created_at < end:
            found.append(sample)
    device_id = update.spec["selection"].get("device_id")
    return [s for s in found if device_id is None or s.device_id == device_id]


def _withdrawn_by(unit: Unit, sample: SampleRecord, names: list[str]) -> str | None:
    """When a withdrawn sample was; None while that is still being stored."""
    found = unit.fleet.withdrawals.page(
        order="id", after=None, limit=10**6, model_id=sample.model_id
    )
    subjects = {
        "sample": sample.content_sha256,
        "class": names[sample.class_position],
        "contributor": sample.device_id,
    }
    times = [w.created_at for w in found if subjects[w.kind] == w.subject]
    return min((t for t in times if t >= sample.created_at), default=None)


def lineage_of(unit: Unit, controller_id: str) -> Lineage:
    """A device's lineage. Raises: NotFoundError; NotReadyError if its version is unknown."""
    target = require_target(unit, controller_id)
    if target.model_id is None or target.version == 0:
        raise NotReadyError(f"Device {controller_id} has not said what it runs.")
    line = ancestors(unit, target.model_id, target.version)
    return Lineage(
        controller_id,
        target.model_id,
        target.version,
        target.state_hash,
        line[0].classes,
        line,
    )


def compare(left: Lineage, right: Lineage) -> Comparison:
    """What two devices share; hashes are compared if both have told theirs."""
    told = left.state_hash is not None and right.state_hash is not None
    same_model = left.model_id == right.model_id
    theirs = {a.version for a in right.ancestors} if same_model else set()
    mine, yours = left.samples(), right.samples()
    return Comparison(
        same_state=left.state_hash == right.state_hash if told else None,
        common_version=next((a.version for a in left.ancestors if a.version in theirs), None),
        classes_left=[n for n in left.classes if n not in right.classes],
        classes_right=[n for n in right.classes if n not in left.classes],
        classes_both=[n for n in left.classes if n in right.classes],
        samples_left=len(mine - yours),
        samples_right=len(yours - mine),
        samples_both=len(mine & yours),
    )
