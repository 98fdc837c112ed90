# SPDX-License-Identifier: Apache-2.0
"""Calibration and construction of the integer model, layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.errors import QuantizeError
from codegen.float_front import FloatFront
from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize.calibration import checked_labels, checked_samples, normalized
from codegen.quantize.conditioning import first_trained_output, forms
from codegen.quantize.evidence import check_classifier
from codegen.quantize.expansion import widened, with_expansion
from codegen.quantize.front import RANGE_SAMPLES, FittedFront, fit_front, samples_at_once, spread
from codegen.quantize.memory import with_memory
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.ranges import OUTPUT_HEADROOM, FloatArray, best_clip, frac_bits_for
from codegen.quantize.signal import features_of, signal_of
from codegen.quantize.stage import RawGrid, grid_scale, input_grid
from codegen.quantize.tail import (
    ConvSource,
    Source,
    clear_of_linear,
    linear,
    split_front,
    tail_sources,
)
from codegen.quantize.trainable import (
    FIT_SAMPLES,
    RANGE_FACTORS,
    fit_weight_range,
    head_of,
    largest_output,
    output_error,
    trainable_layer,
    trainable_layers,
)
from device.twin.fine import FINE_RULE, can_be_fine
from device.twin.front import x0_of
from device.twin.front_node import FrontNode
from device.twin.kernels import IntArray, widen
from device.twin.layers import LayerInput, frozen_forward, input_stage
from device.twin.learner import raw_samples
from device.twin.model import FrozenLayer, InputStage, IntModel, TrainableLayer
from device.twin.scale import Scale, quantized_scale

# Share of the error so far that a further form of the graph must stay below.
CLEAR_GAIN = 0.75


def quantize(
    graph: FloatGraph,
    calibration: FloatArray,
    labels: NDArray[np.integer] | None = None,
    options: QuantizeOptions | None = None,
) -> IntModel:
    """Make the integer model of a float graph.

    Args:
        graph: imported float network.
        calibration: float32, shape (N, features) or (N, *input_shape), real samples, at least 2;
            windows of the signal if the options name features.
        labels: integer class of each sample, shape (N,); gives the first exemplars and prototypes.
            Without labels the model starts with an empty exemplar memory.
        options: see `QuantizeOptions`.
    Returns: the integer model.
    Raises: QuantizeError if a layer leaves the grids of 16 bits, CalibrationError, ShapeError.
    """
    options = options or QuantizeOptions()
    check_classifier(graph, labels is not None)
    signal = None if options.features is None else signal_of(graph, options.features, calibration)
    if signal is not None:
        calibration = features_of(signal, calibration)
    grid = None if signal is None else signal.feature_bits
    x = checked_samples(graph, calibration)
    targets = None if labels is None else checked_labels(graph, labels, len(x))
    max_classes = options.classes_for(graph.n_classes)
    options.check_slots(graph.n_classes)
    options = clear_of_linear(graph, options)
    graph = widened(graph, options)
    few = x if graph.front is None else spread(x, samples_at_once(graph.front))
    graph, front = _fit_form(graph, options, few, grid)
    _, tail = _cut(graph, options)
    layers = trainable_layers(tail, front.x0, max_classes, options.arithmetic)
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
    if options.fine_inference:
        model = _fine(model)
    x0 = front.x0.q if graph.front is None else _x0_of_all(model, x, samples_at_once(graph.front))
    model = with_expansion(replace(model, signal=signal), options)
    return with_memory(model, x0, targets, options.keep_prototypes)


def _fine(model: IntModel) -> IntModel:
    if not can_be_fine(model):
        raise QuantizeError("it cannot be had", where="fine_inference", expected=FINE_RULE)
    return replace(model, fine_inference=True)


def _cut(
    graph: FloatGraph, options: QuantizeOptions
) -> tuple[tuple[Dense, ...], tuple[Source, ...]]:
    """Dense layers that stay frozen, and all layers that are trained."""
    dense = graph.dense_layers
    beyond = (options.train_last or 0) - len(dense)
    if beyond > 0 and graph.front is not None:
        batch = options.arithmetic.batch
        return (), (*tail_sources(graph.front, beyond, len(dense), batch), *dense)
    count = options.layers_to_train(len(dense))
    return dense[: len(dense) - count], dense[len(dense) - count :]


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
    graph: FloatGraph, options: QuantizeOptions, x: FloatArray, grid: RawGrid
) -> tuple[FloatGraph, _Front]:
    """The form of the graph that loses least in integers (see `conditioning`), and its front.

    The file's own form stays unless another one is clearly better, and a gentle one likewise.
    """
    if graph.front is not None:
        return graph, _fit_front(graph, options, x, grid)[0]
    n_trained = options.layers_to_train(len(graph.dense_layers))
    if graph.normalizer is not None:
        normalized(
            graph.normalizer, x
        )  # samples it cannot take are named before anything is fitted
    target = first_trained_output(graph, n_trained, x[:FIT_SAMPLES])
    tried: list[tuple[float, FloatGraph, _Front]] = []
    for form in forms(graph, x):
        front, layer, y = _fit_front(form, options, x, grid)
        error = output_error(layer, y, target)
        if not tried or error < CLEAR_GAIN * tried[-1][0]:
            tried.append((error, form, front))
    return tried[-1][1:]


def _fit_front(
    graph: FloatGraph, options: QuantizeOptions, x: FloatArray, grid: RawGrid
) -> tuple[_Front, TrainableLayer, IntArray]:
    """The front whose range of x0 gives the first trainable layer the least output error.

    Returns: the front, that layer, and its outputs for the first samples.
    """
    arithmetic = options.arithmetic
    body, tail = _cut(graph, options)
    tried = []
    first = tail[0]
    make = _front_maker(graph, body, tail, x, grid)
    for factor in RANGE_FACTORS:
        front = make(factor)
        x0 = head_of(front.x0, tail[:1])
        exact = x0.q * x0.scale.value
        if factor == RANGE_FACTORS[0]:
            target = linear(first, exact)
        layer = trainable_layer(first, exact, first.outputs, arithmetic)
        fitted, y = fit_weight_range(layer, x0, target, arithmetic)
        tried.append((output_error(fitted, y, target), front, fitted, y))
    return min(tried, key=lambda item: item[0])[1:]


def _front_maker(
    graph: FloatGraph,
    body: tuple[Dense, ...],
    tail: tuple[Source, ...],
    x: FloatArray,
    grid: RawGrid,
) -> Callable[[int], _Front]:
    """Makes the front whose range of x0 is widened by so many sixteenths."""
    if graph.front is None:
        read = _plain(graph, not body, x, grid)
        return lambda factor: _ranged(read, body, factor)
    trained = tuple(source for source in tail if isinstance(source, ConvSource))
    rest = split_front(graph.front, trained)
    if rest is None:
        image = _image(graph, graph.front, x, grid)
        return lambda factor: _ranged(image, body, factor)
    start = _start(graph, rest, x, not body, grid)
    return lambda factor: _behind(start, body, factor)


def _start(
    graph: FloatGraph, front: FloatFront, x: FloatArray, makes_x0: bool, grid: RawGrid
) -> _Start:
    """Input stage, one set of constants a channel, and the nodes behind it."""
    stage, q = image_stage(graph, front, x, grid)
    return _Start(stage, fit_front(front, q, stage.scale, not stage.signed, makes_x0))


def image_stage(
    graph: FloatGraph, front: FloatFront, x: FloatArray, grid: RawGrid
) -> tuple[InputStage, IntArray]:
    """Input stage before a front, `scale` being that of its 8 bits, and tensor 0 (N, values)."""
    stage, raw, v, v_bits = _image_grid(graph, front, x, grid)
    sample = v.reshape(-1)[:: max(1, v.size // RANGE_SAMPLES)]
    stage = replace(stage, amax=best_clip(sample, 127, not stage.signed))
    q = input_stage(stage, raw, True).reshape(len(x), -1)
    scale = quantized_scale(grid_scale(v_bits), stage.amax, 127)
    return replace(stage, pixels=front.pixels, planar=front.planar, scale=scale), q


def _image_grid(
    graph: FloatGraph, front: FloatFront, x: FloatArray, grid: RawGrid
) -> tuple[InputStage, IntArray, IntArray, int]:
    """`input_grid` with one set of constants a channel; rows are pixels."""
    normalizer = graph.normalizer
    if normalizer is not None:
        offset, scale = (
            front.arrange(a[None])[0, : front.channels]
            for a in (normalizer.offset, normalizer.scale)
        )
        normalizer = Affine(normalizer.name, offset, scale)
    if grid is not None:
        grid = front.arrange(grid[None])[0, : front.channels]
    rows = front.arrange(x).reshape(-1, front.channels)
    return input_grid(normalizer, np.ascontiguousarray(rows, np.float32), grid)


@dataclass(frozen=True)
class _Reads:
    """Samples on the grid, and the best range of what the input stage makes of them.

    Rows of `raw` are samples, or pixels of them; `stage` lacks range and scale, and is told
    of pixels at the end.
    """

    stage: InputStage
    raw: IntArray
    v_bits: int
    amax: int
    qmax: int
    samples: int
    pixels: int = 1
    planar: bool = False


def _image(graph: FloatGraph, front: FloatFront, x: FloatArray, grid: RawGrid) -> _Reads:
    """Input stage that makes x0 for a convolution."""
    stage, raw, v, v_bits = _image_grid(graph, front, x, grid)
    qmax = 7 if stage.signed else 15
    sample = v.reshape(-1)[:: max(1, v.size // RANGE_SAMPLES)]
    amax = best_clip(sample, qmax, not stage.signed)
    return _Reads(stage, raw, v_bits, amax, qmax, len(x), front.pixels, front.planar)


def _plain(graph: FloatGraph, makes_x0: bool, x: FloatArray, grid: RawGrid) -> _Reads:
    """Input stage that makes x0, or eight bits for frozen layers."""
    stage, raw, v, v_bits = input_grid(graph.normalizer, x, grid)
    qmax = (7 if stage.signed else 15) if makes_x0 else 127
    return _Reads(stage, raw, v_bits, best_clip(v, qmax, not stage.signed), qmax, len(x))


def _ranged(read: _Reads, body: tuple[Dense, ...], factor: int) -> _Front:
    """Input stage and frozen layers; the range of x0 is widened by `factor` sixteenths."""
    stage = replace(read.stage, amax=read.amax if body else widen(read.amax, factor))
    q = input_stage(stage, read.raw, bool(body)).reshape(read.samples, -1)
    scale = quantized_scale(grid_scale(read.v_bits), stage.amax, read.qmax)
    layers, q, scale = _frozen_layers(body, q, scale, factor)
    stage = replace(stage, scale=scale, pixels=read.pixels, planar=read.planar)
    return _Front(
        stage,
        layers,
        LayerInput(q, scale, body[-1].activation is None if body else stage.signed),
    )


def _behind(start: _Start, body: tuple[Dense, ...], factor: int) -> _Front:
    """Front and frozen layers; the range of x0 is widened by `factor` sixteenths."""
    nodes, q, scale = start.fitted.widened(16 if body else factor)
    q = q.reshape(len(q), -1)
    layers, q, scale = _frozen_layers(body, q, scale, factor)
    signed = body[-1].activation is None if body else not nodes[-1].nonnegative
    stage = replace(start.stage, scale=scale)
    return _Front(stage, layers, LayerInput(q, scale, signed), nodes)


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
    frac_bits = frac_bits_for(largest_output(y_float, dense), OUTPUT_HEADROOM)
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


__all__ = ["quantize", "raw_samples"]
