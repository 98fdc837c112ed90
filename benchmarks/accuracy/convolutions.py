# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy.convolutions: training through convolutions, integers and float32.

    python -m benchmarks.accuracy.convolutions --data fsdd --seeds 1
    python -m benchmarks.accuracy.convolutions --data cifar --seeds 1

A base network is trained in float32 on the first classes; then classes arrive by method replay,
learned by the last layers: in float32, and in the host build of the generated C. Both start from
the same network, keep the same number of exemplars, and see as many steps. Results are added to
--out; runs that are there are not repeated.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.conv_network import (
    BlockPlan,
    ConvPlan,
    Float32Array,
    fresh,
    graph_of,
    with_rows,
)
from benchmarks.accuracy.learners import HostLearner, Schedule, softmax
from codegen.quantize import QuantizeOptions, quantize
from device.harness.client import DeviceClient
from device.twin.learner import raw_samples
from device.twin.model import Arithmetic, IntModel
from server.learning.firmwares import cache_folder, host_learner
from server.learning.metrics import average_incremental_accuracy
from server.learning.sessions import TrainPlan, stage, train_some
from server.learning.stream import TaskStream, make_stream

RESULTS = Path(__file__).parents[1] / "results" / "convolutions.json"
Int64Array = NDArray[np.int64]
Plan = tuple[ConvPlan | BlockPlan, ...]


@dataclass(frozen=True)
class Task:
    """A data set, its network, and what is trained.

    Attributes:
        plan: convolutions and residual blocks.
        trained: layers that learn, counted from the head.
    """

    file: str
    shape: tuple[int, int, int]
    plan: Plan
    trained: int
    base_classes: int = 6
    step_classes: int = 2
    slots: int = 200
    base_epochs: int = 20
    epochs: int = 8
    batch: int = 16
    rate: float = 0.02
    acc_bits: int = 12


FSDD_PLAN: Plan = (
    ConvPlan(24, (10, 4), (2, 2), (4, 1)),
    ConvPlan(32, (3, 3), (2, 1), (1, 1)),
    ConvPlan(32, (3, 3), (1, 1), (1, 1)),
)
CIFAR_PLAN: Plan = (
    ConvPlan(16, (3, 3), (2, 2), (1, 1)),
    ConvPlan(32, (3, 3), (2, 2), (1, 1)),
    ConvPlan(48, (3, 3), (2, 2), (1, 1)),
)
SEPARABLE = (
    ConvPlan(64, (3, 3), pad=(1, 1), depthwise=True),
    ConvPlan(64, (1, 1)),
)
DS_CNN_PLAN: Plan = (ConvPlan(64, (10, 4), (2, 2), (4, 1)), *SEPARABLE * 4)
RESNET8_PLAN: Plan = (
    ConvPlan(16, (3, 3), pad=(1, 1)),
    BlockPlan(16),
    BlockPlan(32, (2, 2)),
    BlockPlan(64, (2, 2)),
)
FSDD_FILE, CIFAR_FILE = "fsdd_mfcc49x10.npz", "cifar10_12k.npz"
FSDD_SHAPE, CIFAR_SHAPE = (49, 10, 1), (32, 32, 3)
TASKS = {
    "fsdd": Task(FSDD_FILE, FSDD_SHAPE, FSDD_PLAN, 3),
    "cifar": Task(CIFAR_FILE, CIFAR_SHAPE, CIFAR_PLAN, 3),
    "fsdd-ds-cnn": Task(FSDD_FILE, FSDD_SHAPE, DS_CNN_PLAN, 3),
    "cifar-resnet8": Task(CIFAR_FILE, CIFAR_SHAPE, RESNET8_PLAN, 4),
}
ARMS = ("float32", "float32-head", "hdqt-int16", "hdqt-int8", "hdqt-int16-head")


@dataclass(frozen=True)
class Data:
    """Samples (N, H, W, C) float32 and labels."""

    x_train: Float32Array
    y_train: Int64Array
    x_test: Float32Array
    y_test: Int64Array


