# SPDX-License-Identifier: Apache-2.0
"""What every layer of an integer model does to samples, and what it costs.

Integers are those of the twin, which the device equals; floats are those of onnxruntime on the
float model. Where the learner has learned, its own weights stand in the float model too, so that an
error is that of the arithmetic and not of what was learned.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from codegen.emit.signal import signal_bytes
from codegen.export.builder import INPUT
from codegen.export.float_layers import export_float_layers
from codegen.float_front import FloatNode
from codegen.graph import Dense, FloatGraph
from codegen.lower import lower
from codegen.quantize.front import MAX_VALUES, spread
from codegen.quantize.signal import features_of
from codegen.quantize.tail import ConvSource
from codegen.scales import device_form, layer_scales, trained_convs
from device.harness.boards import Board
from device.harness.call_counts import inference_calls
from device.twin.inference import AnyModel, InferenceModel
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from device.twin.residual import has_side
from device.twin.state import LearnerState, import_state, initial_state
from device.twin.trace import LayerTrace, trace
from server.learning.firmwares import build_firmware, service_errors
from server.learning.ports import Float32Array, Json

SAMPLES = 64


def explain_layers(
    model: IntModel, state: LearnerState, x: Float32Array, graph: FloatGraph | None
) -> list[Json]:
    """A row a layer, in the order of execution.

    Args:
        x: float32 (N, features), in the units of the float model; at most SAMPLES rows are used,
            spread over all of them, fewer of large networks.
        graph: the float model that the integer model was made from; without it there are
            no steps and no errors.
    Returns: name, kind, shape, bits; macs and weight_bytes; step and range (real values); and
        shares: clipped, saturated, zeros, tiles_saturated; error: root mean square of integer
        minus float over that of float; None where there is none.
    Raises: GraphError if the graph is another model's.
    """
    x = few(model, x)
    raw = raw_samples(model, x)
    traces = list(trace(model, state, raw))
    costs = layer_costs(model)
    rows = [layer_row(t, *cost) for t, cost in zip(traces, costs, strict=True)]
    if graph is not None:
        graph = device_form(graph, model)
        first = 0
        if model.signal is not None:  # its features are the float network's inputs
            x, first = features_of(model.signal, x), 1
        steps = layer_scales(graph, model, state)
        learned = _as_learned(graph, model, state)
        floats = float_layers(learned, x, len(traces) - first, trained_convs(graph, model))
        pairs = zip(rows[first:], traces[first:], steps, floats, strict=True)
        for row, made, step, real in pairs:
            row |= against_float(made, step, real)
    return rows


def few(model: AnyModel, x: Float32Array) -> Float32Array:
    """At most SAMPLES rows, of large networks fewer."""
    largest = max([model.inputs, *(node.outputs for node in model.front)])
    return np.asarray(spread(x, min(SAMPLES, max(2, MAX_VALUES // 4 // largest))))


def state_of(model: IntModel, data: bytes) -> LearnerState:
    """The state in exported bytes (SPEC.md 9)."""
    return import_state(model, model.model_id, data)[0]


def layer_row(made: LayerTrace, macs: int, weight_bytes: int) -> Json:
    """What a trace says by itself."""
    bits = {127: 8, 15: 4, 7: 4}.get(made.qmax, 16)
    return {
        "name": made.name,
        "kind": made.kind,
        "shape": list(made.shape),
        "bits": bits,
        "macs": macs,
        "weight_bytes": weight_bytes,
        "step": None,
        "range": None,
        "clipped": _share(made.clipped, made.values),
        "saturated": _share(made.saturated, made.values),
        "zeros": _share(made.zeros, made.q.size),
        "tiles_saturated": _share(made.tiles_saturated, made.tiles) if made.tiles else None,
        "error": None,
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def against_float(made: LayerTrace, step: float, real: NDArray[np.floating]) -> Json:
    """What it says beside the float layer."""
    difference = np.sqrt(np.mean(np.square(made.q * step - real)))
    size = np.sqrt(np.mean(np.square(real)))
    return {
        "step": step,
        "range": made.qmax * step,
        "float_range": [float(real.min()), float(real.max())],
        "error": round(float(difference / size), 6) if size else None,
    }


def layer_costs(model: AnyModel) -> list[tuple[int, int]]:
    """Multiply-accumulates and bytes of weights and tables of each layer."""
    features = [] if model.signal is None else [(0, signal_bytes(model.signal))]
    costs = [*features, (0, 0)]
    for node in model.front:
        taps = node.weight[0].size if node.kind == "conv" else node.kernel[0] * node.kernel[1]
        macs = node.outputs * taps if node.kind in ("conv", "average") else 0
        tables = (node.weight, node.bias, node.mult, node.shift, node.table)
        costs.append((macs, sum(a.nbytes for a in tables)))
    if isinstance(model, InferenceModel):
        return costs
    for frozen in model.frozen:
        size = frozen.weight.nbytes + frozen.bias.nbytes + frozen.mult.nbytes
        costs.append((frozen.weight.size, size))
    bits = model.arithmetic.master_bits // 8
    for layer in model.layers:
        rows = model.n_classes if layer is model.layers[-1] else layer.outputs
        pixels = layer.conv.pixels if layer.conv else 1
        costs.append((pixels * rows * layer.inputs, layer.master.size * bits + layer.bias.nbytes))
    return costs


def _as_learned(graph: FloatGraph, model: IntModel, state: LearnerState) -> FloatGraph:
    """The graph with the learner's weights in its trainable layers, if it has learned."""
    first = initial_state(model)
    pairs = list(zip(first.weights, state.weights, strict=True))
    if all((a.master == b.master).all() and (a.bias == b.bias).all() for a, b in pairs):
        return graph
    tail, convs = [], {source.name: source for source in trained_convs(graph, model)}
    originals = {node.name: node for node in graph.front.nodes} if graph.front else {}
    nodes: dict[str, FloatNode] = {}
    for layer, (_, weights) in zip(model.layers, pairs, strict=True):
        rows = state.n_classes if layer is model.layers[-1] else layer.outputs
        factor = layer.row_factor.astype(np.float64)[:, None] * layer.scale.value
        bias = weights.bias * 2.0 ** -(layer.out_frac_bits + 16)
        values = (weights.master * factor)[:rows].astype(np.float32)
        if layer.conv:
            node = originals[convs[layer.name].node.name]
            weight = values.reshape(node.weight.shape)
            nodes[node.name] = replace(node, weight=weight, bias=bias.astype(np.float32))
            continue
        made = Dense(layer.name, values, bias[:rows].astype(np.float32), None)
        tail.append(replace(made, activation="relu" if layer.relu else None))
    layers = (*graph.layers[: len(graph.layers) - len(tail)], *tail)
    if graph.front is not None:
        kept = tuple(nodes.get(node.name, node) for node in graph.front.nodes)
        graph = replace(graph, front=replace(graph.front, nodes=kept))
    return replace(graph, layers=layers, class_names=None)


