# SPDX-License-Identifier: Apache-2.0
"""The onnx package's own node tests: each is computed right, or refused by name."""

from collections import Counter, defaultdict

import pytest

from tests.suite.onnx_nodes import cases, judge

# So many node tests of an operator pass at the least.
PASSED = {
    "Add": 2,
    "AveragePool": 6,
    "BatchNormalization": 2,
    "Clip": 8,
    "Conv": 6,
    "Gemm": 8,
    "GlobalAveragePool": 2,
    "HardSwish": 1,
    "LeakyRelu": 3,
    "MaxPool": 13,
    "ReduceMean": 6,
    "Reshape": 6,
    "Tanh": 2,
}


# The expected numbers of some tests are infinite or NaN on purpose.
@pytest.mark.filterwarnings("ignore")
def test_all_node_tests_pass_or_are_refused_by_name() -> None:
    verdicts = [judge(case) for case in cases()]
    assert not [v for v in verdicts if v.outcome in ("wrong", "crashed")]
    passed: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        passed[verdict.operator][verdict.outcome] += 1
    short = {name: n for name, n in PASSED.items() if passed[name]["passed"] < n}
    assert not short
    assert passed["ConvTranspose"]["refused"] > 3 and passed["Resize"]["refused"] > 3
