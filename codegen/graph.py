# SPDX-License-Identifier: Apache-2.0
"""The float model after import: a stack of dense layers, perhaps behind a front.

A graph reads samples of `input_shape`, flattened in C order to `features` numbers, passes them
through a normaliser, perhaps a front (convolutions and the like, `codegen.float_front`), and dense
layers in order, and yields one logit a class. Softmax and label tables of the file are
gone: they change no decision, and training brings its own.

Layers are frozen dataclasses with a `name` that is safe as a C identifier, and a
`forward(x)`. Further kinds of layer join the `Layer` union.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codegen.errors import GraphError, ShapeError
from codegen.float_front import FloatFront

FloatArray = NDArray[np.float32]
Activation = Literal["relu"] | None


@dataclass(frozen=True, eq=False)
class Affine:
    """Input normaliser: y = (x - offset) * scale, feature by feature.

    Attributes:
        name: C identifier, unique in the graph.
        offset: float32, shape (features,), finite.
        scale: float32, shape (features,), finite; zero drops the feature.
        origin: node of the file it was made from, printable ASCII without quotes.
    """

    name: str
    offset: FloatArray
    scale: FloatArray
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", _frozen(self.offset))
        object.__setattr__(self, "scale", _frozen(self.scale))
        _require(self.offset.ndim == 1, self.name, "offset is not a vector", "shape (features,)")
        _require(
            self.offset.shape == self.scale.shape,
            self.name,
            f"offset has {self.offset.size} elements and scale {self.scale.size}",
            "equal lengths",
        )

    @property
    def inputs(self) -> int:
        """Numbers read, per sample."""
        return int(self.offset.size)

    @property
    def outputs(self) -> int:
        """Numbers written, per sample."""
        return int(self.offset.size)

    def forward(self, x: FloatArray) -> FloatArray:
        """Normalise x, float32 (N, features); same shape back."""
        return (x - self.offset) * self.scale


@dataclass(frozen=True, eq=False)
class Dense:
    """Fully connected layer: y = activation(x W^T + b).

    Attributes:
        name: C identifier, unique in the graph.
        weight: float32, shape (O, I), finite.
        bias: float32, shape (O,), finite.
        activation: "relu" or None.
        origin: node of the file it was made from, printable ASCII without quotes.
    """

    name: str
    weight: FloatArray
    bias: FloatArray
    activation: Activation = None
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _frozen(self.weight))
        object.__setattr__(self, "bias", _frozen(self.bias))
        _require(
            self.weight.ndim == 2 and self.weight.size > 0,
            self.name,
            f"weight has shape {self.weight.shape}",
            "(outputs, inputs), both positive",
        )
        _require(
            self.bias.shape == (self.weight.shape[0],),
            self.name,
            f"bias has shape {self.bias.shape}",
            f"({self.weight.shape[0]},)",
        )
        known = self.activation in (None, "relu")
        _require(known, self.name, f"activation {self.activation!r}", '"relu" or None')

    @property
    def inputs(self) -> int:
        """Numbers read, per sample."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Numbers written, per sample."""
        return int(self.weight.shape[0])

    def forward(self, x: FloatArray) -> FloatArray:
        """Apply the layer to x, float32 (N, I); returns float32 (N, O)."""
        y = x @ self.weight.T + self.bias
        return np.maximum(y, np.float32(0)) if self.activation == "relu" else y


