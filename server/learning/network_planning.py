# SPDX-License-Identifier: Apache-2.0
"""What an inference-only model costs on a part: linked, and run in the emulator."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.arena import allocate
from codegen.graph import FloatGraph
from codegen.inference import network_plan
from codegen.quantize import QuantizeOptions
from codegen.quantize.inference import quantize_inference
from device.harness.devices import open_device
from device.harness.firmware import Firmware
from device.harness.network_client import NetworkClient
from device.harness.stack import learner_stack
from device.twin.inference import InferenceModel
from server.learning.firmwares import backend_for, build_firmware, service_errors
from server.learning.parts import LARGEST, PARTS, Part
from server.learning.planning import arena_report, flash_parts, stand_in


def plan_network(
    graph: FloatGraph,
    part: Part,
    cache: Path,
    samples: NDArray[np.float32] | None = None,
    features: str | None = None,
) -> dict[str, Any]:
    """Bytes of the linked firmware, arena, stack, and instructions of an inference.

    Args:
        graph: imported with `inference_only`.
        samples: calibration; random samples stand in, which fit the same shapes.
    Raises: QuantizeError, ToolMissingError; ModelDoesNotFitError that names a part that fits.
    """
    model = _model(graph, samples, features)
    board = part.board()
    firmware = build_firmware(model, board, cache)
    counts = _counted(model, firmware, part)
    return {
        "part": part.name,
        "kind": "inference-only",
        "ram_bytes": firmware.ram_bytes,
        "ram_available_bytes": part.ram_bytes,
        "flash_bytes": firmware.flash_bytes,
        "flash_available_bytes": part.flash_bytes,
        "flash_parts": {k: n for k, n in flash_parts(firmware, board).items() if n},
        "stack_bytes": learner_stack(firmware).worst_bytes,
        "inference_arena": arena_report(allocate(network_plan(model).buffers)),
        "instructions": counts,
        "seconds_at_one_instruction_a_cycle": {
            name: round(n / part.clock_hz, 6) for name, n in counts.items() if part.clock_hz
        },
        "compiler": firmware.toolchain,
    }


def networks_by_core(
    graph: FloatGraph, cache: Path, features: str | None = None
) -> Mapping[str, Firmware]:
    """The model linked once for each emulated board of PARTS, in the largest memory."""
    model = _model(graph, None, features)
    found: dict[str, Firmware] = {}
    for part in PARTS.values():
        if part.base not in found:
            large = replace(part, flash_bytes=LARGEST, ram_bytes=LARGEST)
            found[part.base] = build_firmware(model, large.board(), cache)
    return found


def _model(
    graph: FloatGraph, samples: NDArray[np.float32] | None, features: str | None
) -> InferenceModel:
    x = stand_in(graph, features) if samples is None else samples
    return quantize_inference(graph, x, QuantizeOptions(features=features))


def _counted(model: InferenceModel, firmware: Firmware, part: Part) -> dict[str, int]:
    raw = np.random.default_rng(1).integers(-500, 500, model.inputs).astype(np.int16)
    board = part.board()
    with service_errors(), open_device(firmware, board, backend_for(board)) as transport:
        NetworkClient(transport).infer(raw)
        executed = transport.instructions()
    return {} if executed is None else {"inference": executed}
