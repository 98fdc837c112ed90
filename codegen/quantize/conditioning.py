# SPDX-License-Identifier: Apache-2.0
"""Equivalent forms of a graph, whose first layer reads centred and evenly spread features.

Four bits a feature are few. A feature far from zero spends them on its mean, and its products all
push the tiles the same way, until they saturate; a feature with a small spread has no level left.
The input stage has an offset and a factor for every feature anyway (SPEC.md 3), so mean and spread
go there for nothing, and their inverse into the first layer's weights and bias.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codegen.graph import Affine, FloatGraph, Layer
from codegen.quantize.ranges import FloatArray

# Least deviation that a feature is taken to have, as a share of the largest one, from gentle to
# thorough: what hardly varies in the calibration samples may vary in classes yet to come, and is
# blown up only where the network itself gives it weight.
DEVIATION_FLOORS = (1.0, 0.5, 0.01)

_Vector = NDArray[np.float64]


def forms(graph: FloatGraph, x: FloatArray) -> list[FloatGraph]:
    """The graph itself, then with features centred, and ever more evenly spread.

    Args:
        graph: a graph without a front.
        x: float32, shape (N, features), real samples.
    Returns: graphs that compute the same function, but for float rounding, gentle changes first.
    """
    offset, scale = _normaliser(graph)
    normal = (x.astype(np.float64) - offset) * scale
    mean = np.where(scale == 0, 0.0, normal.mean(axis=0))
    deviation = normal.std(axis=0)
    largest = float(deviation.max())
    if largest == 0.0:
        return [graph]
    return [
        graph,
        *(
            _conditioned(graph, mean, np.maximum(deviation / largest, floor))
            for floor in DEVIATION_FLOORS
        ),
    ]


def first_trained_output(graph: FloatGraph, n_trained: int, x: FloatArray) -> FloatArray:
    """Float outputs of the first trained layer before its activation, shape (N, O)."""
    first = graph.dense_layers[-n_trained]
    y = x
    with np.errstate(over="ignore", invalid="ignore"):  # grids of 16 bits refuse such layers later
        for layer, output in graph.trace(x):
            if layer is first:
                break
            y = output
        return y @ first.weight.T + first.bias


def _normaliser(graph: FloatGraph) -> tuple[_Vector, _Vector]:
    """Offset and scale of the graph's normaliser, or of one that changes nothing."""
    given = graph.normalizer
    if given is None:
        return np.zeros(graph.features), np.ones(graph.features)
    return given.offset.astype(np.float64), given.scale.astype(np.float64)


def _conditioned(graph: FloatGraph, mean: _Vector, spread: _Vector) -> FloatGraph:
    """The graph that reads (normal - mean) / spread, `normal` what its first layer reads now."""
    offset, scale = _normaliser(graph)
    given, first = graph.normalizer, graph.dense_layers[0]
    weight = first.weight.astype(np.float64)
    affine = Affine(
        name=given.name if given else "normalizer",
        offset=(offset + np.divide(mean, scale, out=np.zeros_like(mean), where=scale != 0)).astype(
            np.float32
        ),
        scale=(scale / spread).astype(np.float32),
        origin=given.origin if given else "calibration",
    )
    dense = replace(
        first,
        weight=(weight * spread).astype(np.float32),
        bias=(first.bias + weight @ mean).astype(np.float32),
    )
    layers: tuple[Layer, ...] = (affine, dense, *graph.dense_layers[1:])
    return replace(graph, layers=layers)
