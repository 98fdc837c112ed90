# SPDX-License-Identifier: Apache-2.0
"""Operators that keep the numbers and change only the shape."""

from dataclasses import replace
from math import prod

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedShapeError
from codegen.importer.limits import MAX_RANK
from codegen.importer.operators.arguments import (
    Arguments,
    argument,
    constant,
    dimensions,
    integers,
    signal,
)
from codegen.importer.source import SourceNode
from codegen.importer.values import Constant, Prediction, Signal, Symbol, Value


def flatten(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Flatten of each sample."""
    x = signal(node, args)
    axis = node.integer("axis", 1)
    if axis != 1 and (not x.shape or axis != -len(x.shape)):
        raise _batch_lost(node, f"flattens at axis {axis}")
    return replace(x, shape=(x.size,))


def reshape(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Reshape that leaves the batch axis alone."""
    prediction = _one_number(argument(node, args, 0))
    if prediction is not None:
        return prediction
    x = signal(node, args)
    target = dimensions(node, argument(node, args, 1))
    if not 1 <= len(target) <= MAX_RANK:
        raise _batch_lost(node, f"target of {len(target)} dimensions")
    keep_zero = bool(node.integer("allowzero", 0))
    rest = [_copied(node, item, i, x.shape, keep_zero) for i, item in enumerate(target)][1:]
    if rest.count(-1) == 1 and target[0] != -1:
        rest[rest.index(-1)] = x.size // (prod(d for d in rest if d != -1) or 1)
    whole = prod(rest) == x.size and min(rest, default=1) > 0
    if not whole or not _is_batch(target[0], batch, keep_zero):
        listed = [item.value if isinstance(item, Symbol) else item for item in target]
        raise _batch_lost(node, f"{listed} for samples of shape {list(x.shape)}")
    return replace(x, shape=tuple(rest))


def squeeze(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Squeeze of named axes other than the batch."""
    prediction = _one_number(argument(node, args, 0))
    if prediction is not None:
        return prediction
    x = _maybe_padded(node, args)
    full = (0, *x.shape)
    margin = (None, *x.margin) if x.margin else (None,) * len(full)
    axes = {axis % len(full) for axis in _axes(node, args, len(full))}
    if any(full[axis] != 1 or any(margin[axis] or ()) for axis in axes):
        raise _batch_lost(node, f"squeezes axes {sorted(axes)} of samples {list(x.shape)}")
    kept = [i for i in range(1, len(full)) if i not in axes]
    left = tuple(pair for pair in (margin[i] for i in kept) if pair is not None)
    return replace(x, shape=tuple(full[i] for i in kept), margin=left)


def unsqueeze(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Unsqueeze after the batch axis."""
    prediction = _one_number(argument(node, args, 0))
    if prediction is not None:
        return prediction
    x = _maybe_padded(node, args)
    given = _axes(node, args, MAX_RANK)
    rank = 1 + len(x.shape) + len(given)
    axes = {axis % rank for axis in given}
    if 0 in axes or len(axes) != len(given) or rank > MAX_RANK:
        raise _batch_lost(node, f"inserts axes {list(given)}")
    rest = iter(x.shape)
    shape = tuple(1 if i in axes else next(rest) for i in range(1, rank))
    pairs = iter(x.margin)
    margin = tuple((0, 0) if i in axes else next(pairs) for i in range(1, rank) if x.margin)
    return replace(x, shape=shape, margin=margin)


def transpose(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Transpose within each sample: only a note of where the numbers are."""
    x = _maybe_padded(node, args)
    rank = 1 + len(x.shape)
    perm = node.numbers("perm")
    order = tuple(reversed(range(rank))) if perm is None else integers(node, perm)
    if sorted(order) != list(range(rank)):
        raise MalformedModelError(
            f"perm {list(order)}", where=node.label, expected=f"a permutation of {rank} axes"
        )
    if order[0] != 0:
        raise _batch_lost(node, f"permutes samples of shape {list(x.shape)} by {list(order)}")
    axes = [axis - 1 for axis in order[1:]]
    shape = tuple(x.shape[axis] for axis in axes)
    margin = tuple(x.margin[axis] for axis in axes) if x.margin else ()
    where = x.places.transpose(axes).reshape(-1)
    same = bool((where == np.arange(where.size)).all())
    return replace(x, shape=shape, margin=margin, where=None if same else where)


def shape(node: SourceNode, args: Arguments, batch: int | None) -> Value:
    """Shape of a signal: known but for the batch size."""
    x = signal(node, args)
    full = np.empty(1 + len(x.shape), dtype=object)
    full[:] = [Symbol.BATCH if batch is None else batch, *x.shape]
    end = node.integer("end", len(full))
    part = full[node.integer("start", 0) : end]
    whole = all(isinstance(item, int) for item in part)
    return Constant(part.astype(np.int64) if whole else part)


def _maybe_padded(node: SourceNode, args: Arguments) -> Signal:
    """Input 0, zeros around it left for the window that comes."""
    value = argument(node, args, 0)
    return value if isinstance(value, Signal) else signal(node, args)


def _axes(node: SourceNode, args: Arguments, rank: int) -> tuple[int, ...]:
    """Axes from attribute (before opset 13) or input, in [-rank, rank)."""
    listed = node.numbers("axes")
    given = argument(node, args, 1) is not None
    if listed is None and not given:
        raise _batch_lost(node, "no axes given")
    axes = integers(node, constant(node, args, 1) if listed is None else listed)
    if not all(-rank <= axis < rank for axis in axes):
        raise MalformedModelError(
            f"axes {list(axes)[:MAX_RANK]}", where=node.label, expected=f"[-{rank}, {rank})"
        )
    return axes


def _copied(
    node: SourceNode, item: int | Symbol, index: int, shape: tuple[int, ...], keep_zero: bool
) -> int:
    """One target dimension after the rule that 0 copies the input's."""
    if isinstance(item, Symbol):
        if index:
            raise _batch_lost(node, f"puts the batch on axis {index}")
        return 0
    if item == 0 and index and not keep_zero:
        if index > len(shape):
            raise _batch_lost(node, f"copies dimension {index}, which is not there")
        return shape[index - 1]
    return item


def _is_batch(item: int | Symbol, batch: int | None, keep_zero: bool) -> bool:
    """Whether the first target dimension is sure to be the batch size.

    -1 is: the other dimensions make up one sample, so what is left is the batch.
    """
    return item in (Symbol.BATCH, -1) or (item == 0 and not keep_zero) or item == batch


def _one_number(value: Value | None) -> Prediction | None:
    """The value, if it is a prediction of one number a sample, which no reshaping can reorder."""
    if isinstance(value, Prediction) and value.kind not in ("scores", "map"):
        return value
    return None


def _batch_lost(node: SourceNode, what: str) -> UnsupportedShapeError:
    return UnsupportedShapeError(
        what,
        where=node.label,
        expected="the batch on axis 0 and the numbers of each sample in their order",
    )
