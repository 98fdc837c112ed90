# SPDX-License-Identifier: Apache-2.0
"""One data set from float model to running device, everything through the REST client."""

from typing import Any

import numpy as np

from device.harness.errors import HarnessError
from device.twin.model import IntModel
from server.api import schemas as s
from server.demo.boards import run_board_tests
from server.demo.clock import Clock
from server.demo.fielded import FieldedDevice
from server.demo.floats import FloatLearner
from server.demo.memory import arena_map, memory_maps
from server.demo.plan import FIELD_BOARDS, TITLES
from server.demo.results import stream_metrics
from server.demo.session import JOB_LIMIT_S, Run, send, upload
from server.demo.words import percent, span_of
from server.errors import HadaptError
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.float_reference import train_base
from server.learning.metrics import forgetting_chaudhry, group_accuracy
from server.learning.ports import Int64Array

Json = dict[str, Any]
GATE = {"min_accuracy": 0.5, "max_forgetting": 0.3}


def run_dataset(run: Run) -> tuple[Json, list[Json], list[Json]]:
    """The main job. Returns: records of the data set, of its tasks, of its boards."""
    learner = _base(run)
    try:
        _field_device(run)
        for task in range(1, len(run.plan.tasks)):
            _learn_task(run, learner, task)
        boards = run_board_tests(run)
        return _summary(run, learner), run.tasks, boards
    finally:
        if run.device is not None:
            run.device.close()


def _base(run: Run) -> FloatLearner:
    """Train the base classes in float32, upload the ONNX file, wait for the integer model."""
    slots = run.plan.tasks[0]
    x, y = run.rows("train", slots)
    with run.clock.step(f"train {len(slots)} base classes in float32, {len(x)} rows"):
        normaliser = fit_normaliser(x)
        seed = run.plan.recipe.seed
        params = train_base(normaliser.apply(x), y, len(slots), run.plan.base, seed)
        onnx = to_onnx(params, normaliser, name=run.data.name).SerializeToString()
    learner = FloatLearner(params, normaliser)
    learner.remember(x, y, run.plan.recipe.exemplar_slots)
    sizes = "-".join(str(n) for n in learner.sizes)
    with run.clock.step(f"POST the ONNX model ({sizes}) with {len(x)} calibration rows; quantize"):
        run.model = upload(run, onnx, {})
    x_test, y_test = run.rows("test", slots)
    names = np.array(run.data.class_names)
    with run.clock.step(f"POST {len(y_test)} test rows of the base classes"):
        send(run, run.model_id, x_test, names[y_test], "test")
    _float_row(run, learner, 0)
    return learner


def _field_device(run: Run) -> None:
    """Download firmware for a board and start it; a machine without tools goes on without."""
    usable = {b.name for b in run.boards if b.available}
    board = next((name for name in FIELD_BOARDS if name in usable), None)
    if board is None:
        run.device_error = "no compiler and emulator for any board"
        run.clock.note(f"no device in the field: {run.device_error}")
        return
    try:
        with run.clock.step(f"generate and download firmware for {board}; start the device"):
            package = _firmware(run, 1, board)
            int_model = run.client.int_model(run.model_id)
            run.device = FieldedDevice(package, int_model, board, run.folder / "device")
    except (HadaptError, HarnessError) as error:
        run.device_error = str(error)
        run.clock.note(f"no device in the field: {error}")


def _firmware(run: Run, version: int, board: str) -> bytes:
    firmware = run.client.create_firmware(run.model_id, board, version=version)
    run.client.wait_job(firmware.job_id, JOB_LIMIT_S)
    package = run.client.firmware_zip(firmware.id)
    (run.folder / f"firmware_v{version}_{board}.zip").write_bytes(package)
    return package


