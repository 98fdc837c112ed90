# SPDX-License-Identifier: Apache-2.0
"""Work units of a training step (SPEC.md 8.6)."""

from device.twin.kernels import padded_size
from device.twin.model import IntModel

PRODUCTS_PER_UNIT = 64


def step_rows(model: IntModel) -> list[tuple[int, int]]:
    """(rows, units a row) of every operation of a step, in order."""
    b, order = model.arithmetic.batch, model.arithmetic.order
    bp = padded_size(b, order)
    head = len(model.layers) - 1
    work = [(b, model.layers[0].inputs)]
    for index, layer in enumerate(model.layers):
        work.append((layer.outputs, layer.inputs * b + 4 * layer.inputs))
        if index < head:
            work.append((b, 2 * layer.outputs))
    work.append((b, 16 * model.max_classes))
    for index in range(head, -1, -1):
        i, o = model.layers[index].inputs, model.layers[index].outputs
        op = padded_size(o, order)
        if index > 0:
            work += [(b, 4 * op), (i, 4 * op), (b, 8 * op), (i, op * b + 8 * op)]
        work += [(i, 4 * bp), (i, 8 * bp), (o, i * bp + 8 * bp + 8 * i)]
    return [(rows, max(1, -(-products // PRODUCTS_PER_UNIT))) for rows, products in work]


def target_units(model: IntModel) -> int:
    """Units of the distillation targets of a sample."""
    products = sum(layer.master.size for layer in model.layers)
    return max(1, -(-products // PRODUCTS_PER_UNIT))


def units_per_step(model: IntModel) -> int:
    """Units of one whole training step."""
    return sum(rows * units for rows, units in step_rows(model))
