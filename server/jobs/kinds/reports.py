# SPDX-License-Identifier: Apache-2.0
"""Resource reports: one board after the other, each in a step of its own."""

from server.errors import HadaptError, NotFoundError
from server.ids import utc_text
from server.jobs.runner import Cursor, Step
from server.services.jobs import succeed_job
from server.services.models import require_ready_model
from server.storage.ports import Unit
from server.storage.records import Json, ReportRecord


def advance(step: Step, cursor: Cursor) -> Cursor | None:
    """Report on board number cursor["index"]; the last one ends the job."""
    context = step.context
    with context.database.read() as unit:
        request = unit.report_requests.find(id=step.job.subject_id)
        if request is None:
            raise NotFoundError(f"There is no report request {step.job.subject_id}.")
        model = require_ready_model(unit, request.model_id)
    index = cursor.get("index", 0)
    board = request.boards[index]
    step.progress(f"board:{index}", f"measuring {board}", share=index / len(request.boards))
    report, error = _measure(step, str(model.int_model_sha256), model.id, board)
    record = ReportRecord(model.id, board, step.job.id, utc_text(), report, error)
    last = index + 1 == len(request.boards)

    def store(unit: Unit) -> None:
        if not last or succeed_job(unit, step.job.id):
            _replace(unit, record)

    step.commit(store)
    return None if last else {"phase": "board", "index": index + 1}


def _measure(
    step: Step, int_model: str, model_id: str, board: str
) -> tuple[Json | None, Json | None]:
    try:
        data = step.context.blobs.get(int_model)
        return step.context.engine.resources(data, board, step.stop), None
    except HadaptError as error:
        return None, error.to_problem(f"/api/v1/models/{model_id}/resource-reports/{board}")


def _replace(unit: Unit, record: ReportRecord) -> None:
    where = {"model_id": record.model_id, "board": record.board}
    changed = unit.reports.change(
        where,
        job_id=record.job_id,
        created_at=record.created_at,
        report=record.report,
        error=record.error,
    )
    if not changed:
        unit.reports.add(record)
