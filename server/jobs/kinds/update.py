# SPDX-License-Identifier: Apache-2.0
"""Update: train from a version, judge, and make the next version if the gate accepts.

begin (collect samples) -> before (evaluate the base) -> start -> train, chunk by chunk -> finish
-> after (evaluate, judge, store). Between steps everything is in blobs named by content.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from server.ids import utc_text
from server.jobs.runner import Cursor, Step
from server.learning.methods import RECIPES, Method
from server.learning.metrics import class_accuracy, confusion, group_accuracy
from server.learning.ports import Chunk, Float32Array, Int64Array, LearnTask
from server.services.jobs import succeed_job
from server.services.models import (
    add_version,
    class_names,
    require_ready_model,
    require_version,
)
from server.services.updates import (
    Evaluation,
    Verdict,
    accuracy_history,
    judge,
    require_update,
    slots_and_tasks,
)
from server.storage.ports import Unit
from server.storage.records import (
    ModelRecord,
    SampleRecord,
    UpdateRecord,
    VersionRecord,
)


@dataclass(frozen=True)
class Data:
    """Samples of an update: x float32 (N, features), y int64 (N,) slots; classes in slot order."""

    x: Float32Array
    y: Int64Array
    test_x: Float32Array
    test_y: Int64Array
    classes: list[str]
    tasks: list[list[str]]


@dataclass(frozen=True)
class Work:
    """An update and what it starts from."""

    update: UpdateRecord
    model: ModelRecord
    base: VersionRecord


def advance(step: Step, cursor: Cursor) -> Cursor | None:
    """Dispatch on the phase."""
    with step.context.database.read() as unit:
        update = require_update(unit, step.job.subject_id)
        model = require_ready_model(unit, update.model_id)
        base = require_version(unit, update.model_id, update.base_version)
    return _PHASES[cursor["phase"]](step, cursor, Work(update, model, base))


def _collect(step: Step, cursor: Cursor, work: Work) -> Cursor:
    update, base = work.update, work.base
    with step.context.database.read() as unit:
        names = class_names(unit, base.model_id)
        classes, tasks = slots_and_tasks(base, update.spec["classes"])
        train = _select(unit, update, "train", names, update.spec["classes"])
        test = _select(unit, update, "test", names, classes)
    device_id = update.spec["selection"].get("device_id")
    train = [s for s in train if device_id is None or s.device_id == device_id]
    x, y = _arrays(train, names, classes, work.model.feature_count)
    test_x, test_y = _arrays(test, names, classes, work.model.feature_count)
    sha256 = step.context.blobs.put(_pack(Data(x, y, test_x, test_y, classes, tasks)))
    step.progress("collect", f"{len(y)} training and {len(test_y)} test samples", share=0.0)
    return {"phase": "before", "data": sha256}


def _select(
    unit: Unit, update: UpdateRecord, split: str, names: list[str], wanted: list[str]
) -> list[SampleRecord]:
    positions = [p for p, name in enumerate(names) if name in wanted]
    return unit.samples.select(update.model_id, update.last_seq, split, positions)


def _arrays(
    samples: list[SampleRecord], names: list[str], classes: list[str], width: int
) -> tuple[Float32Array, Int64Array]:
    slots = {name: slot for slot, name in enumerate(classes)}
    x = np.frombuffer(b"".join(s.features for s in samples), dtype="<f4").reshape(-1, width)
    y = [slots[names[s.class_position]] for s in samples]
    return x.astype(np.float32), np.array(y, dtype=np.int64)


def _pack(data: Data) -> bytes:
    meta = json.dumps({"classes": data.classes, "tasks": data.tasks}).encode()
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x=data.x,
        y=data.y,
        test_x=data.test_x,
        test_y=data.test_y,
        meta=np.frombuffer(meta, dtype=np.uint8),
    )
    return buffer.getvalue()


def _data(step: Step, cursor: Cursor) -> Data:
    with np.load(io.BytesIO(step.context.blobs.get(cursor["data"])), allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes())
        return Data(
            file["x"],
            file["y"],
            file["test_x"],
            file["test_y"],
            meta["classes"],
            meta["tasks"],
        )


def _evaluate(step: Step, work: Work, data: Data, learner: str, class_count: int) -> Evaluation:
    """Predict the test samples of the classes that the learner knows."""
    context = step.context
    known = data.test_y < class_count
    x, y = data.test_x[known], data.test_y[known]
    int_model = context.blobs.get(str(work.model.int_model_sha256))
    method = cast(Method, work.update.method)
    predicted = (
        context.engine.predict(int_model, context.blobs.get(learner), method, x, step.stop)
        if len(y)
        else y
    )
    names = data.classes[:class_count]
    table = confusion(y, predicted, class_count)
    tasks = [[names.index(n) for n in task] for task in data.tasks if set(task) <= set(names)]
    return Evaluation(
        accuracy=group_accuracy(table, range(class_count)),
        per_task=[group_accuracy(table, slots) for slots in tasks],
        per_class=dict(zip(names, class_accuracy(table), strict=True)),
        confusion=table,
    )


def _before(step: Step, cursor: Cursor, work: Work) -> Cursor:
    data = _data(step, cursor)
    found = _evaluate(step, work, data, work.base.learner_sha256, len(work.base.classes))
    step.progress("before", "evaluated the base version", share=0.0, accuracy=found.accuracy)
    sha256 = step.context.blobs.put(json.dumps(dataclasses.asdict(found)).encode())
    return {**cursor, "phase": "start", "before": sha256}


def _task(step: Step, work: Work, data: Data) -> LearnTask:
    spec = work.update.spec
    return LearnTask(
        int_model=step.context.blobs.get(str(work.model.int_model_sha256)),
        learner=step.context.blobs.get(work.base.learner_sha256),
        method=spec["method"],
        x=data.x,
        y=data.y,
        class_count=len(data.classes),
        steps=spec["steps"] if RECIPES[spec["method"]].trains else 0,
        learning_rate=spec["learning_rate"],
        seed=spec["seed"],
        batch=spec["batch"],
        options=spec["options"],
    )


def _start(step: Step, cursor: Cursor, work: Work) -> Cursor:
    task = _task(step, work, _data(step, cursor))
    return _after_chunk(step, cursor, task, step.context.engine.start(task))


def _train(step: Step, cursor: Cursor, work: Work) -> Cursor:
    task = _task(step, work, _data(step, cursor))
    checkpoint = step.context.blobs.get(cursor["checkpoint"])
    steps = step.context.settings.job_chunk_steps
    chunk = step.context.engine.train(task, checkpoint, steps, step.stop)
    return _after_chunk(step, cursor, task, chunk)


def _after_chunk(step: Step, cursor: Cursor, task: LearnTask, chunk: Chunk) -> Cursor:
    done = chunk.steps_done
    step.progress(
        f"train:{done}",
        f"step {done} of {task.steps}",
        share=done / task.steps if task.steps else 1.0,
        steps_done=done,
        steps=task.steps,
        metrics=chunk.metrics,
    )
    return {
        **cursor,
        "phase": "finish" if chunk.done else "train",
        "checkpoint": step.context.blobs.put(chunk.checkpoint),
    }


def _finish(step: Step, cursor: Cursor, work: Work) -> Cursor:
    task = _task(step, work, _data(step, cursor))
    learner = step.context.engine.finish(task, step.context.blobs.get(cursor["checkpoint"]))
    return {
        **cursor,
        "phase": "after",
        "learner": step.context.blobs.put(learner.data),
        "state": step.context.blobs.put(learner.state),
        "state_hash": learner.state_hash,
        "report": learner.report,
    }


def _after(step: Step, cursor: Cursor, work: Work) -> Cursor | None:
    data = _data(step, cursor)
    before = Evaluation(**json.loads(step.context.blobs.get(cursor["before"])))
    after = _evaluate(step, work, data, cursor["learner"], len(data.classes))
    with step.context.database.read() as unit:
        history = accuracy_history(unit, work.base)
    verdict = judge(work.update.spec["gate"], before, after, [*history[:-1], before.per_task])
    result = _result(cursor, before, after, verdict)
    version = _version(cursor, work, data, after)

    def store(unit: Unit) -> None:
        if not succeed_job(unit, step.job.id):
            return
        if None in work.base.accuracy:
            # An import cannot be tested: its row of the accuracy matrix is filled in here.
            unit.versions.change(
                {"model_id": work.model.id, "number": work.base.number}, accuracy=before.per_task
            )
        number = add_version(unit, version).number if verdict.accepted else None
        unit.totals.bump("gate", work.update.method, result["outcome"])
        unit.updates.change({"id": work.update.id}, result=result, version=number)

    step.commit(store)
    return None


def _result(
    cursor: Cursor, before: Evaluation, after: Evaluation, verdict: Verdict
) -> dict[str, Any]:
    return {
        "outcome": "accepted" if verdict.accepted else "refused",
        "reasons": verdict.reasons,
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(after),
        "forgetting": verdict.forgetting,
        "worst_class_drop": verdict.worst_class_drop,
        "state_sha256": cursor["state"],
        "state_hash": cursor["state_hash"],
        "report": cursor["report"],
    }


def _version(cursor: Cursor, work: Work, data: Data, after: Evaluation) -> VersionRecord:
    return VersionRecord(
        model_id=work.model.id,
        number=0,
        created_at=utc_text(),
        parent=work.base.number,
        update_id=work.update.id,
        classes=data.classes,
        tasks=data.tasks,
        accuracy=after.per_task,
        learner_sha256=cursor["learner"],
        state_sha256=cursor["state"],
        state_hash=cursor["state_hash"],
        report=cursor["report"],
    )


_PHASES: dict[str, Callable[[Step, Cursor, Work], Cursor | None]] = {
    "begin": _collect,
    "before": _before,
    "start": _start,
    "train": _train,
    "finish": _finish,
    "after": _after,
}
