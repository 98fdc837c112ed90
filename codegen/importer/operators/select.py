# SPDX-License-Identifier: Apache-2.0
"""Columns of the samples: feature selection and scikit-learn's ColumnTransformer.

A selection goes into the dense layer that reads it, through scales and shifts between; what is
left out becomes weights, and scales of the normaliser, of zero.
"""

from collections.abc import Sequence

import numpy as np

from codegen.errors import MalformedModelError
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import AffineStep, DenseStep, Signal, Step


def select(node: SourceNode, x: Signal, columns: Sequence[int]) -> Signal:
    """Some numbers of each sample, a vector. Raises: MalformedModelError."""
    if not columns or not all(-x.size <= column < x.size for column in columns):
        raise MalformedModelError(
            f"takes columns {list(columns)[:8]}", where=node.label, expected=f"0 to {x.size - 1}"
        )
    found = np.array([column % x.size for column in columns], np.int64)
    if x.where is not None:
        found = x.where[found]
    return Signal(_selection(x.step, found, node.name, x.size), (found.size,))


def beside(node: SourceNode, parts: Sequence[Signal]) -> Signal | None:
    """Vectors behind one another that are columns, scaled, of one tensor; None if they are not."""
    if any(len(part.shape) != 1 or part.where is not None or part.margin for part in parts):
        return None
    found = [_columns(part.step, part.size) for part in parts]
    base = found[0][0]
    if any(step is not base for step, *_ in found):
        return None
    if not any(_is_selection(step) for part in parts for step in _affines(part.step)):
        return None
    columns, scale, shift = (np.concatenate([item[k] for item in found]) for k in (1, 2, 3))
    width = next(
        step.weight.shape[1]
        for part in parts
        for step in _affines(part.step)
        if isinstance(step, DenseStep)
    )
    step: Step = _selection(base, columns, node.name, width)
    if (scale != 1.0).any() or shift.any():
        step = AffineStep(step, scale, shift, node.name)
    return Signal(step, (columns.size,))


def through_selection(source: Step, weight: Array, bias: Array) -> tuple[Step, Array, Array]:
    """A dense layer's source, weight (O, I) and bias, with a selection before it taken in."""
    steps = _affines(source)
    first = steps[-1]
    if not isinstance(first, DenseStep) or first.columns is None:
        return source, weight, bias
    base, columns, scale, shift = _columns(source, weight.shape[1])
    width = first.weight.shape[1]
    spread = np.zeros((len(weight), width))
    if len(set(columns.tolist())) < columns.size:  # a column twice has no one scale
        with np.errstate(all="ignore"):
            np.add.at(spread.T, columns, (weight * scale).T)
            return base, spread, bias + weight @ shift
    spread[:, columns] = weight
    if len(steps) == 1:
        return base, spread, bias
    scales, shifts = np.zeros(width), np.zeros(width)
    scales[columns], shifts[columns] = scale, shift
    return AffineStep(base, scales, shifts, first.origin), spread, bias


def _selection(source: Step, columns: Array, origin: str, width: int) -> DenseStep:
    weight = np.zeros((columns.size, width))
    weight[np.arange(columns.size), columns] = 1.0
    return DenseStep(source, weight, np.zeros(columns.size), origin, columns=columns)


def _is_selection(step: Step) -> bool:
    return isinstance(step, DenseStep) and step.columns is not None


def _affines(step: Step) -> list[Step]:
    """A step, and through scales and shifts what they read."""
    found = [step]
    while isinstance(step, AffineStep):
        step = step.source
        found.append(step)
    return found


def _columns(step: Step, size: int) -> tuple[Step, Array, Array, Array]:
    """A step as columns, scaled and shifted, of another: that one, columns, scale, shift."""
    scale, shift = np.ones(size), np.zeros(size)
    while isinstance(step, AffineStep):
        with np.errstate(all="ignore"):
            scale, shift = scale * step.scale, shift + scale * step.shift
        step = step.source
    if isinstance(step, DenseStep) and step.columns is not None:
        return step.source, step.columns, scale, shift
    return step, np.arange(size), scale, shift
