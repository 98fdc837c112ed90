# SPDX-License-Identifier: Apache-2.0
"""What is compared: data, tasks, network, schedule, memory, method and arithmetic."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from codegen.quantize.options import EXPANSIONS
from server.learning.methods import RECIPES

JOINT = "joint"
METHODS: tuple[str, ...] = (*RECIPES, JOINT)
Arithmetic = Literal[
    "float32",
    "hdqt-int16",
    "hdqt-int8",
    "float32-tuned",
    "simulated-hdqt",
    "simulated-no-hadamard",
    "simulated-nearest",
    "simulated-luq",
]
ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)
Base = Literal["float32", "integers"]
BASES: tuple[Base, ...] = get_args(Base)
CORE_SETS = ("dsads_405", "hapt_561", "fsdd_mfcc49x10")
CORE_METHODS = ("replay", "lwf", "icarl", "bic")
CORE_ARITHMETICS: tuple[Arithmetic, ...] = (
    "float32",
    "hdqt-int16",
    "hdqt-int8",
    "float32-tuned",
)


@dataclass(frozen=True)
class Setting:
    """One run, but for its seed.

    Attributes:
        dataset: name, as server.learning.datasets.load takes it, or the stem of an npz file.
        method: one of server.learning.methods, or `joint`: replay that keeps every sample, the
            upper bound, on this machine only.
        arithmetic: of base quantization and learning. `float32` and `float32-tuned` learn in
            NumPy, the latter by its own recipe (`benchmarks/README.md`); `hdqt-*` in the host
            build of the generated C; `simulated-*` in NumPy (`simulations.py`).
        hidden: widths of the hidden layers.
        base_classes, step_classes: classes of task 0, and of each later task.
        exemplar_slots: samples kept between tasks, shared equally by the classes.
        epochs: session steps = epochs * stored samples / batch.
        normaliser_floor: least deviation of a feature, as a share of the largest one.
        distillation: weight of it; None: the method's own.
        base: in what the base task is learned: `float32`, then converted, or `integers`: the
            converted network is of drawn weights, and the generated C learns all classes.
        block_rows: rows that a task adds to a layer, where the network grows.
        quantizer: further options of the quantizer, such as tile_k or acc_bits; of a simulation
            fields of Simulation or Optimiser (`simulations.py`).
    """

    dataset: str
    method: str
    arithmetic: Arithmetic
    hidden: tuple[int, ...] = (128, 128)
    base_classes: int = 2
    step_classes: int = 2
    exemplar_slots: int = 200
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 0.05
    base_epochs: int = 30
    normaliser_floor: float = 0.1
    quantizer: tuple[tuple[str, Any], ...] = ()
    distillation: float | None = None
    block_rows: int = 16
    base: Base = "float32"

    @property
    def network(self) -> str:
        """Hidden widths as text."""
        return "-".join(str(width) for width in self.hidden)

    @property
    def is_possible(self) -> bool:
        """Whether this method has this arithmetic and base.

        Simulations do not grow; a base in integers is of the generated C alone, where networks
        that grow would spend their first block on it.
        """
        if self.base == "integers" and not self.arithmetic.startswith("hdqt"):
            return False
        if self.method in EXPANSIONS:
            return self.base == "float32" and not self.arithmetic.startswith("simulated")
        return self.method != JOINT or not self.arithmetic.startswith("hdqt")

    def options(self, classes: int) -> dict[str, Any]:
        """Options of the quantizer."""
        bits = 8 if self.arithmetic == "hdqt-int8" else 16
        grows = self.method in EXPANSIONS
        tasks = -(-(classes - self.base_classes) // self.step_classes)
        grown = {
            "expansion": self.method,
            "expansion_blocks": max(1, tasks),
            "expansion_rows": self.block_rows,
        }
        return {
            "max_classes": classes,
            "exemplar_slots": self.exemplar_slots,
            "staging_slots": 8,
            "master_bits": bits,
            "batch": self.batch,
            "bias_correction": self.method == "bic",
            **(grown if grows else {}),
            **dict(self.quantizer),
        }

    def record(self) -> dict[str, Any]:
        """The setting as fields of a result."""
        fields = asdict(self)
        del fields["hidden"], fields["quantizer"]
        return {**fields, "network": self.network, "quantizer": dict(self.quantizer)}
