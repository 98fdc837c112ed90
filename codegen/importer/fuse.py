# SPDX-License-Identifier: Apache-2.0
"""Steps to layers: every scale and shift is folded into a neighbour.

Before the first dense layer they make the input normaliser; directly after a dense layer they go
into its weights; after its ReLU, into the weights of the next. All in float64, rounded once.
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
    """Layers so far; `pending` is a scale and shift that no layer has taken yet."""

    dense: list[_DenseDraft] = field(default_factory=list)
    pending: tuple[Array, Array, str] | None = None
    normalizer: tuple[Array, Array, str] | None = None

    def close(self) -> _DenseDraft | None:
        """The layer that makes the current tensor, pending scales folded in; None if none does."""
        last = self.dense[-1] if self.dense else None
        if last is None or last.relu:
            return None
        if self.pending is not None:
            scale, shift, _ = self.pending
            with np.errstate(all="ignore"):
                last.weight = last.weight * scale[:, None]
                last.bias = last.bias * scale + shift
            self.pending = None
        return last


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
    """Only the vectors are multiplied here: a long chain of scales must stay cheap."""
    if draft.pending is None:
        draft.pending = (step.scale, step.shift, step.origin)
        return
    scale, shift, origin = draft.pending
    with np.errstate(all="ignore"):
        draft.pending = (scale * step.scale, shift * step.scale + step.shift, origin)


def _add_dense(draft: _Draft, step: DenseStep) -> None:
    before = draft.close()
    if step.absorbed:
        _absorb(before, step)
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


def _absorb(before: _DenseDraft | None, step: DenseStep) -> None:
    if before is None:
        raise UnsupportedModelError(
            "does not follow a dense layer", where=f"node {step.origin}", expected="Gemm or MatMul"
        )
    before.weight = step.weight @ before.weight
    before.bias = step.weight @ before.bias + step.bias


def _add_relu(draft: _Draft, step: ReluStep) -> None:
    before = draft.close()
    if before is not None:
        before.relu = True
    elif not draft.dense or draft.pending is not None:
        raise UnsupportedModelError(
            "Relu does not follow a dense layer",
            where=f"node {step.origin}",
            expected="Gemm or MatMul, then optionally BatchNormalization, then Relu",
        )


def _check_end(draft: _Draft, last: Step) -> None:
    if draft.close() is None:
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
