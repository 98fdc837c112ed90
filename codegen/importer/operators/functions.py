# SPDX-License-Identifier: Apache-2.0
"""Functions of one number, clips, and branches side by side."""

from dataclasses import replace
from math import inf, prod

import numpy as np

from codegen.errors import MalformedModelError, UnsupportedModelError, UnsupportedShapeError
from codegen.importer.operators import tail
from codegen.importer.operators.arguments import (
    Arguments,
    constant,
    float_signal,
    optional_constant,
)
from codegen.importer.operators.select import beside
from codegen.importer.operators.window import in_stored_order
from codegen.importer.source import SourceNode
from codegen.importer.values import (
    ClampStep,
    ConcatStep,
    FunctionStep,
    Prediction,
    ReluStep,
    Signal,
    Value,
)

_ATTRIBUTES = {
    "Abs": ("abs", ()),
    "Celu": ("celu", (("alpha", 1.0),)),
    "Erf": ("erf", ()),
    "Exp": ("exp", ()),
    "Mish": ("mish", ()),
    "Selu": ("selu", (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
    "Softplus": ("softplus", ()),
    "Softsign": ("softsign", ()),
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
    "Elu": ("elu", (("alpha", 1.0),)),
    "HardSigmoid": ("hard_sigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "Tanh": ("tanh", ()),
}


def function(node: SourceNode, args: Arguments) -> Value:
    """An activation that becomes a table."""
    name, attributes = _ATTRIBUTES[node.operator]
    parameters = tuple(node.number(key, default) for key, default in attributes)
    return _apply(node, float_signal(node, args), name, parameters)


def celu(node: SourceNode, args: Arguments) -> Value:
    """Celu: its alpha divides."""
    if node.number("alpha", 1.0) == 0.0:
        raise MalformedModelError("alpha is 0", where=node.label, expected="another alpha")
    return function(node, args)


def gelu(node: SourceNode, args: Arguments) -> Value:
    """Gelu, exact or by tanh."""
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    form = node.text("approximate", "none")
    if form not in names:
        raise MalformedModelError(
            f"approximate {form!a}", where=node.label, expected='"none" or "tanh"'
        )
    return _apply(node, float_signal(node, args), names[form], ())


def prelu(node: SourceNode, args: Arguments) -> Value:
    """PRelu with one slope for all values: a LeakyRelu."""
    x = float_signal(node, args)
    slope = constant(node, args, 1)
    if not slope.size or (slope != slope.reshape(-1)[0]).any():
        raise UnsupportedModelError(
            "has a slope for each channel", where=node.label, expected="one slope for all"
        )
    return _apply(node, x, "leaky_relu", (float(slope.reshape(-1)[0]),))


def hard_swish(node: SourceNode, args: Arguments) -> Value:
    """HardSwish: x * clip(x / 6 + 1/2, 0, 1)."""
    return _apply(node, float_signal(node, args), "gated_hard_sigmoid", (1 / 6, 0.5))


def sigmoid(node: SourceNode, args: Arguments) -> Value:
    """Sigmoid: of a single number the probability of class 1 of two, else a table."""
    x = float_signal(node, args)
    return tail.sigmoid(node, args) if x.size == 1 else _apply(node, x, "sigmoid", ())


def clip(node: SourceNode, args: Arguments) -> Value:
    """Clip by constants."""
    x = float_signal(node, args)
    low, high = _bound(node, args, "min", 1, -inf), _bound(node, args, "max", 2, inf)
    if low > high:
        raise MalformedModelError(
            f"clips to [{low:g}, {high:g}]", where=node.label, expected="min not above max"
        )
    if low == 0.0 and high == inf:
        return replace(x, step=ReluStep(x.step, node.name))
    if low == 0.0 and high > 0.0:
        return replace(x, step=ClampStep(x.step, low, high, False, node.name))
    # The table needs numbers; a bound that is not there is one that nothing reaches.
    return _apply(node, x, "clip", (max(low, -3e38), min(high, 3e38)))


def concat(node: SourceNode, args: Arguments) -> Value:
    """Concat of branches along the channels; of 1 - p and p, the scores of a sigmoid."""
    if any(isinstance(value, Prediction) for value in args):
        return tail.concat_scores(node, args)
    parts = [float_signal(node, args, i) for i in range(len(args))]
    rank = 1 + len(parts[0].shape)
    axis = node.integer("axis", 0)
    if not -rank <= axis < rank or axis % rank == 0:
        raise UnsupportedShapeError(
            f"joins along axis {axis}", where=node.label, expected="an axis of each sample"
        )
    at = axis % rank - 1
    columns = beside(node, parts)
    if columns is not None:
        return columns
    rests = {part.shape[:at] + part.shape[at + 1 :] for part in parts}
    if len(rests) != 1 or any(len(part.shape) != rank - 1 for part in parts):
        raise UnsupportedShapeError(
            "joins tensors of different shapes", where=node.label, expected="equal other axes"
        )
    return _side_by_side(node, parts, at)


def _side_by_side(node: SourceNode, parts: list[Signal], at: int) -> Signal:
    rest = parts[0].shape[:at] + parts[0].shape[at + 1 :]
    widths = [part.shape[at] for part in parts]
    steps = tuple(
        in_stored_order(node, part, np.moveaxis(part.places, at, -1), part.shape[at])
        for part in parts
    )
    shapes = tuple((1, prod(rest), width) for width in widths)
    places = np.moveaxis(np.arange(prod(rest) * sum(widths)).reshape(*rest, -1), -1, at)
    step = ConcatStep(steps, shapes, node.name)
    return Signal(step, places.shape, where=places.reshape(-1))


def _apply(node: SourceNode, x: Signal, name: str, parameters: tuple[float, ...]) -> Signal:
    step = FunctionStep(x.step, name, parameters, x.size, node.name)
    return replace(x, step=step)


def _bound(node: SourceNode, args: Arguments, name: str, index: int, default: float) -> float:
    if name in node.attributes:
        return node.number(name, default)
    value = optional_constant(node, args, index)
    if value is None:
        return default
    if value.size != 1:
        raise UnsupportedModelError(
            f"{name} has {value.size} elements", where=node.label, expected="one number"
        )
    return float(value.reshape(-1)[0])
