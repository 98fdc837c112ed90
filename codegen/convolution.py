# SPDX-License-Identifier: Apache-2.0
"""Operations and buffers of a trainable convolution in a training step (SPEC.md 14.5)."""

from codegen.arena import Buffer
from codegen.buffers import (
    INT16_BYTES,
    INT32_BYTES,
    TAPS,
    LayerPlan,
    Operation,
    Shape,
    error_made,
    round_up,
    work_units,
)
from device.twin.conv_shape import ConvShape

GAIN_BYTES = 12


def forward_operations(shape: Shape, layer: LayerPlan, conv: ConvShape) -> list[Operation]:
    """Up to the activations."""
    n, name, batch = layer.index, f"LAYER_{layer.index}", shape.batch
    k, o, q = conv.terms, layer.outputs, conv.pooled_pixels
    forward = (name, f"y{n}", f"x{n}", f"patch{n}", f"wq{n}", f"gain{n}")
    out = [
        Operation(
            f"VIEW_{n}", "had_conv_view", (name, f"wq{n}", f"gain{n}"), n, o, work_units(4 * k)
        ),
        Operation(
            f"FORWARD_{n}",
            "had_conv_forward",
            forward,
            n,
            conv.pixels,
            work_units(k * o * batch + conv.groups * k * batch),
        ),
    ]
    result = f"y{n}"
    if conv.pool != "none":
        result = f"z{n}"
        cost = work_units(2 * conv.pool_terms * o * batch)
        arguments = (name, f"z{n}", f"pass{n}", f"y{n}")
        out.append(Operation(f"POOL_{n}", "had_pool_forward", arguments, n, q, cost))
    arguments = (name, f"x{n + 1}", f"mask{n + 1}", result)
    cost = work_units(2 * q * o)
    return [*out, Operation(f"ACTIVATE_{n}", "had_activate", arguments, n, batch, cost)]


