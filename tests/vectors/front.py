# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 4.1 in plain Python integers, one value at a time: an oracle for the twin's front.

Written from the page; it shares nothing with the twin but the description of a node.
"""

from typing import Any

Tensor = dict[tuple[int, int, int], int]


def run(nodes: Any, values: list[int]) -> list[int]:
    """The last tensor, in stored order, of tensor 0 in stored order."""
    tensors = [values]
    for node in nodes:
        read = zip(node.sources, node.in_shapes, strict=True)
        inputs = [_unflatten(tensors[i], shape) for i, shape in read]
        height, width, channels = node.out_shape
        tensors.append(
            [
                _value(node, inputs, r, s, o)
                for r in range(height)
                for s in range(width)
                for o in range(channels)
            ]
        )
    return tensors[-1]


def _unflatten(values: list[int], shape: tuple[int, int, int]) -> Tensor:
    height, width, channels = shape
    places = [(r, s, c) for r in range(height) for s in range(width) for c in range(channels)]
    return dict(zip(places, values, strict=True))


def _value(node: Any, inputs: list[Tensor], r: int, s: int, o: int) -> int:
    if node.kind == "table":
        return int(node.table[inputs[0][r, s, o] + 128])
    if node.kind == "max":
        return max(inputs[0][y, x, o] for y, x, _, _ in _window(node, inputs[0], r, s))
    if node.kind == "add":
        total = sum(t[r, s, o] * int(m) for t, m in zip(inputs, node.mult, strict=True))
        return _req(node, _rhu(total, int(node.shift[0])))
    if node.kind == "concat":
        part = 0
        while o >= node.in_shapes[part][2]:
            o -= node.in_shapes[part][2]
            part += 1
        v = inputs[part][r, s, o] * int(node.mult[part])
        return _req(node, _rhu(v, int(node.shift[part])))
    if node.kind == "average":
        acc = sum(inputs[0][y, x, o] for y, x, _, _ in _window(node, inputs[0], r, s))
        bound = 127 * node.kernel[0] * node.kernel[1]
        v = _rhu(acc, _shift(bound)) * int(node.mult[0])
        return _req(node, _rhu(v, int(node.shift[0])))
    return _conv(node, inputs[0], r, s, o)


def _conv(node: Any, x: Tensor, r: int, s: int, o: int) -> int:
    per_group = node.in_shapes[0][2] // node.groups
    group = o * node.groups // node.out_shape[2]
    acc = 0
    for row, column, i, j in _window(node, x, r, s):
        for c in range(per_group):
            acc += x[row, column, group * per_group + c] * int(node.weight[o, i, j, c])
    bound = 127 * sum(abs(int(w)) for w in node.weight[o].reshape(-1))
    v = _rhu(acc, _shift(bound)) * int(node.mult[o])
    return _req(node, _rhu(v, int(node.shift[o])) + int(node.bias[o]))


def _window(node: Any, x: Tensor, r: int, s: int) -> list[tuple[int, int, int, int]]:
    """Positions inside, with their place in the kernel."""
    found = []
    for i in range(node.kernel[0]):
        for j in range(node.kernel[1]):
            row = r * node.stride[0] + i * node.dilation[0] - node.pad[0]
            column = s * node.stride[1] + j * node.dilation[1] - node.pad[1]
            if (row, column, 0) in x:
                found.append((row, column, i, j))
    return found


def _shift(bound: int) -> int:
    return max(0, bound.bit_length() - 15)


def _rhu(v: int, s: int) -> int:
    return (v + (1 << (s - 1))) >> s if s else v


def _req(node: Any, y: int) -> int:
    y = max(-32768, min(32767, y))
    bits = 23 if node.qmax == 127 else 26
    k = max(0, node.out_amax.bit_length() - 15)
    limit = node.out_amax >> k
    inside = max(0 if node.nonnegative else -limit, min(limit, y >> k))
    return (inside * ((node.qmax << bits) // limit) + (1 << (bits - 1))) >> bits
