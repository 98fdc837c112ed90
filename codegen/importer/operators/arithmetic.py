# SPDX-License-Identifier: Apache-2.0
"""Element by element: constants added and multiplied, scalers, batch norm, ReLU, casts."""

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from codegen.errors import MalformedModelError, UnsupportedModelError, UnsupportedShapeError
from codegen.importer.operators.arguments import (
    Arguments,
    argument,
    constant,
    float_signal,
    joined,
    optional_constant,
    per_sample,
    signal,
    vector,
)
from codegen.importer.operators.pointwise import composed
from codegen.importer.source import Array, SourceNode
from codegen.importer.values import (
    AffineStep,
    PermuteStep,
    Prediction,
    ReluStep,
    Signal,
    Step,
    SumStep,
    Value,
)

_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


def affine(node: SourceNode, x: Signal, scale: Array, shift: Array) -> Signal:
    """x * scale + shift, both float64 (features,) in the file's order."""
    step = AffineStep(x.step, x.in_order(scale), x.in_order(shift), node.name)
    return replace(x, step=step, is_float=True)


def add(node: SourceNode, args: Arguments) -> Value:
    """Add: a bias or an offset, on either side, or two branches."""
    if _are_signals(args):
        return _sum(node, args, 1)
    x, c = _with_constant(node, args)
    return affine(node, x, np.ones_like(c), c)


def subtract(node: SourceNode, args: Arguments) -> Value:
    """Sub: an offset, or a constant minus the signal; also 1 - p of a two-class sigmoid."""
    if isinstance(argument(node, args, 1), Prediction):
        return _complement(node, args)
    if _are_signals(args):
        return _sum(node, args, -1)
    x, c = _with_constant(node, args)
    if isinstance(args[0], Signal):
        return affine(node, x, np.ones_like(c), -c)
    return affine(node, x, -np.ones_like(c), c)


def multiply(node: SourceNode, args: Arguments) -> Value:
    """Mul: a scale, on either side; or two functions of one tensor, as in SiLU and GELU."""
    met = _met(node, args, "mul")
    if met is not None:
        return met
    x, c = _with_constant(node, args)
    return affine(node, x, c, np.zeros_like(c))


def divide(node: SourceNode, args: Arguments) -> Value:
    """Div: by a constant; or one function of a tensor by another."""
    met = _met(node, args, "div")
    if met is not None:
        return met
    x, c = _with_constant(node, args)
    if not isinstance(args[0], Signal):
        raise UnsupportedModelError(
            "divides by a computed tensor", where=node.label, expected="a constant divisor"
        )
    if not c.all():
        raise MalformedModelError(
            f"divides feature {int(np.argmin(c != 0))} by zero",
            where=node.label,
            expected="divisors other than zero",
        )
    return affine(node, x, 1.0 / c, np.zeros_like(c))


def negate(node: SourceNode, args: Arguments) -> Value:
    """Neg."""
    x = float_signal(node, args)
    return affine(node, x, np.full(x.size, -1.0), np.zeros(x.size))


def relu(node: SourceNode, args: Arguments) -> Value:
    """Relu."""
    x = float_signal(node, args)
    return replace(x, step=ReluStep(x.step, node.name))


def batch_normalization(node: SourceNode, args: Arguments) -> Value:
    """BatchNormalization with fixed statistics: a scale and a shift for each channel."""
    x = float_signal(node, args)
    if node.integer("training_mode", 0) or not node.integer("spatial", 1):
        raise UnsupportedModelError(
            "training mode or per-element statistics",
            where=node.label,
            expected="a model exported for inference",
        )
    channels = x.shape[0] if x.shape else 1
    gain, bias, mean, variance = (
        vector(node, constant(node, args, i), channels, f"input {i}") for i in range(1, 5)
    )
    deviation = np.sqrt(np.maximum(variance + node.number("epsilon", 1e-5), 0.0))
    if not deviation.all():
        raise MalformedModelError(
            "variance plus epsilon is not positive", where=node.label, expected="positive variances"
        )
    repeats = x.size // channels
    scale = np.repeat(gain / deviation, repeats)
    return affine(node, x, scale, np.repeat(bias - mean * gain / deviation, repeats))


