# SPDX-License-Identifier: Apache-2.0
"""Blocks of rows for tasks to come (SPEC.md 16): a wider graph of the same function, and draws."""

from dataclasses import replace
from math import sqrt

import numpy as np

from codegen.errors import QuantizeError
from codegen.graph import Affine, Dense, FloatGraph, Layer
from codegen.quantize.options import DER, QuantizeOptions
from device.twin.model import Expansion, IntModel, TrainableLayer

MAX_ROWS = 65535


def widened(graph: FloatGraph, options: QuantizeOptions) -> FloatGraph:
    """The graph with its blocks: rows of zeros, and zeros above them; as it is without option.

    Raises: QuantizeError if the graph has no place for them, or numbers are out of range.
    """
    if options.expansion is None:
        return graph
    dense = graph.dense_layers
    first = _first(graph, options)
    total = options.expansion_blocks * options.expansion_rows
    layers: list[Layer] = [layer for layer in graph.layers if isinstance(layer, Affine)]
    for index, layer in enumerate(dense):
        rows = total if first <= index < len(dense) - 1 else 0
        columns = total if first < index else 0
        layers.append(_padded(layer, rows, columns))
    return replace(graph, layers=tuple(layers))


def _first(graph: FloatGraph, options: QuantizeOptions) -> int:
    dense, wanted = graph.dense_layers, f"expansion {options.expansion}"
    trained = len(dense) if options.train_last is None else options.train_last
    for name in ("expansion_blocks", "expansion_rows"):
        value = getattr(options, name)
        if not 1 <= value <= MAX_ROWS:
            raise QuantizeError(f"{name} is {value}", where="options", expected=f"1 to {MAX_ROWS}")
    if trained > len(dense):
        raise QuantizeError(
            f"{wanted} beside trained convolutions",
            where="options",
            expected=f"train_last of at most {len(dense)}",
        )
    if trained < 2:
        raise QuantizeError(
            f"{wanted}, and no hidden layer is trained",
            where="options",
            expected="a network with a dense layer before the head, and train_last of at least 2",
        )
    first = len(dense) - trained if options.expansion == DER else len(dense) - 2
    widest = max(layer.outputs for layer in dense[first:-1])
    if widest + options.expansion_blocks * options.expansion_rows > MAX_ROWS:
        raise QuantizeError(
            "the blocks make a layer too wide",
            where="options",
            expected=f"at most {MAX_ROWS} rows with expansion_blocks * expansion_rows of them",
        )
    return first


def _padded(layer: Dense, rows: int, columns: int) -> Dense:
    weight = np.pad(layer.weight, ((0, rows), (0, columns)))
    return replace(layer, weight=weight, bias=np.pad(layer.bias, (0, rows)))


def with_expansion(model: IntModel, options: QuantizeOptions) -> IntModel:
    """The model of a widened graph, its blocks named, with the ranges they are drawn in.

    Weights are uniform with the variance 2 / inputs of He et al. (2015), as far as masters reach.
    """
    if options.expansion is None:
        return model
    first = 0 if options.expansion == DER else len(model.layers) - 2
    rows, limit = options.expansion_rows, model.arithmetic.master_max
    draws = tuple(
        _draw(layer, layer.inputs if index == first else rows, limit)
        for index, layer in enumerate(model.layers[first:-1], start=first)
    )
    expansion = Expansion(first, options.expansion_blocks, rows, draws)
    return replace(model, expansion=expansion)


def _draw(layer: TrainableLayer, inputs: int, limit: int) -> int:
    unit = layer.scale.value * float(layer.row_factor[-1])
    return max(1, min(limit, round(sqrt(6 / inputs) / unit)))