def float_layers(
    graph: FloatGraph, x: Float32Array, count: int, convs: Sequence[ConvSource] = ()
) -> list[NDArray[np.float64]]:
    """Every layer in onnxruntime, (N, values) each; `count` of them.

    Args:
        convs: trained ones at the end of the front; a pool behind one belongs to it, and so does
            the addition of a residual block to its last one.
    """
    exported = export_float_layers(graph)
    session = onnxruntime.InferenceSession(exported.model.SerializeToString())
    found: Sequence[Any] = session.run(list(exported.outputs), {INPUT: x})
    rows = [np.asarray(y, np.float64).reshape(len(x), -1) for y in found]
    nodes = graph.front.nodes if graph.front else ()
    at = len(nodes) - sum(source.nodes for source in convs)
    made = {node.name: row for node, row in zip(nodes, rows[1:], strict=False)}
    rows[at + 1 : len(nodes) + 1] = [made[source.last] for source in convs]
    if count > len(rows):  # the quantizer's change of scale behind the front
        rows.insert(at, rows[at])
    return rows


def instructions_of(model: IntModel, board: Board, cache: Path, x: Float32Array) -> list[int]:
    """Instructions of each layer in an inference of the first sample, counted in Unicorn.

    Raises: ModelDoesNotFitError, ToolMissingError, DeviceFailedError.
    """
    firmware = build_firmware(model, board, cache)
    plan = lower(model)
    kernels = [call.kernel for call in plan.calls]
    with service_errors():
        counts = inference_calls(firmware, board, kernels, raw_samples(model, x[:1])[0])
    found = iter(counts)
    return [sum(next(found) for _ in range(n)) for n in calls_a_layer(model)]


def calls_a_layer(model: AnyModel) -> list[int]:
    """Calls of the plan that make up each layer."""
    front = [len(node.sources) if node.kind == "concat" else 1 for node in model.front]
    start = [*([1] if model.signal else []), 1, *front]
    if isinstance(model, InferenceModel):
        return start
    identities = [
        layer.adds is not None and not has_side(model.layers, layer.adds) for layer in model.layers
    ]
    return [*start, *(1 for _ in model.frozen), *(1 + more for more in identities)]


def with_instructions(rows: list[Json], counts: Sequence[int]) -> list[Json]:
    """Rows with instructions and each layer's share of them."""
    total = sum(counts) or 1
    return [
        {**row, "instructions": n, "share": round(n / total, 6)}
        for row, n in zip(rows, counts, strict=True)
    ]
