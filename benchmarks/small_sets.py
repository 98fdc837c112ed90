# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.small_sets: what quantizing costs networks of scikit-learn's small sets.

Logistic regression on raw and on scaled features and two networks, fitted to 60 % of a set;
accuracy on the rest, in float32 and as integers: as the service chooses, plain, and with fine
inference (SPEC.md 18). Table into results/small_sets.md; two minutes.
"""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from server.learning.engine import HadaptEngine
from server.learning.ports import Calibration

Array = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results" / "small_sets.md"
SETS = ("iris", "wine", "breast_cancer", "digits")
SEEDS = (0, 1)
ARMS: dict[str, dict[str, Any]] = {
    "chosen": {},
    "plain": {"fine_inference": False},
    "fine": {"fine_inference": True},
}
KINDS = ("raw, linear", "linear", "16", "64, 32")


@dataclass(frozen=True)
class Row:
    """Accuracies of one network on the test rows, in per cent; `fine`: what was chosen."""

    data: str
    seed: int
    kind: str
    float32: float
    accuracy: dict[str, float]
    fine: bool


def fitted(kind: str, x: Array, y: NDArray[np.int64], seed: int) -> Any:
    """A linear model, or one with hidden layers of those widths."""
    if kind.endswith("linear"):
        return LogisticRegression(max_iter=5000).fit(x, y)
    widths = tuple(map(int, kind.split(", ")))
    return MLPClassifier(widths, max_iter=800, random_state=seed).fit(x, y)


def weights_of(model: Any) -> tuple[list[Array], list[Array]]:
    """Weights (inputs, outputs) and biases; one output of two classes becomes two."""
    weights = list(getattr(model, "coefs_", [getattr(model, "coef_", np.zeros(0)).T]))
    biases = list(getattr(model, "intercepts_", [getattr(model, "intercept_", np.zeros(0))]))
    if weights[-1].shape[1] == 1:
        weights[-1] = np.hstack([-weights[-1], weights[-1]])
        biases[-1] = np.hstack([-biases[-1], biases[-1]])
    return weights, biases


def onnx_of(model: Any, scaler: Any) -> bytes:
    """The network as ONNX, the scaler in front of it."""
    weights, biases = weights_of(model)
    values = {"mean": scaler.mean_, "scale": scaler.scale_}
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["h0"]),
    ]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        values |= {f"w{i}": weight, f"b{i}": bias}
        nodes.append(helper.make_node("Gemm", [f"h{i}", f"w{i}", f"b{i}"], [f"y{i}"]))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"h{i + 1}"]))
    nodes.pop()
    out = f"y{len(weights) - 1}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weights[0].shape[0]])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["N", weights[-1].shape[1]])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content: bytes = proto.SerializeToString()
    return content


def measure(data: str, seed: int, kind: str) -> Row:
    """Fit, quantize three ways, judge on the test rows."""
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = np.split(order, [len(order) * 3 // 5])
    scaler = StandardScaler(with_mean="raw" not in kind, with_std="raw" not in kind).fit(x[train])
    if "raw" in kind:
        scaler.mean_, scaler.scale_ = np.zeros(x.shape[1]), np.ones(x.shape[1])
    model = fitted(kind, scaler.transform(x[train]), y[train], seed)
    float32 = 100 * model.score(scaler.transform(x[test]), y[test])
    content, accuracy, fine = onnx_of(model, scaler), {}, False
    for arm, options in ARMS.items():
        calibration = Calibration(x[train].astype(np.float32), y[train].astype(np.int64))
        made = IntModel.from_bytes(HadaptEngine().quantize(content, calibration, options).data)
        raw = raw_samples(made, x[test].astype(np.float32))
        accuracy[arm] = 100 * float(np.mean(TwinLearner(made).infer_many(raw)[0] == y[test]))
        fine = made.fine_inference if arm == "chosen" else fine
    return Row(data, seed, kind, float32, accuracy, fine)


def table(rows: list[Row]) -> Iterator[str]:
    """The page, line by line."""
    yield "# What quantizing costs on small sets"
    yield ""
    yield "Written by `python -m benchmarks.small_sets`. Accuracy on test rows in per cent, before"
    yield "any class is learned. *Chosen*: as the service does without the option"
    yield "`fine_inference`; in brackets where it took the fine one."
    yield ""
    yield "| set | split | network | float32 | chosen | plain | fine |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for r in rows:
        a = {arm: f"{value:.1f}" for arm, value in r.accuracy.items()}
        chosen = f"({a['chosen']})" if r.fine else a["chosen"]
        cells = [r.data, r.seed, r.kind, f"{r.float32:.1f}", chosen, a["plain"], a["fine"]]
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    for arm in ARMS:
        gaps = np.array([r.accuracy[arm] - r.float32 for r in rows])
        error = gaps.std(ddof=1) / len(gaps) ** 0.5
        yield f"- {arm}: mean difference to float32 {gaps.mean():+.2f} ± {error:.2f} points"


def main() -> int:
    """Measure all and write the page."""
    warnings.filterwarnings("ignore", module="sklearn")  # of fits that end early
    rows = []
    for data in SETS:
        for seed in SEEDS:
            for kind in KINDS:
                rows.append(measure(data, seed, kind))
                print(rows[-1], file=sys.stderr, flush=True)
    RESULTS.write_text("\n".join(table(rows)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
