# SPDX-License-Identifier: Apache-2.0
"""Chunks of a training session on the host build of the firmware, each from a checkpoint."""

import struct
from pathlib import Path

from device.twin.learner import raw_samples
from device.twin.model import IntModel
from server.learning.counting import COUNTED_STEPS, COUNTING, saturation_rates
from server.learning.firmwares import host_learner
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.methods import RECIPES, distillation_of
from server.learning.ports import Chunk, Json, LearnTask, StopSignal
from server.learning.sessions import LearnerOps, TrainPlan, restore, stage, train_some
from server.learning.stopping import check_stop

DEFAULT_LEARNING_RATE = 0.05


def steps_of(task: LearnTask) -> int:
    """Training steps of a task; some methods have none."""
    return task.steps if RECIPES[task.method].trains else 0


def plan_of(task: LearnTask) -> TrainPlan:
    """The whole session of a task, the same in every chunk."""
    classes = (LearnerData.from_bytes(task.learner).n_classes, task.class_count)
    wanted = (task.options.get("distillation_weight"), task.options.get("temperature"))
    how = distillation_of(task.method, *classes, *wanted)
    rate = task.learning_rate or DEFAULT_LEARNING_RATE
    recipe = RECIPES[task.method]
    rest = (recipe.sampling, how, recipe.hold, recipe.expansion is not None)
    return TrainPlan(steps_of(task), task.seed, rate, *rest)


def resume(device: LearnerOps, model: IntModel, task: LearnTask, working: bytes) -> None:
    """Bring a fresh learner to where the session stands."""
    learner = LearnerData.from_bytes(task.learner)
    restore(device, initial_exemplars(model), learner)
    raw = raw_samples(model, task.x)
    stage(device, raw, task.y, learner.n_classes, task.class_count)
    if working:
        device.import_state(working)


def train_chunk(
    task: LearnTask, checkpoint: bytes, steps: int, stop: StopSignal, cache: Path
) -> Chunk:
    """At most `steps` more steps; see Engine.train."""
    model = IntModel.from_bytes(task.int_model)
    done, working = open_checkpoint(checkpoint)
    count = min(steps, steps_of(task) - done)
    if count <= 0:
        return Chunk(checkpoint, done, done=True)
    rates = _count(model, task, (done, min(count, COUNTED_STEPS)), working, stop, cache)
    with host_learner(model, len(task.x), cache) as device:
        resume(device, model, task, working)
        progress = train_some(device, plan_of(task), done, count, lambda: check_stop(stop))
        working = device.export_state(working=True)
    seen = max(1, progress.seen)
    metrics = {
        "training_accuracy": progress.correct / seen,
        "mean_label_probability": progress.probability / (128.0 * seen),
        **rates,
    }
    done += count
    return Chunk(close_checkpoint(done, working), done, done >= steps_of(task), metrics)


def _count(
    model: IntModel,
    task: LearnTask,
    steps: tuple[int, int],
    working: bytes,
    stop: StopSignal,
    cache: Path,
) -> Json:
    """Saturation in (done, count) steps from the working state."""
    with host_learner(model, len(task.x), cache, (COUNTING,)) as device:
        resume(device, model, task, working)
        train_some(device, plan_of(task), *steps, lambda: check_stop(stop))
        return saturation_rates(device.counters(), [layer.name for layer in model.layers])


def open_checkpoint(checkpoint: bytes) -> tuple[int, bytes]:
    """Steps done and working state bytes; a session that has not begun has neither."""
    if not checkpoint:
        return 0, b""
    return struct.unpack_from("<I", checkpoint)[0], checkpoint[4:]


def close_checkpoint(done: int, working: bytes) -> bytes:
    """What open_checkpoint reads."""
    return struct.pack("<I", done) + working
