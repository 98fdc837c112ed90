# SPDX-License-Identifier: Apache-2.0
"""Firmware: the sources of a version for a board, as a zip; of field devices the binary too."""

from codegen.layouts import FIELD
from server.jobs.runner import Cursor, Step
from server.services.jobs import succeed_job
from server.services.models import version_with_model
from server.services.products import require_firmware
from server.storage.ports import Unit


def advance(step: Step, cursor: Cursor) -> Cursor | None:
    """One step: generation is deterministic and quick."""
    context = step.context
    with context.database.read() as unit:
        firmware = require_firmware(unit, step.job.subject_id)
    model, version = version_with_model(context, firmware.model_id, firmware.version)
    data = context.engine.generate(
        context.blobs.get(str(model.int_model_sha256)),
        context.blobs.get(version.learner_sha256),
        firmware.board,
        firmware.layout,
        version.classes,
    )
    values: dict[str, object] = {"zip_sha256": context.blobs.put(data), "zip_bytes": len(data)}
    if firmware.layout == FIELD:
        image = context.engine.image(context.blobs.get(str(model.int_model_sha256)), firmware.board)
        values |= {"image_sha256": context.blobs.put(image), "image_bytes": len(image)}

    def store(unit: Unit) -> None:
        if succeed_job(unit, step.job.id):
            unit.firmware.change({"id": firmware.id}, **values)

    step.commit(store)
    return None
