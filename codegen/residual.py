# SPDX-License-Identifier: Apache-2.0
"""Residual blocks in the plan: their own operations, and what lives longer (SPEC.md 14.6).

A shortcut takes the place of the outputs that it is added to: a side layer, or the identity, writes
them first, and the block's last layer adds its own.
"""

from codegen.arena import Buffer
from codegen.buffers import INT16_BYTES, LayerPlan, Operation, Shape, error_made, work_units
from device.twin.conv_shape import ConvShape

Layers = tuple[LayerPlan, ...]
Places = dict[str, int]


def ender(layers: Layers, layer: LayerPlan) -> LayerPlan:
    """The last layer of the block whose first, or whose side layer, `layer` is."""
    first = layer.reads
    return next(other for other in layers if other.adds == first)


def starts_block(layers: Layers, layer: LayerPlan) -> bool:
    """Whether a layer is the first of a block."""
    return not layer.side and any(other.adds == layer.index for other in layers)


def error_of(layers: Layers, layer: LayerPlan) -> str:
    """Buffer of the error of a layer's outputs; a side layer shares that of the sum."""
    return f"d{ender(layers, layer).index if layer.side else layer.index}"


def error_below(layers: Layers, layer: LayerPlan) -> str:
    """Buffer into which a layer puts the error of what it reads."""
    return f"e{layer.index}" if layer.side else error_made(layers[layer.below])


def identity_operation(
    shape: Shape, layers: Layers, layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    """The block's input as shortcut, before its last layer."""
    if layer.adds is None or layers[layer.adds].has_side:
        return []
    n, first = layer.index, layer.adds
    arguments = (f"LAYER_{n}", f"y{n}", f"x{first}", f"LAYER_{first}")
    cost = work_units(2 * layer.outputs * shape.batch)
    return [Operation(f"SHORTCUT_{n}", "had_shortcut", arguments, n, conv.pixels, cost)]


def share_operation(layers: Layers, layer: LayerPlan) -> list[Operation]:
    """A side layer's error is that of the sum."""
    if not layer.side:
        return []
    n = layer.index
    arguments = (f"LAYER_{n}", f"LAYER_{ender(layers, layer).index}")
    return [Operation(f"SHARE_{n}", "had_share_error", arguments, n, 1, work_units(1))]


def join_operation(
    shape: Shape, layers: Layers, layer: LayerPlan, conv: ConvShape
) -> list[Operation]:
    """Two errors meet at a block's input."""
    if not starts_block(layers, layer):
        return []
    n = layer.index
    other = layers[n + 1] if layer.has_side else ender(layers, layer)
    source = f"e{n + 1}" if layer.has_side else f"d{other.index}"
    made = error_made(layers[layer.below])
    arguments = (f"LAYER_{n}", made, source, f"mask{n}", f"LAYER_{other.index}")
    height, width, channels = conv.in_shape
    cost = work_units(4 * channels * shape.batch)
    return [Operation(f"JOIN_{n}", "had_join_errors", arguments, n, height * width, cost)]


def outputs_begin(layers: Layers, layer: LayerPlan, at: Places) -> int:
    """When outputs are first written: by the shortcut, if there is one."""
    if layer.adds is None:
        return at[f"FORWARD_{layer.index}"]
    if layers[layer.adds].has_side:
        return at[f"FORWARD_{layer.adds + 1}"]
    return at[f"SHORTCUT_{layer.index}"]


def error_ends(layers: Layers, layer: LayerPlan, at: Places) -> int:
    """When the error of a layer's outputs is last read."""
    last = at[f"WEIGHT_GRADIENT_{layer.index}"]
    if layer.adds is None:
        return last
    if layers[layer.adds].has_side:
        return max(last, at[f"WEIGHT_GRADIENT_{layer.adds + 1}"])
    return max(last, at.get(f"JOIN_{layer.adds}", last))


def mask_ends(layer: LayerPlan, at: Places) -> int:
    """When the mask of a layer's input is last read."""
    return at.get(f"JOIN_{layer.index}", at[f"INPUT_GRADIENT_{layer.index}"])


def side_buffers(shape: Shape, layer: LayerPlan, conv: ConvShape, at: Places) -> list[Buffer]:
    """What a side layer makes of its input's error, until the errors meet."""
    if not layer.side:
        return []
    n, size = layer.index, conv.in_values * shape.stride * INT16_BYTES
    first, last = at[f"INPUT_GRADIENT_{n}"], at[f"JOIN_{layer.reads}"]
    return [Buffer(f"e{n}", size, f"layer {n}: error of its input", first, last)]
