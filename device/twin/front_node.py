# SPDX-License-Identifier: Apache-2.0
"""A node of the front: constants and shapes (SPEC.md 4.1). What it computes is in `front`."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
Shape3 = tuple[int, int, int]

KINDS = ("conv", "average", "max", "add", "concat", "table")
REQUANTIZING = ("conv", "average", "add", "concat")


@dataclass(frozen=True)
class FrontNode:
    """One node of the front. Fields that a kind does not use keep their defaults.

    Attributes:
        kind: conv, average, max, add, concat or table.
        sources: numbers of the tensors read: 0 is the input, k + 1 what node k makes.
        in_shapes: (H, W, C) of each; out_shape: of the result.
        weight: conv: int8, shape (O, kernel_h, kernel_w, I / groups), in [-127, 127].
        bias: conv: int32, shape (O,), in the grid of y.
        mult: int16: conv: shape (O,); average: (1,); add, concat: one a source.
        shift: uint8: conv: shape (O,); average, add: (1,); concat: one a source.
        table: int8, shape (256,), by input value + 128.
        kernel, stride, dilation, pad: (vertical, horizontal); pad is the one at the top left.
        groups: of conv.
        nonnegative: lo of the requantisation; for max and table whether values can be negative.
        out_amax, qmax: of the requantisation.
    """

    kind: str
    name: str
    sources: tuple[int, ...]
    in_shapes: tuple[Shape3, ...]
    out_shape: Shape3
    weight: NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.int8))
    bias: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    mult: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    shift: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    table: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    kernel: Size = (1, 1)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    pad: Size = (0, 0)
    groups: int = 1
    nonnegative: bool = False
    out_amax: int = 1
    qmax: int = 127

    @property
    def outputs(self) -> int:
        """Values of the result."""
        return int(np.prod(self.out_shape))

    @property
    def acc_shifts(self) -> NDArray[np.int64]:
        """acc_shift of each output channel of a conv, of the whole of an average."""
        if self.kind == "average":
            bounds = [127 * self.kernel[0] * self.kernel[1]]
        else:
            flat = np.abs(self.weight.reshape(len(self.weight), -1).astype(np.int64))
            bounds = (127 * flat.sum(axis=1)).tolist()
        return np.array([max(0, int(bound).bit_length() - 15) for bound in bounds], np.int64)