def _learn_task(run: Run, learner: FloatLearner, task: int) -> None:
    """Samples in, update, delivery to the running device, test there; the same in float32."""
    slots = run.plan.tasks[task]
    names = np.array(run.data.class_names)
    text = span_of(run.names(slots))
    x, y = run.rows("train", slots)
    x_test, y_test = run.rows("test", slots)
    with run.clock.step(f"task {task} ({text}): POST {len(y)} new and {len(y_test)} test rows"):
        send(run, run.model_id, x, names[y], "train")
        send(run, run.model_id, x_test, names[y_test], "test")
    recipe = run.plan.recipe
    with run.clock.step(f"task {task}: update, {recipe.steps} integer training steps"):
        update = _update(run)
    learner.learn(x, y, recipe)
    _float_row(run, learner, task)
    result = update.result
    if result is None:
        raise RuntimeError(f"update {update.id} has no result")
    if task == 1:
        _integer_row(run, 0, result.before, None, None)
        run.tasks[0]["device"] = _on_device(run, 0)
    delivered = _deliver(run, update, task)
    _integer_row(run, task, result.after, result.before, update)
    run.tasks[task]["device"] = _on_device(run, task) if delivered else None
    run.confusion = _in_dataset_order(run, result.after)


def _in_dataset_order(run: Run, found: s.EvaluationRead) -> list[list[int]]:
    """The confusion matrix over the classes known, in the data set's order."""
    names = list(found.per_class)
    order = [names.index(name) for name in run.data.class_names if name in names]
    return [[found.confusion[i][j] for j in order] for i in order]


def _update(run: Run) -> s.UpdateRead:
    recipe = run.plan.recipe
    update = run.client.create_update(
        run.model_id,
        "replay",
        steps=recipe.steps,
        seed=recipe.seed,
        learning_rate=recipe.learning_rate,
        gate=GATE,
    )
    shown = _ShareLines(run.clock)
    run.client.wait_job(update.job_id, JOB_LIMIT_S, progress=shown.see)
    return run.client.update(update.id)


class _ShareLines:
    """Says how far a long job is, once a quarter."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._quarter = clock, 0

    def see(self, job: s.JobRead) -> None:
        """Look at a job's progress."""
        share = job.progress.get("share") or 0.0
        quarter = int(float(share) * 4)
        if quarter > self._quarter and "steps_done" in job.progress:
            self._quarter = quarter
            done, steps = job.progress["steps_done"], job.progress["steps"]
            self._clock.say(f"  training step {done} of {steps}")


def _deliver(run: Run, update: s.UpdateRead, task: int) -> bool:
    """Bring the running device to the update's state. False if there is no device or no version."""
    if update.version is None:
        reasons = "; ".join(update.result.reasons) if update.result else ""
        run.clock.note(f"task {task}: the gate refused the update: {reasons}")
        return False
    if run.device is None:
        return False
    with run.clock.step(f"task {task}: state bytes to the running {run.device.board.name}"):
        package = _firmware(run, update.version, run.device.board.name)
        delivery = run.device.deliver(package, run.client.update_state(update.id))
    run.version = update.version
    run.delivered_bytes = max(run.delivered_bytes, delivery.delivered_bytes)
    return True


def _on_device(run: Run, task: int) -> Json | None:
    """Test rows on the running device, classes in turn."""
    if run.device is None:
        return None
    x, y = run.rows("test", run.known(task))
    rows = _in_turn(y)[: run.plan.device_rows]
    with run.clock.step(f"task {task}: {len(rows)} test rows on the running device"):
        predicted = run.device.predict(x[rows])
        digest = run.device.state_hash
    version = run.client.version(run.model_id, run.version)
    names = np.array(version.classes)
    accuracy = float(np.mean(names[predicted] == np.array(run.data.class_names)[y[rows]]))
    same = digest == version.state_hash
    run.clock.say(f"  {percent(accuracy)} on the device; state hash equal to the update's: {same}")
    return {
        "accuracy": accuracy,
        "rows": len(rows),
        "state_hash": digest,
        "hash_equals_update": same,
        "elf_sha256": run.device.firmware.sha256,
    }


