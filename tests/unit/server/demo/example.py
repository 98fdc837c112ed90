# SPDX-License-Identifier: Apache-2.0
"""A small demo.json, made by hand: three classes, two tasks, names that need escaping."""

from typing import Any

HASH, ELF = "ab" * 32, "cd" * 32
NAMES = ["walk & run", "<stairs>", 'sit "down"']


def document() -> dict[str, Any]:
    """The document; a fresh copy each time."""
    return {
        "format": 1,
        "seconds": 61.5,
        "steps": [{"text": "start the service", "seconds": 2.5}],
        "failed": [],
        "notes": ["riscv-virt cannot be run here: qemu-system-riscv32 is missing"],
        "datasets": [_dataset()],
        "tasks": [
            _task(0, NAMES[:2], [1.0], [None], 1.0),
            _task(1, NAMES[2:], [0.75, 0.5], [1.0, 0.0], 2 / 3),
        ],
        "boards": [_board("microbit"), _board("mps2-an386"), _absent("riscv-virt")],
    }


def _figures(average: float) -> dict[str, Any]:
    return {
        "average_incremental_accuracy": average,
        "last_accuracy": 2 / 3,
        "forgetting": 0.25,
        "backward_transfer": -0.25,
    }


def _dataset() -> dict[str, Any]:
    parts = [{"name": "program", "bytes": 700}, {"name": "the rest", "bytes": 300}]
    return {
        "name": "motion",
        "title": "motion",
        "network": [4, 8, 3],
        "class_names": NAMES,
        "base_classes": 2,
        "new_classes": 1,
        "confusion": [[3, 1, 0], [0, 2, 0], [1, 0, 1]],
        **_figures(5 / 6),
        "float32": _figures(0.9),
        "delivered_bytes": 1234,
        "fielded": {
            "error": None,
            "board": "mps2-an386",
            "title": "a board",
            "emulator": "QEMU",
            "elf_sha256": ELF,
        },
        "memory": [
            {"memory": "Flash", "board": "mps2-an386", "available_bytes": 4000, "parts": parts},
            {"memory": "RAM", "board": "mps2-an386", "available_bytes": 1500, "parts": parts},
        ],
        "arena": {
            "bytes": 64,
            "lower_bound_bytes": 64,
            "operations": ["gather", "forward_0", "loss"],
            "buffers": [
                {"name": "x0", "owner": "inputs", "offset": 0, "bytes": 32, "first": 0, "last": 2},
                {
                    "name": "y0",
                    "owner": "outputs",
                    "offset": 32,
                    "bytes": 32,
                    "first": 1,
                    "last": 2,
                },
            ],
        },
    }


def _task(
    number: int,
    classes: list[str],
    after: list[float],
    before: list[float | None],
    seen: float,
) -> dict[str, Any]:
    return {
        "dataset": "motion",
        "task": number,
        "classes": classes,
        "accuracies": after,
        "accuracies_before": before,
        "accuracy_seen": seen,
        "forgetting": 0.25 * number,
        "float32": {"accuracies": after, "accuracy_seen": seen, "forgetting": 0.0},
        "update": None,
        "device": {
            "accuracy": seen,
            "rows": 6,
            "state_hash": HASH,
            "hash_equals_update": True,
            "elf_sha256": ELF,
        },
    }


def _board(name: str) -> dict[str, Any]:
    return {
        "dataset": "motion",
        "board": name,
        "core": "cortex-m0",
        "variant": "a smaller model" if name == "microbit" else "main",
        "bit_exact": True,
        "flash_bytes": 22580,
        "ram_bytes": 6976,
        "stack_bytes": 656,
        "instructions_inference": 25516,
        "instructions_training_step": 196936,
        "state_hash": HASH,
        "elf_sha256": ELF,
        "compiler": "gcc",
        "error": None,
    }


def _absent(name: str) -> dict[str, Any]:
    keys = ("flash_bytes", "ram_bytes", "stack_bytes", "instructions_inference",
            "instructions_training_step", "state_hash", "elf_sha256", "bit_exact")  # fmt: skip
    return {**_board(name), **dict.fromkeys(keys), "error": "qemu-system-riscv32 is missing"}
