# SPDX-License-Identifier: Apache-2.0
"""Residual blocks at the end of a float front (SPEC.md 14.6)."""

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.float_front import FloatNode


@dataclass(frozen=True, eq=False)
class Block:
    """Convolutions of the main branch in order, and the one of the shortcut, if it has one."""

    main: tuple[FloatNode, ...]
    side: FloatNode | None


def find_block(nodes: Sequence[FloatNode]) -> Block | None:
    """The block that the last node, an addition, ends; None if it is not one that can be trained.

    Its nodes are all those behind its input, which nothing else reads.
    """
    add = nodes[-1]
    for main_at, other_at in ((0, 1), (1, 0)):
        main, other = add.sources[main_at], add.sources[other_at]
        side = nodes[other - 1] if other > 0 else None
        for entry, projection in ((other, None), (_entry(side), side)):
            block = None if entry is None else _traced(nodes, main, entry, projection)
            if block is not None and _shapes_agree(add, block, other_at):
                return block
    return None


def _entry(side: FloatNode | None) -> int | None:
    """What a projection reads, if a node is one."""
    return side.sources[0] if side is not None and _is_bare(side) else None


def _is_bare(node: FloatNode) -> bool:
    return node.kind == "conv" and not node.relu and node.top is None


def _traced(
    nodes: Sequence[FloatNode], tensor: int, entry: int, side: FloatNode | None
) -> Block | None:
    """Convolutions from tensor `entry` to `tensor`, if with the rest they are a block."""
    main: list[FloatNode] = []
    while tensor > entry:
        node = nodes[tensor - 1]
        fits = _is_bare(node) if not main else node.kind == "conv" and node.relu
        if not fits:
            return None
        main.insert(0, node)
        tensor = node.sources[0]
    count = len(main) + (1 if side is None else 2)
    whole = tensor == entry and count == len(nodes) - entry and side not in main
    enough = len(main) >= (1 if side is None else 2)
    return Block(tuple(main), side) if whole and enough else None


def _shapes_agree(add: FloatNode, block: Block, other: int) -> bool:
    """Whether every reader takes the block's input, and the sum, in one shape."""
    first, last = block.main[0].in_shapes[0], block.main[-1].out_shape
    shortcut = add.in_shapes[other] if block.side is None else block.side.in_shapes[0]
    made = first if block.side is None else block.side.out_shape
    return shortcut == first and made == last == add.out_shape and set(add.in_shapes) == {last}
