# SPDX-License-Identifier: Apache-2.0
"""The node tests of the onnx package, made into classifiers and held against the importer.

A node test has one operator, inputs and expected outputs. Here the first float input becomes the
samples (its first axis the batch; of operators that work element by element all of it is one
sample), every other input a constant, and a dense layer of fixed weights follows the first output,
since what the importer takes are classifiers. Each test then ends in one of the verdicts:

passed: imported, and the float graph gives the expected output through the dense layer;
refused: a ModelImportError that names the operator, its node or its input;
no tensor: no float tensor goes in or comes out with its batch first, so that no classifier can
    be made of it;
wrong: another number, or a refusal that names nothing; crashed: any other exception.

    python -m tests.suite.onnx_nodes      # the table, all operators
"""

import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codegen.errors import CodegenError, ModelImportError
from codegen.importer import import_onnx

CLASSES = 3
# Set beforehand: float32 sums of at most some thousand terms, relative to the largest logit.
TOLERANCE = 1e-4
LABEL = "node under test"
ELEMENTWISE = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Identity", "Dropout"),
    *("Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"),
}


@dataclass(frozen=True)
class Verdict:
    """What became of one node test."""

    test: str
    operator: str
    outcome: str
    reason: str = ""


@cache
def cases() -> list[Any]:
    """Node tests of the installed onnx package, made by it from code."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases() if case.model and case.data_sets]


def judge(case: Any) -> Verdict:
    """Try one node test."""
    operators = [node.op_type for node in case.model.graph.node]
    operator = operators[0] if len(operators) == 1 else "+".join(sorted(set(operators)))
    inputs, outputs = case.data_sets[0]
    try:
        model, x, expected = _as_classifier(case.model, list(inputs), outputs[0])
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        return Verdict(case.name, operator, "no tensor", type(error).__name__)
    try:
        graph = import_onnx(model.SerializeToString())
        got = graph.forward(x.reshape(len(x), -1))
    except ModelImportError as error:
        named = any(
            name in str(error)
            for name in (LABEL, f"input {case.model.graph.input[0].name}:", *operators)
        )
        return Verdict(case.name, operator, "refused" if named else "wrong", str(error))
    except CodegenError as error:
        return Verdict(case.name, operator, "crashed", f"{type(error).__name__}: {error}")
    except Exception as error:
        return Verdict(case.name, operator, "crashed", f"{type(error).__name__}: {error}")
    close = got.shape == expected.shape and bool(
        np.all(np.abs(got - expected) <= TOLERANCE * max(1.0, float(np.abs(expected).max())))
    )
    return Verdict(case.name, operator, "passed" if close else "wrong", "" if close else "numbers")


def _as_classifier(
    source: onnx.ModelProto, inputs: list[Any], output: Any
) -> tuple[onnx.ModelProto, Any, Any]:
    """The model with one input and a dense layer at its end, the samples, the logits expected."""
    arrays = [np.asarray(_array(value)) for value in inputs]
    least = 1 if source.graph.node[0].op_type in ELEMENTWISE else 2
    first = [a.dtype == np.float32 and a.ndim >= least for a in arrays].index(True)
    x, y = arrays[first], np.asarray(_array(output))
    if {node.op_type for node in source.graph.node} <= ELEMENTWISE:
        x, y = x[None], y[None]
    if y.ndim < 2 or y.shape[0] != x.shape[0] or y.dtype != np.float32 or not y.size:
        raise ValueError("the batch is not on axis 0")
    graph = source.graph
    names = [value.name for value in graph.input]
    constants = [
        numpy_helper.from_array(a, name)
        for i, (a, name) in enumerate(zip(arrays, names, strict=True))
        if i != first
    ]
    width = y[0].size
    weight = np.random.default_rng(0).standard_normal((width, CLASSES)).astype(np.float32)
    constants.append(numpy_helper.from_array(weight, "hadapt_w"))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    for node in nodes:
        node.name = LABEL
    result = graph.output[0].name
    nodes.append(helper.make_node("Flatten", [result], ["hadapt_f"], name="flatten"))
    nodes.append(helper.make_node("MatMul", ["hadapt_f", "hadapt_w"], ["hadapt_y"], name="head"))
    made = helper.make_graph(
        nodes,
        "node_test",
        [helper.make_tensor_value_info(names[first], TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("hadapt_y", TensorProto.FLOAT, (x.shape[0], CLASSES))],
        constants,
    )
    imported = {o.domain or "ai.onnx" for o in source.opset_import}
    plain = [] if "ai.onnx" in imported else [helper.make_opsetid("", 21)]
    opsets = [helper.make_opsetid(o.domain, o.version) for o in source.opset_import]
    model = helper.make_model(
        made, opset_imports=[*opsets, *plain], ir_version=min(max(source.ir_version, 4), 10)
    )
    return model, x, y.reshape(len(x), -1) @ weight


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """One line an operator: how many tests ended how."""
    by_operator: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        by_operator[verdict.operator][verdict.outcome] += 1
    return [
        f"{name:40s} " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
        for name, counts in sorted(by_operator.items())
    ]


def main() -> int:
    """Print the table; 1 if anything is wrong or crashed."""
    verdicts = [judge(case) for case in cases()]
    total = Counter(v.outcome for v in verdicts)
    bad = [v for v in verdicts if v.outcome in ("wrong", "crashed")]
    print("\n".join(table(verdicts)))
    print("total", dict(total))
    for v in bad:
        print(f"{v.outcome}: {v.test} ({v.operator}): {v.reason}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
