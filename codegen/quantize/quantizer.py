# SPDX-License-Identifier: Apache-2.0
"""Calibration and construction of the integer model, layer by layer."""

from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from codegen.errors import QuantizeError
from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize.calibration import checked_labels, checked_samples, normalized
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.ranges import (
    INT16_MAX,
    OUTPUT_HEADROOM,
    RAW_HEADROOM,
    FloatArray,
    best_clip,
    fixed_ratio,
    frac_bits_for,
)
from device.twin.exemplars import MAX_QUOTA, herd
from device.twin.kernels import IntArray, round_half_up, saturate, widen
from device.twin.layers import (
    LayerInput,
    LayerWeights,
    activate,
    forward,
    frozen_forward,
    input_stage,
)
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import (
    Arithmetic,
    Exemplar,
    FrozenLayer,
    InputStage,
    IntModel,
    TrainableLayer,
)
from device.twin.scale import ONE, Scale, quantized_scale

# Room for weights to grow before a master saturates, as a multiple of the largest trained weight.
MASTER_HEADROOM = {8: 2.0, 16: 4.0}
# Steps of the raw grid a normalised unit, where a feature is small.
RAW_STEPS = 256
# Range factors tried, in sixteenths, and samples they are judged by.
RANGE_FACTORS = (16, 20, 24, 32, 40, 48, 64)
FIT_SAMPLES = 512
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
    body = graph.dense_layers[: len(graph.dense_layers) - n_trained]
    tail = graph.dense_layers[len(graph.dense_layers) - n_trained :]

    front = _fit_front(graph, body, tail[0], x, options.arithmetic)
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
        distillation=options.distillation,
    )
    return _with_memory(model, front.x0.q, targets, options.keep_prototypes)


@dataclass(frozen=True)
class _Front:
    """All before the first trainable layer, and what it makes of the calibration samples."""

    stage: InputStage
    frozen: tuple[FrozenLayer, ...]
    x0: LayerInput


def _fit_front(
    graph: FloatGraph,
    body: tuple[Dense, ...],
    first: Dense,
    x: FloatArray,
    arithmetic: Arithmetic,
) -> _Front:
    """The front whose range of x0 gives the first trainable layer the least output error."""
    tried = []
    for factor in RANGE_FACTORS:
        front = _front(graph, body, x, factor)
        x0 = _head_of(front.x0)
        exact = x0.q * x0.scale.value
        if factor == RANGE_FACTORS[0]:
            target = exact @ first.weight.T.astype(np.float64) + first.bias
        layer = _trainable_layer(first, exact, first.outputs, arithmetic)
        fitted, y = _fit_weight_range(layer, x0, target, arithmetic)
        tried.append((_output_error(fitted, y, target), front))
    return min(tried, key=lambda item: item[0])[1]


def _head_of(x: LayerInput) -> LayerInput:
    """The first samples: enough to choose a range by."""
    return LayerInput(x.q[:FIT_SAMPLES], x.scale, x.signed)


def _front(graph: FloatGraph, body: tuple[Dense, ...], x: FloatArray, factor: int) -> _Front:
    """Input stage and frozen layers; the range of x0 is widened by `factor` sixteenths."""
    stage, raw, v, v_bits = _input_grid(graph, x)
    qmax = 127 if body else (7 if stage.signed else 15)
    amax = best_clip(v, qmax, not stage.signed)
    stage = replace(stage, amax=amax if body else widen(amax, factor))
    q = input_stage(stage, raw, bool(body))
    scale = quantized_scale(_grid_scale(v_bits), stage.amax, qmax)
    layers: list[FrozenLayer] = []
    for dense in body:
        last = dense is body[-1]
        layer, q, scale = _frozen_layer(dense, q, scale, last, factor if last else 16)
        layers.append(layer)
    signed = body[-1].activation is None if body else stage.signed
    return _Front(replace(stage, scale=scale), tuple(layers), LayerInput(q, scale, signed))


