# SPDX-License-Identifier: Apache-2.0
"""Calibration and construction of the integer model, layer by layer."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.errors import QuantizeError
from codegen.float_front import FloatFront
from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize.calibration import checked_labels, checked_samples, normalized
from codegen.quantize.conditioning import first_trained_output, forms
from codegen.quantize.front import RANGE_SAMPLES, FittedFront, fit_front, samples_at_once, spread
from codegen.quantize.memory import with_memory
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.ranges import (
    INT16_MAX,
    OUTPUT_HEADROOM,
    FloatArray,
    best_clip,
    frac_bits_for,
)
from codegen.quantize.stage import grid_scale, input_grid
from device.twin.front import x0_of
from device.twin.front_node import FrontNode
from device.twin.kernels import IntArray, saturate, widen
from device.twin.layers import (
    LayerInput,
    LayerWeights,
    activate,
    forward,
    frozen_forward,
    input_stage,
)
from device.twin.learner import raw_samples
from device.twin.model import (
    Arithmetic,
    FrozenLayer,
    InputStage,
    IntModel,
    TrainableLayer,
)
from device.twin.scale import Scale, quantized_scale

# Room for weights to grow before a master saturates, as a multiple of the largest trained weight.
MASTER_HEADROOM = {8: 2.0, 16: 4.0}
# Range factors tried, in sixteenths, and samples they are judged by.
RANGE_FACTORS = (16, 20, 24, 32, 40, 48, 64)
FIT_SAMPLES = 512
# Share of the error so far that a further form of the graph must stay below.
CLEAR_GAIN = 0.75
# In the finest output grid, 2**-15, a smaller output would have less than 16 steps.
SMALLEST_OUTPUT = 2.0**-11


def quantize(
    graph: FloatGraph,
    calibration: FloatArray,
    labels: NDArray[np.integer] | None = None,
    options: QuantizeOptions | None = None,
) -> IntModel:
    """Make the integer model of a float graph.

    Args:
        graph: imported float network.
        calibration: float32, shape (N, features) or (N, *input_shape), real samples, at least 2.
        labels: integer class of each sample, shape (N,); gives the first exemplars and prototypes.
            Without labels the model starts with an empty exemplar memory.
        options: see `QuantizeOptions`.
    Returns: the integer model.
    Raises: QuantizeError if a layer leaves the grids of 16 bits, CalibrationError, ShapeError.
    """
    options = options or QuantizeOptions()
    x = checked_samples(graph, calibration)
    targets = None if labels is None else checked_labels(graph, labels, len(x))
    max_classes = options.classes_for(graph.n_classes)
    options.check_slots(graph.n_classes)
    n_trained = options.layers_to_train(len(graph.dense_layers))
    few = x if graph.front is None else spread(x, samples_at_once(graph.front))
    graph, front = _fit_form(graph, n_trained, few, options.arithmetic)
    tail = graph.dense_layers[-n_trained:]
    layers = _trainable_layers(tail, front.x0, max_classes, options.arithmetic)
    model = IntModel(
        name=graph.name,
        arithmetic=options.arithmetic,
        input=front.stage,
        frozen=front.frozen,
        layers=layers,
        n_classes=graph.n_classes,
        max_classes=max_classes,
        class_names=graph.class_names or tuple(str(c) for c in range(graph.n_classes)),
        exemplar_slots=options.exemplar_slots,
        staging_slots=options.staging_slots,
        per_class_limit=options.per_class_limit,
        keep_prototypes=False,
        distillation=options.distillation or options.bias_correction,
        bias_correction=options.bias_correction,
        front=front.nodes,
    )
    x0 = front.x0.q if graph.front is None else _x0_of_all(model, x, samples_at_once(graph.front))
    return with_memory(model, x0, targets, options.keep_prototypes)


def _x0_of_all(model: IntModel, x: FloatArray, at_once: int) -> IntArray:
    raw = raw_samples(model, x)
    return np.concatenate([x0_of(model, raw[i : i + at_once]) for i in range(0, len(x), at_once)])


@dataclass(frozen=True)
class _Front:
    """All before the first trainable layer, and what it makes of the calibration samples."""

    stage: InputStage
    frozen: tuple[FrozenLayer, ...]
    x0: LayerInput
    nodes: tuple[FrontNode, ...] = ()


@dataclass(frozen=True)
class _Start:
    """Input stage and front of a graph that has one."""

    stage: InputStage
    fitted: FittedFront


def _fit_form(
    graph: FloatGraph, n_trained: int, x: FloatArray, arithmetic: Arithmetic
) -> tuple[FloatGraph, _Front]:
    """The form of the graph that loses least in integers (see `conditioning`), and its front.

    The file's own form stays unless another one is clearly better, and a gentle one likewise.
    """
    if graph.front is not None:
        return graph, _fit_front(graph, n_trained, x, arithmetic)[0]
    if graph.normalizer is not None:
        normalized(
            graph.normalizer, x
        )  # samples it cannot take are named before anything is fitted
    target = first_trained_output(graph, n_trained, x[:FIT_SAMPLES])
    tried: list[tuple[float, FloatGraph, _Front]] = []
    for form in forms(graph, x):
        front, layer, y = _fit_front(form, n_trained, x, arithmetic)
        error = _output_error(layer, y, target)
        if not tried or error < CLEAR_GAIN * tried[-1][0]:
            tried.append((error, form, front))
    return tried[-1][1:]


def _fit_front(
    graph: FloatGraph, n_trained: int, x: FloatArray, arithmetic: Arithmetic
) -> tuple[_Front, TrainableLayer, IntArray]:
    """The front whose range of x0 gives the first trainable layer the least output error.

    Returns: the front, that layer, and its outputs for the first samples.
    """
    body, first = graph.dense_layers[:-n_trained], graph.dense_layers[-n_trained]
    tried = []
    start = None if graph.front is None else _start(graph, graph.front, x, not body)
    for factor in RANGE_FACTORS:
        front = _front(graph, body, x, factor) if start is None else _behind(start, body, factor)
        x0 = _head_of(front.x0)
        exact = x0.q * x0.scale.value
        if factor == RANGE_FACTORS[0]:
            target = exact @ first.weight.T.astype(np.float64) + first.bias
        layer = _trainable_layer(first, exact, first.outputs, arithmetic)
        fitted, y = _fit_weight_range(layer, x0, target, arithmetic)
        tried.append((_output_error(fitted, y, target), front, fitted, y))
    return min(tried, key=lambda item: item[0])[1:]


def _head_of(x: LayerInput) -> LayerInput:
    """The first samples: enough to choose a range by."""
    return LayerInput(x.q[:FIT_SAMPLES], x.scale, x.signed)


def _start(graph: FloatGraph, front: FloatFront, x: FloatArray, makes_x0: bool) -> _Start:
    """Input stage, one set of constants a channel, and the nodes behind it."""
    normalizer = graph.normalizer
    if normalizer is not None:
        offset, scale = (
            front.arrange(a[None])[0, : front.channels]
            for a in (normalizer.offset, normalizer.scale)
        )
        normalizer = Affine(normalizer.name, offset, scale)
    rows = front.arrange(x).reshape(-1, front.channels)
    stage, raw, v, v_bits = input_grid(normalizer, np.ascontiguousarray(rows, np.float32))
    sample = v.reshape(-1)[:: max(1, v.size // RANGE_SAMPLES)]
    stage = replace(stage, amax=best_clip(sample, 127, not stage.signed))
    q = input_stage(stage, raw, True).reshape(len(x), -1)
    scale8 = quantized_scale(grid_scale(v_bits), stage.amax, 127)
    fitted = fit_front(front, q, scale8, not stage.signed, makes_x0)
    return _Start(replace(stage, pixels=front.pixels, planar=front.planar), fitted)


def _behind(start: _Start, body: tuple[Dense, ...], factor: int) -> _Front:
    """Front and frozen layers; the range of x0 is widened by `factor` sixteenths."""
    nodes, q, scale = start.fitted.widened(16 if body else factor)
    q = q.reshape(len(q), -1)
    layers, q, scale = _frozen_layers(body, q, scale, factor)
    signed = body[-1].activation is None if body else not nodes[-1].nonnegative
    stage = replace(start.stage, scale=scale)
    return _Front(stage, layers, LayerInput(q, scale, signed), nodes)


def _front(graph: FloatGraph, body: tuple[Dense, ...], x: FloatArray, factor: int) -> _Front:
    """Input stage and frozen layers; the range of x0 is widened by `factor` sixteenths."""
    stage, raw, v, v_bits = input_grid(graph.normalizer, x)
    qmax = 127 if body else (7 if stage.signed else 15)
    amax = best_clip(v, qmax, not stage.signed)
    stage = replace(stage, amax=amax if body else widen(amax, factor))
    q = input_stage(stage, raw, bool(body))
    scale = quantized_scale(grid_scale(v_bits), stage.amax, qmax)
    layers, q, scale = _frozen_layers(body, q, scale, factor)
    signed = body[-1].activation is None if body else stage.signed
    return _Front(replace(stage, scale=scale), layers, LayerInput(q, scale, signed))


def _frozen_layers(
    body: tuple[Dense, ...], q: IntArray, scale: Scale, factor: int
) -> tuple[tuple[FrozenLayer, ...], IntArray, Scale]:
    """Frozen layers, their result, and its scale; the last range is widened."""
    layers: list[FrozenLayer] = []
    for dense in body:
        last = dense is body[-1]
        layer, q, scale = _frozen_layer(dense, q, scale, last, factor if last else 16)
        layers.append(layer)
    return tuple(layers), q, scale


def _frozen_layer(
    dense: Dense, x: IntArray, x_scale: Scale, last: bool, factor: int
) -> tuple[FrozenLayer, IntArray, Scale]:
    largest = np.abs(dense.weight).max(axis=1).astype(np.float64)
    largest[largest == 0.0] = 1.0
    weight = np.floor(dense.weight / (largest / 127)[:, None] + 0.5).astype(np.int8)
    y_float = (x * x_scale.value) @ dense.weight.T.astype(np.float64) + dense.bias
    frac_bits = frac_bits_for(_largest(y_float, dense), OUTPUT_HEADROOM)
    acc_shift = max(0, (dense.inputs * 127 * 127).bit_length() - 15)
    pairs = [
        x_scale.mul(Scale.from_real(float(a) / 127)).pow2(frac_bits + acc_shift).multiplier()
        for a in largest
    ]
    layer = FrozenLayer(
        name=dense.name,
        weight=weight,
        bias=np.floor(dense.bias.astype(np.float64) * 2.0**frac_bits + 0.5).astype(np.int32),
        mult=np.array([m for m, _ in pairs], np.int16),
        shift=np.array([s for _, s in pairs], np.uint8),
        relu=dense.activation == "relu",
        out_amax=1,
    )
    y = np.floor(y_float * 2.0**frac_bits + 0.5).astype(np.int64)
    qmax = 127 if not last else (15 if layer.relu else 7)
    layer = replace(layer, out_amax=widen(best_clip(y, qmax, layer.relu), factor))
    scale = quantized_scale(grid_scale(frac_bits), layer.out_amax, qmax)
    return layer, frozen_forward(layer, x, last), scale


def _trainable_layers(
    tail: tuple[Dense, ...], x: LayerInput, max_classes: int, arithmetic: Arithmetic
) -> tuple[TrainableLayer, ...]:
    """4-bit layers with masters, grids and first activation ranges (SPEC.md 5)."""
    layers: list[TrainableLayer] = []
    x = _head_of(x)
    exact = x.q * x.scale.value
    y: IntArray | None = None
    for dense in tail:
        rows = max_classes if dense is tail[-1] else dense.outputs
        layer = _trainable_layer(dense, exact, rows, arithmetic)
        target = exact @ dense.weight.T.astype(np.float64) + dense.bias
        if y is None:
            layer, y = _fit_weight_range(layer, x, target, arithmetic)
        else:
            layer, y = _fit_ranges(layer, layers[-1], y, target, arithmetic)
        layers.append(layer)
        exact = np.maximum(target, 0.0)
    return tuple(layers)


def _initial_weights(layer: TrainableLayer) -> LayerWeights:
    return LayerWeights(layer.master.astype(np.int64), layer.bias.astype(np.int64))


def _output_error(layer: TrainableLayer, y: IntArray, target: NDArray[np.floating]) -> float:
    """Squared error of integer outputs against the float layer's, saturation included."""
    y = y[:, : target.shape[1]]
    return float(np.square(y * 2.0**-layer.out_frac_bits - target).sum())


