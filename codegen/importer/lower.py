# SPDX-License-Identifier: Apache-2.0
"""SourceGraph to the steps that compute its logits: each node is given its meaning in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from codegen.errors import INFERENCE_ONLY, MalformedModelError, UnsupportedModelError
from codegen.importer.budget import Budget
from codegen.importer.fold import FOLDABLE, fold
from codegen.importer.limits import MAX_CLASS_NAME_CHARACTERS
from codegen.importer.operators import OPERATORS, SHAPERS
from codegen.importer.source import SourceGraph, SourceNode, shown
from codegen.importer.values import (
    Constant,
    ConvStep,
    DenseStep,
    FunctionStep,
    InputStep,
    Prediction,
    Signal,
    Value,
)

SUPPORTED = frozenset(OPERATORS) | frozenset(SHAPERS) | frozenset(FOLDABLE)
"""Operators that the importer knows in at least one place."""


REGRESSOR = "ai.onnx.ml.LinearRegressor"


@dataclass(frozen=True)
class Lowered:
    """The logits, and the names of the classes if the file has them.

    `is_decision`: the file itself says that these are classes, by what it makes of them.
    """

    logits: Signal
    class_names: tuple[str, ...] | None
    is_decision: bool


def lower(graph: SourceGraph, inference_only: bool = False) -> Lowered:
    """Give every tensor its value and find the logits behind the outputs.

    Args:
        graph: live nodes in order, operators in SUPPORTED.
        inference_only: any output will do, not only logits.
    Raises: ModelImportError of the fitting kind, naming the node.
    """
    values: dict[str, Value] = {name: Constant(array) for name, array in graph.constants.items()}
    source = graph.input
    samples = InputStep(prod(source.shape))
    values[source.name] = Signal(samples, source.shape, source.is_float)
    budget = Budget()
    for node in graph.nodes:
        args = tuple(_argument(node, name, values) for name in node.inputs)
        results = _evaluate(node, args, source.batch, budget)
        _store(node, results, values, budget)
    return _logits(graph, [_output(name, values) for name in graph.outputs], inference_only)


def _argument(node: SourceNode, name: str, values: dict[str, Value]) -> Value | None:
    if name and name not in values:
        raise UnsupportedModelError(
            f"reads {shown(name)}, a second result of its operator that is not computed here",
            where=node.label,
            expected="the first result only",
        )
    return values[name] if name else None


def _evaluate(
    node: SourceNode, args: tuple[Value | None, ...], batch: int | None, budget: Budget
) -> Value | Sequence[Value]:
    constants = [arg for arg in args if arg is None or isinstance(arg, Constant)]
    if len(constants) == len(args) and node.operator in FOLDABLE:
        return fold(node, constants, budget)
    if node.operator in SHAPERS:
        return SHAPERS[node.operator](node, args, batch)
    if node.operator in OPERATORS:
        return OPERATORS[node.operator](node, args)
    raise UnsupportedModelError(
        f"{node.operator} of a computed tensor",
        where=node.label,
        expected=f"{node.operator} of constants only",
    )


def _store(
    node: SourceNode, results: Value | Sequence[Value], values: dict[str, Value], budget: Budget
) -> None:
    """Name the results; a further output stays undefined until something reads it."""
    listed = [results] if isinstance(results, Constant | Signal | Prediction) else results
    for name, value in zip(node.outputs, listed, strict=False):
        values[name] = value
        if isinstance(value, Signal):
            step = value.step
            size = step.weight.size if isinstance(step, DenseStep | ConvStep) else value.size
            budget.take_step(size, node)


def _output(name: str, values: dict[str, Value]) -> Signal | Prediction:
    value = values.get(name)
    if isinstance(value, Signal | Prediction):
        return value
    raise UnsupportedModelError(
        "is constant or not computed",
        where=f"output {shown(name)}",
        expected="logits, probabilities or labels",
    )


def _logits(
    graph: SourceGraph, outputs: Sequence[Signal | Prediction], inference_only: bool
) -> Lowered:
    signals = [value.logits if isinstance(value, Prediction) else value for value in outputs]
    first = outputs[0]
    if inference_only and isinstance(first, Prediction) and first.kind == "positive":
        signals[0] = _probability(first)
    if any(signal.step is not signals[0].step for signal in signals):
        names = ", ".join(shown(name) for name in graph.outputs[:8])
        raise UnsupportedModelError(
            f"outputs {names} are computed from different tensors",
            where="graph outputs",
            expected="outputs made of the same logits; cut the file to one of them "
            "(onnx.utils.extract_model)",
        )
    logits = signals[0]
    if inference_only:
        _check_whole(graph, logits)
    elif any(node.operator == REGRESSOR for node in graph.nodes):
        raise UnsupportedModelError(
            "the file is a regressor's",
            where=f"output {shown(graph.outputs[0])}",
            expected=f"a classifier's; {INFERENCE_ONLY}",
        )
    elif len(logits.shape) != 1 or logits.size < 2:
        raise UnsupportedModelError(
            f"output of shape {list(logits.shape)} a sample",
            where=f"output {shown(graph.outputs[0])}",
            expected="one logit for each of two or more classes, or one sigmoid for two classes; "
            f"a regressor has no classes to learn: {INFERENCE_ONLY}",
        )
    decision = any(isinstance(value, Prediction) for value in outputs)
    return Lowered(logits, _class_names(outputs), decision)


def _probability(prediction: Prediction) -> Signal:
    """The sigmoid itself, of which two logits were made."""
    lifted = prediction.logits.step
    if not isinstance(lifted, DenseStep):
        raise AssertionError("two logits are lifted from one number")
    step = FunctionStep(lifted.source, "sigmoid", (), 1, prediction.origin)
    return Signal(step, (1,))


def _check_whole(graph: SourceGraph, output: Signal) -> None:
    where = f"output {shown(graph.outputs[0])}"
    if output.margin:
        raise UnsupportedModelError(
            "is padded", where=where, expected="no Pad behind the last layer"
        )
    if output.grid is not None or not output.is_float:
        raise UnsupportedModelError(
            "is an integer", where=where, expected="a DequantizeLinear last, as quantize_static has"
        )


def _class_names(outputs: Sequence[Signal | Prediction]) -> tuple[str, ...] | None:
    """Names that the file prints as labels, else those it gives the probabilities."""
    predictions = [value for value in outputs if isinstance(value, Prediction)]
    for kind in ("label", "map"):
        for value in predictions:
            if value.kind == kind and value.labels is not None:
                return _checked(value)
    return None


def _checked(prediction: Prediction) -> tuple[str, ...]:
    labels = prediction.labels or ()
    for i, label in enumerate(labels):
        if not label.isprintable() or not 0 < len(label) <= MAX_CLASS_NAME_CHARACTERS:
            raise MalformedModelError(
                f"name of class {i} is empty, too long or not printable",
                where=prediction.origin,
                expected=f"1 to {MAX_CLASS_NAME_CHARACTERS} printable characters",
            )
    if len(set(labels)) != len(labels):
        raise MalformedModelError(
            "two classes have the same name", where=prediction.origin, expected="distinct names"
        )
    return labels
