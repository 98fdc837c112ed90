# SPDX-License-Identifier: Apache-2.0
"""IntModel to Plan: every decision about sizes, layouts and the order of kernel calls.

A plan holds the operations of a training step in the order of SPEC.md 8.6, the calls of an
inference, and all buffers with their lifetimes. The emitters only print it.
"""

from dataclasses import dataclass

from codegen.accumulators import accumulator_bound, accumulator_shift, fine_shift
from codegen.arena import Arena, Buffer, allocate
from codegen.buffers import (
    INT32_BYTES,
    LayerPlan,
    Operation,
    Shape,
    added_products,
    dense_buffers,
    error_made,
    error_terms,
    mve_operand_bytes,
    panel_bytes,
    round_up,
    work_units,
)
from codegen.consistency import check
from codegen.convolution import backward_operations, conv_buffers, forward_operations
from codegen.inference import Call, inference_plan
from codegen.variants import (
    FIELD_MAX,
    HOST_ROWS,
    MVE_ROWS,
    fits_vectors,
    host_rows,
    lanes,
    most_lanes,
    stride_step,
)
from device.twin.model import IntModel, TrainableLayer
from device.twin.residual import below, follows, has_side, reads

DEVICE_ROWS = 4  # rows of weights a kernel takes at once: two words of two 16-bit fields
OCTET_ROWS = 8  # four such words, times one value of x: all that fits a core's fourteen registers
OCTET_CORES = ("M0", "M3")  # they lack the products of halves that M4 and its successors have
FEWER_ROWS = {"M0": 2}  # beside trained convolutions, where RAM and registers are short
TERM_MAX = 15 * 7
VIEW_ROWS = 8  # rows of weights in a group of the inference view
VIEW_FOURS = 4  # terms at once of a view for the DSP extension


@dataclass(frozen=True)
class Plan:
    """All that the emitters need beside the model's tables.

    Attributes:
        batch_padded: batch padded to the Hadamard order; batch_stride: row length of tensors.
        lanes: columns a kernel takes at once; divides batch_stride.
        rows: rows of weights a kernel takes at once; 1 for plain loops, 4 or 8 in packed fields,
            8 for wide vectors.
        layers, operations, calls: see there.
        panel_bytes: operand of a product as vector kernels take it; 0 where they are not used.
        panel_terms: length of a row of weights for it.
        mve: the vector kernels are those of a Cortex-M55.
        arena: of training; infer_arena: of inference.
        x0, features: buffers of inference where they end up.
    """

    batch_padded: int
    batch_stride: int
    lanes: int
    rows: int
    layers: tuple[LayerPlan, ...]
    operations: tuple[Operation, ...]
    arena: Arena
    panel_bytes: int
    panel_terms: int
    mve: bool
    calls: tuple[Call, ...]
    infer_arena: Arena
    x0: str
    features: str

    @property
    def master_count(self) -> int:
        """Weights that learn."""
        return sum(layer.inputs * layer.outputs for layer in self.layers)

    @property
    def bias_count(self) -> int:
        """Biases, one an output."""
        return sum(layer.outputs for layer in self.layers)

    @property
    def view_bytes(self) -> int:
        """Bytes of the packed 4-bit weights."""
        return INT32_BYTES * self.view_words

    @property
    def view_words(self) -> int:
        """32-bit words of the packed 4-bit weights."""
        return sum(layer.view_words for layer in self.layers)

    @property
    def target_units(self) -> int:
        """Work units of the distillation targets of a sample (SPEC.md 8.6)."""
        pixels = [layer.conv.pixels if layer.conv else 1 for layer in self.layers]
        products = [layer.inputs * layer.outputs for layer in self.layers]
        return work_units(sum(n * p for n, p in zip(products, pixels, strict=True)))

    @property
    def units_per_step(self) -> int:
        """Work units of one training step (SPEC.md 8.6)."""
        return sum(op.rows * op.units for op in self.operations)


