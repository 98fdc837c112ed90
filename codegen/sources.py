# SPDX-License-Identifier: Apache-2.0
"""Folders of the runtime that a firmware does without: they would compile to nothing, or uncalled.

What is not named here always goes along, and so do private headers, for other folders read them.
"""

from codegen.emit.header import has_conv
from codegen.lower import Plan
from device.harness.boards import Board
from device.twin.inference import InferenceModel
from device.twin.model import IntModel

SOURCES = "runtime/src/"
FRONT, TRAINED_CONVOLUTIONS, FIELD = "front", "convolution", "field"
NETWORK = "network"
"""What only inference-only models have, in sources and headers."""
NETWORK_HEADER = "runtime/include/hadapt/network.h"
# All that an inference-only model needs of the runtime beside the front (SPEC.md 17).
INFERENCE = (
    "include/hadapt/core.h",
    "include/hadapt/features.h",
    "include/hadapt/front.h",
    "include/hadapt/layer.h",
    "include/hadapt/network.h",
    "include/hadapt/port.h",
    "include/hadapt/quant.h",
    "include/hadapt/scale.h",
    "include/hadapt/status.h",
    "include/hadapt/version.h",
    "include/hadapt/wire.h",
    "src/arithmetic/had_bytes.h",
    "src/arithmetic/had_cold.h",
    "src/arithmetic/had_divide.c",
    "src/arithmetic/had_quant.c",
    "src/arithmetic/had_scale.c",
    "src/front/",
    "src/network/",
)
SIGNAL = "src/signal/"
# Kernels of layouts that no host has; with a device's layout they run on the host too, for tests.
DEVICE_LAYOUTS = "cores"


def idle_folders(model: IntModel, plan: Plan, board: Board, field: bool) -> frozenset[str]:
    """Folders below runtime/src/ whose sources are left out.

    Args:
        field: it is a field device (SPEC.md 12, 13). A board's own build may set HAD_FIELD=1
            (docs/how-to/port-to-a-board.md): only hosts go without.
    """
    idle = {
        FRONT: not model.has_image,
        TRAINED_CONVOLUTIONS: not has_conv(plan),
        DEVICE_LAYOUTS: board.is_host,
        FIELD: board.is_host and not field,
        NETWORK: True,
    }
    return frozenset(folder for folder, without in idle.items() if without)


def left_out(path: str, idle: frozenset[str]) -> bool:
    """True for a source, by its path in the generated folder, in one of the idle folders."""
    if path == NETWORK_HEADER:
        return NETWORK in idle
    return path.endswith(".c") and path.removeprefix(SOURCES).partition("/")[0] in idle


def of_inference(path: str, model: InferenceModel) -> bool:
    """True for what the folder of an inference-only model has of the runtime."""
    names = INFERENCE + ((SIGNAL,) if model.signal else ())
    return path.startswith(tuple(f"runtime/{name}" for name in names))
