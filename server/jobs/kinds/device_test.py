# SPDX-License-Identifier: Apache-2.0
"""Device test: one board after the other, each in a step of its own."""

import dataclasses

import numpy as np

from server.errors import HadaptError
from server.jobs.runner import Cursor, Step
from server.learning.ports import DeviceTask, Float32Array, Int64Array
from server.services.jobs import succeed_job
from server.services.models import class_names, stored_calibration, version_with_model
from server.services.products import require_device_test
from server.storage.ports import Unit
from server.storage.records import (
    DeviceTestRecord,
    Json,
    ModelRecord,
    SampleRecord,
    VersionRecord,
)


def advance(step: Step, cursor: Cursor) -> Cursor | None:
    """Test board number cursor["index"]; the last one ends the job."""
    with step.context.database.read() as unit:
        test = require_device_test(unit, step.job.subject_id)
    index = cursor.get("index", 0)
    boards = test.spec["boards"]
    step.progress(f"board:{index}", f"testing {boards[index]}", share=index / len(boards))
    results = [*cursor.get("results", []), _test_board(step, test, boards[index])]

    def store(unit: Unit) -> None:
        if index + 1 < len(boards) or succeed_job(unit, step.job.id):
            unit.device_tests.change({"id": test.id}, results=results)

    step.commit(store)
    if index + 1 == len(boards):
        return None
    return {"phase": "board", "index": index + 1, "results": results}


def _test_board(step: Step, test: DeviceTestRecord, board: str) -> Json:
    """The board's report; what is wrong with one board does not keep the others from theirs."""
    context = step.context
    model, version = version_with_model(context, test.model_id, test.version)
    x, y = _samples(step, test, model, version)
    task = DeviceTask(
        int_model=context.blobs.get(str(model.int_model_sha256)),
        learner=context.blobs.get(version.learner_sha256),
        board=board,
        x=x,
        y=y,
        train_steps=test.spec["train_steps"],
        seed=test.spec["seed"],
        timeout_s=context.settings.device_timeout_s,
    )
    try:
        report = context.engine.device_test(task, step.stop)
        return {**dataclasses.asdict(report), "error": None}
    except HadaptError as error:
        problem = error.to_problem(f"/api/v1/device-tests/{test.id}")
        return {"board": board, "bit_exact": None, "error": problem}


def _samples(
    step: Step, test: DeviceTestRecord, model: ModelRecord, version: VersionRecord
) -> tuple[Float32Array, Int64Array]:
    """Up to sample_count samples, classes in turn; held-out ones if there are any.

    An inference-only model has no samples but those it was calibrated with.
    """
    if not model.base_class_count:
        x = stored_calibration(step.context, model, ()).x[: test.spec["sample_count"]]
        return x, np.zeros(len(x), np.int64)
    with step.context.database.read() as unit:
        names = class_names(unit, model.id)
        positions = [p for p, name in enumerate(names) if name in version.classes]
        last_seq = test.spec["last_seq"]
        found = unit.samples.select(model.id, last_seq, "test", positions)
        found = found or unit.samples.select(model.id, last_seq, "train", positions)
    chosen = _in_turn(found, test.spec["sample_count"])
    raw = np.frombuffer(b"".join(s.features for s in chosen), dtype="<f4")
    slots = [version.classes.index(names[s.class_position]) for s in chosen]
    x = raw.reshape(-1, model.feature_count).astype(np.float32)
    return x, np.array(slots, dtype=np.int64)


def _in_turn(samples: list[SampleRecord], count: int) -> list[SampleRecord]:
    """The first of every class, then the second of every class, and so on."""
    seen: dict[int, int] = {}
    ranked = []
    for sample in samples:
        rank = seen.get(sample.class_position, 0)
        seen[sample.class_position] = rank + 1
        ranked.append((rank, sample.class_position, sample))
    ranked.sort(key=lambda entry: entry[:2])
    return [sample for _, _, sample in ranked[:count]]
