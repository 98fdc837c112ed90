# SPDX-License-Identifier: Apache-2.0
"""What a tensor of the file stands for, once the nodes before it are understood.

A file is read by giving every tensor a value: a `Constant`, a `Signal` that carries the samples
through the network, or a `Prediction` made from the logits. Signals point at the `Step` that
computes them; each step points at the step it reads. Reshapes make no step: a signal is stored
flat, in C order, and only its shape changes.
"""

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Literal

import numpy as np

from codegen.importer.source import Array


class Symbol(Enum):
    """Numbers that only the caller of the model knows."""

    BATCH = "batch size"


@dataclass(frozen=True, eq=False)
class InputStep:
    """The samples as given."""

    features: int


@dataclass(frozen=True, eq=False)
class AffineStep:
    """y = x * scale + shift, both float64 (features,)."""

    source: "Step"
    scale: Array
    shift: Array
    origin: str

    @property
    def is_uniform(self) -> bool:
        """Whether all numbers are scaled and shifted alike."""
        return bool((self.scale == self.scale[0]).all() and (self.shift == self.shift[0]).all())


@dataclass(frozen=True, eq=False)
class DenseStep:
    """y = x W^T + b: weight float64 (O, I), bias float64 (O,).

    `absorbed` marks a matrix that only rearranges the layer before it and is multiplied into it.
    `columns`, where the layer is nothing but a selection: int64 (O,), which input each output is.
    """

    source: "Step"
    weight: Array
    bias: Array
    origin: str
    absorbed: bool = False
    columns: Array | None = None


@dataclass(frozen=True, eq=False)
class ReluStep:
    """y = max(x, 0)."""

    source: "Step"
    origin: str


@dataclass(frozen=True, eq=False)
class ConvStep:
    """A convolution of an (H, W, C) tensor: weight float64 (O, kernel_h, kernel_w, I / groups)."""

    source: "Step"
    weight: Array
    bias: Array
    window: "Window"
    groups: int
    origin: str


@dataclass(frozen=True, eq=False)
class PoolStep:
    """Average (fixed divisor) or max over windows."""

    source: "Step"
    kind: Literal["average", "max"]
    window: "Window"
    origin: str


@dataclass(frozen=True)
class Window:
    """Where windows lie: shapes (H, W, C), pairs (vertical, horizontal), pad at the top left."""

    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class SumStep:
    """a + b or a - b, element by element."""

    sources: "tuple[Step, Step]"
    signs: tuple[int, int]
    size: int
    origin: str


@dataclass(frozen=True, eq=False)
class ConcatStep:
    """Channels of the parts side by side."""

    sources: "tuple[Step, ...]"
    in_shapes: tuple[tuple[int, int, int], ...]
    origin: str


@dataclass(frozen=True, eq=False)
class FunctionStep:
    """A function of each number, by name in codegen.float_front.FUNCTIONS."""

    source: "Step"
    function: str
    parameters: tuple[float | str, ...]
    size: int
    origin: str


@dataclass(frozen=True, eq=False)
class ClampStep:
    """Values kept in [low, high]; `measured` if that is a range of QuantizeLinear, not a Clip."""

    source: "Step"
    low: float
    high: float
    measured: bool
    origin: str


@dataclass(frozen=True, eq=False)
class PermuteStep:
    """result[i] = source[order[i]]: possible only where the samples are read."""

    source: "Step"
    order: Array
    channels: int
    origin: str


PlainStep = InputStep | AffineStep | DenseStep | ReluStep
Step = (
    PlainStep | ConvStep | PoolStep | SumStep | ConcatStep | FunctionStep | ClampStep | PermuteStep
)


def sources_of(step: Step) -> tuple[Step, ...]:
    """The steps that a step reads."""
    if isinstance(step, InputStep):
        return ()
    return step.sources if isinstance(step, SumStep | ConcatStep) else (step.source,)


@dataclass(frozen=True, eq=False)
class Constant:
    """A value known now. Folded shapes may hold Symbol.BATCH, in an object array."""

    array: Array

    @property
    def is_number(self) -> bool:
        """Whether all elements are plain numbers."""
        return self.array.dtype.kind in "fiub"


@dataclass(frozen=True, eq=False)
class Signal:
    """A tensor computed from the samples.

    Attributes:
        step: what computes it.
        shape: of one sample; the file's tensor has the batch axis before it.
        is_float: False only before an integer input is cast, or in the grid of a QuantizeLinear.
        where: int64 (size,): element i of the file's tensor is element where[i] of what the step
            computes; None: the same order.
        grid: scale and zero point of the QuantizeLinear just done.
        margin: zeros put around by Pad and not yet taken by a window, (before, after) an axis; the
            shape includes them.
    """

    step: Step
    shape: tuple[int, ...]
    is_float: bool = True
    where: Array | None = None
    grid: tuple[float, int] | None = None
    margin: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return prod(self.shape)

    @property
    def inner(self) -> tuple[int, ...]:
        """The shape without the margin."""
        margin = self.margin or ((0, 0),) * len(self.shape)
        return tuple(
            n - before - after for n, (before, after) in zip(self.shape, margin, strict=True)
        )

    @property
    def places(self) -> Array:
        """`where` in the tensor's shape, without the margin."""
        flat = np.arange(prod(self.inner)) if self.where is None else self.where
        return flat.reshape(self.inner)

    def in_order(self, values: Array) -> Array:
        """Numbers for the file's elements (..., size) as numbers for the step's."""
        if self.where is None:
            return values
        ordered = np.empty_like(values)
        ordered[..., self.where] = values
        return ordered


PredictionKind = Literal["scores", "positive", "negative", "column", "index", "label", "map"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A tensor that only restates the logits.

    Attributes:
        logits: a signal of one number a class, of which this is made.
        kind: "scores": one number a class, ordered as the logits are (probabilities, logarithms);
            "positive", "negative": the probability of class 1, class 0 of two;
            "column": one of the scores; "index": position of the largest logit;
            "label": its name; "map": scores by name.
        labels: class names, where known.
        origin: node that made it.
    """

    logits: Signal
    kind: PredictionKind
    origin: str
    labels: tuple[str, ...] | None = None


Value = Constant | Signal | Prediction
