# SPDX-License-Identifier: Apache-2.0
"""What the demo does with a data set: network, tasks, sessions, device."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from server.demo.floats import Recipe
from server.learning.datasets import DIGITS, Dataset
from server.learning.float_reference import TrainOptions
from server.learning.stream import make_stream

# The first of these that can be built and run here is the device in the field.
FIELD_BOARDS = ("mps2-an386", "mps2-an385", "mps2-an500", "mps2-an505", "riscv-virt")
# For boards that are too small for the main model: the head learns, everything else is frozen.
TITLES = {DIGITS: "handwritten digits"}
SMALL_VARIANT = {
    "train_last": 1,
    "master_bits": 8,
    "batch": 8,
    "exemplar_slots": 20,
    "staging_slots": 8,
}


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        tasks: class slots learned together; the first holds the base classes.
        base: how the float base model is trained, hidden widths included.
        options: of the quantizer.
        recipe: of every session.
        train_steps: steps a board trains in its device test.
        test_rows: rows a board predicts in its device test.
        device_rows: test rows measured on the running device after each task.
    """

    tasks: tuple[tuple[int, ...], ...]
    base: TrainOptions
    options: dict[str, Any]
    recipe: Recipe
    train_steps: int
    test_rows: int
    device_rows: int


def make_plan(data: Dataset, quick: bool) -> Plan:
    """Digits: 64-32-10, classes 6 + 2 + 2. Others: two hidden layers, half of the classes first."""
    classes = len(data.class_names)
    small = data.name == DIGITS
    base = 6 if small else max(2, ceil(classes / 2))
    hidden = (32,) if small else (128, 128)
    slots = 100 if small else max(200, 10 * classes)
    options = {
        "max_classes": classes + 2,
        "exemplar_slots": slots,
        "staging_slots": 40 if small else 100,
    }
    steps = (100 if quick else 200) if small else (150 if quick else 400)
    return Plan(
        tasks=make_stream(classes, base, 2, None).tasks,
        base=TrainOptions(hidden=hidden),
        options=options,
        recipe=Recipe(steps, batch=32, learning_rate=0.05, exemplar_slots=slots, seed=1),
        train_steps=(10 if quick else 50) if small else 3,
        test_rows=16 if quick else 32,
        device_rows=60 if quick else 600,
    )
