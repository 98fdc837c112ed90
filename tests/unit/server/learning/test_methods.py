# SPDX-License-Identifier: Apache-2.0
"""Recipes of the class-incremental methods, and the engine that follows them."""

from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest

from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from device.twin.state import import_state
from server.errors import InvalidInputError
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.chunks import open_checkpoint, plan_of, resume
from server.learning.counting import COUNTED_STEPS
from server.learning.datasets import load
from server.learning.engine import HadaptEngine
from server.learning.float_reference import TrainOptions, train_base
from server.learning.methods import METHODS, RECIPES, Distillation, Method, distillation_of
from server.learning.ports import Calibration, Learner, LearnTask
from server.learning.sessions import train_some
from server.settings import Settings

OLD, STEPS = 4, 60


def test_every_method_names_its_source_or_says_it_is_plain() -> None:
    from server.learning import methods

    for name in METHODS:
        text = getattr(methods, name).__doc__
        assert "Source:" in text or name == "finetune"
        assert "hanged" in text, f"{name} does not say what integers changed"


@pytest.mark.parametrize(
    ("method", "known", "after", "options", "expected"),
    [
        ("replay", 4, 6, {}, Distillation(0, 0)),
        ("icarl", 4, 6, {}, Distillation(51, 1)),
        ("bic", 6, 6, {}, Distillation(51, 1)),
        ("lwf", 4, 6, {}, Distillation(170, 1)),
        ("lwf", 4, 4, {}, Distillation(128, 1)),
        ("lwf", 4, 6, {"weight": 0.25, "temperature": 8}, Distillation(64, 3)),
        ("lwf", 4, 6, {"weight": 0.999}, Distillation(255, 1)),
        ("lwf", 4, 6, {"weight": 0.0, "temperature": 4}, Distillation(0, 0)),
    ],
)
def test_distillation_weight_is_the_methods_own_unless_given(
    method: Method, known: int, after: int, options: dict[str, Any], expected: Distillation
) -> None:
    assert distillation_of(method, known, after, **options) == expected


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> tuple[HadaptEngine, bytes, Learner]:
    """An engine, and a network that knows the digits 0 to 3."""
    data = load("digits")
    rows = data.y_train < OLD
    x, y = data.x_train[rows], data.y_train[rows]
    normaliser = fit_normaliser(x)
    options = TrainOptions(hidden=(24,), epochs=12, milestones=(8,), batch=16, lr=0.05)
    params = train_base(normaliser.apply(x), y, OLD, options, 1)
    engine = HadaptEngine(Settings(data_dir=tmp_path_factory.mktemp("engine")))
    onnx = to_onnx(params, normaliser).SerializeToString()
    chosen = {"max_classes": 8, "exemplar_slots": 40, "staging_slots": 200, "batch": 16}
    chosen["bias_correction"] = True
    artifact = engine.quantize(onnx, Calibration(x, y), chosen)
    return engine, artifact.data, engine.first_learner(artifact.data, Calibration(x, y))


def lesson(start: tuple[HadaptEngine, bytes, Learner], method: Method, **options: Any) -> LearnTask:
    """Digits 4 and 5."""
    _, int_model, learner = start
    data = load("digits")
    rows = np.flatnonzero((data.y_train >= OLD) & (data.y_train < OLD + 2))[:120]
    return LearnTask(
        int_model, learner.data, method, data.x_train[rows], data.y_train[rows], OLD + 2,
        STEPS, 0.05, seed=3, options=options,
    )  # fmt: skip


def learn(
    start: tuple[HadaptEngine, bytes, Learner], method: Method, chunk: int = STEPS, **options: Any
) -> Learner:
    """Digits 4 and 5 in chunks of steps."""
    engine, task = start[0], lesson(start, method, **options)
    state = engine.start(task)
    while not state.done:
        state = engine.train(task, state.checkpoint, chunk, Event())
    return engine.finish(task, state.checkpoint)