Layer = Affine | Dense


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A float classifier: layers in order, the last one gives the logits.

    Or a network that is not to learn (SPEC.md 17): all of it in the front, no dense layers.

    Attributes:
        name: of the model, printable ASCII without quotes; not unique.
        input_shape: shape of one sample, without the batch axis.
        layers: at most one Affine, first; then at least one Dense; the last without activation.
        class_names: one name a class in logit order, or None where the file has none.
        source_sha256: digest of the imported file, lower-case hex; "" if not from a file.
        front: between normaliser and dense layers, None without.
        is_decision: the file itself makes a decision or probabilities of the logits.
        output_order: int64 (outputs,) of a network without dense layers: element i of the file's
            output is value output_order[i] of the front's; None: the same order.
    Raises: GraphError if the layers do not fit together.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    class_names: tuple[str, ...] | None = None
    source_sha256: str = ""
    front: FloatFront | None = None
    is_decision: bool = False
    output_order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        _check_order(self)
        _check_widths(self)
        _check_finite(self)
        _check_names(self)

    @property
    def features(self) -> int:
        """Numbers in one sample."""
        return prod(self.input_shape)

    @property
    def n_classes(self) -> int:
        """Number of logits; 0 of a network that is not to learn."""
        return self.dense_layers[-1].outputs if self.dense_layers else 0

    @property
    def outputs(self) -> int:
        """Numbers put out, per sample."""
        if self.front is not None and not self.dense_layers:
            return self.front.outputs
        return self.n_classes

    @property
    def normalizer(self) -> Affine | None:
        """The input normaliser, if there is one."""
        first = self.layers[0] if self.layers else None
        return first if isinstance(first, Affine) else None

    @property
    def dense_layers(self) -> tuple[Dense, ...]:
        """The layers that carry weights, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Dense))

    @property
    def n_weights(self) -> int:
        """Trainable numbers: weights and biases."""
        dense = sum(layer.weight.size + layer.bias.size for layer in self.dense_layers)
        return dense + (self.front.n_weights if self.front else 0)

    def flatten(self, x: FloatArray) -> FloatArray:
        """Samples as rows.

        Args:
            x: float32, shape (N, features) or (N, *input_shape).
        Returns: float32, shape (N, features).
        Raises: ShapeError if x is neither.
        """
        if x.dtype != np.float32 or x.shape[1:] not in ((self.features,), self.input_shape):
            raise ShapeError(
                f"samples have shape {x.shape} and dtype {x.dtype}",
                where=f"model {self.name}",
                expected=f"float32 of shape (N, {self.features})",
            )
        return x.reshape(x.shape[0], self.features)

    def forward(self, x: FloatArray) -> FloatArray:
        """Reference inference in NumPy.

        Args:
            x: float32, shape (N, features) or (N, *input_shape).
        Returns: logits, float32, shape (N, n_classes); or the front's last tensor (N, outputs).
        Raises: ShapeError if x has another shape or dtype.
        """
        y = self._behind_front(x)
        for layer in self.dense_layers:
            y = layer.forward(y)
        return y

    def trace(self, x: FloatArray) -> Iterator[tuple[Layer, FloatArray]]:
        """Each layer of `layers` with its outputs, float32 (N, outputs), in order."""
        if self.normalizer is not None:
            yield self.normalizer, self.normalizer.forward(self.flatten(x))
        y = self._behind_front(x)
        for layer in self.dense_layers:
            y = layer.forward(y)
            yield layer, y

    def _behind_front(self, x: FloatArray) -> FloatArray:
        """What the first dense layer reads."""
        y = self.flatten(x)
        if self.normalizer is not None:
            y = self.normalizer.forward(y)
        return y if self.front is None else self.front.forward(y).astype(np.float32)


def _frozen(array: NDArray[np.generic]) -> FloatArray:
    """A float32 copy that nobody can write to: graphs are shared between jobs."""
    copy = np.array(array, dtype=np.float32, order="C")
    copy.setflags(write=False)
    return copy


def _require(holds: bool, where: str, what: str, expected: str) -> None:
    if not holds:
        raise GraphError(what, where=f"layer {where}", expected=expected)


def _check_order(graph: FloatGraph) -> None:
    body = graph.layers[1:] if graph.layers and graph.normalizer else graph.layers
    if not body and graph.front is not None:
        return
    if not body or not all(isinstance(layer, Dense) for layer in body):
        raise GraphError(
            "layers are out of order",
            where=f"model {graph.name}",
            expected="at most one Affine, then at least one Dense",
        )
    if graph.dense_layers[-1].activation is not None:
        raise GraphError(
            "the last layer has an activation",
            where=f"layer {graph.layers[-1].name}",
            expected="logits",
        )


def _check_widths(graph: FloatGraph) -> None:
    width = graph.features
    for layer in graph.layers:
        if graph.front is not None and isinstance(layer, Dense) and layer is graph.dense_layers[0]:
            _require(graph.front.inputs == width, "front", "reads another size", f"{width}")
            width = graph.front.outputs
        _require(layer.inputs == width, layer.name, f"reads {layer.inputs} numbers", f"{width}")
        width = layer.outputs


def _check_finite(graph: FloatGraph) -> None:
    for layer in graph.layers:
        arrays = (
            (layer.offset, layer.scale) if isinstance(layer, Affine) else (layer.weight, layer.bias)
        )
        finite = all(bool(np.isfinite(array).all()) for array in arrays)
        _require(finite, layer.name, "a weight is NaN or infinite", "finite weights")


def _check_names(graph: FloatGraph) -> None:
    names = [layer.name for layer in graph.layers]
    for name in names:
        _require(name.isidentifier() and name.isascii(), name, "bad name", "a C identifier")
    if len(set(names)) != len(names):
        raise GraphError(
            "two layers have the same name", where=f"model {graph.name}", expected="unique names"
        )
    classes = graph.class_names
    if classes is not None and len(set(classes)) != graph.n_classes:
        raise GraphError(
            f"{len(set(classes))} distinct class names",
            where=f"model {graph.name}",
            expected=f"{graph.n_classes}",
        )