def load(task: Task) -> Data:
    """A file of HADAPT_DATA; images are brought to about unit deviation."""
    folder = os.environ.get("HADAPT_DATA")
    if folder is None or not (Path(folder) / task.file).is_file():
        raise SystemExit(f"HADAPT_DATA is {folder}: expected a folder that holds {task.file}")
    with np.load(Path(folder) / task.file, allow_pickle=False) as found:
        x = [found[name].astype(np.float32) for name in ("x_train", "x_test")]
        y = [found[name].astype(np.int64) for name in ("y_train", "y_test")]
    if task.shape[2] == 3:
        x = [(part / 255 - np.float32(0.47)) / np.float32(0.25) for part in x]
    x = [part.reshape(-1, *task.shape) for part in x]
    return Data(x[0], y[0], x[1], y[1])


def train_base(task: Task, x: Float32Array, y: Int64Array, seed: int) -> Any:
    """The float32 base network: SGD with momentum, the rate cut to a tenth after two thirds."""
    network = fresh(task.shape, task.plan, task.base_classes, seed)
    network.momentum = 0.9
    rng = np.random.default_rng([seed, 3])
    for epoch in range(task.base_epochs):
        rate = 0.02 if epoch < task.base_epochs * 2 // 3 else 0.002
        order = rng.permutation(len(x))
        for rows in np.array_split(order, max(1, len(x) // 32)):
            error = softmax(network.forward(x[rows]))
            error[np.arange(len(rows)), y[rows]] -= 1
            network.backward(error, rate)
    return network


class Integers:
    """The host build of the generated C, by method replay."""

    def __init__(self, task: Task, model: IntModel, device: DeviceClient) -> None:
        self._task, self._model, self._device = task, model, device

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        """One session over new samples."""
        known = self._device.info().n_classes
        stage(self._device, raw_samples(self._model, x.reshape(len(x), -1)), y, known, class_count)
        schedule = Schedule(self._task.epochs, self._task.batch, self._task.rate)
        steps = schedule.steps(self._device.info().samples)
        plan = TrainPlan(steps, seed, self._task.rate, "balanced")
        train_some(self._device, plan, 0, steps, lambda: None)
        self._device.commit()

    def predict(self, x: Float32Array, head: int) -> Int64Array:
        """Class slots of samples."""
        raw = raw_samples(self._model, x.reshape(len(x), -1))
        return np.asarray(self._device.infer_many(raw, head)[0], np.int64)


def run(name: str, arm: str, seed: int) -> dict[str, Any]:
    """A record: accuracy on all classes seen after each task, and their mean, in percent."""
    task, started = TASKS[name], time.monotonic()
    data = load(task)
    stream = make_stream(len(np.unique(data.y_train)), task.base_classes, task.step_classes, seed)
    base = stream.rows(data.y_train, 0)
    x, y = data.x_train[base], stream.slots(data.y_train[base])
    network = train_base(task, x, y, seed)
    trained = 1 if arm.endswith("-head") else task.trained
    classes = sum(map(len, stream.tasks))
    if arm.startswith("float32"):
        copy = with_rows(network, classes, trained)
        schedule = Schedule(task.epochs, task.batch, task.rate)
        learner = HostLearner(copy, "replay", task.slots, schedule)  # type: ignore[arg-type]
        learner.start(x, y)
        after = _learn(learner, stream, data, seed)
    else:
        bits = 8 if "int8" in arm else 16
        options = QuantizeOptions(
            Arithmetic(master_bits=bits, batch=task.batch, acc_bits=task.acc_bits),
            train_last=trained,
            max_classes=classes,
            exemplar_slots=task.slots,
            staging_slots=8,
        )
        graph = graph_of(network, task.shape, name)
        model = quantize(graph, x.reshape(len(x), -1), y, options)
        largest = max(len(stream.rows(data.y_train, k)) for k in range(1, len(stream.tasks)))
        with host_learner(model, largest, cache_folder()) as device:
            after = _learn(Integers(task, model, device), stream, data, seed)
    return {
        "data": name,
        "arm": arm,
        "seed": seed,
        "accuracy_after_task": after,
        "average_incremental_accuracy": average_incremental_accuracy(after),
        "last_accuracy": after[-1],
        "seconds": round(time.monotonic() - started),
        "trained_layers": trained,
    }


def _learn(arm: Any, stream: TaskStream, data: Data, seed: int) -> list[float]:
    after = []
    for number in range(len(stream.tasks)):
        if number:
            rows = stream.rows(data.y_train, number)
            slots = stream.slots(data.y_train[rows])
            count = stream.class_count(number)
            arm.learn(data.x_train[rows], slots, count, seed * 1000 + number)
        seen = stream.rows_seen(data.y_test, number)
        found = arm.predict(data.x_test[seen], 0)
        after.append(100 * float((found == stream.slots(data.y_test[seen])).mean()))
    return after


_HEAD = """\
# Training through convolutions

Made by `python -m benchmarks.accuracy.convolutions`; convolutions.json has every record. Percent of
the test split. A float32 network is trained on the first classes: three convolutions, or DS-CNN,
whose last depthwise and pointwise convolutions learn on, or ResNet-8, whose last residual block
does. The other classes arrive two at a time, by method replay with 200 exemplars, learned by the
last `layers` layers. Both arithmetics start from the same network and have the same tasks, steps,
rates and memory. `-head`: only the head learns. The data are described with the sets; settings are
in `benchmarks/accuracy/convolutions.py` and were not chosen on test samples.

| data | arm | layers | seeds | average incremental | last | to float32 of as many layers |
| --- | --- | --- | --- | --- | --- | --- |
""".splitlines()


def page(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table: means over seeds."""
    lines = list(_HEAD)
    for name in TASKS:
        for arm in ARMS:
            found = {r["seed"]: r for r in records if (r["data"], r["arm"]) == (name, arm)}
            if not found:
                continue
            float_arm = "float32-head" if arm.endswith("-head") else "float32"
            other = {r["seed"]: r for r in records if (r["data"], r["arm"]) == (name, float_arm)}
            average, last = (_mean(found, key) for key in _METRICS)
            both = sorted(set(found) & set(other))
            gaps = [found[s][_METRICS[0]] - other[s][_METRICS[0]] for s in both]
            gap = f"{np.mean(gaps):+.2f}" if gaps and arm != float_arm else ""
            layers = next(iter(found.values()))["trained_layers"]
            lines.append(
                f"| {name} | {arm} | {layers} | {len(found)} | {average} | {last} | {gap} |"
            )
    return "\n".join(lines) + "\n"


_METRICS = ("average_incremental_accuracy", "last_accuracy")


def _mean(records: dict[int, dict[str, Any]], key: str) -> str:
    return f"{np.mean([r[key] for r in records.values()]):.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write the records."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy.convolutions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", action="append", choices=TASKS)
    parser.add_argument("--arm", action="append", choices=ARMS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    records = json.loads(args.out.read_text()) if args.out.exists() else []
    known = {(r["data"], r["arm"], r["seed"]) for r in records}
    for seed in range(args.seeds):
        for name in args.data or TASKS:
            for arm in args.arm or ARMS:
                if (name, arm, seed) in known:
                    continue
                record = run(name, arm, seed)
                print(json.dumps(record), flush=True)
                records = sorted(
                    [*records, record], key=lambda r: (r["data"], r["seed"], ARMS.index(r["arm"]))
                )
                rows = ",\n".join(json.dumps(r, sort_keys=True) for r in records)
                args.out.write_text(f"[\n{rows}\n]\n")
                args.out.with_suffix(".md").write_text(page(records))


if __name__ == "__main__":
    main()