def backward_operations(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    """From the error of the outputs on."""
    n, name = layer.index, f"LAYER_{layer.index}"
    out = []
    if conv.pool != "none":
        arguments = (name, f"d{n}", f"dz{n}", f"pass{n}")
        cost = work_units(layer.outputs * shape.batch)
        out.append(Operation(f"SPREAD_{n}", "had_pool_backward", arguments, n, conv.pixels, cost))
    if n > 0:
        out += _input_gradient(shape, layers, layer, conv)
    return out + _weight_gradient(shape, layer, conv)


def _input_gradient(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    if conv.groups > 1:
        return _groups_input_gradient(shape, layers, layer, conv)
    n, name, padded = layer.index, f"LAYER_{layer.index}", layer.outputs_padded
    d, dh, wh, block = f"d{n}", f"dh{n}", f"wh{n}", f"block{n}"
    height, width, _ = conv.in_shape
    below = (name, error_made(layers[n - 1]), dh, f"mask{n}", wh)
    columns, terms = padded * shape.batch, conv.terms
    rows = (
        ("ERROR_RANGE", "had_conv_error_range", (name, d, block), conv.pixels, 4 * columns),
        ("WEIGHT_RANGE", "had_weight_range", (name, block), terms, 4 * padded),
        (
            "ERROR_QUANTIZE",
            "had_conv_error_quantize",
            (name, dh, d, block),
            conv.pixels,
            8 * columns,
        ),
        ("WEIGHT_QUANTIZE", "had_conv_weight_quantize", (name, wh, block), terms, 8 * padded),
        ("INPUT_GRADIENT", "had_conv_input_gradient", below, height * width, terms * columns),
    )
    return [Operation(f"{a}_{n}", k, args, n, r, work_units(c)) for a, k, args, r, c in rows]


def _groups_input_gradient(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    n, name, padded = layer.index, f"LAYER_{layer.index}", layer.outputs_padded
    d, over, block, wh = f"d{n}", f"over{n}", f"block{n}", f"wh{n}"
    height, width, channels = conv.in_shape
    below = (name, error_made(layers[n - 1]), d, over, block, f"dh{n}", f"mask{n}", wh)
    columns = conv.groups * padded * shape.batch
    product = channels * padded * shape.batch + 8 * columns
    rows = (
        ("ERROR_RANGE", "error_range", (name, d, over, block), height * width, 4 * columns),
        ("WEIGHT_RANGE", "weight_range", (name, block), channels, 4 * padded),
        ("WEIGHT_QUANTIZE", "weight_quantize", (name, wh, block), channels, 8 * padded),
        ("INPUT_GRADIENT", "input_gradient", below, height * width, product),
    )
    return [
        Operation(f"{a}_{n}", f"had_groups_{k}", args, n, r, work_units(c))
        for a, k, args, r, c in rows
    ]


def _weight_gradient(shape: Shape, layer: LayerPlan, conv: ConvShape) -> list[Operation]:
    n, name, padded, k = layer.index, f"LAYER_{layer.index}", shape.batch_padded, conv.terms
    operand = (name, f"x{n}", f"row{n}")
    d, row, amax = f"d{n}", f"row{n}", f"amax{n}"
    update = (name, d, f"x{n}", row, f"dt{n}", f"acc{n}", amax)
    cost = k * padded + 8 * padded + -(-8 * k // conv.pixels)
    places, values = layer.outputs * conv.pixels, conv.in_values
    rows = (
        ("ACTIVATION_RANGE", "had_activation_range", operand, values, 4 * padded),
        ("ACTIVATION_QUANTIZE", "had_activation_quantize", operand, values, 8 * padded),
        ("ROW_RANGE", "had_conv_row_range", (name, d, row, amax), places, 4 * padded),
        ("WEIGHT_GRADIENT", "had_conv_weight_gradient", update, places, cost),
    )
    return [Operation(f"{a}_{n}", kern, args, n, r, work_units(c)) for a, kern, args, r, c in rows]


def conv_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    """Buffers with their lifetimes; `at`: label of an operation to its place."""
    buffers = _forward_buffers(shape, layer, conv, at) + _update_buffers(shape, layer, conv, at)
    return buffers + (_error_buffers(shape, layer, conv, at) if layer.index > 0 else [])


def _forward_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, stride, o = layer.index, shape.stride, layer.outputs
    made = at["GATHER"] if n == 0 else at[f"ACTIVATE_{n - 1}"]
    view, forward, activate = at[f"VIEW_{n}"], at[f"FORWARD_{n}"], at[f"ACTIVATE_{n}"]
    inputs = (conv.in_values + TAPS - 1) * stride
    weights = conv.groups * shape.weight_bytes(conv.terms, round_up(o // conv.groups, shape.rows))
    patch = round_up(conv.terms, TAPS) * stride
    values = conv.pixels * o
    last = activate if conv.pool == "none" else at[f"POOL_{n}"]
    what = f"layer {n}:"
    buffers = [
        Buffer(f"x{n}", inputs, f"{what} input, then xh", made, at[f"WEIGHT_GRADIENT_{n}"]),
        Buffer(f"wq{n}", weights, f"{what} 4-bit weights", view, forward),
        Buffer(f"gain{n}", GAIN_BYTES * o, f"{what} multipliers and biases", view, forward),
        Buffer(f"patch{n}", patch, f"{what} unrolled rows of a pixel", forward, forward),
        Buffer(f"y{n}", values * stride * INT16_BYTES, f"{what} outputs", forward, last),
    ]
    if conv.pool != "none":
        spread, pooled = at[f"SPREAD_{n}"], conv.pooled_pixels * o * stride * INT16_BYTES
        bits = values * -(-stride // 8)
        above = at[f"INPUT_GRADIENT_{n + 1}"]
        buffers += [
            Buffer(f"z{n}", pooled, f"{what} pooled outputs", last, activate),
            Buffer(f"pass{n}", bits, f"{what} where the pool's error goes", last, spread),
            Buffer(f"dz{n}", pooled, f"{what} error of the pooled outputs", above, spread),
        ]
    return buffers


def _update_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, last = layer.index, at[f"WEIGHT_GRADIENT_{layer.index}"]
    first, ranges = at[f"ACTIVATION_RANGE_{n}"], at[f"ROW_RANGE_{n}"]
    made = at[f"INPUT_GRADIENT_{n + 1}"] if conv.pool == "none" else at[f"SPREAD_{n}"]
    size = conv.pixels * layer.outputs * shape.stride * INT16_BYTES
    row = shape.batch_padded * INT32_BYTES
    sums = shape.rows * conv.terms * INT32_BYTES
    errors = shape.weight_bytes(shape.batch_padded, shape.rows)
    what = f"layer {n}:"
    return [
        Buffer(f"d{n}", size, f"{what} error", made, last),
        Buffer(f"row{n}", row, f"{what} a row transformed over the batch", first, last),
        Buffer(f"amax{n}", layer.outputs * INT32_BYTES, f"{what} ranges of dt", ranges, last),
        Buffer(f"dt{n}", errors, f"{what} rows of dt", last, last),
        Buffer(f"acc{n}", sums, f"{what} gradients of a group of rows", last, last),
    ]


def _error_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    if conv.groups > 1:
        return _groups_buffers(shape, layer, conv, at)
    n, padded, product = layer.index, layer.outputs_padded, at[f"INPUT_GRADIENT_{layer.index}"]
    mask = conv.in_values * -(-shape.stride // 8)
    block = shape.arithmetic.order * shape.lanes * INT32_BYTES
    channels = round_up(conv.in_shape[2], shape.rows)
    weights = conv.kernel[0] * conv.kernel[1] * shape.weight_bytes(padded, channels)
    first, made = at[f"ERROR_RANGE_{n}"], at[f"WEIGHT_QUANTIZE_{n}"]
    errors = conv.pixels * padded * shape.stride
    quantized, what = at[f"ERROR_QUANTIZE_{n}"], f"layer {n}:"
    return [
        Buffer(f"mask{n}", mask, f"{what} ReLU mask bits", at[f"ACTIVATE_{n - 1}"], product),
        Buffer(f"block{n}", block, f"{what} a block transformed over outputs", first, made),
        Buffer(f"dh{n}", errors, f"{what} dh", quantized, product),
        Buffer(f"wh{n}", weights, f"{what} wh", made, product),
    ]


def _groups_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, padded, product = layer.index, layer.outputs_padded, at[f"INPUT_GRADIENT_{layer.index}"]
    mask = conv.in_values * -(-shape.stride // 8)
    block = shape.arithmetic.order * shape.lanes * INT32_BYTES
    weights = shape.weight_bytes(padded, round_up(conv.group_channels, shape.rows))
    first, made = at[f"ERROR_RANGE_{n}"], at[f"WEIGHT_QUANTIZE_{n}"]
    over, what = padded * shape.stride * INT16_BYTES, f"layer {n}:"
    return [
        Buffer(f"mask{n}", mask, f"{what} ReLU mask bits", at[f"ACTIVATE_{n - 1}"], product),
        Buffer(f"over{n}", over, f"{what} errors over an input pixel", first, product),
        Buffer(f"block{n}", block, f"{what} a block transformed", first, product),
        Buffer(f"dh{n}", padded * shape.stride, f"{what} dh of a pixel", product, product),
        Buffer(f"wh{n}", conv.groups * weights, f"{what} wh", made, product),
    ]
