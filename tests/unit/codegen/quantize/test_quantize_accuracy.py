# SPDX-License-Identifier: Apache-2.0
"""Accuracy of quantized networks on scikit-learn's digits, against the float network.

The float network answers 97.5 per cent of the test digits right. Each bound below is the measured
loss, rounded up to the next half per cent, plus one.
"""

from functools import cache

import numpy as np
import pytest
from quantize_graphs import digits

from codegen.quantize import QuantizeOptions, quantize
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel

OPTIONS = {
    "all layers": QuantizeOptions(),
    "wide accumulators": QuantizeOptions(Arithmetic(acc_bits=32)),
    "small masters": QuantizeOptions(Arithmetic(master_bits=8)),
    "saturating additions": QuantizeOptions(Arithmetic(saturation="every_add")),
    "the head alone": QuantizeOptions(train_last=1),
}


@cache
def quantized(name: str) -> IntModel:
    d = digits()
    return quantize(d.graph, d.x_train[:400], d.y_train[:400], OPTIONS[name])


def test_float_network_is_a_good_one() -> None:
    d = digits()
    assert d.accuracy(d.graph.forward(d.x_test).argmax(axis=1)) > 0.965


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("all layers", 0.025),
        ("wide accumulators", 0.015),
        ("small masters", 0.025),
        ("saturating additions", 0.025),
        ("the head alone", 0.02),
    ],
)
def test_accuracy_stays_near_the_float_network_s(name: str, loss: float) -> None:
    d, model = digits(), quantized(name)
    classes = TwinLearner(model).infer_many(raw_samples(model, d.x_test))[0]
    exact = d.accuracy(d.graph.forward(d.x_test).argmax(axis=1))
    assert d.accuracy(classes) >= exact - loss


@pytest.mark.parametrize(
    ("name", "bound"),
    [("wide accumulators", 0.18), ("all layers", 0.23), ("the head alone", 0.15)],
)
def test_logits_stay_near_the_float_network_s(name: str, bound: float) -> None:
    """Root mean square of the difference over that of the logits: three layers of 4-bit steps."""
    d, model = digits(), quantized(name)
    logits = TwinLearner(model).infer_many(raw_samples(model, d.x_test))[1]
    y, exact = logits * 2.0 ** -model.layers[-1].out_frac_bits, d.graph.forward(d.x_test)
    assert np.sqrt(np.square(y - exact).mean() / np.square(exact).mean()) < bound


@pytest.mark.parametrize("name", ["all layers", "the head alone"])
def test_nearest_means_of_the_exemplars_are_a_classifier(name: str) -> None:
    d, model = digits(), quantized(name)
    classes = TwinLearner(model).infer_many(raw_samples(model, d.x_test), head=1)[0]
    assert d.accuracy(classes) > 0.9
