# SPDX-License-Identifier: Apache-2.0
"""Whether the front of an integer model is one (SPEC.md 4.1)."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from device.twin.front_node import KINDS, REQUANTIZING, FrontNode
from device.twin.model import IntModel

Check = tuple[bool, str]
MAX_VALUES = 65535
MAX_NODES = 1000
MAX_TERMS = 2**17  # 127**2 times as much stays below 2**31
MAX_RANGE = 2**31 - 1
MULT_MAX = 32767


def front_rules(model: IntModel) -> Iterator[Check]:
    """Every rule, in an order in which later ones may rely on earlier ones."""
    yield from node_rules(model.front, model.stage_values, not model.frozen)


def node_rules(nodes: Sequence[FrontNode], inputs: int, makes_x0: bool) -> Iterator[Check]:
    """Rules of nodes behind a tensor of `inputs` values; makes_x0: the last one's is x0."""
    yield len(nodes) <= MAX_NODES, "number of nodes of the front"
    sizes = [inputs]
    for index, node in enumerate(nodes):
        last = makes_x0 and node is nodes[-1]
        for holds, text in _node(node, sizes, last):
            yield holds, f"{text} of front node {index}"
        sizes.append(node.outputs)


def _node(node: FrontNode, sizes: Sequence[int], makes_x0: bool) -> Iterator[Check]:
    yield isinstance(node.name, str), "name"
    yield node.kind in KINDS, "kind"
    known = range(len(sizes))
    yield (
        _is_tuple(node.sources) and all(type(i) is int and i in known for i in node.sources),
        "sources",
    )
    count = {"add": 2, "concat": len(node.sources)}.get(node.kind, 1)
    yield len(node.sources) == count <= MULT_MAX, "number of sources"
    yield _shapes(node.in_shapes) and len(node.in_shapes) == count, "in_shapes"
    pairs = zip(node.in_shapes, node.sources, strict=True)
    yield all(prod(shape) == sizes[i] for shape, i in pairs), "in_shapes"
    yield _shapes((node.out_shape,)), "out_shape"
    yield isinstance(node.nonnegative, bool), "nonnegative"
    yield _whole(node.out_amax, 1, MAX_RANGE), "out_amax"
    yield not makes_x0 or node.kind in REQUANTIZING, "kind (it makes x0)"
    yield node.qmax == ((15 if node.nonnegative else 7) if makes_x0 else 127), "qmax"
    yield type(node.qmax) is int, "qmax"
    yield from _RULES[node.kind](node)


def _conv(node: FrontNode) -> Iterator[Check]:
    yield from _window(node)
    outputs, inputs = node.out_shape[2], node.in_shapes[0][2]
    yield _whole(node.groups, 1, MAX_VALUES), "groups"
    yield outputs % node.groups == 0 == inputs % node.groups, "groups"
    shape = (outputs, *node.kernel, inputs // node.groups)
    yield int(np.prod(shape[1:], dtype=object)) <= MAX_TERMS, "terms"
    yield _array(node.weight, "int8", shape, -127, 127), "weight"
    yield _array(node.bias, "int32", (outputs,), -MAX_RANGE, MAX_RANGE), "bias"
    yield _array(node.mult, "int16", (outputs,), 0, MULT_MAX), "mult"
    yield _array(node.shift, "uint8", (outputs,), 0, 30), "shift"


def _average(node: FrontNode) -> Iterator[Check]:
    yield from _window(node)
    yield node.out_shape[2] == node.in_shapes[0][2], "out_shape"
    yield node.dilation == (1, 1), "dilation"
    yield node.kernel[0] * node.kernel[1] <= MAX_TERMS, "terms"
    yield _array(node.mult, "int16", (1,), 0, MULT_MAX), "mult"
    yield _array(node.shift, "uint8", (1,), 0, 30), "shift"


def _max(node: FrontNode) -> Iterator[Check]:
    yield from _window(node)
    yield node.out_shape[2] == node.in_shapes[0][2], "out_shape"
    yield node.dilation == (1, 1), "dilation"
    for axis in (0, 1):
        start = (node.out_shape[axis] - 1) * node.stride[axis] - node.pad[axis]
        inside = node.pad[axis] < node.kernel[axis] and start < node.in_shapes[0][axis]
        yield inside, "pad"


def _add(node: FrontNode) -> Iterator[Check]:
    yield node.in_shapes == (node.out_shape,) * 2, "out_shape"
    yield _array(node.mult, "int16", (2,), -MULT_MAX, MULT_MAX), "mult"
    yield _array(node.shift, "uint8", (1,), 0, 30), "shift"


def _concat(node: FrontNode) -> Iterator[Check]:
    channels = sum(shape[2] for shape in node.in_shapes)
    same = all((*shape[:2], channels) == node.out_shape for shape in node.in_shapes)
    yield same, "out_shape"
    parts = len(node.sources)
    yield _array(node.mult, "int16", (parts,), -MULT_MAX, MULT_MAX), "mult"
    yield _array(node.shift, "uint8", (parts,), 0, 30), "shift"


def _table(node: FrontNode) -> Iterator[Check]:
    yield node.in_shapes == (node.out_shape,), "out_shape"
    low = 0 if node.nonnegative else -127
    yield _array(node.table, "int8", (256,), low, 127), "table"


_RULES = {
    "conv": _conv,
    "average": _average,
    "max": _max,
    "add": _add,
    "concat": _concat,
    "table": _table,
}


def _window(node: FrontNode) -> Iterator[Check]:
    """Positions stay in 32 bits; a window may lie outside, where it reads zeros."""
    for name in ("kernel", "stride", "dilation"):
        yield _pair(getattr(node, name), 1), name
    yield _pair(node.pad, 0), "pad"


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0


def _pair(value: Any, low: int) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_whole(n, low, 4095) for n in value)


def _shapes(value: Any) -> bool:
    """Whether a value is one or more shapes (H, W, C) of at most 65535 values each."""
    return (
        isinstance(value, tuple)
        and len(value) > 0
        and all(
            isinstance(shape, tuple)
            and len(shape) == 3
            and all(_whole(n, 1, MAX_VALUES) for n in shape)
            and shape[0] * shape[1] * shape[2] <= MAX_VALUES
            for shape in value
        )
    )


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _array(value: Any, dtype: str, shape: tuple[int, ...], low: int, high: int) -> bool:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        return False
    return value.size == 0 or (int(value.min()) >= low and int(value.max()) <= high)
