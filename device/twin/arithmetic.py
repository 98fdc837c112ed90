# SPDX-License-Identifier: Apache-2.0
"""Constants that hold for a whole model (SPEC.md 1.7, 1.8, 2 and 16)."""

from dataclasses import dataclass
from typing import Literal

SaturationMode = Literal["tile", "every_add"]


@dataclass(frozen=True)
class Arithmetic:
    """Constants that hold for the whole model (SPEC.md 1.7, 1.8, 2).

    Attributes:
        order: Hadamard order n: 1 (off), 4, 8, 16, 32 or 64.
        tile_k: terms a tile, 1 to 1024.
        acc_bits: width of a tile's accumulator: 8, 12, 16 or 32.
        saturation: when a tile saturates: once a `tile`, or at `every_add`.
        master_bits: width of the stored weights: 8 or 16.
        batch: rows of a training step, 1 to 512.
    """

    order: int = 16
    tile_k: int = 32
    acc_bits: int = 8
    saturation: SaturationMode = "tile"
    master_bits: int = 16
    batch: int = 32

    def __post_init__(self) -> None:
        checks = (
            (self.order in (1, 4, 8, 16, 32, 64), "order must be 1, 4, 8, 16, 32 or 64"),
            (1 <= self.tile_k <= 1024, "tile_k must be 1 to 1024"),
            (self.acc_bits in (8, 12, 16, 32), "acc_bits must be 8, 12, 16 or 32"),
            (self.saturation in ("tile", "every_add"), "saturation must be tile or every_add"),
            (self.master_bits in (8, 16), "master_bits must be 8 or 16"),
            (1 <= self.batch <= 512, "batch must be 1 to 512"),
        )
        for good, text in checks:
            if not good:
                raise ValueError(text)

    @property
    def master_max(self) -> int:
        """Largest master magnitude: 127 or 32767 (SPEC.md 1.2)."""
        return int(2 ** (self.master_bits - 1) - 1)


@dataclass(frozen=True)
class Expansion:
    """Blocks of rows that hidden layers reserve for tasks to come (SPEC.md 16).

    Attributes:
        first: F, the lowest trainable layer with blocks.
        count: T, blocks. rows: R, of a block in each of those layers.
        draws: g_l of each of those layers, from F up.
    """

    first: int
    count: int
    rows: int
    draws: tuple[int, ...]
