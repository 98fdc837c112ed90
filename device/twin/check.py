# SPDX-License-Identifier: Apache-2.0
"""Whether an integer model is one: types, shapes and ranges of SPEC.md 2 to 5 and 8.

Bytes from outside become a model only through these checks; what passes them breaks no bound that
the kernels rely on.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from device.twin.check_conv import conv_rules
from device.twin.check_front import front_rules, node_rules
from device.twin.check_mfcc import mfcc_rules
from device.twin.fine import FINE_RULE, can_be_fine
from device.twin.inference import InferenceModel
from device.twin.model import FrozenLayer, IntModel, ModelFormatError, TrainableLayer
from device.twin.residual import residual_rules
from device.twin.signal import AXES_MAX, EXTRA_MAX, WINDOW_MAX, WindowStats

Check = tuple[bool, str]

MAX_DIMENSION = 65535
MAX_RANGE = 2**31 - 1


def check_model(model: IntModel) -> None:
    """Raises: ModelFormatError that names the first rule the model breaks."""
    # One group at a time: later rules assume the types that earlier ones have established.
    for rules in (
        _constants,
        _input,
        _signal,
        front_rules,
        _frozen,
        _trainable,
        _expansion,
        _prototypes,
        _exemplars,
    ):
        for holds, text in rules(model):
            if not holds:
                raise ModelFormatError(f"not an integer model: {text}")


def check_inference(model: InferenceModel) -> None:
    """Raises: ModelFormatError at the first rule of SPEC.md 17 that is broken."""
    for rules in (_network, _input, _signal, _nodes):
        for holds, text in rules(model):
            if not holds:
                raise ModelFormatError(f"not an integer model: {text}")


def _network(model: InferenceModel) -> Iterator[Check]:
    yield isinstance(model.name, str), "name"
    yield len(model.front) > 0, "there is no node"
    yield model.output_scale.is_storable, "scale of the output"


def _nodes(model: InferenceModel) -> Iterator[Check]:
    yield from node_rules(model.front, model.stage_values, False)


def _whole(value: Any, low: int, high: int) -> bool:
    """Whether a value is an int (no bool, no float) in [low, high]."""
    return type(value) is int and low <= value <= high


def _is_array(value: Any, dimensions: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == dimensions


def _array(value: Any, dtype: str, shape: tuple[int, ...], low: int, high: int) -> bool:
    """Whether a value is an array of this type and shape with elements in [low, high]."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        return False
    return value.size == 0 or (int(value.min()) >= low and int(value.max()) <= high)


def _constants(model: IntModel) -> Iterator[Check]:
    a = model.arithmetic
    numbers = (a.order, a.tile_k, a.acc_bits, a.master_bits, a.batch)
    yield all(type(n) is int for n in numbers), "an arithmetic constant is no whole number"
    yield isinstance(model.name, str), "name"
    yield all(isinstance(name, str) for name in model.class_names), "class_names"
    yield _whole(model.max_classes, 2, 250), "max_classes must be 2 to 250"
    yield _whole(model.n_classes, 1, model.max_classes), "n_classes must be 1 to max_classes"
    yield _whole(model.exemplar_slots, 1, MAX_DIMENSION), "exemplar_slots"
    yield _whole(model.staging_slots, 0, MAX_DIMENSION), "staging_slots"
    total = model.exemplar_slots + model.staging_slots
    yield total <= MAX_DIMENSION, "exemplar_slots and staging_slots together exceed 65535"
    yield _whole(model.per_class_limit, 0, MAX_DIMENSION), "per_class_limit"
    yield isinstance(model.keep_prototypes, bool), "keep_prototypes"
    yield isinstance(model.distillation, bool), "distillation"
    yield isinstance(model.bias_correction, bool), "bias_correction"
    yield model.distillation or not model.bias_correction, "bias_correction needs distillation"
    yield len(model.layers) > 0, "there is no trainable layer"
    yield isinstance(model.fine_inference, bool), "fine_inference"
    yield not model.fine_inference or can_be_fine(model), FINE_RULE


