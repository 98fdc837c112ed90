# SPDX-License-Identifier: Apache-2.0
"""Steps to layers: every scale and shift is folded into a neighbour.

Before the first dense layer they make the input normaliser; directly after a dense layer they go
into its weights; after its ReLU, into the weights of the next. A dense layer directly after another
joins it. All in float64, rounded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from codegen.errors import INFERENCE_ONLY, UnsupportedModelError
from codegen.float_front import FloatFront
from codegen.graph import Activation, Affine, Dense, Layer
from codegen.importer.fuse_front import count_readers, make_front, ordered
from codegen.importer.limits import MAX_WEIGHT
from codegen.importer.source import Array
from codegen.importer.tensors import check_finite
from codegen.importer.values import (
    AffineStep,
    ClampStep,
    DenseStep,
    FunctionStep,
    InputStep,
    ReluStep,
    Step,
    sources_of,
)

MOST_OF_JOINED = 2
"""Weights of two layers joined into one, at most this often those of the two."""


@dataclass(frozen=True)
class Fused:
    """Layers of a graph, and the front between normaliser and dense layers."""

    layers: tuple[Layer, ...]
    front: FloatFront | None = None


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


def fuse(last: Step) -> Fused:
    """Layers that compute what `last` does.

    Args:
        last: the step of the logits.
    Raises: UnsupportedModelError, BadWeightError, naming the node.
    """
    while isinstance(last, ClampStep) and last.measured:  # the logits' own quantization
        last = last.source
    steps = ordered(last)
    readers = count_readers(steps)
    plain = _is_stack(steps) and max(readers.values()) <= 1
    tail = steps if plain else _tail(steps, readers)
    draft = _Draft()
    front = None
    if not plain:
        before = steps[: len(steps) - len(tail)]
        _check_joint(before[-1], tail[0], last)
        front, draft.normalizer = _front(before, readers)
    for step in tail:
        if isinstance(step, AffineStep):
            _add_affine(draft, step)
        elif isinstance(step, DenseStep):
            _add_dense(draft, step, normalize=plain)
        elif isinstance(step, ReluStep):
            _add_relu(draft, step)
        elif isinstance(step, ClampStep) and step.low == 0.0 and draft.close() is not None:
            _add_relu(draft, ReluStep(step.source, step.origin))
    _check_end(draft, last)
    return Fused(_layers(draft), front)


def fuse_whole(last: Step) -> Fused:
    """All that computes `last` as a front, dense layers too; nothing of it can learn.

    Raises: UnsupportedModelError, BadWeightError, naming the node.
    """
    while isinstance(last, ClampStep) and last.measured:
        last = last.source
    steps = ordered(last)
    front, normalizer = _front(steps, count_readers(steps))
    draft = _Draft(normalizer=normalizer)
    return Fused(_layers(draft), front)


def _is_stack(steps: Sequence[Step]) -> bool:
    """Whether all are of dense layers, every ReLU directly after one."""
    may_follow = False
    for step in steps:
        if not _is_plain(step):
            return False
        if isinstance(step, ReluStep) and not may_follow:
            return False
        may_follow = isinstance(step, DenseStep | ReluStep) or (
            may_follow and isinstance(step, AffineStep | ClampStep)
        )
        if isinstance(step, AffineStep) and _after_relu(step):
            may_follow = False
    return True


def _after_relu(step: Step) -> bool:
    """Whether scales and shifts lead back to a ReLU."""
    while isinstance(step, AffineStep | ClampStep):
        step = step.source
    return isinstance(step, ReluStep)


def _is_plain(step: Step) -> bool:
    known = isinstance(step, InputStep | AffineStep | DenseStep | ReluStep)
    return known or (isinstance(step, ClampStep) and step.measured)


def _tail(steps: Sequence[Step], readers: dict[int, int]) -> Sequence[Step]:
    """The dense layers at the end, with scales and shifts before them."""
    start = len(steps)
    while start > 1 and _is_plain(steps[start - 1]):
        step = steps[start - 1]
        if sources_of(step) != (steps[start - 2],) or readers[id(step)] > 1:
            break
        start -= 1
    while start < len(steps) and not (
        isinstance(steps[start], DenseStep) and _is_stack(steps[start:])
    ):
        start += 1
    while start > 1 and isinstance(steps[start - 1], AffineStep) and start < len(steps):
        if readers[id(steps[start - 1])] > 1 or readers[id(steps[start - 2])] > 1:
            break
        start -= 1
    if start == len(steps):
        raise _no_dense_end(steps[-1])
    return steps[start:]


def _check_joint(before: Step, first: Step, last: Step) -> None:
    if sources_of(first) != (before,):
        raise _no_dense_end(last)


def _front(
    steps: Sequence[Step], readers: dict[int, int]
) -> tuple[FloatFront, tuple[Array, Array, str] | None]:
    """Front and normaliser; what a normaliser cannot say becomes a refusal."""
    front, found = make_front(steps, readers)
    if found is None:
        return front, None
    scale, shift, origin = found
    normalizer, _, rest = _split(scale, shift, origin)
    if rest.any():
        raise UnsupportedModelError(
            "scales a feature to zero and shifts it",
            where=f"node {origin}",
            expected="input normalisers with scales other than zero",
        )
    return front, normalizer


def _add_affine(draft: _Draft, step: AffineStep) -> None:
    """Only the vectors are multiplied here: a long chain of scales must stay cheap."""
    if draft.pending is None:
        draft.pending = (step.scale, step.shift, step.origin)
        return
    scale, shift, origin = draft.pending
    with np.errstate(all="ignore"):
        draft.pending = (scale * step.scale, shift * step.scale + step.shift, origin)


def _add_dense(draft: _Draft, step: DenseStep, *, normalize: bool) -> None:
    before = draft.close()
    if step.absorbed:
        _absorb(before, step)
        return
    weight, bias = step.weight, step.bias
    if draft.pending is not None:
        scale, shift, origin = draft.pending
        if not draft.dense and normalize:
            draft.normalizer, scale, shift = _split(scale, shift, origin)
        with np.errstate(all="ignore"):
            bias = bias + weight @ shift
            weight = weight * scale
        draft.pending = None
    if before is not None and _joins(before, weight):
        _join(before, weight, bias, step.origin)
        return
    draft.dense.append(_DenseDraft(weight, bias, step.origin))


def _joins(before: _DenseDraft, weight: Array) -> bool:
    """Whether one layer may stand for two with nothing between, as of scikit-learn's PCA.

    A bottleneck stays as it is: its product has many more weights than its factors.
    """
    product = weight.shape[0] * before.weight.shape[1]
    return bool(product <= MOST_OF_JOINED * (weight.size + before.weight.size))


def _join(before: _DenseDraft, weight: Array, bias: Array, origin: str) -> None:
    with np.errstate(all="ignore"):
        before.bias = bias + weight @ before.bias
        before.weight = weight @ before.weight
    before.origin = origin


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
        raise _no_dense_end(last)


def _no_dense_end(last: Step) -> UnsupportedModelError:
    if isinstance(last, FunctionStep) and last.function == "sigmoid":
        return UnsupportedModelError(
            f"sigmoid of {last.size} numbers (several labels at once)",
            where=f"node {last.origin}",
            expected=f"Softmax at the end, or one sigmoid for two classes; {INFERENCE_ONLY}",
        )
    return UnsupportedModelError(
        "the logits do not come straight from a dense layer",
        where="graph outputs" if isinstance(last, InputStep) else f"node {last.origin}",
        expected="Gemm, MatMul, or Conv of one pixel last, without an activation after it; "
        f"if these are no classes: {INFERENCE_ONLY}",
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
