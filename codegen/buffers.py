# SPDX-License-Identifier: Apache-2.0
"""Sizes that follow from a model, and the buffers of a training step."""

from dataclasses import dataclass

from codegen.arena import Buffer
from device.twin.conv_shape import ConvShape
from device.twin.model import Arithmetic, TrainableLayer

UNIT_PRODUCTS = 64  # elementary products a work unit, SPEC.md 8.6
INT16_BYTES = 2
INT32_BYTES = 4
PACKED_ROWS = {
    2: 2,
    4: 2,
    8: 4,
}  # rows of weights in pairs of 16-bit fields: terms go on to a multiple
PANEL_BLOCK = 32  # columns of a block of the operand that vector kernels take
TAPS = 4  # inputs the weight gradient takes at once


@dataclass(frozen=True)
class LayerPlan:
    """Constants of a trainable layer that follow from the model.

    Attributes:
        index: 0-based.
        name: of the source layer.
        inputs, outputs: widths; outputs_padded: terms of the input gradient, to a multiple of the
            Hadamard order: the outputs, or Tpad of SPEC.md 14.3 d.
        forward_shift, error_shift: acc_shift of SPEC.md 5.2, ds of 6.3 a.
        fine_shift: that of SPEC.md 18.2.
        master_at, bias_at: first element in the state's arrays.
        view_at, view_words: first word in the packed weight view, and how many there are.
        is_head: the last one.
        conv: where the windows of a convolution lie; then `inputs` is K of SPEC.md 14.
        reads: the layer whose input it reads; below: the one that makes it, -1 for x0; next: the
            one that reads what it makes (SPEC.md 14.6).
        side: its outputs are a shortcut; adds: first layer of the block whose shortcut it adds.
        has_side: it is the first of a block with a side layer.
    """

    index: int
    name: str
    inputs: int
    outputs: int
    outputs_padded: int
    forward_shift: int
    fine_shift: int
    error_shift: int
    master_at: int
    bias_at: int
    view_at: int
    view_words: int
    is_head: bool
    conv: ConvShape | None
    reads: int
    below: int
    next: int
    side: bool = False
    adds: int | None = None
    has_side: bool = False

    @property
    def in_values(self) -> int:
        """Values of the vector it reads."""
        return self.conv.in_values if self.conv else self.inputs

    @property
    def out_values(self) -> int:
        """Values of the vector the next layer reads."""
        return self.conv.pooled_pixels * self.outputs if self.conv else self.outputs


@dataclass(frozen=True)
class Operation:
    """One operation of the training step.

    Attributes:
        label: C identifier part, such as FORWARD_0.
        kernel: C function.
        arguments: C expressions of its arguments between the learner and the row range.
        layer: index of the layer, None for gather and loss.
        rows: rows of equal cost.
        units: work units a row.
    """

    label: str
    kernel: str
    arguments: tuple[str, ...]
    layer: int | None
    rows: int
    units: int


@dataclass(frozen=True)
class Shape:
    """Sizes that all operations share; row_terms: length of a row of weights, 0 for the layer's.

    mve: operands are those of a Cortex-M55's vectors, rows of weights whole tiles.
    """

    arithmetic: Arithmetic
    batch_padded: int
    stride: int
    lanes: int
    rows: int
    row_terms: int
    classes: int
    mve: bool = False

    @property
    def batch(self) -> int:
        """Samples a step."""
        return self.arithmetic.batch

    def weight_bytes(self, terms: int, rows: int) -> int:
        """Bytes of operand rows as the kernels take them: int8, or pairs of 16-bit fields."""
        if self.mve:
            return round_up(terms, self.arithmetic.tile_k) * rows
        if self.rows in PACKED_ROWS and not self.row_terms:
            return round_up(terms, PACKED_ROWS[self.rows]) * rows * INT16_BYTES
        return (self.row_terms or terms) * rows


