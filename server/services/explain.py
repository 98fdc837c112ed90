# SPDX-License-Identifier: Apache-2.0
"""Layers of a version, explained on its model's calibration samples."""

from server.learning.ports import Json
from server.services.context import Context
from server.services.models import class_names, stored_calibration, version_with_model


def explain_version(context: Context, model_id: str, number: int | None) -> tuple[int, list[Json]]:
    """The version's number and a row a layer (Engine.explain); the newest version if None.

    Raises: NotFoundError, NotReadyError.
    """
    model, version = version_with_model(context, model_id, number)
    with context.database.read() as unit:
        names = class_names(unit, model_id)[: model.base_class_count]
    calibration = stored_calibration(context, model, tuple(names))
    parts = (str(model.int_model_sha256), version.learner_sha256, model.onnx_sha256)
    int_model, learner, onnx = (context.blobs.get(digest) for digest in parts)
    return version.number, context.engine.explain(int_model, learner, onnx, calibration.x)