def _input_grid(graph: FloatGraph, x: FloatArray) -> tuple[InputStage, IntArray, IntArray, int]:
    """Input stage without its range, raw samples, normalised samples v and their bits."""
    normalizer = graph.normalizer or Affine(
        "identity", np.zeros(graph.features, np.float32), np.ones(graph.features, np.float32)
    )
    raw_bits = _raw_bits(graph, normalizer, x)
    normal = normalized(normalizer, x)
    v_bits = frac_bits_for(float(np.abs(normal).max()), RAW_HEADROOM)
    pairs = [
        fixed_ratio(float(s) * 2.0 ** (v_bits - int(bits)), 14)
        for s, bits in zip(normalizer.scale, raw_bits, strict=True)
    ]
    stage = InputStage(
        raw_frac_bits=raw_bits,
        zero=_to_grid(normalizer.offset, raw_bits).astype(np.int16),
        mult=np.array([m for m, _ in pairs], np.int16),
        shift=np.array([s for _, s in pairs], np.uint8),
        amax=1,
        signed=bool(normal.min() < 0),
        scale=ONE,
    )
    raw = saturate(_to_grid(x, raw_bits).astype(np.int64), 16)
    v = (raw - stage.zero) * stage.mult.astype(np.int64)
    return stage, raw, saturate(round_half_up(v, stage.shift.astype(np.int64)), 16), v_bits


def _raw_bits(graph: FloatGraph, normalizer: Affine, x: FloatArray) -> NDArray[np.int16]:
    """Fractional bits of every raw feature, shape (features,).

    All features share one grid, which a driver finds easiest and which leaves small features room
    to grow with classes yet to come. Where a normaliser says that a feature is small, it gets a
    finer grid, as fine as 1 / RAW_STEPS of a normalised unit and as its calibrated range allows.
    """
    largest = np.maximum(np.abs(x).max(axis=0), np.abs(normalizer.offset)).astype(np.float64)
    shared = frac_bits_for(float(largest.max()), RAW_HEADROOM)
    if graph.normalizer is None:
        return np.full(graph.features, shared, np.int16)
    allowed = [frac_bits_for(float(top), RAW_HEADROOM) for top in largest]
    wanted = [ceil(log2(RAW_STEPS * abs(float(s)))) if s else shared for s in normalizer.scale]
    fine = [min(a, max(w, shared)) for a, w in zip(allowed, wanted, strict=True)]
    return np.array(fine, np.int16)


def _to_grid(values: FloatArray, frac_bits: NDArray[np.int16]) -> NDArray[np.floating]:
    """values * 2**frac_bits to the nearest integer, halves up."""
    return np.floor(np.ldexp(values.astype(np.float64), frac_bits) + 0.5)


def _grid_scale(frac_bits: int) -> Scale:
    return Scale(1 << 14, -14 - frac_bits)


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
    scale = quantized_scale(_grid_scale(frac_bits), layer.out_amax, qmax)
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


def _with_memory(
    model: IntModel, x0: IntArray, labels: IntArray | None, keep_prototypes: bool
) -> IntModel:
    """The model with first exemplars and prototypes chosen by the device's own arithmetic."""
    features, _ = TwinLearner(model).forward_x0(x0, TwinLearner(model).committed)
    exemplars: list[Exemplar] = []
    quota = min(model.exemplar_slots // model.n_classes, MAX_QUOTA)
    if model.per_class_limit:
        quota = min(quota, model.per_class_limit)
    for label in range(model.n_classes) if labels is not None else ():
        members = np.flatnonzero(labels == label)
        if len(members):
            order = members[herd(features[members], quota)]
            exemplars += [Exemplar(label, k, x0[i].astype(np.int8)) for k, i in enumerate(order)]
    model = replace(model, exemplars=tuple(exemplars))
    if not keep_prototypes:
        return model
    count = np.zeros(model.max_classes, np.uint16)
    total = np.zeros((model.max_classes, model.features), np.int16)
    model = replace(model, keep_prototypes=True, prototype_count=count, prototype_sum=total)
    if labels is None:
        return model
    prototypes = TwinLearner(model).working.prototypes
    for sample, label in zip(features, labels, strict=True):
        prototypes.add(int(label), sample)
    return replace(
        model,
        prototype_count=prototypes.count.astype(np.uint16),
        prototype_sum=prototypes.total.astype(np.int16),
    )


__all__ = ["quantize", "raw_samples"]