def _input(model: IntModel | InferenceModel) -> Iterator[Check]:
    stage = model.input
    yield _is_array(stage.zero, 1), "zero of the input"
    shape = stage.zero.shape
    yield 1 <= shape[0] <= MAX_DIMENSION, "number of inputs"
    yield _array(stage.zero, "int16", shape, -32768, 32767), "zero of the input"
    yield _array(stage.mult, "int16", shape, -16383, 16383), "mult of the input"
    yield _array(stage.shift, "uint8", shape, 0, 30), "shift of the input"
    yield _array(stage.raw_frac_bits, "int16", shape, -1000, 1000), "raw_frac_bits"
    yield _whole(stage.amax, 1, MAX_RANGE), "amax of the input"
    yield isinstance(stage.signed, bool), "signed"
    yield stage.scale.is_storable, "scale of x0"
    most = MAX_DIMENSION // shape[0] if model.has_image else 1
    yield _whole(stage.pixels, 1, most), "pixels of the input"
    yield isinstance(stage.planar, bool), "planar"


def _signal(model: IntModel | InferenceModel) -> Iterator[Check]:
    signal = model.signal
    if signal is None:
        return
    if not isinstance(signal, WindowStats):
        yield from mfcc_rules(signal)
        yield signal.outputs == model.stage_values, "features of the signal"
        return
    yield signal.kind == "window-stats", "kind of signal"
    yield _whole(signal.window, 2, WINDOW_MAX), "window of the signal"
    yield _is_array(signal.frac_bits, 1), "frac_bits of the signal"
    shape = signal.frac_bits.shape
    yield 1 <= shape[0] <= AXES_MAX, "axes of the signal"
    yield _array(signal.frac_bits, "int16", shape, -1000, 1000), "frac_bits of the signal"
    yield _array(signal.extra_bits, "uint8", shape, 0, EXTRA_MAX), "extra_bits of the signal"
    yield _whole(signal.ddof, 0, 1), "ddof of the signal"
    yield signal.inputs <= MAX_DIMENSION, "values in the signal"
    yield signal.outputs == model.stage_values, "features of the signal"


def _frozen(model: IntModel) -> Iterator[Check]:
    width = model.front[-1].outputs if model.front else model.stage_values
    for index, layer in enumerate(model.frozen):
        for holds, text in _frozen_layer(layer, width):
            yield holds, f"{text} of frozen layer {index}"
        width = layer.weight.shape[0]


def _frozen_layer(layer: FrozenLayer, width: int) -> Iterator[Check]:
    yield isinstance(layer.name, str), "name"
    yield _is_array(layer.weight, 2), "weight"
    rows = layer.weight.shape[0]
    yield 1 <= rows <= MAX_DIMENSION, "number of outputs"
    yield _array(layer.weight, "int8", (rows, width), -127, 127), "weight"
    yield _array(layer.bias, "int32", (rows,), -MAX_RANGE, MAX_RANGE), "bias"
    yield _array(layer.mult, "int16", (rows,), 0, 32767), "mult"
    yield _array(layer.shift, "uint8", (rows,), 0, 30), "shift"
    yield isinstance(layer.relu, bool), "relu"
    yield _whole(layer.out_amax, 1, MAX_RANGE), "out_amax"


def _trainable(model: IntModel) -> Iterator[Check]:
    width = model.front[-1].outputs if model.front else model.stage_values
    width = int(model.frozen[-1].weight.shape[0]) if model.frozen else width
    limit = model.arithmetic.master_max
    before = 0  # values that the last layer but for side layers reads
    for index, layer in enumerate(model.layers):
        yield isinstance(layer.side, bool), f"side of trainable layer {index}"
        yield not layer.side or before > 0, "the first trainable layer is a side layer"
        given = before if layer.side else width
        for holds, text in _trainable_layer(layer, given, limit, model.arithmetic.batch):
            yield holds, f"{text} of trainable layer {index}"
        head = index + 1 == len(model.layers)
        yield layer.relu is not (head or layer.side), f"relu of trainable layer {index}"
        yield not (head and (layer.conv or layer.side)), "the head is a convolution"
        if not layer.side:
            before, width = width, layer.out_values
    yield from residual_rules(model.layers)
    yield width == model.max_classes, "the head must have max_classes rows"


