# SPDX-License-Identifier: Apache-2.0
"""Giving the jobs of a worker that will not return to the others.

A worker that is started again under its own executor id takes up its jobs by itself. One that is
gone for good leaves them pending: nothing here guesses whether it is dead, its owner says so.
"""

from dbos import DBOSClient

from server.errors import ConflictError, Issue
from server.jobs.worker import QUEUE, WORKFLOW, JsonSerializer
from server.services.context import Context
from server.services.workers import SILENCE_S, silence_s


def adopt(context: Context, executor_id: str, *, force: bool = False) -> list[str]:
    """Put the pending jobs of a worker back into the queue; they go on from their last step.

    Args:
        force: also if the worker was seen within the last 15 seconds. Then it may still run them:
            results are guarded by the job's state, but work is done twice.
    Returns: ids of the jobs.
    Raises: ConflictError if the worker seems alive.
    """
    with context.database.read() as unit:
        worker = unit.workers.find(executor_id=executor_id)
    silent_s = silence_s(worker.seen_at) if worker else SILENCE_S
    if silent_s < SILENCE_S and not force:
        issue = Issue(f"seen {silent_s:.0f} s ago", f"worker {executor_id}", "a worker that ended")
        raise ConflictError(f"Worker {executor_id} seems alive; stop it first.", [issue])
    client = DBOSClient(
        system_database_url=context.settings.engine_database_url, serializer=JsonSerializer()
    )
    try:
        found = client.list_workflows(
            status="PENDING", executor_id=executor_id, name=WORKFLOW, load_input=False
        )
        for workflow in found:
            client.resume_workflow(workflow.workflow_id, queue_name=QUEUE)
        return [workflow.workflow_id for workflow in found]
    finally:
        client.destroy()
