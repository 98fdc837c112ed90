# SPDX-License-Identifier: Apache-2.0
"""Work units of a training step (SPEC.md 8.6 and 14.5)."""

from device.twin.conv_shape import ConvShape
from device.twin.kernels import padded_size
from device.twin.model import IntModel
from device.twin.residual import Layers, below, has_side

PRODUCTS_PER_UNIT = 64


def step_rows(model: IntModel) -> list[tuple[int, int]]:
    """(rows, units a row) of every operation of a step, in order."""
    b, order = model.arithmetic.batch, model.arithmetic.order
    bp = padded_size(b, order)
    head = len(model.layers) - 1
    work = [(b, model.layers[0].in_values)]
    for index, layer in enumerate(model.layers):
        if layer.conv:
            work += _conv_forward(model.layers, index, layer.conv, b)
            continue
        work.append((layer.outputs, layer.inputs * b + 4 * layer.inputs))
        if index < head:
            work.append((b, 2 * layer.outputs))
    work.append((b, 16 * model.max_classes))
    for index in range(head, -1, -1):
        shape = model.layers[index].conv
        if shape:
            work += _conv_backward(model.layers, index, shape, b, order)
            continue
        i, o = model.layers[index].inputs, model.layers[index].outputs
        op = padded_size(o, order)
        if index > 0:
            work += [(b, 4 * op), (i, 4 * op), (b, 8 * op), (i, op * b + 8 * op)]
        work += [(i, 4 * bp), (i, 8 * bp), (o, i * bp + 8 * bp + 8 * i)]
    return [(rows, max(1, -(-products // PRODUCTS_PER_UNIT))) for rows, products in work]


def _conv_forward(layers: Layers, index: int, shape: ConvShape, b: int) -> list[tuple[int, int]]:
    """SPEC.md 14.5 and 14.6, up to the activations."""
    layer = layers[index]
    k, o, q = shape.terms, layer.outputs, shape.pooled_pixels
    adds_input = layer.adds is not None and not has_side(layers, layer.adds)
    work = [(shape.pixels, 2 * o * b)] if adds_input else []
    work += [(o, 4 * k), (shape.pixels, k * o * b + shape.groups * k * b)]
    if shape.pool != "none":
        work.append((q, 2 * shape.pool_terms * o * b))
    return work if layer.side else [*work, (b, 2 * q * o)]


def _conv_backward(
    layers: Layers, index: int, shape: ConvShape, b: int, order: int
) -> list[tuple[int, int]]:
    """SPEC.md 14.5 and 14.6, from the error on."""
    layer, under = layers[index], below(layers, index)
    k, o, p = shape.terms, layer.outputs, shape.pixels
    height, width, channels = shape.in_shape
    op, bp = padded_size(o, order), padded_size(b, order)
    work = [(1, 1)] if layer.side else []
    work += [(p, o * b)] if shape.pool != "none" else []
    if under >= 0 and shape.groups > 1:
        work += _groups_backward(shape, o, b, order)
    elif under >= 0:
        work += [(p, 4 * op * b), (k, 4 * op), (p, 8 * op * b), (k, 8 * op)]
        work.append((height * width, k * op * b))
    if under >= 0 and any(other.adds == index for other in layers):
        work.append((height * width, 4 * channels * b))
    values = shape.in_values
    if not has_side(layers, index):
        work += [(values, 4 * bp), (values, 8 * bp)]
    return [*work, (o * p, 4 * bp), (o * p, k * bp + 8 * bp + -(-8 * k // p))]


def _groups_backward(shape: ConvShape, o: int, b: int, order: int) -> list[tuple[int, int]]:
    """SPEC.md 14.5, the input gradient of several groups."""
    height, width, channels = shape.in_shape
    tp = padded_size(shape.kernel[0] * shape.kernel[1] * (o // shape.groups), order)
    rows = [(height * width, 4 * shape.groups * tp * b), (channels, 4 * tp), (channels, 8 * tp)]
    return [*rows, (height * width, channels * tp * b + 8 * shape.groups * tp * b)]


def target_units(model: IntModel) -> int:
    """Units of the distillation targets of a sample."""
    products = sum(
        layer.master.size * (layer.conv.pixels if layer.conv else 1) for layer in model.layers
    )
    return max(1, -(-products // PRODUCTS_PER_UNIT))


def units_per_step(model: IntModel) -> int:
    """Units of one whole training step."""
    return sum(rows * units for rows, units in step_rows(model))
