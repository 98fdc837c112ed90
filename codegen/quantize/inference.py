# SPDX-License-Identifier: Apache-2.0
"""A float network that is only to run, to an inference-only model (SPEC.md 17)."""

from dataclasses import replace

import numpy as np

from codegen.errors import QuantizeError
from codegen.float_front import FloatFront, FloatNode
from codegen.graph import Dense, FloatGraph
from codegen.quantize.calibration import checked_samples, normalized
from codegen.quantize.conditioning import forms
from codegen.quantize.front import fit_whole, samples_at_once, spread
from codegen.quantize.options import QuantizeOptions
from codegen.quantize.quantizer import CLEAR_GAIN, image_stage
from codegen.quantize.ranges import FloatArray
from codegen.quantize.signal import features_of, signal_of
from codegen.quantize.stage import RawGrid
from device.twin.inference import InferenceModel, run
from device.twin.learner import raw_samples

FIT_SAMPLES = 512


def quantize_inference(
    graph: FloatGraph, calibration: FloatArray, options: QuantizeOptions | None = None
) -> InferenceModel:
    """Make the inference-only model of a float graph.

    Args:
        graph: imported with `inference_only`.
        calibration: as of `codegen.quantize.quantize`.
        options: only `features` means something here.
    Raises: QuantizeError, CalibrationError, ShapeError.
    """
    front = graph.front
    if front is None or graph.dense_layers:
        raise QuantizeError(
            "dense layers that learn",
            where=f"model {graph.name}",
            expected="a graph imported with inference_only",
        )
    features = None if options is None else options.features
    signal = None if features is None else signal_of(graph, features, calibration)
    if signal is not None:
        calibration = features_of(signal, calibration)
    x = spread(checked_samples(graph, calibration), samples_at_once(front))
    if graph.normalizer is not None:
        normalized(graph.normalizer, x)  # names samples that it cannot take
    grid = None if signal is None else signal.feature_bits
    return replace(_best(graph, x, grid), signal=signal)


def _best(graph: FloatGraph, x: FloatArray, grid: RawGrid) -> InferenceModel:
    """Of the forms of the graph that with the least error; the file's own unless clearly worse."""
    first = dense_first(graph)
    if first is None:
        return _fit(graph, x, grid)
    few = spread(x, FIT_SAMPLES)
    want = graph.forward(few)
    tried: list[tuple[float, InferenceModel]] = []
    for form in forms(first, x):
        model = _fit(with_first(graph, form), x, grid)
        got = run(model, raw_samples(model, few)) * model.output_scale.value
        error = float(np.sqrt(np.mean(np.square(got - want))))
        if not tried or error < CLEAR_GAIN * tried[-1][0]:
            tried.append((error, model))
    return tried[-1][1]


def _fit(graph: FloatGraph, x: FloatArray, grid: RawGrid) -> InferenceModel:
    front = graph.front
    assert front is not None
    stage, q = image_stage(graph, front, x, grid)
    nodes, scale = fit_whole(front, q, stage.scale, not stage.signed)
    return InferenceModel(graph.name, stage, nodes, scale)


def dense_first(graph: FloatGraph) -> FloatGraph | None:
    """Normaliser and first layer as a graph, if a dense layer alone reads the input."""
    front = graph.front
    if front is None or front.planar or front.channels != graph.features:
        return None
    node = front.nodes[0]
    alone = sum(0 in other.sources for other in front.nodes) == 1
    if node.kind != "conv" or node.groups != 1 or node.in_shapes != ((1, 1, graph.features),):
        return None
    dense = Dense(node.name, node.weight.reshape(len(node.weight), -1), node.bias)
    return replace(graph, layers=(*graph.layers, dense), front=None) if alone else None


def with_first(graph: FloatGraph, first: FloatGraph) -> FloatGraph:
    """The graph with another normaliser and first layer, as `dense_first` makes them."""
    front, dense = graph.front, first.dense_layers[0]
    assert isinstance(front, FloatFront)
    old = front.nodes[0]
    node: FloatNode = replace(old, weight=dense.weight.reshape(old.weight.shape), bias=dense.bias)
    layers = () if first.normalizer is None else (first.normalizer,)
    return replace(graph, layers=layers, front=replace(front, nodes=(node, *front.nodes[1:])))
