# SPDX-License-Identifier: Apache-2.0
"""Models and their versions."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import ConflictError, Issue, ModelRejectedError, NotFoundError, NotReadyError
from server.ids import new_id, utc_text
from server.learning.class_numbers import names_are_numbers
from server.learning.ports import Calibration, ImportedModel, OnnxForm
from server.services.context import Context
from server.services.jobs import create_job, require_job
from server.services.npz import read_npz
from server.services.paging import Page, decode_cursor, make_page
from server.services.rows import check_features, check_label
from server.storage.ports import Unit
from server.storage.records import (
    JOB_CANCELLED,
    JOB_FAILED,
    ClassRecord,
    Json,
    ModelRecord,
    VersionRecord,
)

CALIBRATION_NAMES = {"x": "number", "y": "label", "class_names": "label"}


@dataclass(frozen=True)
class NewModel:
    """An uploaded model, checked and stored as blobs, but not yet known to the database."""

    name: str
    options: Json
    onnx_sha256: str
    calibration_sha256: str
    imported: ImportedModel
    class_names: tuple[str, ...]


def check_upload(
    context: Context,
    name: str,
    options: Json,
    onnx: tuple[Path, str],
    calibration: tuple[Path, str],
) -> NewModel:
    """Check both files and store them.

    Args:
        onnx, calibration: path and SHA-256 of the uploaded files.
    Raises: ModelRejectedError and its kind, StorageFullError.
    """
    context.engine.check_options({k: v for k, v in options.items() if k != "class_names"})
    imported = context.engine.import_model(onnx[0].read_bytes(), options)
    names = _class_names(imported, options, _names_in(context, calibration[0]))
    read_calibration(context, calibration[0], imported.feature_count, names)
    context.blobs.put_file(*onnx)
    context.blobs.put_file(*calibration)
    return NewModel(name, options, onnx[1], calibration[1], imported, names)


def _names_in(context: Context, path: Path) -> list[str] | None:
    """The calibration file's array class_names."""
    limit = context.settings.npz_max_bytes
    found = read_npz(path, CALIBRATION_NAMES, limit, ModelRejectedError).get("class_names")
    return None if found is None else [str(name) for name in found.ravel().tolist()]


def _class_names(
    imported: ImportedModel, options: Json, in_calibration: list[str] | None
) -> tuple[str, ...]:
    """Names from the options, else from the ONNX file, else the calibration's, else "0", "1", .."""
    if not imported.class_count:  # inference-only
        return ()
    where, given = "options class_names", options.get("class_names")
    if given is None and imported.class_names:
        return imported.class_names
    if given is None:
        where, given = "calibration, array class_names", in_calibration
    if given is None:
        return tuple(str(i) for i in range(imported.class_count))
    names = tuple(str(check_label(n, i)) for i, n in enumerate(given)) if _is_list(given) else ()
    if len(names) != imported.class_count or len(set(names)) != len(names):
        expected = f"{imported.class_count} different names, one an output of the model"
        issue = Issue(f"{len(set(names))} names", where, expected)
        raise ModelRejectedError("class_names does not match the model.", [issue])
    return names


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def read_calibration(
    context: Context, path: Path, feature_count: int, names: tuple[str, ...]
) -> Calibration:
    """Calibration samples from an npz file with x, and y as class indices or names.

    Raises: ModelRejectedError, SampleInvalidError.
    """
    limit = context.settings.npz_max_bytes
    arrays = read_npz(path, CALIBRATION_NAMES, limit, ModelRejectedError)
    x = check_features(arrays["x"], feature_count, None, None)
    if "y" not in arrays or not names:
        return Calibration(x, None)
    labels = arrays["y"]
    if labels.shape != (len(x),):
        issue = Issue(f"shape {labels.shape}", "array y", f"shape ({len(x)},)")
        raise ModelRejectedError("y does not match x.", [issue])
    slots = [_slot(label, row, names) for row, label in enumerate(labels.tolist())]
    return Calibration(x, np.array(slots, dtype=np.int64))


def stored_calibration(context: Context, model: ModelRecord, names: tuple[str, ...]) -> Calibration:
    """The samples that a model was quantized with; `names` are its first classes."""
    with tempfile.TemporaryDirectory(dir=context.settings.temporary_dir) as folder:
        path = Path(folder) / "calibration.npz"
        path.write_bytes(context.blobs.get(model.calibration_sha256))
        return read_calibration(context, path, model.feature_count, names)


def _slot(label: Any, row: int, names: tuple[str, ...]) -> int:
    by_name = names_are_numbers(names) and isinstance(label, int)
    label = check_label(str(label) if by_name else label, row)
    if isinstance(label, int) and label < len(names):
        return label
    if isinstance(label, str) and label in names:
        return names.index(label)
    expected = f"one of {', '.join(names)[:200]}, or an array class_names with other names"
    issue = Issue(f"label {label!r}", f"array y, row {row}", expected)
    raise ModelRejectedError(f"Calibration row {row} has an unknown label.", [issue])


