# SPDX-License-Identifier: Apache-2.0
"""Which variant of the kernels can take a model: rows of weights and columns at once."""

from device.twin.model import IntModel

DEVICE_LANES = 4  # batch columns a kernel holds in registers
HOST_LANES = 16
HOST_ROWS = 8  # rows of weights that wide vectors take at once, with a packed operand
HOST_STRIDE_STEP = 32
MVE_ROWS = 8
MVE_LANES = 8
MVE_BYTES = 16  # of a vector of a Cortex-M55
STRIDE_STEP = 4
PANEL_TERM_MAX = (15 + 2 * 8) * 7  # of a tile: operands raised by 8, and their correction
FIELD_MAX = 2**15 - 1  # of a sum in a 16-bit field


def lanes(stride: int, most: int) -> int:
    """Columns at once: at most `most`, halved until they divide the stride."""
    while stride % most:
        most //= 2
    return most


def host_rows(model: IntModel) -> int:
    """Rows of weights at once on a host; a panel's bytes and a tile's 16-bit sum must hold."""
    arithmetic = model.arithmetic
    exact = arithmetic.saturation == "tile" and arithmetic.tile_k * PANEL_TERM_MAX <= FIELD_MAX
    pairs = arithmetic.tile_k % 2 == 0 and arithmetic.order > 1
    return HOST_ROWS if exact and pairs else 1


def fits_vectors(model: IntModel) -> bool:
    """Whether the kernels of a Cortex-M55 can: dense layers, tiles of one or two vectors."""
    arithmetic = model.arithmetic
    dense = all(layer.conv is None for layer in model.layers)
    return dense and arithmetic.tile_k in (MVE_BYTES, 2 * MVE_BYTES) and arithmetic.order > 1


def most_lanes(*, host: bool, mve: bool) -> int:
    """Columns that a kernel takes at once."""
    return HOST_LANES if host else MVE_LANES if mve else DEVICE_LANES


def stride_step(*, wide: bool, mve: bool) -> int:
    """Rows of a tensor are of a multiple of so many columns."""
    return MVE_BYTES if mve else HOST_STRIDE_STEP if wide else STRIDE_STEP