def test_chunk_tells_the_saturation_that_the_twin_counts(
    start: tuple[HadaptEngine, bytes, Learner],
) -> None:
    """A later chunk: the working state, not the first one, is what its steps begin with."""
    engine, int_model, _ = start
    task = lesson(start, "replay")
    first = engine.train(task, engine.start(task).checkpoint, 23, Event())
    told = engine.train(task, first.checkpoint, 30, Event()).metrics
    model = IntModel.from_bytes(int_model)
    twin = TwinLearner(model, staging_slots=512, counters=True)
    resume(twin, model, task, open_checkpoint(first.checkpoint)[1])
    train_some(twin, plan_of(task), 23, COUNTED_STEPS, lambda: None)
    assert twin.layer_counters is not None
    rows = list(zip(told["layers"], model.layers, twin.layer_counters, strict=True))
    for row, layer, counted in rows:
        assert row["name"] == layer.name
        for name, (tiles, saturated) in counted.products.items():
            expected = saturated / tiles if tiles else None
            assert row[f"saturated_{name}"] == pytest.approx(expected, abs=1e-6), name
        assert row["masters_saturated"] == counted.masters_saturated
        values, clipped = np.sum([t[:2] for t in counted.tensors.values()], axis=0)
        assert row["clipped"] == pytest.approx(clipped / values, abs=1e-6)
    tiles, saturated = np.sum([c.products["weight_gradient"] for *_, c in rows], axis=0)
    assert told["saturated_weight_gradient"] == pytest.approx(saturated / tiles, abs=1e-6)
    assert told["saturated_weight_gradient"] > 0 and told["clipped"] > 0


def accuracy(
    start: tuple[HadaptEngine, bytes, Learner], learner: Learner, method: Method, old: bool
) -> float:
    """On test rows of the old, or of the new classes."""
    data = load("digits")
    rows = (data.y_test < OLD) if old else (data.y_test >= OLD) & (data.y_test < OLD + 2)
    rows &= np.arange(len(rows)) < 200
    found = start[0].predict(start[1], learner.data, method, data.x_test[rows], Event())
    return float(np.mean(found == data.y_test[rows]))


def test_methods_forget_in_the_order_that_theory_says(
    start: tuple[HadaptEngine, bytes, Learner],
) -> None:
    old = {}
    for method in ("finetune", "lwf", "replay", "icarl", "bic"):
        learned = learn(start, method)
        old[method] = accuracy(start, learned, method, old=True)
        # bic has ten exemplars a class, so its correction is fitted to one sample of each.
        least = 0.6 if method == "bic" else 0.8
        assert accuracy(start, learned, method, old=False) > least, method
    assert old["finetune"] < old["lwf"] < old["replay"]
    assert old["icarl"] > 0.9 and old["bic"] > 0.9


@pytest.mark.parametrize("method", ["lwf", "icarl", "bic"])
def test_session_in_chunks_ends_in_the_same_state(
    start: tuple[HadaptEngine, bytes, Learner], method: Method
) -> None:
    assert learn(start, method, 23).state_hash == learn(start, method).state_hash


def test_options_change_what_is_learned(start: tuple[HadaptEngine, bytes, Learner]) -> None:
    plain = learn(start, "icarl")
    other = learn(start, "icarl", distillation_weight=0.1, temperature=4)
    assert other.state_hash != plain.state_hash
    without = learn(start, "icarl", distillation_weight=0)
    assert without.state_hash == learn(start, "replay").state_hash


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("replay", {"temperature": 2}, "no options for replay"),
        ("lwf", {"temperature": 3}, "one of 1, 2, 4, 8"),
        ("lwf", {"temperature": True}, "one of 1, 2, 4, 8"),
        ("icarl", {"distillation_weight": 1.0}, "less than 1"),
        ("icarl", {"distilation_weight": 0.5}, "distillation_weight, temperature"),
    ],
)
def test_wrong_option_is_refused_with_what_would_be_right(
    start: tuple[HadaptEngine, bytes, Learner],
    method: Method,
    options: dict[str, Any],
    expected: str,
) -> None:
    with pytest.raises(InvalidInputError, match=expected):
        learn(start, method, **options)


def test_bic_corrects_the_new_classes_and_needs_a_model_that_can(
    start: tuple[HadaptEngine, bytes, Learner],
) -> None:
    model = IntModel.from_bytes(start[1])
    learned = learn(start, "bic")
    correction = import_state(model, model.model_id, learned.state)[0].correction
    assert (correction.first, correction.last) == (OLD, OLD + 2)
    assert correction.alpha != 4096 and correction.beta != 0
    plain = replace(model, bias_correction=False).to_bytes()
    with pytest.raises(InvalidInputError, match="bias correction"):
        learn((start[0], plain, start[2]), "bic")


def test_recipes_cover_every_method() -> None:
    assert set(RECIPES) == set(METHODS)
