# SPDX-License-Identifier: Apache-2.0
"""A whole class-incremental run inside an emulated Cortex-M4 with 256 KB of RAM, beside the host.

    HADAPT_DATA=.. python -m benchmarks.on_device

Every task of DSADS (405 features, 19 classes: 3 at first, then two at a time), methods replay and
icarl, network 405-128-128-19 with int8 masters. The samples are streamed in: a task comes in rounds
of as many new samples as the staging memory holds, each learned, trained for some epochs and
committed. Host and device get the same commands; state hashes after every round and the accuracy
matrix must be equal. Results in benchmarks/results/on_device.json and .md.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from codegen.importer import import_onnx
from codegen.quantize import quantize
from device.harness.boards import BOARDS, KIB, Board
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.harness.firmware import Firmware
from device.harness.toolchain import find_toolchain
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import Dataset, data_folder, load
from server.learning.firmwares import cache_folder, host_learner, write_sources
from server.learning.float_reference import TrainOptions, train_base
from server.learning.methods import RECIPES, Method, distillation_of
from server.learning.metrics import (
    accuracy_row,
    average_incremental_accuracy,
    confusion,
    forgetting_chaudhry,
)
from server.learning.quantizing import parse_options
from server.learning.sessions import TrainPlan, stage, train_some
from server.learning.stream import TaskStream, make_stream

RESULTS = Path(__file__).parent / "results"
BOARD = "mps2-an386"
RAM_BYTES = 256 * KIB
METHODS: tuple[Method, ...] = ("replay", "icarl")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """The run, but for method and data.

    Attributes:
        bias_correction: held by the firmware, for method bic.
        rounds: a task's new samples come in so many parts of `round_samples` a class.
        epochs: of each round, over all samples stored then.
        test_rows: test samples a class.
    """

    hidden: tuple[int, ...] = (128, 128)
    base_classes: int = 3
    step_classes: int = 2
    rounds: int = 3
    round_samples: int = 20
    epochs: int = 10
    learning_rate: float = 0.05
    batch: int = 16
    exemplar_slots: int = 114
    test_rows: int = 120
    base_epochs: int = 30
    bias_correction: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a learner did: matrix R in percent, state hash after every round, training steps."""

    matrix: list[list[float]]
    after: list[float]
    hashes: list[str]
    steps: int