def _fit_weight_range(
    layer: TrainableLayer, x: LayerInput, target: NDArray[np.floating], arithmetic: Arithmetic
) -> tuple[TrainableLayer, IntArray]:
    """The w_range with the least output error, and the outputs."""
    tried = []
    for w_range in RANGE_FACTORS:
        candidate = replace(layer, w_range=w_range)
        y = forward(candidate, _initial_weights(candidate), x, arithmetic)
        tried.append((_output_error(candidate, y, target), candidate, y))
    _, best, y = min(tried, key=lambda item: item[0])
    return best, y


def _fit_ranges(
    layer: TrainableLayer,
    below: TrainableLayer,
    y_below: IntArray,
    target: NDArray[np.floating],
    arithmetic: Arithmetic,
) -> tuple[TrainableLayer, IntArray]:
    """x_range and w_range with the least output error, and the outputs."""
    in_amax = _batch_range(y_below, arithmetic.batch)
    tried = []
    for x_range in RANGE_FACTORS:
        x = activate(y_below, below.out_frac_bits, in_amax, x_range)
        candidate = replace(layer, in_amax=in_amax, x_range=x_range)
        fitted, y = _fit_weight_range(candidate, x, target, arithmetic)
        tried.append((_output_error(fitted, y, target), fitted, y))
    _, best, y = min(tried, key=lambda item: item[0])
    return best, y