def lower(model: IntModel, *, host: bool = False, core: str = "") -> Plan:
    """Plan of a model.

    Args:
        model: a consistent integer model.
        host: lay out for wide vectors.
        core: of the device, as boards name it; empty for one of many registers.
    Raises: GenerateError if the model is inconsistent or beyond a limit of the C tables.
    """
    check(model)
    padded = round_up(model.arithmetic.batch, model.arithmetic.order)
    rows = host_rows(model) if host else _rows(model, padded, core)
    mve = core == "M55" and rows == DEVICE_ROWS and fits_vectors(model)
    fours = rows == DEVICE_ROWS and all(layer.conv is None for layer in model.layers)
    layers = _layers(model, model.arithmetic.tile_k if mve else VIEW_FOURS if fours else 1)
    rows = MVE_ROWS if mve else rows
    wide = host and rows == HOST_ROWS
    stride = round_up(padded, stride_step(wide=wide, mve=mve))
    at_once = stride if wide else lanes(stride, most_lanes(host=host, mve=mve))
    terms = max([padded, *(n for layer in layers for n in (layer.inputs, layer.outputs_padded))])
    row_terms = round_up(terms, 2) if wide else 0
    shape = Shape(
        model.arithmetic, padded, stride, at_once, rows, row_terms, model.max_classes, mve
    )
    operand = mve_operand_bytes if mve else panel_bytes
    operations = tuple(_operations(shape, layers))
    places = {op.label: at for at, op in enumerate(operations)}
    inference = inference_plan(model, layers)
    return Plan(
        batch_padded=padded,
        batch_stride=stride,
        lanes=at_once,
        rows=rows,
        layers=layers,
        operations=operations,
        arena=allocate(_buffers(shape, layers, places)),
        calls=inference.calls,
        infer_arena=allocate(inference.buffers),
        x0=inference.x0,
        features=inference.features,
        panel_bytes=operand(shape, layers) if wide or mve else 0,
        panel_terms=shape.row_terms,
        mve=mve,
    )


def _rows(model: IntModel, batch_padded: int, core: str) -> int:
    """Rows of weights at once; packed fields must hold the exact sum of a tile, and any total."""
    arithmetic = model.arithmetic
    bounds = [accumulator_bound(arithmetic, batch_padded, 7, 7)]
    for at, layer in enumerate(model.layers):
        inputs = layer.inputs
        bounds.append(
            accumulator_bound(arithmetic, inputs, _x_max(model, reads(model.layers, at)), 7)
        )
        bounds.append(accumulator_bound(arithmetic, error_terms(layer, arithmetic.order), 7, 7))
    exact = arithmetic.saturation == "tile" and arithmetic.tile_k * TERM_MAX <= FIELD_MAX
    octet = core in OCTET_CORES and not any(layer.conv for layer in model.layers)
    packed = OCTET_ROWS if octet else FEWER_ROWS.get(core, DEVICE_ROWS)
    return packed if exact and max(bounds) <= FIELD_MAX else 1


def _x_max(model: IntModel, number: int) -> int:
    """Largest magnitude of the 4-bit input of a number."""
    return 7 if number == 0 and model.x0_signed else 15


