# SPDX-License-Identifier: Apache-2.0
"""Samples: checking, storing once, counting."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from server.errors import (
    InvalidInputError,
    Issue,
    MalformedRequestError,
    PayloadTooLargeError,
    SampleInvalidError,
    TooManyClassesError,
)
from server.ids import utc_text
from server.learning.ports import Float32Array
from server.services.context import Context
from server.services.devices import require_device
from server.services.models import (
    class_names,
    require_learning,
    require_model,
    require_ready_model,
)
from server.services.npz import read_npz
from server.services.paging import Page, decode_cursor, make_page
from server.services.rows import array_of_lists, check_features, check_label
from server.storage.ports import Unit
from server.storage.records import ClassRecord, ModelRecord, SampleRecord

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Batch:
    """Checked samples: x float32 (N, features), labels as given, one a row."""

    x: Float32Array
    labels: list[str | int]
    split: Split


@dataclass(frozen=True)
class Stored:
    """What became of a batch. Duplicates were stored before, or twice in the batch."""

    stored: int
    duplicates: int
    new_classes: list[str]
    classes_left: int


Coverage = Literal["good", "few", "untested", "untrained", "missing"]


@dataclass(frozen=True)
class ClassCount:
    """Samples of one class, and whether there are enough of them."""

    position: int
    name: str
    train: int
    test: int
    coverage: Coverage


@dataclass(frozen=True)
class Target:
    """Where samples go: a model, and the device they come from, if any."""

    model: ModelRecord
    device_id: str | None


def find_target(context: Context, model_id: str | None, device_id: str | None) -> Target:
    """The ready model, directly or through a device. Raises: NotFoundError, NotReadyError."""
    with context.database.read() as unit:
        if device_id is not None:
            model_id = require_device(unit, device_id).model_id
        model = require_ready_model(unit, str(model_id))
        require_learning(model)
        return Target(model, device_id)


def parse_json(context: Context, model: ModelRecord, body: bytes, allow_range: bool) -> Batch:
    """Samples of a JSON body {"samples": [{"features": [..], "label": ..}], "split": ..}.

    Raises: MalformedRequestError, SampleInvalidError.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        issue = Issue(str(error)[:200], "body", "a JSON object")
        raise MalformedRequestError("The body is not JSON.", [issue]) from error
    rows, split = _check_document(document)
    _check_count(context, len(rows))
    features = array_of_lists([row["features"] for row in rows], model.feature_count)
    x = check_features(features, model.feature_count, *_range(model, allow_range))
    return Batch(x, [check_label(row.get("label"), i) for i, row in enumerate(rows)], split)


def _check_document(document: Any) -> tuple[list[dict[str, Any]], Split]:
    expected = 'an object {"samples": [{"features": [..], "label": ..}, ..], "split": "train"}'
    rows = document.get("samples") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows or not set(document) <= {"samples", "split"}:
        what = _wrong_keys(document, rows)
        issue = Issue(what, "body", expected)
        raise SampleInvalidError(f"The body is not a list of samples: {what}.", [issue])
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != {"features", "label"}:
            what = f"keys {_keys(row)}" if isinstance(row, dict) else "not an object"
            issue = Issue(what, f"row {number}", "an object with features and label")
            raise SampleInvalidError(f"Row {number} is not a sample: {what}.", [issue])
    return rows, check_split(document.get("split", "train"))


def _wrong_keys(document: Any, rows: Any) -> str:
    """What is wrong with a body that is no list of samples."""
    if not isinstance(document, dict):
        return "not an object"
    if unknown := set(document) - {"samples", "split"}:
        return f"unknown key {_keys(unknown)}"
    if "samples" not in document:
        return "no key samples"
    return "samples is empty" if rows == [] else "samples is not a list"


def _keys(names: Iterable[str]) -> str:
    """A few names, as they came but short."""
    return ", ".join(repr(name[:30]) for name in sorted(names)[:5]) or "none"


def check_split(value: Any) -> Split:
    """Raises: InvalidInputError."""
    if value == "train":
        return "train"
    if value == "test":
        return "test"
    issue = Issue(f"split {str(value)[:40]!r}", "split", "train or test")
    raise InvalidInputError("The split is unknown.", [issue])


def _check_count(context: Context, count: int) -> None:
    limit = context.settings.samples_max_rows
    if count > limit:
        issue = Issue(f"{count} samples", "body", f"at most {limit} samples a request")
        raise InvalidInputError(f"There are {count} samples, more than {limit}.", [issue])


def _range(model: ModelRecord, allow_range: bool) -> tuple[float | None, float | None]:
    return (None, None) if allow_range else (model.feature_min, model.feature_max)


def parse_npz(
    context: Context, model: ModelRecord, path: Path, split: Split, allow_range: bool
) -> Batch:
    """Samples of an npz file with x (N, features) and y (N,), class indices or names.

    Raises: SampleInvalidError, PayloadTooLargeError.
    """
    limit = context.settings.npz_max_bytes
    arrays = read_npz(path, {"x": "number", "y": "label"}, limit, SampleInvalidError)
    if "y" not in arrays:
        issue = Issue("no array y", "npz", "x (N, features) and y (N,), class indices or names")
        raise SampleInvalidError("The npz has no array y with the labels.", [issue])
    labels = arrays["y"]
    _check_count(context, len(arrays["x"]) if arrays["x"].ndim else 0)
    x = check_features(arrays["x"], model.feature_count, *_range(model, allow_range))
    if labels.shape != (len(x),):
        issue = Issue(f"shape {labels.shape}", "array y", f"shape ({len(x)},)")
        raise SampleInvalidError("There is not one label a row.", [issue])
    return Batch(x, [check_label(v, row) for row, v in enumerate(labels.tolist())], split)


