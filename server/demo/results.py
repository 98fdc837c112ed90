# SPDX-License-Identifier: Apache-2.0
"""What demo.json holds.

    format, seconds, steps, notes, failed (names of data sets)
    datasets   one a data set: network, class_names, confusion, average_incremental_accuracy,
               last_accuracy, forgetting, backward_transfer, float32 (the same four),
               fielded device, memory maps, arena
    tasks      one a task and data set: accuracies on tasks 0..k after task k (row k of R), the same
               before the update, accuracy_seen, forgetting, float32, device, update
    boards     one a board and data set: bit_exact, ram_bytes, flash_bytes, stack_bytes,
               instructions_inference, instructions_training_step, state_hash, elf_sha256

Accuracies and forgetting are shares in [0, 1]; null is not measured.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.learning.metrics import (
    average_incremental_accuracy,
    backward_transfer,
    forgetting_chaudhry,
)

Json = dict[str, Any]
FORMAT = 1


def stream_metrics(matrix: Sequence[Sequence[float]], seen: Sequence[float]) -> Json:
    """The figures of a stream.

    Args:
        matrix: R[k][j], row k with k + 1 entries.
        seen: accuracy on all classes known after each task.
    """
    return {
        "average_incremental_accuracy": average_incremental_accuracy(seen),
        "last_accuracy": seen[-1],
        "forgetting": forgetting_chaudhry(matrix),
        "backward_transfer": backward_transfer(matrix),
    }


def board_record(dataset: str, core: str, result: Json, variant: str) -> Json:
    """A board's record from a device test's result, complete or with an error."""
    error = result.get("error")
    counts = result.get("instructions") or {}
    details = result.get("details") or {}
    return {
        "dataset": dataset,
        "board": result["board"],
        "core": core,
        "variant": variant,
        "bit_exact": result.get("bit_exact"),
        "flash_bytes": result.get("flash_bytes"),
        "ram_bytes": result.get("ram_bytes"),
        "stack_bytes": result.get("stack_bytes"),
        "instructions_inference": counts.get("inference"),
        "instructions_training_step": counts.get("training_step"),
        "train_steps": details.get("train_steps"),
        "samples": details.get("samples"),
        "state_hash": result.get("state_hash"),
        "host_state_hash": details.get("host_state_hash"),
        "elf_sha256": result.get("elf_sha256"),
        "compiler": details.get("compiler", ""),
        "error": error["detail"] if error else None,
    }


def write(document: Json, folder: Path) -> Path:
    """Write demo.json."""
    path = folder / "demo.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path
