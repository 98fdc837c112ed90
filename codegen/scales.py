# SPDX-License-Identifier: Apache-2.0
"""The real value of one step of every layer's integers.

An integer model holds multipliers, not scales: the device needs no more. With the float graph that
it was made from, the scales follow from the multipliers exactly, layer by layer, because every
grid is a power of two; what arrives at x0 must be the model's own scale.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from codegen.errors import GraphError
from codegen.float_front import FUNCTIONS, FloatNode
from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize.inference import dense_first, with_first
from codegen.quantize.tail import ConvSource, Source, split_front, trainable_tail
from device.twin.front_node import FrontNode
from device.twin.inference import AnyModel, InferenceModel
from device.twin.kernels import widen
from device.twin.model import FrozenLayer, InputStage, IntModel
from device.twin.residual import follows
from device.twin.scale import Scale, quantized_scale
from device.twin.state import LearnerState

MULTIPLIER_ERROR = 0.05  # of a power of two; multipliers have 14 bits, unless they are tiny
FLOAT_MODEL = "the float model that the integer model was quantized from"


def layer_scales(graph: FloatGraph, model: IntModel, state: LearnerState) -> list[float]:
    """Step of each layer's integers, in the order of `device.twin.trace.trace`.

    Args:
        graph: in its `device_form`.
    Raises: GraphError if the graph is not the one that the model was made from.
    """
    convs = trained_convs(graph, model)
    front = split_front(graph.front, convs) if graph.front else None
    dense_layers = len(model.frozen) + len(model.layers) - len(convs)
    same = len(graph.dense_layers) == dense_layers and (front is None) == (not model.front)
    _require(same, "it has other layers")
    _check_masters((*convs, *graph.dense_layers[len(model.frozen) :]), model)
    nodes = front.nodes if front else ()
    scales = list(_front_scales(nodes, model, _input_scale(graph, model)))
    for dense, layer in zip(graph.dense_layers, model.frozen, strict=False):
        scales.append(_frozen_scale(dense, layer, scales[-1], layer is model.frozen[-1]))
    _require(scales[-1] == model.input.scale, "its scale of x0 is another")
    return [*(s.value for s in scales), *_trainable_scales(model, state)]


def network_scales(graph: FloatGraph, model: InferenceModel) -> list[float]:
    """The same of an inference-only model, in the order of `device.twin.trace.trace_network`."""
    _require(graph.front is not None and not graph.dense_layers, "it has layers that learn")
    _require(graph.front is None or graph.front.channels == len(model.input.mult), "other inputs")
    nodes = graph.front.nodes if graph.front else ()
    scales = _front_scales(nodes, model, _input_scale(graph, model))
    _require(scales[-1] == model.output_scale, "its scale of the output is another")
    return [scale.value for scale in scales]


def trained_convs(graph: FloatGraph, model: IntModel) -> tuple[ConvSource, ...]:
    """The convolutions at the end of the graph's front that the model trains, in order.

    Raises: GraphError if the graph has others.
    """
    shapes = [replace(layer.conv, top=0) for layer in model.layers if layer.conv]
    found = trainable_tail(graph.front)[0]
    convs = tuple(found[len(found) - len(shapes) :]) if shapes else ()
    _require([source.shape for source in convs] == shapes, "it has other convolutions")
    return convs


def device_form(graph: FloatGraph, model: AnyModel) -> FloatGraph:
    """The equivalent graph whose normaliser is the input stage's (codegen.quantize.conditioning).

    Offsets and factors are read from the stage's constants, their inverse goes into the first dense
    layer; the largest change of spread is 1, which fixes the power of two. A graph with a front is
    never changed, unless it is of an inference-only model and begins with a dense layer.
    """
    if graph.front is not None and graph.dense_layers:
        return graph
    if graph.front is not None:
        alone = dense_first(graph)
        return graph if alone is None else with_first(graph, device_form(alone, model))
    stage, first = model.input, graph.dense_layers[0]
    _require(len(stage.mult) == graph.features, "it has other inputs")
    given = graph.normalizer
    offset = np.zeros(graph.features) if given is None else given.offset.astype(np.float64)
    scale = np.ones(graph.features) if given is None else given.scale.astype(np.float64)
    ratio = np.ldexp(stage.mult * 2.0 ** -stage.shift.astype(np.float64), stage.raw_frac_bits)
    used = (ratio != 0) & (scale != 0)
    if not used.any():
        return graph
    unit = 2.0 ** round(log2(float(np.abs(ratio[used] / scale[used]).min())))
    factor = np.where(used, ratio / unit, scale)
    spread = np.divide(scale, factor, out=np.ones_like(scale), where=used)
    zero = np.where(used, np.ldexp(stage.zero.astype(np.float64), -stage.raw_frac_bits), offset)
    weight = first.weight.astype(np.float64)
    bias = first.bias + weight @ ((zero - offset) * scale)
    name = given.name if given else "normalizer"
    affine = Affine(name, zero.astype(np.float32), factor.astype(np.float32))
    dense = replace(
        first, weight=(weight * spread).astype(np.float32), bias=bias.astype(np.float32)
    )
    return replace(graph, layers=(affine, dense, *graph.dense_layers[1:]))


def _check_masters(sources: Sequence[Source], model: IntModel) -> None:
    """The masters as they were quantized are the float weights, to the nearest step."""
    for dense, layer in zip(sources, model.layers, strict=True):
        rows = layer.master[: len(dense.weight)].astype(np.float64)
        unit = layer.row_factor[: len(rows), None] * layer.scale.value
        _require(rows.shape == dense.weight.shape, f"layer {dense.name} has another shape")
        close = np.abs(rows * unit - dense.weight) <= 0.75 * unit + 1e-3 * np.abs(dense.weight)
        _require(bool(close.all()), f"the weights of layer {dense.name} are others")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise GraphError(what, where="float model", expected=FLOAT_MODEL)


def _grid(bits: int) -> Scale:
    return Scale(1 << 14, -14 - bits)


def _bits(multiplier: float, ratio: float) -> int:
    """The power of two by which a fixed-point multiplier exceeds a ratio of scales."""
    _require(multiplier > 0 and ratio > 0, "a multiplier is zero")
    exact = log2(multiplier / ratio)
    _require(abs(exact - round(exact)) < MULTIPLIER_ERROR, "its weights are others")
    return round(exact)


def _fixed(mult: NDArray[np.int16], shift: NDArray[np.uint8], at: int) -> float:
    return abs(int(mult[at])) * 2.0 ** -int(shift[min(at, len(shift) - 1)])


def _input_scale(graph: FloatGraph, model: AnyModel) -> Scale:
    stage = model.input
    at = int(np.argmax(np.abs(stage.mult.astype(np.int64))))
    factor = 1.0
    if graph.normalizer is not None:
        values = graph.normalizer.scale
        if graph.front is not None:
            values = graph.front.arrange(values[None])[0, : graph.front.channels]
        _require(len(values) == len(stage.mult), "it has other inputs")
        factor = abs(float(values[at]))
    ratio = factor * 2.0 ** -int(stage.raw_frac_bits[at])
    bits = _bits(_fixed(stage.mult, stage.shift, at), ratio) if stage.mult.any() else 15
    return quantized_scale(_grid(bits), stage.amax, _input_qmax(stage, model))


def _input_qmax(stage: InputStage, model: AnyModel) -> int:
    return 127 if model.has_frozen_part else (7 if stage.signed else 15)


def _front_scales(nodes: Sequence[FloatNode], model: AnyModel, first: Scale) -> Sequence[Scale]:
    """Of the input stage's tensor, which is the first, and of every node's."""
    # The quantizer may add one change of scale at the end.
    _require(len(model.front) - len(nodes) in (0, 1), "it has other nodes")
    scales = [first]
    for at, node in enumerate(model.front):
        source = nodes[at] if at < len(nodes) else None
        inputs = [scales[i] for i in node.sources]
        if node.kind == "max":
            scales.append(inputs[0])
        elif node.kind == "table":
            _require(source is not None and source.kind == "function", "it has other nodes")
            scales.append(_table_scale(node, source, inputs[0]))
        else:
            bits = _NODE_BITS[node.kind](node, source, inputs)
            scales.append(quantized_scale(_grid(bits), node.out_amax, node.qmax))
    return scales


def _row(weight: NDArray[np.float32]) -> tuple[int, float]:
    """The row of the largest weight, and that weight's magnitude over 127."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1).astype(np.float64)
    at = int(np.argmax(largest))
    return at, Scale.from_real((float(largest[at]) or 1.0) / 127).value