def store(context: Context, unit: Unit, target: Target, batch: Batch) -> Stored:
    """Store a batch within a transaction: all of it or nothing.

    Raises: TooManyClassesError, SampleInvalidError.
    """
    model = require_model(unit, target.model.id)
    known = class_names(unit, model.id)
    fresh = _new_names(known, batch.labels, int(model.max_classes or 0))
    for offset, name in enumerate(fresh):
        unit.classes.add(ClassRecord(model.id, len(known) + offset, name))
    names = known + fresh
    added = unit.samples.add_new(_records(target, batch, names))
    left = int(model.max_classes or 0) - len(names)
    return Stored(added, len(batch.labels) - added, fresh, left)


def _new_names(known: list[str], labels: list[str | int], max_classes: int) -> list[str]:
    """Names not known yet: new indices, ascending and without a gap, then in order of mention."""
    names = list(known)
    _refuse_ambiguous(known, labels)
    for index in sorted({v for v in labels if isinstance(v, int) and v >= len(known)}):
        if index != len(names) or str(index) in names:
            _refuse_index(labels.index(index), index, len(names), max_classes)
        names.append(str(index))
    names += dict.fromkeys(v for v in labels if isinstance(v, str) and v not in names)
    fresh = names[len(known) :]
    if len(names) > max_classes:
        left = max_classes - len(known)
        issue = Issue(f"{len(fresh)} new classes", "labels", f"at most {left} new classes")
        detail = f"The samples need {len(fresh)} new classes; {left} of {max_classes} are left."
        raise TooManyClassesError(detail, [issue])
    return fresh


def _refuse_ambiguous(known: list[str], labels: list[str | int]) -> None:
    """Refuse an integer that is the position of one class and the name of another."""
    for row, label in enumerate(labels):
        if (
            not isinstance(label, int)
            or str(label) not in known
            or known.index(str(label)) == label
        ):
            continue
        position = known.index(str(label))
        other = known[label] if label < len(known) else "none"
        expected = f'"{label}" (class at index {position}), or index {position}'
        issue = Issue(f"label {label} (index of {other!r})", f"row {row}, label", expected)
        raise SampleInvalidError(
            f"Row {row}: {label} is the name of one class and the index of another.", [issue]
        )


def _refuse_index(row: int, label: int, count: int, max_classes: int) -> None:
    where, expected = (
        f"row {row}, label",
        f"an index below {count}, or {count} for a new class",
    )
    issue = Issue(f"class index {label}", where, expected)
    kind = TooManyClassesError if label >= max_classes else SampleInvalidError
    raise kind(f"Row {row} names class {label} of {count} (at most {max_classes}).", [issue])


def _records(target: Target, batch: Batch, names: list[str]) -> list[SampleRecord]:
    positions = {name: position for position, name in enumerate(names)}
    now = utc_text()
    records = []
    for row, label in zip(batch.x, batch.labels, strict=True):
        position = label if isinstance(label, int) else positions[label]
        features = row.astype("<f4").tobytes()
        digest = content_sha256(features, names[position])
        records.append(
            SampleRecord(
                target.model.id,
                digest,
                position,
                batch.split,
                features,
                now,
                target.device_id,
            )
        )
    return records


def content_sha256(features: bytes, class_name: str) -> str:
    """Identity of a sample: its features as stored, and its class."""
    return hashlib.sha256(features + b"\0" + class_name.encode()).hexdigest()


def counts(context: Context, model_id: str) -> list[ClassCount]:
    """Samples of every class of a model. Raises: NotFoundError."""
    with context.database.read() as unit:
        require_model(unit, model_id)
        names = class_names(unit, model_id)
        table = {(position, split): n for position, split, n in unit.samples.counts(model_id)}
    sizes = [(table.get((i, "train"), 0), table.get((i, "test"), 0)) for i in range(len(names))]
    usual = median([train for train, _ in sizes]) if sizes else 0
    return [
        ClassCount(i, name, *size, _coverage(*size, usual))
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]


def _coverage(train: int, test: int, usual: float) -> Coverage:
    """What a class lacks: everything, one kind of samples, or most of the usual number."""
    if not train and not test:
        return "missing"
    if not train:
        return "untrained"
    if not test:
        return "untested"
    return "few" if train < usual / 4 else "good"


def list_samples(
    context: Context,
    model_id: str | None,
    device_id: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Page[SampleRecord], list[str]]:
    """Samples of a model or of a device, oldest first, and the model's class names."""
    after = decode_cursor(cursor, int)
    with context.database.read() as unit:
        where: dict[str, Any]
        if device_id is not None:
            where = {"device_id": device_id}
            model_id = require_device(unit, device_id).model_id
        else:
            where = {"model_id": require_model(unit, str(model_id)).id}
        found = unit.samples.page(
            order="seq", after=after, limit=limit + 1, split=("train", "test"), **where
        )
        names = class_names(unit, str(model_id))
    return make_page(found, limit, lambda sample: int(sample.seq or 0)), names


def check_size(context: Context, size_bytes: int) -> None:
    """Raises: PayloadTooLargeError."""
    if size_bytes > context.settings.upload_samples_max_bytes:
        raise PayloadTooLargeError(context.settings.upload_samples_max_bytes)
