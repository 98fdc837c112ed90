# SPDX-License-Identifier: Apache-2.0
"""Geometry of a trainable convolution and the pool behind it (SPEC.md 14.1)."""

from dataclasses import dataclass
from typing import Literal

Size = tuple[int, int]
Shape3 = tuple[int, int, int]
Pool = Literal["none", "average", "max"]

POOLS = ("none", "average", "max")


@dataclass(frozen=True)
class ConvShape:
    """Where the windows of a layer lie. Pairs are (vertical, horizontal).

    Attributes:
        in_shape: (H, W, C) of the input, stored pixel by pixel, channels innermost.
        out_size: (Ho, Wo) of the convolution, before the pool.
        kernel, stride, dilation, pad: of the convolution; pad is the one at the top left.
        pool: none, average or max, over windows of `pool_size` that do not overlap.
        groups: G; channels of input and output in as many parts.
        top: upper bound of the outputs in their grid, 0 for none.
    """

    in_shape: Shape3
    out_size: Size
    kernel: Size
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    pad: Size = (0, 0)
    pool: Pool = "none"
    pool_size: Size = (1, 1)
    groups: int = 1
    top: int = 0

    @property
    def in_values(self) -> int:
        """H W C."""
        return self.in_shape[0] * self.in_shape[1] * self.in_shape[2]

    @property
    def pixels(self) -> int:
        """P: output pixels before the pool."""
        return self.out_size[0] * self.out_size[1]

    @property
    def terms(self) -> int:
        """K: terms of an unrolled row."""
        return self.kernel[0] * self.kernel[1] * self.group_channels

    @property
    def group_channels(self) -> int:
        """I: input channels of a group."""
        return self.in_shape[2] // self.groups

    @property
    def pooled_size(self) -> Size:
        """Windows of the pool, vertically and horizontally; the output size without one."""
        return self.out_size[0] // self.pool_size[0], self.out_size[1] // self.pool_size[1]

    @property
    def pooled_pixels(self) -> int:
        """Qn: pixels of what the next layer reads."""
        return self.pooled_size[0] * self.pooled_size[1]

    @property
    def pool_terms(self) -> int:
        """N: positions of a window of the pool."""
        return self.pool_size[0] * self.pool_size[1]

    def axis(self, which: int, at: int, step: int) -> int:
        """Input coordinate of kernel step `step` at output coordinate `at`; may lie outside."""
        return at * self.stride[which] + step * self.dilation[which] - self.pad[which]