def scaler(node: SourceNode, args: Arguments) -> Value:
    """ai.onnx.ml Scaler: (x - offset) * scale; the result is float whatever the input."""
    x = signal(node, args)
    offset, scale = node.numbers("offset"), node.numbers("scale")
    offsets = vector(node, np.zeros(1) if offset is None else offset, x.size, "offset")
    scales = vector(node, np.ones(1) if scale is None else scale, x.size, "scale")
    return affine(node, x, scales, -offsets * scales)


def cast(node: SourceNode, args: Arguments) -> Value:
    """Cast to float, which the importer's arithmetic already is; of labels, to anything."""
    value = argument(node, args, 0)
    to_float = node.integer("to", 0) in _FLOAT_TYPES
    if isinstance(value, Prediction) and (to_float or value.kind in ("index", "label")):
        return value
    x = signal(node, args)
    if not to_float:
        raise UnsupportedModelError(
            "casts samples to another type", where=node.label, expected="a cast to a float type"
        )
    return replace(x, is_float=True)


def dropout(node: SourceNode, args: Arguments) -> Value:
    """Dropout, which does nothing in inference."""
    training = optional_constant(node, args, 2)
    if training is not None and training.any():
        raise UnsupportedModelError(
            "training mode", where=node.label, expected="a model exported for inference"
        )
    return identity(node, args)


def identity(node: SourceNode, args: Arguments) -> Value:
    """Identity: the value itself."""
    value = argument(node, args, 0)
    return value if value is not None else signal(node, args)


def _with_constant(node: SourceNode, args: Arguments) -> tuple[Signal, Array]:
    """The computed operand, and the constant one spread over a sample."""
    if len(args) != 2:
        raise MalformedModelError("not two inputs", where=node.label, expected="two inputs")
    if not any(isinstance(value, Signal) for value in args):
        signal(node, args)
    if all(isinstance(value, Signal | Prediction) for value in args):
        raise joined(node)
    which = 0 if isinstance(args[0], Signal) else 1
    x = float_signal(node, args, which)
    return x, per_sample(node, constant(node, args, 1 - which), x.shape)


def _are_signals(args: Arguments) -> bool:
    return len(args) == 2 and all(isinstance(value, Signal) for value in args)


def _sum(node: SourceNode, args: Arguments, sign: int) -> Value:
    a, b = float_signal(node, args, 0), float_signal(node, args, 1)
    if a.shape != b.shape:
        raise UnsupportedShapeError(
            f"branches of shapes {list(a.shape)} and {list(b.shape)} meet",
            where=node.label,
            expected="equal shapes",
        )
    met = composed(node, a, b, "add" if sign > 0 else "sub")
    if met is not None:
        return met
    if np.array_equal(a.places, b.places):
        return replace(a, step=SumStep((a.step, b.step), (1, sign), a.size, node.name))
    if _in_file_order(a):
        steps, base = (_reordered(node, a, b), b.step), b
    elif _in_file_order(b):
        steps, base = (a.step, _reordered(node, b, a)), a
    else:
        raise UnsupportedModelError(
            "branches in different orders meet (a transpose cannot be removed)",
            where=node.label,
            expected="both transposed alike",
        )
    return replace(base, step=SumStep(steps, (1, sign), a.size, node.name))


def _in_file_order(x: Signal) -> bool:
    return bool((x.places.reshape(-1) == np.arange(x.size)).all())


def _reordered(node: SourceNode, x: Signal, like: Signal) -> Step:
    """x, in the file's order, as `like` is stored: possible where x is the samples themselves."""
    order = np.argsort(like.places.reshape(-1))
    return PermuteStep(x.step, order, x.shape[0], node.name)


def _met(node: SourceNode, args: Arguments, operator: str) -> Signal | None:
    """The one function of a tensor that two functions of it make."""
    if not _are_signals(args):
        return None
    return composed(node, float_signal(node, args, 0), float_signal(node, args, 1), operator)


def _complement(node: SourceNode, args: Arguments) -> Value:
    p = args[1]
    one = constant(node, args, 0)
    if not isinstance(p, Prediction) or p.kind != "positive" or one.size != 1 or one.item() != 1:
        raise UnsupportedModelError(
            "subtracts a prediction", where=node.label, expected="1 - p of a two-class sigmoid"
        )
    return Prediction(p.logits, "negative", node.label)