def create_model(context: Context, unit: Unit, new: NewModel) -> ModelRecord:
    """Store a checked model and queue its import job."""
    model_id = new_id()
    job = create_job(context, unit, "import", model_id)
    model = ModelRecord(
        id=model_id,
        name=new.name,
        created_at=utc_text(),
        job_id=job.id,
        onnx_sha256=new.onnx_sha256,
        calibration_sha256=new.calibration_sha256,
        feature_count=new.imported.feature_count,
        base_class_count=new.imported.class_count,
        summary=new.imported.summary,
        options=new.options,
    )
    unit.models.add(model)
    for position, name in enumerate(new.class_names):
        unit.classes.add(ClassRecord(model_id, position, name))
    return model


def require_model(unit: Unit, model_id: str) -> ModelRecord:
    """Raises: NotFoundError."""
    model = unit.models.find(id=model_id)
    if model is None:
        raise NotFoundError(f"There is no model {model_id}.")
    return model


def delete_failed_model(unit: Unit, model_id: str) -> None:
    """Forget a model whose import has failed or was cancelled; its job and its log stay.

    Raises: NotFoundError; ConflictError for any other: samples, versions and devices hang on it.
    """
    model = require_model(unit, model_id)
    state = require_job(unit, model.job_id).state
    if model.int_model_sha256 is not None or state not in (JOB_FAILED, JOB_CANCELLED):
        issue = Issue(f"import job is {state}", f"model {model_id}", "a job that has failed")
        raise ConflictError("Only a model whose import has failed can be deleted.", [issue])
    unit.classes.delete(model_id=model_id)
    unit.models.delete(id=model_id)


def require_learning(model: ModelRecord) -> None:
    """Raises: ConflictError if the model is inference-only."""
    if not model.base_class_count:
        issue = Issue("inference-only", f"model {model.id}", "a model quantized to learn")
        raise ConflictError("This model is inference-only: nothing in it learns.", [issue])


def require_ready_model(unit: Unit, model_id: str) -> ModelRecord:
    """Raises: NotFoundError; NotReadyError until the import job has succeeded."""
    model = require_model(unit, model_id)
    if model.int_model_sha256 is None:
        state = require_job(unit, model.job_id).state
        issue = Issue(f"import job is {state}", f"job {model.job_id}", "a job that has succeeded")
        raise NotReadyError(f"Model {model_id} is not imported: its job is {state}.", [issue])
    return model


def require_version(unit: Unit, model_id: str, number: int | None) -> VersionRecord:
    """A version, the newest if number is None. Raises: NotFoundError, NotReadyError."""
    require_ready_model(unit, model_id)
    if number is None:
        return unit.versions.page(
            order="number", after=None, limit=1, down=True, model_id=model_id
        )[0]
    version = unit.versions.find(model_id=model_id, number=number)
    if version is None:
        raise NotFoundError(f"Model {model_id} has no version {number}.")
    return version


def class_names(unit: Unit, model_id: str) -> list[str]:
    """Names of a model's classes by position."""
    found = unit.classes.page(order="position", after=None, limit=100_000, model_id=model_id)
    return [c.name for c in found]


def list_models(context: Context, cursor: str | None, limit: int) -> Page[ModelRecord]:
    """Models, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.models.page(order="id", after=after, limit=limit + 1, down=True)
    return make_page(found, limit, lambda model: model.id)


def list_versions(
    context: Context, model_id: str, cursor: str | None, limit: int
) -> Page[VersionRecord]:
    """Versions of a model, the newest first."""
    after = decode_cursor(cursor, int)
    with context.database.read() as unit:
        require_model(unit, model_id)
        found = unit.versions.page(
            order="number", after=after, limit=limit + 1, down=True, model_id=model_id
        )
    return make_page(found, limit, lambda version: version.number)


def add_version(unit: Unit, version: VersionRecord) -> VersionRecord:
    """Store a version under the next free number (its own is ignored)."""
    newest = unit.versions.page(
        order="number", after=None, limit=1, down=True, model_id=version.model_id
    )
    numbered = dataclasses.replace(version, number=newest[0].number + 1 if newest else 1)
    unit.versions.add(numbered)
    return numbered


def version_with_model(
    context: Context, model_id: str, number: int | None
) -> tuple[ModelRecord, VersionRecord]:
    """Raises: NotFoundError, NotReadyError."""
    with context.database.read() as unit:
        return require_ready_model(unit, model_id), require_version(unit, model_id, number)


def onnx_of(context: Context, model_id: str, number: int, form: OnnxForm) -> bytes:
    """The integer model with a version's weights, as ONNX."""
    model, version = version_with_model(context, model_id, number)
    int_model = context.blobs.get(str(model.int_model_sha256))
    learner = context.blobs.get(version.learner_sha256)
    return context.engine.export_onnx(int_model, learner, form, version.classes)