def round_up(value: int, step: int) -> int:
    """Smallest multiple of step that is no less than value."""
    return -(-value // step) * step


def error_terms(layer: TrainableLayer, order: int) -> int:
    """Terms of the input gradient, padded: Opad, or Tpad of SPEC.md 14.3 d."""
    conv, terms = layer.conv, layer.outputs
    if conv and conv.groups > 1:
        terms = conv.kernel[0] * conv.kernel[1] * (layer.outputs // conv.groups)
    return round_up(terms, order)


def added_products(layer: TrainableLayer) -> int:
    """Products that the input gradient adds up for a value: window positions (14.3 a), or 1."""
    conv = layer.conv
    return conv.kernel[0] * conv.kernel[1] if conv and conv.groups == 1 else 1


def work_units(products: int) -> int:
    """Cost of a row of an operation."""
    return max(1, -(-products // UNIT_PRODUCTS))


def error_made(layer: LayerPlan) -> str:
    """Buffer into which the layer above puts the error of what it read."""
    return f"dz{layer.index}" if layer.conv and layer.conv.pool != "none" else f"d{layer.index}"


def panel_bytes(shape: Shape, layers: tuple[LayerPlan, ...]) -> int:
    """Bytes of the largest operand that vector kernels take: pairs of terms, blocks of columns."""
    sizes = [round_up(layer.inputs, 2) * shape.stride for layer in layers]
    for layer in layers[1:]:
        pixels = layer.conv.pixels if layer.conv and layer.conv.groups == 1 else 1
        sizes.append(pixels * round_up(layer.outputs_padded, 2) * shape.stride)
    columns = max(round_up(layer.in_values, PANEL_BLOCK) for layer in layers)
    return max([*sizes, round_up(shape.batch_padded, 2) * columns])


def mve_operand_bytes(shape: Shape, layers: tuple[LayerPlan, ...]) -> int:
    """Bytes of the largest operand of a Cortex-M55: whole vectors of terms a column."""
    terms = [layer.inputs for layer in layers] + [layer.outputs_padded for layer in layers[1:]]
    return max(round_up(n, shape.arithmetic.tile_k) for n in terms) * shape.stride


def dense_buffers(shape: Shape, layer: LayerPlan, at: dict[str, int]) -> list[Buffer]:
    """Buffers of a dense layer with their lifetimes; `at`: label of an operation to its place."""
    buffers = _forward_buffers(shape, layer, at) + _backward_buffers(shape, layer, at)
    return buffers + (_error_buffers(shape, layer, at) if layer.index > 0 else [])


def _forward_buffers(shape: Shape, layer: LayerPlan, at: dict[str, int]) -> list[Buffer]:
    n, stride = layer.index, shape.stride
    made = at["GATHER"] if n == 0 else at[f"ACTIVATE_{n - 1}"]
    forward, update = at[f"FORWARD_{n}"], at[f"WEIGHT_GRADIENT_{n}"]
    read = update if layer.is_head else at[f"ACTIVATE_{n}"]
    features = round_up(layer.inputs, TAPS)
    weights = shape.weight_bytes(layer.inputs, shape.rows)
    what = "outputs, then their error" if layer.is_head else "outputs"
    return [
        Buffer(f"x{n}", features * stride, f"layer {n}: input, then xh", made, update),
        Buffer(f"wq{n}", weights, f"layer {n}: rows of 4-bit weights", forward, forward),
        Buffer(f"y{n}", layer.outputs * stride * INT16_BYTES, f"layer {n}: {what}", forward, read),
    ]


def _backward_buffers(shape: Shape, layer: LayerPlan, at: dict[str, int]) -> list[Buffer]:
    n = layer.index
    first, last = at[f"ACTIVATION_RANGE_{n}"], at[f"WEIGHT_GRADIENT_{n}"]
    row = shape.batch_padded * INT32_BYTES
    errors = shape.weight_bytes(shape.batch_padded, shape.rows)
    buffers = [
        Buffer(f"row{n}", row, f"layer {n}: a row transformed over the batch", first, last),
        Buffer(f"dt{n}", errors, f"layer {n}: rows of dt", last, last),
    ]
    if not layer.is_head:
        size = layer.outputs * shape.stride * INT16_BYTES
        made = at[f"INPUT_GRADIENT_{n + 1}"]
        buffers.append(Buffer(f"d{n}", size, f"layer {n}: error", made, last))
    return buffers


def _error_buffers(shape: Shape, layer: LayerPlan, at: dict[str, int]) -> list[Buffer]:
    n, padded = layer.index, layer.outputs_padded
    product = at[f"INPUT_GRADIENT_{n}"]
    mask = layer.inputs * -(-shape.stride // 8)
    block = shape.arithmetic.order * shape.lanes * INT32_BYTES
    weights = shape.weight_bytes(padded, max(shape.lanes, shape.rows))
    return [
        Buffer(f"mask{n}", mask, f"layer {n}: ReLU mask bits", at[f"ACTIVATE_{n - 1}"], product),
        Buffer(
            f"block{n}",
            block,
            f"layer {n}: a block transformed over outputs",
            at[f"ERROR_RANGE_{n}"],
            product,
        ),
        Buffer(
            f"dh{n}", padded * shape.stride, f"layer {n}: dh", at[f"ERROR_QUANTIZE_{n}"], product
        ),
        Buffer(f"wh{n}", weights, f"layer {n}: rows of wh", product, product),
    ]
