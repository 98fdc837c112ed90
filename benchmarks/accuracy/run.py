# SPDX-License-Identifier: Apache-2.0
"""One run: base training, the tasks in turn, the accuracy matrix."""

from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.accuracy.arms import Arm, open_arm
from benchmarks.accuracy.setting import JOINT, Setting
from server.learning.base_model import Normaliser, fit_normaliser
from server.learning.datasets import Dataset
from server.learning.float_reference import (
    Float32Array,
    Int64Array,
    Params,
    TrainOptions,
    init_params,
    train_base,
)
from server.learning.methods import LINEAR, NEAREST_MEAN, RECIPES, Method
from server.learning.metrics import (
    accuracy_row,
    average_incremental_accuracy,
    balanced_accuracy,
    confusion,
    forgetting_chaudhry,
    last_accuracy,
)
from server.learning.stream import TaskStream, make_stream

HEADS = ("linear", "nearest_mean")
_BOTH_HEADS = (
    "average_incremental_accuracy",
    "average_incremental_balanced_accuracy",
    "last_accuracy",
    "forgetting_chaudhry",
)


def run(setting: Setting, data: Dataset, seed: int, cache: Path) -> dict[str, Any]:
    """A result record: setting, seed, class order, matrix R in percent, and the metrics of it.

    The seed draws the class order, the base network and the batches.
    """
    classes = len(data.class_names)
    stream = make_stream(classes, setting.base_classes, setting.step_classes, seed)
    base = stream.rows(data.y_train, 0)
    x, y = data.x_train[base], stream.slots(data.y_train[base])
    params, normaliser = base_network(setting, x, y, seed)
    sizes = [len(stream.rows(data.y_train, k)) for k in range(1, len(stream.tasks))]
    largest = max(sizes, default=1)
    with open_arm(setting, params, normaliser, x, y, classes, largest, cache, seed) as arm:
        heads = _learn_all(arm, stream, data, seed)
    own = head_of(setting.method)
    other = {f"{HEADS[1 - own]}_{name}": heads[1 - own][name] for name in _BOTH_HEADS}
    order = {"seed": seed, "head": HEADS[own], "class_order": list(stream.class_order)}
    return {**setting.record(), **order, **heads[own], **other}


def base_network(
    setting: Setting, x: Float32Array, y: Int64Array, seed: int
) -> tuple[Params, Normaliser]:
    """The network that the arms start from: raw samples (N, features), class slots (N,).

    Trained on the base task in float32, or as drawn if the arm itself is to learn it.
    """
    normaliser = fit_normaliser(x, setting.normaliser_floor)
    if setting.base == "integers":
        sizes = (x.shape[1], *setting.hidden, setting.base_classes)
        return init_params(sizes, np.random.default_rng(seed)), normaliser
    options = TrainOptions(
        hidden=setting.hidden,
        epochs=setting.base_epochs,
        milestones=(setting.base_epochs * 2 // 3, setting.base_epochs * 13 // 15),
        batch=setting.batch,
        lr=setting.learning_rate,
    )
    return train_base(normaliser.apply(x), y, setting.base_classes, options, seed), normaliser


def head_of(method: str) -> int:
    """Index in HEADS of the head by which a method decides."""
    return LINEAR if method == JOINT else RECIPES[cast(Method, method)].head


def _learn_all(
    arm: Arm, stream: TaskStream, data: Dataset, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of the stream by the linear and by the nearest-mean head."""
    tables: tuple[list[Any], list[Any]] = ([], [])
    for task in range(len(stream.tasks)):
        if task:
            rows = stream.rows(data.y_train, task)
            slots = stream.slots(data.y_train[rows])
            arm.learn(data.x_train[rows], slots, stream.class_count(task), seed * 1000 + task)
        seen = stream.rows_seen(data.y_test, task)
        labels = stream.slots(data.y_test[seen])
        for head in (LINEAR, NEAREST_MEAN):
            found = arm.predict(data.x_test[seen], head)
            tables[head].append(confusion(labels, found, stream.class_count(task)))
    linear, nearest = (_metrics(found, stream) for found in tables)
    return linear, nearest


def _metrics(tables: list[Any], stream: TaskStream) -> dict[str, Any]:
    matrix = [
        [100 * a for a in accuracy_row(table, stream.tasks[: task + 1])]
        for task, table in enumerate(tables)
    ]
    after = [100 * float(np.trace(np.array(table)) / np.sum(table)) for table in tables]
    balanced = [100 * (balanced_accuracy(table) or 0.0) for table in tables]
    return {
        "matrix": matrix,
        "accuracy_after_task": after,
        "average_incremental_accuracy": average_incremental_accuracy(after),
        "average_incremental_balanced_accuracy": average_incremental_accuracy(balanced),
        "last_accuracy": last_accuracy(after),
        "forgetting_chaudhry": forgetting_chaudhry(matrix) if len(matrix) > 1 else 0.0,
    }
