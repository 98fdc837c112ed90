# SPDX-License-Identifier: Apache-2.0
"""What a model's firmware executes on a board: exact instructions in QEMU, and modelled cycles."""

from pathlib import Path

import numpy as np

from device.harness.boards import Board
from device.harness.client import DeviceClient
from device.harness.cycles import CORES, modelled_cycles
from device.harness.devices import QemuTransport, open_device
from device.harness.firmware import Firmware
from device.twin.model import IntModel
from device.twin.scale import Scale
from device.twin.work import units_per_step
from server.errors import InvalidInputError, Issue
from server.learning.firmwares import build_firmware, service_errors
from server.learning.ports import Json

SAMPLES = 12
SPREAD = 100  # raw values: normally distributed, in units of the samples' last bit
RATE = 0.05
STEPS = 1000  # of the session that is measured; it is not trained to its end


def costs_of(model: IntModel, board: Board, cache: Path) -> Json:
    """Cost of a training step and of an inference, and how long an inference may have to wait.

    Samples are random numbers from a fixed seed: tiles that saturate take their own path, so the
    counts depend on data a little. Training runs in the smallest slices there are, a row each.

    Returns: step, inference, worst_slice, inference_while_training: each `instructions` (exact)
        and `cycles_model` (None where there is no public table, and for the last two).
    Raises: InvalidInputError for the host; ModelDoesNotFitError, ToolMissingError,
        DeviceFailedError.
    """
    if board.name == "host":
        issue = Issue("board host", "board", "a board that QEMU emulates")
        raise InvalidInputError("Instructions are not counted on the host.", [issue])
    firmware = build_firmware(model, board, cache)
    with service_errors():
        counts = {
            name: _cycles(firmware, board, found) for name, found in _run(model, firmware, board)
        }
        worst = _worst_slice(model, firmware, board)
    wait = worst + counts["inference"]["instructions"]
    return {
        **counts,
        "worst_slice": {"instructions": worst, "cycles_model": None},
        "inference_while_training": {"instructions": wait, "cycles_model": None},
    }


def _cycles(firmware: Firmware, board: Board, counts: dict[int, int]) -> Json:
    modelled = modelled_cycles(board.core, counts, firmware.elf) if board.core in CORES else None
    return {"instructions": sum(counts.values()), "cycles_model": modelled}


def _run(model: IntModel, firmware: Firmware, board: Board) -> list[tuple[str, dict[int, int]]]:
    """Executions by address of the second step of a session, and of an inference."""
    with open_device(firmware, board, "qemu", profile=True) as transport:
        assert isinstance(transport, QemuTransport)
        client = DeviceClient(transport)
        raw = begin(model, client)
        for _ in range(2):
            client.train(units_per_step(model))
        step = transport.executions()
        client.infer(raw)
        return [("step", step), ("inference", transport.executions())]


def _worst_slice(model: IntModel, firmware: Firmware, board: Board) -> int:
    """Instructions of the dearest slice of a step that is cut at every row."""
    worst = 0
    with open_device(firmware, board, "qemu") as transport:
        client = DeviceClient(transport)
        begin(model, client)
        before = client.train(units_per_step(model)).steps_left
        while client.train(1).steps_left == before:
            worst = max(worst, transport.instructions() or 0)
    return worst


def begin(model: IntModel, client: DeviceClient) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Stage samples of every class in turn, and start a session; returns a sample."""
    rng = np.random.default_rng(0)
    raw = np.round(rng.normal(0, SPREAD, (SAMPLES, model.inputs))).astype(np.int16)
    for at, sample in enumerate(raw):
        if client.learn(sample, at % model.n_classes) == 0:
            break
    client.train_begin(0, STEPS, [(0, Scale.from_real(RATE))])
    first: np.ndarray[tuple[int], np.dtype[np.int16]] = raw[0]
    return first
