# SPDX-License-Identifier: Apache-2.0
"""The project's targets for cost, and how far the measured figures are from them.

A figure counts as the best of the compilers that were measured, each core for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers import QUOTES
from benchmarks.records import Record

CORES = ("M0", "M3", "M4", "M55")
SQUARE = "405-405-405-4 b32 int8"
SMALL = "64-32-10 b16 int8"
ACTIVITY = "405-128-128-19 b32 int8"


@dataclass(frozen=True)
class Target:
    """A figure that is wanted.

    Attributes:
        model, figure: what is measured, see README.md of this folder.
        title: for the table, with what the figure includes.
        most: core to the largest value that meets the target.
    """

    model: str
    figure: str
    title: str
    most: dict[str, float]


@dataclass(frozen=True)
class Standing:
    """A target on one core.

    Attributes:
        value: the best measured figure, None if it was not measured.
        kind: compiler it was measured with.
        peer: the best quoted figure of another library, None if there is none.
    """

    target: Target
    core: str
    value: float | None
    kind: str
    peer: float | None

    @property
    def is_missed(self) -> bool:
        """Measured, and above the target."""
        return self.value is not None and self.value > self.target.most[self.core]


def _cores(m0: float, m3: float, m4: float, m55: float) -> dict[str, float]:
    return dict(zip(CORES, (m0, m3, m4, m55), strict=True))


TARGETS: tuple[Target, ...] = (
    Target(
        SQUARE,
        "forward_0",
        "405x405, batch 32, insn/MAC; ours makes the 4-bit view of the masters too",
        _cores(1.7, 0.95, 0.60, 0.20),
    ),
    Target(
        SQUARE,
        "forward_1",
        "the same, activations in [0, 15]",
        _cores(1.8, 1.0, 0.75, 0.20),
    ),
    Target(
        SQUARE,
        "inference_per_mac",
        "batch 1, nibble weights, insn/MAC; ours is the whole network",
        _cores(2.4, 1.3, 0.95, 0.22),
    ),
    Target(
        SMALL,
        "kernel_fwht_columns_16",
        "Hadamard transform of order 16 alone, insn/element",
        _cores(23, 20, 8, 7),
    ),
    Target(
        ACTIVITY,
        "kernel_fwht_columns_32",
        "Hadamard transform of order 32 alone, insn/element",
        _cores(23, 20, 8, 7),
    ),
    Target(
        SMALL,
        "train_step",
        "training step 64-32-10, batch 16, instructions",
        _cores(600_000, 350_000, 200_000, 150_000),
    ),
    Target(
        SMALL,
        "training_ram_bytes",
        "RAM of that training, int8 masters, stack included, bytes",
        _cores(9 * 1024, 9 * 1024, 9 * 1024, 9 * 1024),
    ),
    Target(
        ACTIVITY,
        "train_step_per_mac",
        "training step 405-128-128-19, batch 32, insn/MAC",
        _cores(3.0, 1.8, 1.2, 0.5),
    ),
    Target(
        SMALL,
        "code_bytes",
        "code of training and inference, bytes",
        _cores(14 * 1024, 14 * 1024, 14 * 1024, 16 * 1024),
    ),
)


def standings(target: Target, records: Sequence[Record]) -> list[Standing]:
    """A target on each of its cores."""
    own = [r for r in records if (r.model, r.figure) == (target.model, target.figure)]
    out = []
    for core in target.most:
        measured = [(r.value, r.kind) for r in own if r.core == core]
        value, kind = min(measured, default=(None, ""))
        out.append(Standing(target, core, value, kind, _peer(target, core)))
    return out


def _peer(target: Target, core: str) -> float | None:
    """The best of the quoted figures."""
    beside = [q.values for q in QUOTES if q.beside == (target.model, target.figure)]
    return min((values[core] for values in beside if core in values), default=None)