def _conv_bits(node: FrontNode, source: FloatNode | None, inputs: Sequence[Scale]) -> int:
    _require(source is not None and source.weight.shape == node.weight.shape, "other weights")
    assert source is not None
    at, step = _row(source.weight)
    acc_shift = int(node.acc_shifts[at])
    return _bits(_fixed(node.mult, node.shift, at), inputs[0].value * step) - acc_shift


def _average_bits(node: FrontNode, source: FloatNode | None, inputs: Sequence[Scale]) -> int:
    part = inputs[0].value / (node.kernel[0] * node.kernel[1])
    return _bits(_fixed(node.mult, node.shift, 0), part) - int(node.acc_shifts[0])


def _ratio_bits(node: FrontNode, source: FloatNode | None, inputs: Sequence[Scale]) -> int:
    at = int(np.argmax(np.abs(node.mult.astype(np.int64))))
    if node.kind == "concat":  # every part has a shift of its own
        at = int(np.argmax([_fixed(node.mult, node.shift, i) for i in range(len(node.mult))]))
    return _bits(_fixed(node.mult, node.shift, at), inputs[at].value)


_NODE_BITS: Mapping[str, Callable[[FrontNode, FloatNode | None, Sequence[Scale]], int]] = {
    "conv": _conv_bits,
    "average": _average_bits,
    "add": _ratio_bits,
    "concat": _ratio_bits,
}


