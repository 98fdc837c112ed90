# SPDX-License-Identifier: Apache-2.0
"""How far a node's integers may be from floats, by its scales alone.

A node is given the real values of its integer inputs; what its integers stand for may differ from
the float operator by the roundings that SPEC.md 4.1 prescribes, and by nothing else:

- half a step of the result (req), and half a step g of the 16-bit grid before it;
- conv: half a step g of the bias, half a step of the shifted accumulator, half a step of every
  weight times the input under it, and the error of a multiplier of 15 bits made by two products;
- average: half a step of the shifted accumulator, and the multiplier's error;
- table: the error of its scale of 15 bits;
- add, concat: half a unit of each multiplier times an input of 127.

Values beyond the range are compared at its end.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codegen.float_front import FloatNode
from device.twin.front_node import FrontNode

SCALE = 2.0**-15
MULTIPLIER = 4 * 2.0**-15
FLOAT_NOISE = 1e-6
FloatTensor = NDArray[np.float64]


def expected(
    node: FrontNode, source: FloatNode, inputs: list[FloatTensor], step: float
) -> FloatTensor:
    """The float operator on these inputs, cut at the ends of the integers' range."""
    y = np.asarray(source.forward(inputs), np.float64)
    low = 0.0 if node.nonnegative else -node.qmax * step
    return np.clip(y, low, node.qmax * step)


def tolerance(
    node: FrontNode, source: FloatNode, inputs: list[FloatTensor], steps: list[float], step: float
) -> FloatTensor:
    """Largest difference allowed, an element; steps of the inputs, step of the result."""
    if node.kind == "max":
        return np.full(node.out_shape, FLOAT_NOISE)
    if node.kind == "table":
        # a scale has 15 bits, the step of which the table was made more
        return step / 2 + SCALE * np.abs(source.linear(inputs)) + FLOAT_NOISE
    grid = step * node.qmax / node.out_amax
    y = np.abs(np.asarray(source.linear(inputs), np.float64))
    allowed = step / 2 + grid / 2 + MULTIPLIER * y + FLOAT_NOISE * (1 + y)
    if node.kind == "conv":
        return allowed + _conv(node, source, inputs[0], steps[0]) + grid / 2
    if node.kind == "average":
        terms = node.kernel[0] * node.kernel[1]
        return allowed + 2.0 ** float(node.acc_shifts[0]) * steps[0] / terms / 2
    units = 2.0 ** -node.shift.astype(np.float64)
    return allowed + grid * float((np.resize(units, len(inputs)) * 127 / 2).sum())


def _conv(node: FrontNode, source: FloatNode, x: FloatTensor, step: float) -> FloatTensor:
    largest = np.abs(source.weight).reshape(len(source.weight), -1).max(axis=1)
    weight_step = np.where(largest == 0, 1.0, largest).astype(np.float64) / 127
    ones = np.ones_like(source.weight)
    bare = replace(source, weight=ones, bias=np.zeros_like(source.bias), relu=False, top=None)
    under = np.asarray(bare.linear([np.abs(x)]), np.float64)
    shifted = 2.0 ** node.acc_shifts.astype(np.float64) * step * weight_step / 2
    return np.asarray(under * weight_step * (0.5 + MULTIPLIER) + shifted)
