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


@dataclass(frozen=True, eq=False)
class DenseStep:
    """y = x W^T + b: weight float64 (O, I), bias float64 (O,).

    `absorbed` marks a matrix that only rearranges the layer before it and is multiplied into it.
    """

    source: "Step"
    weight: Array
    bias: Array
    origin: str
    absorbed: bool = False


@dataclass(frozen=True, eq=False)
class ReluStep:
    """y = max(x, 0)."""

    source: "Step"
    origin: str


Step = InputStep | AffineStep | DenseStep | ReluStep


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
        is_float: False only before an integer input is cast.
    """

    step: Step
    shape: tuple[int, ...]
    is_float: bool = True

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return prod(self.shape)


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