def _table_scale(node: FrontNode, source: FloatNode | None, x: Scale) -> Scale:
    """The largest value seen in calibration makes 127: the one that makes this table."""
    assert source is not None
    inputs = np.maximum(np.arange(-128, 128), -127)
    real = FUNCTIONS[source.function](inputs * x.value, *source.parameters)
    full = np.abs(node.table.astype(np.int64)) == 127
    steps = [float(v) / 127 for v in np.unique(np.abs(real[full]))] or [1.0 / 127]
    for step in steps:
        if step and (np.clip(np.floor(real / step + 0.5), -127, 127) == node.table).all():
            return Scale.from_real(step)
    return Scale.from_real(steps[0] or 1.0 / 127)


def _frozen_scale(dense: Dense, layer: FrozenLayer, x: Scale, last: bool) -> Scale:
    _require(dense.weight.shape == layer.weight.shape, f"layer {dense.name} has another shape")
    at, step = _row(dense.weight)
    acc_shift = max(0, (dense.inputs * 127 * 127).bit_length() - 15)
    bits = _bits(_fixed(layer.mult, layer.shift, at), x.value * step) - acc_shift
    qmax = 127 if not last else (15 if layer.relu else 7)
    return quantized_scale(_grid(bits), layer.out_amax, qmax)


def _trainable_scales(model: IntModel, state: LearnerState) -> list[float]:
    """Of the activations behind hidden layers, and of the logits' grid."""
    scales = []
    for index, layer in enumerate(model.layers[:-1]):
        if layer.side:
            scales.append(2.0**-layer.out_frac_bits)
            continue
        above = follows(model.layers, index)
        amax = max(1, widen(state.frozen_ranges[above - 1], model.layers[above].x_range))
        scales.append(quantized_scale(_grid(layer.out_frac_bits), amax, 15).value)
    return [*scales, 2.0 ** -model.layers[-1].out_frac_bits]