def _trainable_layer(layer: TrainableLayer, width: int, limit: int, batch: int) -> Iterator[Check]:
    yield isinstance(layer.name, str), "name"
    yield _is_array(layer.master, 2), "master"
    rows = layer.outputs
    yield 1 <= rows <= MAX_DIMENSION, "number of outputs"
    if layer.conv is not None:
        yield from conv_rules(layer.conv, rows, width, batch)
        width = layer.conv.terms
    yield _array(layer.master, "int16", (rows, width), -limit, limit), "master"
    yield _array(layer.bias, "int32", (rows,), -(2**31), 2**31 - 1), "bias"
    yield _array(layer.row_factor, "uint8", (rows,), 1, 255), "row_factor"
    yield layer.scale.is_storable, "scale"
    yield _whole(layer.out_frac_bits, 0, 15), "out_frac_bits"
    yield _whole(layer.in_amax, 0, 32767), "in_amax"
    yield _whole(layer.x_range, 16, 255), "x_range"
    yield _whole(layer.w_range, 16, 255), "w_range"


def _expansion(model: IntModel) -> Iterator[Check]:
    grown, head = model.expansion, len(model.layers) - 1
    if grown is None:
        return
    yield all(layer.conv is None for layer in model.layers), "a convolution beside an expansion"
    yield _whole(grown.first, 0, head - 1), "first layer of the expansion"
    for number in (grown.count, grown.rows):
        yield _whole(number, 1, MAX_DIMENSION), "blocks of the expansion"
    layers = model.layers[grown.first : head]
    limit = model.arithmetic.master_max
    yield len(grown.draws) == len(layers), "draws of the expansion"
    yield all(_whole(g, 1, limit) for g in grown.draws), "draws of the expansion"
    total = grown.count * grown.rows
    for layer, above in zip(layers, model.layers[grown.first + 1 :], strict=True):
        start = layer.outputs - total
        yield start >= 1, "the blocks leave no base"
        said = (layer.master[start:], layer.bias[start:], above.master[:, start:])
        yield not any(part.any() for part in said), "a block is not zero"


def _prototypes(model: IntModel) -> Iterator[Check]:
    rows = model.max_classes if model.keep_prototypes else 0
    width = model.features if model.keep_prototypes else 0
    yield _array(model.prototype_count, "uint16", (rows,), 0, 255), "prototype_count"
    yield _array(model.prototype_sum, "int16", (rows, width), -3825, 3825), "prototype_sum"
    if rows:
        limit = 15 * model.prototype_count.astype(np.int64)[:, None]
        inside = np.abs(model.prototype_sum.astype(np.int64)) <= limit
        yield bool(inside.all()), "prototype_sum exceeds what prototype_count samples can give"


def _exemplars(model: IntModel) -> Iterator[Check]:
    low, high = (-7, 7) if model.x0_signed else (0, 15)
    slots = model.exemplar_slots + model.staging_slots
    yield len(model.exemplars) <= slots, "there are more exemplars than slots"
    for index, e in enumerate(model.exemplars):
        yield _whole(e.label, 0, model.n_classes - 1), f"label of exemplar {index}"
        yield _whole(e.rank, 0, 0x7FFF), f"rank of exemplar {index}"
        yield _array(e.x0, "int8", (model.x0_size,), low, high), f"x0 of exemplar {index}"
    ranks = {(e.label, e.rank) for e in model.exemplars}
    yield len(ranks) == len(model.exemplars), "two exemplars have one label and rank"