def make_model(data: Dataset, schedule: Schedule) -> tuple[IntModel, TaskStream]:
    """The base network, trained in float on task 0 and quantized with room for all classes."""
    classes = len(data.class_names)
    stream = make_stream(classes, schedule.base_classes, schedule.step_classes, schedule.seed)
    rows = stream.rows(data.y_train, 0)
    x, y = data.x_train[rows], stream.slots(data.y_train[rows])
    normaliser = fit_normaliser(x)
    epochs = schedule.base_epochs
    options = TrainOptions(
        hidden=schedule.hidden, epochs=epochs, milestones=(epochs * 2 // 3,), batch=32, lr=0.05
    )
    params = train_base(normaliser.apply(x), y, schedule.base_classes, options, schedule.seed)
    chosen = {
        "max_classes": classes,
        "exemplar_slots": schedule.exemplar_slots,
        "staging_slots": schedule.step_classes * schedule.round_samples,
        "master_bits": 8,
        "batch": schedule.batch,
        "distillation": True,
        "bias_correction": schedule.bias_correction,
    }
    graph = import_onnx(to_onnx(params, normaliser).SerializeToString())
    return quantize(graph, x, y, parse_options(chosen)), stream


def run(
    device: DeviceClient,
    model: IntModel,
    data: Dataset,
    stream: TaskStream,
    schedule: Schedule,
    method: Method,
    say: Say = lambda _: None,
) -> Outcome:
    """All tasks on one freshly booted learner."""
    matrix, after, hashes, steps = [], [], [], 0
    for task in range(len(stream.tasks)):
        for part in range(schedule.rounds if task else 0):
            rows = _round_rows(data, stream, task, part, schedule)
            steps += _round(device, model, data, stream, rows, task, method, schedule)
            hashes.append(device.state_hash().hex())
        seen = _test_rows(data, stream, task, schedule)
        labels = stream.slots(data.y_test[seen])
        predicted, _ = device.infer_many(
            raw_samples(model, data.x_test[seen]), RECIPES[method].head
        )
        table = confusion(labels, predicted, stream.class_count(task))
        matrix.append([100 * a for a in accuracy_row(table, stream.tasks[: task + 1])])
        after.append(100 * float(np.mean(predicted == labels)))
        say(f"  task {task}: {after[-1]:.1f} % of {len(seen)} test samples")
    return Outcome(matrix, after, hashes, steps)


def _round(
    device: DeviceClient,
    model: IntModel,
    data: Dataset,
    stream: TaskStream,
    rows: Sequence[int],
    task: int,
    method: Method,
    schedule: Schedule,
) -> int:
    """Learn one part of a task. Returns: training steps."""
    known, count = device.info().n_classes, stream.class_count(task)
    labels = stream.slots(data.y_train[rows])
    stage(device, raw_samples(model, data.x_train[rows]), labels, known, count)
    steps = ceil(schedule.epochs * device.info().samples / schedule.batch)
    how = distillation_of(method, known, count)
    recipe, seed = RECIPES[method], schedule.seed * 1000 + task
    plan = TrainPlan(steps, seed, schedule.learning_rate, recipe.sampling, how, recipe.hold)
    train_some(device, plan, 0, steps, lambda: None)
    device.commit(*recipe.correction)
    return steps


def _round_rows(
    data: Dataset, stream: TaskStream, task: int, part: int, schedule: Schedule
) -> list[int]:
    """Evenly spread training rows of a part, the classes in turn."""
    chosen = []
    for slot in stream.tasks[task]:
        rows = np.flatnonzero(stream.slots(data.y_train) == slot)
        wanted = schedule.rounds * schedule.round_samples
        spread = rows[np.linspace(0, len(rows) - 1, wanted).astype(int)]
        chosen.append(spread[part :: schedule.rounds])
    return [int(row) for row in np.stack(chosen, axis=1).reshape(-1)]


def _test_rows(data: Dataset, stream: TaskStream, task: int, schedule: Schedule) -> list[int]:
    """Evenly spread test rows of every class seen."""
    chosen: list[int] = []
    for slot in range(stream.class_count(task)):
        rows = np.flatnonzero(stream.slots(data.y_test) == slot)
        count = min(schedule.test_rows, len(rows))
        chosen += rows[np.linspace(0, len(rows) - 1, count).astype(int)].tolist()
    return chosen


def small_board() -> Board:
    """The Cortex-M4 board, whose linker script gives it 256 KB of RAM."""
    return replace(BOARDS[BOARD], ram_bytes=RAM_BYTES)


def build_for_board(model: IntModel, board: Board, cache: Path) -> Firmware:
    """Raises: FirmwareTooLargeError if it does not fit the board's RAM."""
    sources = write_sources(model, board, cache)
    return build(sources, board, find_toolchain(board), cache / "builds", opt="-O2")


@contextmanager
def booted(firmware: Firmware, board: Board) -> Iterator[DeviceClient]:
    """The firmware in QEMU."""
    with open_device(firmware, board, "qemu", count=False) as transport:
        yield DeviceClient(transport)


def instructions(
    firmware: Firmware, board: Board, model: IntModel, data: Dataset, stream: TaskStream
) -> dict[str, int]:
    """Executed instructions of an inference and of a training step, counted by QEMU's plugin."""
    rows = stream.rows(data.y_train, 0)[:16]
    raw = raw_samples(model, data.x_train[rows])
    counts = {}
    with open_device(firmware, board, "qemu") as transport:
        device = DeviceClient(transport)
        device.infer(raw[0])
        counts["inference"] = transport.instructions() or 0
        plan = TrainPlan(2, 1, 0.05)
        device.train_begin(1, 2, plan.schedule_from(0))
        device.train(device.info().units_per_step)
        counts["training_step"] = transport.instructions() or 0
    return counts


def compare(
    data: Dataset,
    schedule: Schedule,
    methods: Sequence[Method],
    board: Board,
    cache: Path,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Host and device, method by method: the document of the results."""
    model, stream = make_model(data, schedule)
    firmware = build_for_board(model, board, cache)
    say(f"firmware: {firmware.ram_bytes} bytes of RAM, {firmware.flash_bytes} of flash")
    rows = []
    for method in methods:
        with host_learner(model, model.staging_slots, cache) as host:
            expected = run(host, model, data, stream, schedule, method)
        started = time.monotonic()
        with booted(firmware, board) as device:
            got = run(device, model, data, stream, schedule, method, say)
        rows.append(_row(method, expected, got, time.monotonic() - started))
        say(f"{method}: {'equal' if rows[-1]['equal'] else 'DIFFERS'}")
    return {
        "dataset": data.name,
        "board": board.name,
        "ram_limit_bytes": board.ram_bytes,
        "ram_bytes": firmware.ram_bytes,
        "flash_bytes": firmware.flash_bytes,
        "compiler": firmware.toolchain,
        "elf_sha256": firmware.sha256,
        "instructions": instructions(firmware, board, model, data, stream),
        "class_order": list(stream.class_order),
        "schedule": asdict(schedule),
        "runs": rows,
    }


def _row(method: Method, host: Outcome, device: Outcome, seconds: float) -> dict[str, Any]:
    return {
        "method": method,
        "equal": host == device,
        "steps": device.steps,
        "state_hash": device.hashes[-1],
        "host_state_hash": host.hashes[-1],
        "matrix": device.matrix,
        "host_matrix": host.matrix,
        "average_incremental_accuracy": average_incremental_accuracy(device.after),
        "last_accuracy": device.after[-1],
        "forgetting_chaudhry": forgetting_chaudhry(device.matrix),
        "emulator_seconds": round(seconds, 1),
    }


def as_table(document: dict[str, Any]) -> str:
    """The result for people."""
    counts, schedule = document["instructions"], document["schedule"]
    hidden = "-".join(map(str, schedule["hidden"]))
    fresh = schedule["rounds"] * schedule["round_samples"]
    ram, flash = document["ram_bytes"], document["flash_bytes"]
    lines = [
        "# A whole class-incremental run on an emulated Cortex-M4",
        "",
        "Made by `python -m benchmarks.on_device`, whose docstring says what is run; the schedule,",
        "the class order and both matrices are in on_device.json.",
        "",
        f"{document['dataset']}, hidden layers {hidden}, int8 masters, exemplars kept:",
        f"{schedule['exemplar_slots']}. New samples a class: {fresh}. Board {document['board']},",
        f"linked for {document['ram_limit_bytes'] // KIB} KB of RAM: {ram:,} bytes of RAM and",
        f"{flash:,} of flash used. Instructions: {counts['inference']:,} an inference,",
        f"{counts['training_step']:,} a training step of {schedule['batch']} samples.",
        "",
        "| method | steps | average incremental | last | forgetting | host, device | state hash |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["runs"]:
        verdict = "equal, every hash and R" if row["equal"] else "DIFFER"
        figures = ("average_incremental_accuracy", "last_accuracy", "forgetting_chaudhry")
        cells = [row["method"], str(row["steps"]), *(f"{row[name]:.2f}" for name in figures)]
        lines.append("| " + " | ".join([*cells, verdict, row["state_hash"][:16]]) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns: 0 if host and device are equal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_device", description=__doc__)
    parser.add_argument("--data", default="dsads_405", help="name, as benchmarks.accuracy has it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(arguments)
    data, board = load(options.data, data_folder()), small_board()
    document = compare(
        data, Schedule(), METHODS, board, cache_folder(), lambda t: print(t, flush=True)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "on_device.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "on_device.md").write_text(as_table(document))
    return 0 if all(row["equal"] for row in document["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