def _layers(model: IntModel, view_step: int) -> tuple[LayerPlan, ...]:
    """In the packed view a row has a multiple of view_step terms."""
    plans: list[LayerPlan] = []
    master_at = bias_at = view_at = 0
    for index, layer in enumerate(model.layers):
        words = -(-layer.outputs // VIEW_ROWS) * round_up(layer.inputs, view_step)
        plans.append(_layer(model, layer, index, (master_at, bias_at, view_at, words)))
        master_at += layer.inputs * layer.outputs
        bias_at += layer.outputs
        view_at += words
    return tuple(plans)


def _layer(
    model: IntModel, layer: TrainableLayer, index: int, at: tuple[int, int, int, int]
) -> LayerPlan:
    arithmetic = model.arithmetic
    padded = error_terms(layer, arithmetic.order)
    error_bound = added_products(layer) * accumulator_bound(arithmetic, padded, 7, 7)
    return LayerPlan(
        index=index,
        name=layer.name,
        inputs=layer.inputs,
        outputs=layer.outputs,
        outputs_padded=padded,
        forward_shift=accumulator_shift(
            arithmetic, layer.inputs, _x_max(model, reads(model.layers, index)), 7
        ),
        fine_shift=fine_shift(arithmetic, layer.inputs, _x_max(model, reads(model.layers, index))),
        error_shift=max(0, error_bound.bit_length() - 15),
        master_at=at[0],
        bias_at=at[1],
        view_at=at[2],
        view_words=at[3],
        is_head=index == len(model.layers) - 1,
        conv=layer.conv,
        reads=reads(model.layers, index),
        below=below(model.layers, index),
        next=min(follows(model.layers, index), len(model.layers) - 1),
        side=layer.side,
        adds=layer.adds,
        has_side=has_side(model.layers, index),
    )


def _operations(shape: Shape, layers: tuple[LayerPlan, ...]) -> list[Operation]:
    """SPEC.md 8.6, in order."""
    out = [
        Operation(
            "GATHER",
            "had_gather",
            ("x0", "labels"),
            None,
            shape.batch,
            work_units(layers[0].in_values),
        )
    ]
    for layer in layers:
        conv = layer.conv
        out += forward_operations(shape, layers, layer, conv) if conv else _forward(shape, layer)
    head = layers[-1].index
    arguments = (f"LAYER_{head}", f"y{head}", "labels")
    out.append(
        Operation("LOSS", "had_loss", arguments, None, shape.batch, work_units(16 * shape.classes))
    )
    for layer in reversed(layers):
        if layer.conv:
            out += backward_operations(shape, layers, layer, layer.conv)
            continue
        out += _input_gradient(shape, layers, layer) if layer.index > 0 else []
        out += _weight_gradient(shape, layer)
    return out


def _buffers(shape: Shape, layers: tuple[LayerPlan, ...], at: dict[str, int]) -> list[Buffer]:
    """Buffers of a training step with their lifetimes; `at`: label of an operation to its place."""
    buffers = [Buffer("labels", shape.batch, "labels of the batch", at["GATHER"], at["LOSS"])]
    for layer in layers:
        if layer.conv:
            buffers += conv_buffers(shape, layers, layer, layer.conv, at)
        else:
            buffers += dense_buffers(shape, layer, at)
    return buffers


def _forward(shape: Shape, layer: LayerPlan) -> list[Operation]:
    n, size = layer.index, layer.inputs
    cost = work_units(size * shape.batch + 4 * size)
    arguments = (f"LAYER_{n}", f"y{n}", f"x{n}", f"wq{n}")
    out = [Operation(f"FORWARD_{n}", "had_forward", arguments, n, layer.outputs, cost)]
    if not layer.is_head:
        arguments = (f"LAYER_{n}", f"x{n + 1}", f"mask{n + 1}", f"y{n}")
        cost = work_units(2 * layer.outputs)
        out.append(Operation(f"ACTIVATE_{n}", "had_activate", arguments, n, shape.batch, cost))
    return out


def _error(layer: LayerPlan) -> str:
    """Buffer of a layer's error; the head's takes the place of its outputs."""
    return f"y{layer.index}" if layer.is_head else f"d{layer.index}"


def _input_gradient(
    shape: Shape, layers: tuple[LayerPlan, ...], layer: LayerPlan
) -> list[Operation]:
    n, padded, error = layer.index, layer.outputs_padded, _error(layer)
    name, block = f"LAYER_{n}", f"block{n}"
    columns, rows = shape.batch, layer.inputs
    product = work_units(padded * shape.batch + 8 * padded)
    below = (name, error_made(layers[n - 1]), f"dh{n}", f"mask{n}", block, f"wh{n}")
    return [
        Operation(
            f"ERROR_RANGE_{n}",
            "had_error_range",
            (name, error, block),
            n,
            columns,
            work_units(4 * padded),
        ),
        Operation(
            f"WEIGHT_RANGE_{n}", "had_weight_range", (name, block), n, rows, work_units(4 * padded)
        ),
        Operation(
            f"ERROR_QUANTIZE_{n}",
            "had_error_quantize",
            (name, f"dh{n}", error, block),
            n,
            columns,
            work_units(8 * padded),
        ),
        Operation(f"INPUT_GRADIENT_{n}", "had_input_gradient", below, n, rows, product),
    ]


def _weight_gradient(shape: Shape, layer: LayerPlan) -> list[Operation]:
    n, size, padded = layer.index, layer.inputs, shape.batch_padded
    operand = (f"LAYER_{n}", f"x{n}", f"row{n}")
    update = (f"LAYER_{n}", _error(layer), f"x{n}", f"row{n}", f"dt{n}")
    cost = work_units(size * padded + 8 * padded + 8 * size)
    return [
        Operation(
            f"ACTIVATION_RANGE_{n}",
            "had_activation_range",
            operand,
            n,
            size,
            work_units(4 * padded),
        ),
        Operation(
            f"ACTIVATION_QUANTIZE_{n}",
            "had_activation_quantize",
            operand,
            n,
            size,
            work_units(8 * padded),
        ),
        Operation(f"WEIGHT_GRADIENT_{n}", "had_weight_gradient", update, n, layer.outputs, cost),
    ]
