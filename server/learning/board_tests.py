# SPDX-License-Identifier: Apache-2.0
"""One board against the host: same firmware sources, same commands, compared bit for bit."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.harness.boards import BOARDS, Board
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.harness.firmware import Firmware
from device.harness.stack import learner_stack
from device.harness.transport import Transport
from device.twin.inference import AnyModel
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from device.twin.work import units_per_step
from server.learning.firmwares import (
    build_firmware,
    emulated_device,
    get_board,
    service_errors,
)
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.ports import DeviceReport, DeviceTask, Json, StopSignal
from server.learning.sessions import TrainPlan, deliver
from server.learning.stopping import check_stop

LEARNING_RATE = 0.05
UNITS_ALL = 2**31


@dataclass(frozen=True)
class Trace:
    """What one execution answered: hash after delivery, predictions, hash after training."""

    delivered: bytes
    predictions: tuple[int, ...]
    trained: bytes | None
    counts: dict[str, int]

    @property
    def final(self) -> bytes:
        """Hash at the end."""
        return self.trained or self.delivered

    def equals(self, other: "Trace") -> bool:
        """Bit-exact: every hash and every answer."""
        mine = (self.delivered, self.predictions, self.trained)
        return mine == (other.delivered, other.predictions, other.trained)


def run_device_test(task: DeviceTask, cache: Path, stop: StopSignal) -> DeviceReport:
    """See Engine.device_test."""
    model = IntModel.from_bytes(task.int_model)
    learner = LearnerData.from_bytes(task.learner)
    board = get_board(task.board)
    firmware = build_firmware(model, board, cache)
    host = build_firmware(model, BOARDS["host"], cache)
    raw = raw_samples(model, task.x)
    check_stop(stop)
    with service_errors(), open_device(host, BOARDS["host"], "host") as transport:
        expected = _run(model, learner, task, raw, DeviceClient(transport), transport, stop)
    with emulated_device(firmware, board) as (client, transport):
        got = _run(model, learner, task, raw, client, transport, stop)
    return DeviceReport(
        board=board.name,
        bit_exact=got.equals(expected),
        state_hash=got.final.hex(),
        elf_sha256=firmware.sha256,
        instructions=got.counts,
        flash_bytes=firmware.flash_bytes,
        ram_bytes=firmware.ram_bytes,
        stack_bytes=learner_stack(firmware).worst_bytes,
        details={
            "host_state_hash": expected.final.hex(),
            "delivered_hash_equals_update": got.delivered == learner.state_hash,
            "predictions_sha256": hashlib.sha256(bytes(got.predictions)).hexdigest(),
            "samples": len(raw),
            "train_steps": task.train_steps,
            "accuracy": _accuracy(got.predictions, task.y),
            "compiler": firmware.toolchain,
            **_instructions_a_unit(model, got.counts),
        },
    )


def _instructions_a_unit(model: IntModel, counts: dict[str, int]) -> Json:
    """What a work unit of `train(budget)` costs on the board (SPEC.md 8.6)."""
    units = units_per_step(model)
    step = counts.get("training_step")
    return {
        "units_per_step": units,
        "instructions_per_unit": None if step is None else step / units,
    }


def _accuracy(predictions: tuple[int, ...], labels: NDArray[np.int64]) -> float | None:
    if len(predictions) == 0 or len(labels) != len(predictions):
        return None
    return float(np.mean(np.array(predictions) == labels))


def _run(
    model: IntModel,
    learner: LearnerData,
    task: DeviceTask,
    raw: NDArray[np.int16],
    client: DeviceClient,
    transport: Transport,
    stop: StopSignal,
) -> Trace:
    delivered = deliver(client, initial_exemplars(model), learner)
    predictions = []
    counts: dict[str, int] = {}
    for sample in raw:
        check_stop(stop)
        predictions.append(client.infer(sample)[0])
    _count(counts, "inference", transport)
    trained = None
    if task.train_steps:
        trained = _train(client, task, raw, transport, counts, stop)
    return Trace(delivered, tuple(predictions), trained, counts)


def _train(
    client: DeviceClient,
    task: DeviceTask,
    raw: NDArray[np.int16],
    transport: Transport,
    counts: dict[str, int],
    stop: StopSignal,
) -> bytes:
    """Learn as many samples as the board has slots for, train, and hash.

    The first step is cut in the middle, so that slices are part of every proof.
    """
    info = client.info()
    free = info.exemplar_slots + info.staging_slots - info.samples
    for sample, label in list(zip(raw, task.y.tolist(), strict=True))[:free]:
        client.learn(sample, label)
    plan = TrainPlan(task.train_steps, task.seed, LEARNING_RATE)
    client.train_begin(plan.seed, plan.steps, plan.schedule_from(0), "balanced")
    step = info.units_per_step
    client.train(step // 3)
    progress = client.train(step - step // 3)
    while progress.steps_left:
        check_stop(stop)
        progress = client.train(step)
        _count(counts, "training_step", transport)
    return client.state_hash()


def _count(counts: dict[str, int], figure: str, transport: Transport) -> None:
    executed = transport.instructions()
    if executed is not None:
        counts[figure] = executed


def resource_report(model: AnyModel, board: Board, firmware: Firmware) -> Json:
    """Bytes of a linked firmware against its board."""
    return {
        "board": board.name,
        "flash_bytes": firmware.flash_bytes,
        "flash_available_bytes": board.code_bytes,
        "ram_bytes": firmware.ram_bytes,
        "ram_available_bytes": board.ram_bytes,
        "stack_bytes": learner_stack(firmware).worst_bytes,
        "elf_sha256": firmware.sha256,
        "compiler": firmware.toolchain,
    }
