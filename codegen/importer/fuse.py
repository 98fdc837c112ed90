# SPDX-License-Identifier: Apache-2.0
"""Steps to layers: every scale and shift is folded into a neighbour.

Before the first dense layer they make the input normaliser; directly after a dense layer they go
into its weights; after its ReLU into the weights of the next. All in float64, rounded once.
"""

from dataclasses import dataclass, field

import numpy as np

from codegen.errors import UnsupportedModelError
from codegen.graph import Activation, Affine, Dense, Layer
from codegen.importer.limits import MAX_WEIGHT
from codegen.importer.source import Array
from codegen.importer.tensors import check_finite
from codegen.importer.values import AffineStep, DenseStep, InputStep, ReluStep, Step


@dataclass
class _DenseDraft:
    weight: Array
    bias: Array
    origin: str
    relu: bool = False


@dataclass
class _Draft:
    """Layers so far; `pending` is a scale and shift that wait for the next dense layer."""

    dense: list[_DenseDraft] = field(default_factory=list)
    pending: tuple[Array, Array, str] | None = None
    normalizer: tuple[Array, Array, str] | None = None

    @property
    def open_dense(self) -> _DenseDraft | None:
        """The layer whose output is the current tensor, unless something follows it."""
        last = self.dense[-1] if self.dense else None
        return last if last is not None and not last.relu and self.pending is None else None


def fuse(last: Step) -> tuple[Layer, ...]:
    """Layers that compute what `last` does.

    Args:
        last: the step of the logits.
    Raises: UnsupportedModelError, BadWeightError, naming the node.
    """
    draft = _Draft()
    for step in _chain(last):
        if isinstance(step, AffineStep):
            _add_affine(draft, step)
        elif isinstance(step, DenseStep):
            _add_dense(draft, step)
        elif isinstance(step, ReluStep):
            _add_relu(draft, step)
    _check_end(draft, last)
    return _layers(draft)


def _chain(last: Step) -> list[Step]:
    """From the input to `last`."""
    steps = [last]
    while not isinstance(steps[-1], InputStep):
        steps.append(steps[-1].source)
    return steps[::-1]


def _add_affine(draft: _Draft, step: AffineStep) -> None:
    dense = draft.open_dense
    with np.errstate(all="ignore"):
        if dense is not None:
            dense.weight = dense.weight * step.scale[:, None]
            dense.bias = dense.bias * step.scale + step.shift
        elif draft.pending is None:
            draft.pending = (step.scale, step.shift, step.origin)
        else:
            scale, shift, origin = draft.pending
            draft.pending = (scale * step.scale, shift * step.scale + step.shift, origin)


def _add_dense(draft: _Draft, step: DenseStep) -> None:
    if step.absorbed:
        _absorb(draft, step)
        return
    weight, bias = step.weight, step.bias
    if draft.pending is not None:
        scale, shift, origin = draft.pending
        if not draft.dense:
            draft.normalizer, scale, shift = _split(scale, shift, origin)
        with np.errstate(all="ignore"):
            bias = bias + weight @ shift
            weight = weight * scale
        draft.pending = None
    draft.dense.append(_DenseDraft(weight, bias, step.origin))


def _split(
    scale: Array, shift: Array, origin: str
) -> tuple[tuple[Array, Array, str], Array, Array]:
    """The normaliser (x - offset) * scale, and what of x * scale + shift it cannot say.

    That is the shift of a feature whose scale is zero, or too small against the shift.
    """
    with np.errstate(all="ignore"):
        offset = np.where(shift == 0.0, 0.0, -shift / scale)
    sayable = np.abs(offset) <= MAX_WEIGHT
    rest = np.where(sayable, 0.0, shift)
    return (np.where(sayable, offset, 0.0), scale, origin), np.ones_like(scale), rest


def _absorb(draft: _Draft, step: DenseStep) -> None:
    dense = draft.open_dense
    if dense is None:
        raise UnsupportedModelError(
            "does not follow a dense layer", where=f"node {step.origin}", expected="Gemm or MatMul"
        )
    dense.weight = step.weight @ dense.weight
    dense.bias = step.weight @ dense.bias + step.bias


def _add_relu(draft: _Draft, step: ReluStep) -> None:
    if draft.open_dense is not None:
        draft.open_dense.relu = True
    elif not draft.dense or draft.pending is not None:
        raise UnsupportedModelError(
            "Relu does not follow a dense layer",
            where=f"node {step.origin}",
            expected="Gemm or MatMul, then optionally BatchNormalization, then Relu",
        )


def _check_end(draft: _Draft, last: Step) -> None:
    if draft.open_dense is None:
        origin = "graph outputs" if isinstance(last, InputStep) else f"node {last.origin}"
        raise UnsupportedModelError(
            "the logits do not come straight from a dense layer",
            where=origin,
            expected="Gemm or MatMul last, without Relu after it",
        )


def _layers(draft: _Draft) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    if draft.normalizer is not None:
        offset, scale, origin = draft.normalizer
        _check((offset, scale), origin)
        layers.append(Affine("normalizer", offset, scale, origin))
    for i, dense in enumerate(draft.dense):
        _check((dense.weight, dense.bias), dense.origin)
        activation: Activation = "relu" if dense.relu else None
        layers.append(Dense(f"dense{i}", dense.weight, dense.bias, activation, dense.origin))
    return tuple(layers)


def _check(arrays: tuple[Array, ...], origin: str) -> None:
    """Folding can overflow, or make NaN of zero and infinity."""
    for array in arrays:
        check_finite(array, f"folded into node {origin}")
