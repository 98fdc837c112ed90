# SPDX-License-Identifier: Apache-2.0
"""Fine inference left open: chosen where calibration samples show a gain."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from device.twin.model import IntModel
from server.learning.engine import HadaptEngine
from server.learning.ports import Calibration
from server.learning.quantizing import Decisions

ROWS = 300


def decisions(rows: int, wrong_plain: int, wrong_fine: int | None) -> Decisions:
    """Made up: so many of `rows` decisions differ from the float network's."""
    right = np.zeros(rows, np.int64)
    plain, fine = right.copy(), right.copy()
    plain[:wrong_plain] = 1
    fine[: wrong_fine or 0] = 1
    x = np.zeros((rows, 1), np.float32)
    return Decisions(x, right, plain, None if wrong_fine is None else fine)


@pytest.mark.parametrize(
    ("rows", "wrong_plain", "wrong_fine", "pays"),
    [
        (512, 3, 0, True),
        (512, 2, 0, False),
        (100, 2, 0, True),
        (100, 1, 0, False),
        (31, 31, 0, False),
        (100, 0, 5, False),
        (100, 50, None, False),
    ],
)
def test_gain_is_told_from_chance(
    rows: int, wrong_plain: int, wrong_fine: int | None, pays: bool
) -> None:
    assert decisions(rows, wrong_plain, wrong_fine).fine_pays() is pays


@pytest.fixture(scope="module")
def linear() -> tuple[bytes, Calibration]:
    """Logistic regression on features as they come, whose scales differ by thousands."""
    x, y = load_breast_cancer(return_X_y=True)
    fitted = LogisticRegression(max_iter=5000).fit(x[:ROWS], y[:ROWS])
    weight = np.vstack([-fitted.coef_, fitted.coef_]).astype(np.float32)
    bias = np.concatenate([-fitted.intercept_, fitted.intercept_]).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", x.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto.SerializeToString(), Calibration(x[:ROWS].astype(np.float32), y[:ROWS])


def test_open_choice_is_fine_where_it_pays_and_an_option_is_obeyed(
    linear: tuple[bytes, Calibration],
) -> None:
    engine = HadaptEngine()
    made = {c: engine.quantize(*linear, {"fine_inference": c}) for c in (None, True, False)}
    left_out = engine.quantize(*linear, {})
    assert left_out.data == made[None].data == made[True].data != made[False].data
    assert not IntModel.from_bytes(made[False].data).fine_inference
    report, plain = left_out.report, made[False].report
    assert report["fine_inference"] is True and plain["fine_inference"] is False
    assert report["calibration_agreement_plain"] == plain["calibration_agreement"]
    assert report["calibration_agreement"] == plain["calibration_agreement_fine"]
    assert report["calibration_agreement"] - plain["calibration_agreement"] >= 0.005
