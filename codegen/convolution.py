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
    round_up,
    work_units,
)
from codegen.residual import (
    ender,
    error_below,
    error_ends,
    error_of,
    identity_operation,
    join_operation,
    mask_ends,
    outputs_begin,
    share_operation,
    side_buffers,
)
from device.twin.conv_shape import ConvShape

GAIN_BYTES = 12


def forward_operations(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    """Up to the activations."""
    n, name, batch = layer.index, f"LAYER_{layer.index}", shape.batch
    k, o, q = conv.terms, layer.outputs, conv.pooled_pixels
    y = f"y{ender(layers, layer).index}" if layer.side else f"y{n}"
    forward = (name, y, f"x{layer.reads}", f"patch{n}", f"wq{n}", f"gain{n}")
    out = identity_operation(shape, layers, layer, conv) + [
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
    if layer.side:
        return out
    result = f"y{n}"
    if conv.pool != "none":
        result = f"z{n}"
        cost = work_units(2 * conv.pool_terms * o * batch)
        arguments = (name, f"z{n}", f"pass{n}", f"y{n}")
        out.append(Operation(f"POOL_{n}", "had_pool_forward", arguments, n, q, cost))
    arguments = (name, f"x{layer.next}", f"mask{layer.next}", result)
    cost = work_units(2 * q * o)
    return [*out, Operation(f"ACTIVATE_{n}", "had_activate", arguments, n, batch, cost)]


def backward_operations(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    """From the error of the outputs on."""
    n, name = layer.index, f"LAYER_{layer.index}"
    out = share_operation(layers, layer)
    if conv.pool != "none":
        arguments = (name, f"d{n}", f"dz{n}", f"pass{n}")
        cost = work_units(layer.outputs * shape.batch)
        out.append(Operation(f"SPREAD_{n}", "had_pool_backward", arguments, n, conv.pixels, cost))
    if layer.below >= 0:
        out += _input_gradient(shape, layers, layer, conv)
        out += join_operation(shape, layers, layer, conv)
    return out + _weight_gradient(shape, layers, layer, conv)


def _input_gradient(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    if conv.groups > 1:
        return _groups_input_gradient(shape, layers, layer, conv)
    n, name, padded = layer.index, f"LAYER_{layer.index}", layer.outputs_padded
    d, dh, wh, block = error_of(layers, layer), f"dh{n}", f"wh{n}", f"block{n}"
    height, width, _ = conv.in_shape
    below = (name, error_below(layers, layer), dh, f"mask{layer.reads}", wh)
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
    d, over, block, wh = error_of(layers, layer), f"over{n}", f"block{n}", f"wh{n}"
    height, width, channels = conv.in_shape
    mask = f"mask{layer.reads}"
    below = (name, error_below(layers, layer), d, over, block, f"dh{n}", mask, wh)
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


def _weight_gradient(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    n, name, padded, k = layer.index, f"LAYER_{layer.index}", shape.batch_padded, conv.terms
    x, d, row, amax = f"x{layer.reads}", error_of(layers, layer), f"row{n}", f"amax{n}"
    operand = (name, x, row)
    update = (name, d, x, row, f"dt{n}", f"acc{n}", amax)
    cost = k * padded + 8 * padded + -(-8 * k // conv.pixels)
    places, values = layer.outputs * conv.pixels, conv.in_values
    rows = (
        ("ACTIVATION_RANGE", "had_activation_range", operand, values, 4 * padded),
        ("ACTIVATION_QUANTIZE", "had_activation_quantize", operand, values, 8 * padded),
        ("ROW_RANGE", "had_conv_row_range", (name, d, row, amax), places, 4 * padded),
        ("WEIGHT_GRADIENT", "had_conv_weight_gradient", update, places, cost),
    )
    out = [Operation(f"{a}_{n}", kern, args, n, r, work_units(c)) for a, kern, args, r, c in rows]
    return out[2:] if layer.has_side else out  # the side layer has made xh


def conv_buffers(
    shape: Shape,
    layers: tuple[LayerPlan, ...],
    layer: LayerPlan,
    conv: ConvShape,
    at: dict[str, int],
) -> list[Buffer]:
    """Buffers with their lifetimes; `at`: label of an operation to its place."""
    buffers = _weight_buffers(shape, layer, conv, at)
    if not layer.side:
        buffers += _value_buffers(shape, layers, layer, conv, at)
    buffers += _update_buffers(shape, layer, conv, at)
    return buffers + (_error_buffers(shape, layer, conv, at) if layer.below >= 0 else [])


def _weight_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, o, what = layer.index, layer.outputs, f"layer {layer.index}:"
    view, forward = at[f"VIEW_{n}"], at[f"FORWARD_{n}"]
    weights = conv.groups * shape.weight_bytes(conv.terms, round_up(o // conv.groups, shape.rows))
    patch = round_up(conv.terms, TAPS) * shape.stride
    return [
        Buffer(f"wq{n}", weights, f"{what} 4-bit weights", view, forward),
        Buffer(f"gain{n}", GAIN_BYTES * o, f"{what} multipliers and biases", view, forward),
        Buffer(f"patch{n}", patch, f"{what} unrolled rows of a pixel", forward, forward),
    ]


def _value_buffers(
    shape: Shape,
    layers: tuple[LayerPlan, ...],
    layer: LayerPlan,
    conv: ConvShape,
    at: dict[str, int],
) -> list[Buffer]:
    """Inputs, outputs and their errors, all of the whole batch."""
    n, stride, what = layer.index, shape.stride, f"layer {layer.index}:"
    given = at["GATHER"] if layer.below < 0 else at[f"ACTIVATE_{layer.below}"]
    last, activate, above = at[f"WEIGHT_GRADIENT_{n}"], at[f"ACTIVATE_{n}"], layer.next
    inputs = (conv.in_values + TAPS - 1) * stride
    values = conv.pixels * layer.outputs
    size = values * stride * INT16_BYTES
    error = at[f"INPUT_GRADIENT_{above}"]
    read = activate if conv.pool == "none" else at[f"POOL_{n}"]
    made = error if conv.pool == "none" else at[f"SPREAD_{n}"]
    buffers = [
        Buffer(f"x{n}", inputs, f"{what} input, then xh", given, last),
        Buffer(f"y{n}", size, f"{what} outputs", outputs_begin(layers, layer, at), read),
        Buffer(f"d{n}", size, f"{what} error", made, error_ends(layers, layer, at)),
    ]
    if layer.below >= 0:
        mask, ends = conv.in_values * -(-stride // 8), mask_ends(layer, at)
        buffers.append(Buffer(f"mask{n}", mask, f"{what} ReLU mask bits", given, ends))
    if conv.pool != "none":
        spread, pooled = (
            at[f"SPREAD_{n}"],
            conv.pooled_pixels * layer.outputs * stride * INT16_BYTES,
        )
        bits = values * -(-stride // 8)
        buffers += [
            Buffer(f"z{n}", pooled, f"{what} pooled outputs", read, activate),
            Buffer(f"pass{n}", bits, f"{what} where the pool's error goes", read, spread),
            Buffer(f"dz{n}", pooled, f"{what} error of the pooled outputs", error, spread),
        ]
    return buffers


def _update_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, last, ranges = (
        layer.index,
        at[f"WEIGHT_GRADIENT_{layer.index}"],
        at[f"ROW_RANGE_{layer.index}"],
    )
    first = at.get(f"ACTIVATION_RANGE_{n}", ranges)
    row = shape.batch_padded * INT32_BYTES
    sums = shape.rows * conv.terms * INT32_BYTES
    errors = shape.weight_bytes(shape.batch_padded, shape.rows)
    what = f"layer {n}:"
    return [
        Buffer(f"row{n}", row, f"{what} a row transformed over the batch", first, last),
        Buffer(f"amax{n}", layer.outputs * INT32_BYTES, f"{what} ranges of dt", ranges, last),
        Buffer(f"dt{n}", errors, f"{what} rows of dt", last, last),
        Buffer(f"acc{n}", sums, f"{what} gradients of a group of rows", last, last),
    ]


def _error_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    buffers = side_buffers(shape, layer, conv, at)
    if conv.groups > 1:
        return buffers + _groups_buffers(shape, layer, conv, at)
    n, padded, product = layer.index, layer.outputs_padded, at[f"INPUT_GRADIENT_{layer.index}"]
    block = shape.arithmetic.order * shape.lanes * INT32_BYTES
    channels = round_up(conv.in_shape[2], shape.rows)
    weights = conv.kernel[0] * conv.kernel[1] * shape.weight_bytes(padded, channels)
    first, made = at[f"ERROR_RANGE_{n}"], at[f"WEIGHT_QUANTIZE_{n}"]
    errors = conv.pixels * padded * shape.stride
    quantized, what = at[f"ERROR_QUANTIZE_{n}"], f"layer {n}:"
    return [
        *buffers,
        Buffer(f"block{n}", block, f"{what} a block transformed over outputs", first, made),
        Buffer(f"dh{n}", errors, f"{what} dh", quantized, product),
        Buffer(f"wh{n}", weights, f"{what} wh", made, product),
    ]


def _groups_buffers(
    shape: Shape, layer: LayerPlan, conv: ConvShape, at: dict[str, int]
) -> list[Buffer]:
    n, padded, product = layer.index, layer.outputs_padded, at[f"INPUT_GRADIENT_{layer.index}"]
    block = shape.arithmetic.order * shape.lanes * INT32_BYTES
    weights = shape.weight_bytes(padded, round_up(conv.group_channels, shape.rows))
    first, made = at[f"ERROR_RANGE_{n}"], at[f"WEIGHT_QUANTIZE_{n}"]
    over, what = padded * shape.stride * INT16_BYTES, f"layer {n}:"
    return [
        Buffer(f"over{n}", over, f"{what} errors over an input pixel", first, product),
        Buffer(f"block{n}", block, f"{what} a block transformed", first, product),
        Buffer(f"dh{n}", padded * shape.stride, f"{what} dh of a pixel", product, product),
        Buffer(f"wh{n}", conv.groups * weights, f"{what} wh", made, product),
    ]