def _in_turn(labels: Int64Array) -> Int64Array:
    """Row numbers: the first of every class, then the second of every class, and so on."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(np.count_nonzero(members))
    return np.lexsort((labels, rank)).astype(np.int64)


def _integer_row(
    run: Run,
    task: int,
    after: s.EvaluationRead,
    before: s.EvaluationRead | None,
    update: s.UpdateRead | None,
) -> None:
    """Row `task` of the matrix, and the task's record."""
    row = [_share(value) for value in after.per_task]
    run.matrix.append(row)
    run.seen.append(_share(after.accuracy))
    old = [] if before is None else [_share(value) for value in before.per_task]
    record: Json = {
        "dataset": run.data.name,
        "task": task,
        "classes": run.names(run.plan.tasks[task]),
        "accuracies": row,
        # A class that is not known yet is never predicted.
        "accuracies_before": old + [0.0] * (len(row) - len(old)) if before else [None] * len(row),
        "accuracy_seen": run.seen[-1],
        "forgetting": forgetting_chaudhry(run.matrix),
        "float32": {
            "accuracies": run.float_matrix[task],
            "accuracy_seen": run.float_seen[task],
            "forgetting": forgetting_chaudhry(run.float_matrix[: task + 1]),
        },
        "update": _update_record(run, update) if update else None,
        "device": None,
    }
    run.tasks.append(record)
    difference = 100 * (run.seen[-1] - run.float_seen[task])
    run.clock.say(
        f"  after task {task}: {percent(run.seen[-1])} on all known classes, "
        f"float32 {percent(run.float_seen[task])} ({difference:+.1f})"
    )


def _update_record(run: Run, update: s.UpdateRead) -> Json:
    result = update.result
    recipe = run.plan.recipe
    return {
        "outcome": result.outcome if result else None,
        "method": update.method,
        "steps": recipe.steps,
        "seed": recipe.seed,
        "learning_rate": recipe.learning_rate,
        "state_hash": result.state_hash if result else None,
    }


def _share(value: float | None) -> float:
    if value is None:
        raise RuntimeError("the service evaluated without test rows")
    return value


def _float_row(run: Run, learner: FloatLearner, task: int) -> None:
    """Row `task` of the float matrix."""
    x, y = run.rows("test", run.known(task))
    right = learner.predict(x) == y
    tasks = run.plan.tasks[: task + 1]
    run.float_matrix.append([float(np.mean(right[np.isin(y, slots)])) for slots in tasks])
    run.float_seen.append(float(np.mean(right)))


def _summary(run: Run, learner: FloatLearner) -> Json:
    base = run.plan.tasks[0]
    fielded: Json = {"error": run.device_error}
    memory: list[Json] = []
    model = IntModel.from_bytes(run.client.int_model(run.model_id))
    if run.device is not None:
        fielded |= {
            "board": run.device.board.name,
            "title": run.device.board.title,
            "emulator": run.device.emulator,
            "elf_sha256": run.device.firmware.sha256,
        }
        memory = memory_maps(run.device.firmware, run.device.board, model)
    return {
        "name": run.data.name,
        "title": TITLES.get(run.data.name, run.data.name),
        "network": learner.sizes,
        "class_names": list(run.data.class_names),
        "base_classes": len(base),
        "new_classes": len(run.data.class_names) - len(base),
        "confusion": run.confusion,
        "device_arithmetic_accuracy": group_accuracy(
            run.confusion, range(len(run.data.class_names))
        ),
        **stream_metrics(run.matrix, run.seen),
        "float32": stream_metrics(run.float_matrix, run.float_seen),
        "options": run.plan.options,
        "delivered_bytes": run.delivered_bytes,
        "fielded": fielded,
        "memory": memory,
        "arena": arena_map(model),
    }
