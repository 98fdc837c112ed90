# SPDX-License-Identifier: Apache-2.0
"""Networks that grow: blocks of rows, one a session (SPEC.md 16)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.twin.kernels import IntArray, draw_u16, padded_size, stream_key
from device.twin.model import Expansion, IntModel
from device.twin.state import LearnerState

BLOCK_TENSOR = 4  # of SPEC.md 1.3, beside those of a layer


@dataclass(frozen=True)
class Block:
    """The block a session trains.

    Attributes:
        rows: of each layer of the model, bool (O,): which rows learn; in the head all.
        columns: of each layer, bool (I,): which columns learn; None: all.
    """

    rows: tuple[NDArray[np.bool_], ...]
    columns: tuple[NDArray[np.bool_] | None, ...]


def block_of(model: IntModel, expansion: Expansion, number: int) -> Block:
    """Rows and columns of a block by its number, 0 to count - 1."""
    head = len(model.layers) - 1
    rows: list[NDArray[np.bool_]] = []
    for index, layer in enumerate(model.layers):
        inside = np.full(layer.outputs, index == head)
        if expansion.first <= index < head:
            start = layer.outputs - (expansion.count - number) * expansion.rows
            inside[start : start + expansion.rows] = True
        rows.append(inside)
    grown = range(expansion.first + 1, head)
    columns = [rows[index - 1] if index in grown else None for index in range(head + 1)]
    return Block(tuple(rows), tuple(columns))


def first_free(model: IntModel, expansion: Expansion, state: LearnerState) -> int | None:
    """Number of the first block that is all zero in a state; None if there is none."""
    for number in range(expansion.count):
        if not _masters(model, expansion, state, number).any():
            return number
    return None


def draw_block(
    model: IntModel, expansion: Expansion, state: LearnerState, number: int, seed: int
) -> None:
    """Draw a block's masters in place, if they are all zero (SPEC.md 16.1)."""
    if _masters(model, expansion, state, number).any():
        return
    block = block_of(model, expansion, number)
    for index, limit in enumerate(expansion.draws, start=expansion.first):
        layer, columns = model.layers[index], block.columns[index]
        key = stream_key(seed, state.step, 8 * index + BLOCK_TENSOR)
        for o in np.flatnonzero(block.rows[index]).tolist():
            u = draw_u16(key, o * padded_size(layer.inputs, 2) + np.arange(layer.inputs))
            drawn = ((u * (2 * limit + 1)) >> 16) - limit
            state.weights[index].master[o] = drawn if columns is None else drawn * columns


def _masters(model: IntModel, expansion: Expansion, state: LearnerState, number: int) -> IntArray:
    rows = block_of(model, expansion, number).rows[expansion.first]
    found: IntArray = state.weights[expansion.first].master[rows]
    return found
