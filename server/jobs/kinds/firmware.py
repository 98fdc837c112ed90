# SPDX-License-Identifier: Apache-2.0
"""Firmware: generate the sources of a version for a board, as a zip."""

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
    sha256 = context.blobs.put(data)

    def store(unit: Unit) -> None:
        if succeed_job(unit, step.job.id):
            unit.firmware.change({"id": firmware.id}, zip_sha256=sha256, zip_bytes=len(data))

    step.commit(store)
    return None