def _batch_range(y: IntArray, batch: int) -> int:
    """Mean over batches of the largest activation, as training will track it (SPEC.md 5.3)."""
    parts = [y[i : i + batch].max() for i in range(0, max(1, len(y) - batch + 1), batch)]
    return max(1, round(float(np.mean(np.maximum(parts, 0)))))


def _largest(y: NDArray[np.floating], dense: Dense) -> float:
    """Largest magnitude the layer's output grid has to hold, its biases included."""
    return float(max(np.abs(y).max(), np.abs(dense.bias).max()))


def _output_bits(dense: Dense, y: NDArray[np.floating]) -> int:
    """fy of SPEC.md 5, for float outputs y of the layer.

    Raises: QuantizeError if outputs are beyond 16 bits, or so small that few steps are left.
    """
    largest = _largest(y, dense)
    if largest > INT16_MAX or 0.0 < largest < SMALLEST_OUTPUT:
        raise QuantizeError(
            f"the largest output is {largest:.3g}",
            where=f"layer {dense.name}",
            expected=f"{SMALLEST_OUTPUT:g} to {INT16_MAX}: other weights, or inputs normalised",
        )
    return min(max(frac_bits_for(largest, OUTPUT_HEADROOM), 0), 15)


def _trainable_layer(
    dense: Dense, x: NDArray[np.floating], rows: int, arithmetic: Arithmetic
) -> TrainableLayer:
    scale, factor, master = _masters(dense.weight, rows, arithmetic)
    y = x @ dense.weight.T.astype(np.float64) + dense.bias
    frac_bits = _output_bits(dense, y)
    bias = np.zeros(rows, np.int64)
    bias[: dense.outputs] = np.floor(dense.bias.astype(np.float64) * 2.0 ** (frac_bits + 16) + 0.5)
    return TrainableLayer(
        name=dense.name,
        master=master,
        bias=saturate(bias, 32).astype(np.int32),
        row_factor=factor,
        scale=scale,
        out_frac_bits=frac_bits,
        relu=dense.activation == "relu",
        in_amax=0,
    )


def _masters(
    weight: FloatArray, rows: int, arithmetic: Arithmetic
) -> tuple[Scale, NDArray[np.uint8], NDArray[np.int16]]:
    """Layer scale, row factors and masters; reserved rows are zero.

    16-bit masters have bits to spare and share one scale. 8-bit masters need every bit: each row
    has the range of its own weights, as a factor of the layer's scale.
    """
    limit = arithmetic.master_max
    largest = np.abs(weight).max(axis=1).astype(np.float64)
    top = float(largest.max()) or 1.0
    steps = 1 if arithmetic.master_bits == 16 else 255
    scale = Scale.from_real(top * MASTER_HEADROOM[arithmetic.master_bits] / limit / steps)
    factor = np.full(rows, steps, np.uint8)
    factor[: len(weight)] = np.clip(np.ceil(largest / top * steps), 1, steps)
    unit = scale.value * factor[: len(weight), None].astype(np.float64)
    master = np.zeros((rows, weight.shape[1]), np.int16)
    master[: len(weight)] = np.clip(np.floor(weight / unit + 0.5), -limit, limit)
    return scale, factor, master


__all__ = ["quantize", "raw_samples"]
