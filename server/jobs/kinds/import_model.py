# SPDX-License-Identifier: Apache-2.0
"""Import: quantise an uploaded model and make its version 1."""

from server.ids import utc_text
from server.jobs.runner import Cursor, Step
from server.learning.ports import Calibration
from server.services.jobs import succeed_job
from server.services.models import (
    add_version,
    class_names,
    require_model,
    stored_calibration,
)
from server.storage.ports import Unit
from server.storage.records import ModelRecord, VersionRecord


def advance(step: Step, cursor: Cursor) -> Cursor | None:
    """begin (quantise) -> learner (first state, version 1)."""
    if cursor["phase"] == "begin":
        return _quantize(step)
    _first_version(step, cursor)
    return None


def _load(step: Step) -> tuple[ModelRecord, list[str], Calibration]:
    context = step.context
    with context.database.read() as unit:
        model = require_model(unit, step.job.subject_id)
        names = class_names(unit, model.id)[: model.base_class_count]
    calibration = stored_calibration(context, model, tuple(names))
    return model, names, calibration


def _quantize(step: Step) -> Cursor:
    context = step.context
    model, _, calibration = _load(step)
    step.progress("quantize", "quantising", share=0.0)
    onnx = context.blobs.get(model.onnx_sha256)
    options = {k: v for k, v in model.options.items() if k != "class_names"}
    made = context.engine.quantize(onnx, calibration, options)
    step.progress("learner", "filling the learner's memory", share=0.5)
    return {
        "phase": "learner",
        "int_model_sha256": context.blobs.put(made.data),
        "max_classes": made.max_classes,
        "feature_min": made.feature_min,
        "feature_max": made.feature_max,
        "report": made.report,
    }


def _first_version(step: Step, cursor: Cursor) -> None:
    context = step.context
    model, names, calibration = _load(step)
    learner = context.engine.first_learner(
        context.blobs.get(cursor["int_model_sha256"]), calibration
    )
    version = VersionRecord(
        model_id=model.id,
        number=1,
        created_at=utc_text(),
        parent=None,
        update_id=None,
        classes=names,
        tasks=[names],
        accuracy=[None],
        learner_sha256=context.blobs.put(learner.data),
        state_sha256=context.blobs.put(learner.state),
        state_hash=learner.state_hash,
        report=learner.report,
    )
    values = {k: v for k, v in cursor.items() if k != "phase"}

    def store(unit: Unit) -> None:
        if succeed_job(unit, step.job.id):
            unit.models.change({"id": model.id}, **values)
            add_version(unit, version)

    step.commit(store)
