# SPDX-License-Identifier: Apache-2.0
"""Whole learning sessions: the twin ends in the reference learner's bits, step by step."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_models import RATE, Shape, random_model, random_raw, reference_of

from device.twin import kernels, layers, learner
from device.twin.correction import Correction, fit_correction, held_out
from device.twin.distillation import NONE, Distillation, distilled_error, soft_targets
from device.twin.exemplars import Sampling, pack_x0
from device.twin.kernels import IntArray
from device.twin.learner import LearnerError, TwinLearner
from device.twin.model import Arithmetic, IntModel
from device.twin.scale import Scale
from tests.vectors.learner import ReferenceLearner, State

WIDE = Shape(
    inputs=34, hidden=(33,), arithmetic=Arithmetic(order=16, tile_k=32, batch=17), signed=False
)
SHAPES = {
    "two layers": Shape(),
    "head only, signed x0": Shape(hidden=(), frozen=(6,), relu_before=False),
    "head only, from raw, unsigned": Shape(hidden=(), signed=False),
    "frozen layers, small masters": Shape(
        frozen=(7, 6), arithmetic=Arithmetic(order=8, tile_k=3, master_bits=8, batch=6)
    ),
    "three layers, a zero row": Shape(hidden=(5, 4), zero_row=True, keep_prototypes=False),
    "no transform": Shape(arithmetic=Arithmetic(order=1, tile_k=2, batch=3)),
    "saturate at every addition": Shape(
        arithmetic=Arithmetic(order=4, tile_k=5, batch=4, saturation="every_add")
    ),
    "saturating tiles": WIDE,
    "saturating additions": replace(
        WIDE, arithmetic=Arithmetic(order=4, tile_k=16, batch=5, saturation="every_add")
    ),
    "12-bit tiles": replace(
        WIDE, inputs=9, arithmetic=Arithmetic(order=64, acc_bits=12, tile_k=40, batch=3)
    ),
    "one a class at most": Shape(per_class_limit=1),
}
SCHEDULE = [(0, RATE), (2, Scale(20000, -17))]
PAIRS = [(start, (scale.mantissa, scale.exponent)) for start, scale in SCHEDULE]


class Both:
    """The twin and the reference under the same operations; every answer is compared."""

    def __init__(self, model: IntModel) -> None:
        self.model = model
        self.twin = TwinLearner(model, counters=True)
        self.reference: ReferenceLearner = reference_of(model)
        self.saved: tuple[bytes, State, bool] | None = None
        self.check()

    def check(self) -> None:
        """Equal hashes, state bytes and counters."""
        assert self.twin.state_hash() == self.reference.state_hash()
        assert self.twin.export_state() == self.reference.export_state(False)
        assert self.twin.counters() == self.reference.counters()

    def learn(self, label: int, seed: int, prototype_only: bool = False) -> None:
        raw = random_raw(self.model, seed, 1)[0]
        try:
            self.twin.learn(raw, label, prototype_only)
        except LearnerError:
            return
        self.reference.learn(raw.tolist(), label, prototype_only)

    def put(self, label: int, rank: int, seed: int) -> None:
        x0 = self.twin.x0_of(random_raw(self.model, seed, 1))[0]
        try:
            self.twin.put_exemplar(label, rank, pack_x0(x0))
        except LearnerError:
            return
        self.reference.put_exemplar(label, rank, x0.tolist())

    def add_class(self) -> None:
        try:
            self.twin.add_class()
        except LearnerError:
            return
        self.reference.add_class()

    def train(
        self,
        seed: int,
        steps: int,
        sampling: Sampling,
        budgets: Sequence[int],
        how: Distillation = NONE,
        hold: int = 0,
    ) -> None:
        """A session in slices of the given budgets, then to its end."""
        options = (sampling, how.weight, how.soften, hold)
        try:
            self.twin.train_begin(seed, steps, SCHEDULE, *options)
        except LearnerError:
            return
        self.reference.train_begin(seed, steps, PAIRS, *options)
        for budget in (*budgets, 10**9):
            r = self.twin.train(budget)
            answer = (r.units, r.steps_left, r.seen, r.correct, r.probability)
            assert answer == self.reference.train(budget)

    def commit(self, hold: int = 0, steps: int = 0) -> None:
        assert self.twin.commit(hold, steps) == self.reference.commit(hold, steps)

    def rollback(self) -> None:
        assert self.twin.rollback() == self.reference.rollback()

    def save(self) -> None:
        data = self.twin.export_state(working=True)
        assert data == self.reference.export_state(True)
        self.saved = data, self.reference.working.copy(), self.reference.trained

    def restore(self) -> None:
        if self.saved:
            data, state, trained = self.saved
            self.twin.import_state(data)
            self.reference.working, self.reference.trained = state.copy(), trained
            self.reference.session = None

    def infer(self, seed: int) -> None:
        """Both heads on one sample."""
        raw = random_raw(self.model, seed, 1)[0]
        label, logits, nearest = self.reference.infer(raw.tolist())
        twin_label, twin_logits = self.twin.infer(raw)
        assert (twin_label, twin_logits.tolist()) == (label, logits)
        if nearest >= 0:
            assert self.twin.infer(raw, head=1)[0] == nearest


def run_fixed_session(model: IntModel) -> Both:
    """Learn, a new class, two training sessions, commits, a rollback."""
    both = Both(model)
    both.add_class()
    for number in range(7):
        both.learn(number % both.twin.working.n_classes, number, prototype_only=number == 5)
    both.check()
    both.train(11, 3, "balanced", (1, 60, 7))
    both.check()
    both.save()
    both.commit()
    both.infer(1)
    both.learn(0, 50)
    both.train(12, 2, "uniform", (333,))
    both.check()
    both.rollback()
    both.restore()
    both.train(13, 1, "balanced", ())
    both.commit()
    both.check()
    both.infer(2)
    return both


def run_method_session(model: IntModel) -> Both:
    """Two tasks of distillation, from new samples alone and from all, both samplings."""
    both = Both(model)
    both.add_class()
    for number in range(6):
        both.learn((number % 2) + 2, number)
    both.train(21, 3, "new_balanced", (1, 4, 50), Distillation(200, 1))
    both.check()
    both.commit()
    both.infer(1)
    both.add_class()
    for number in range(6, 11):
        both.learn(4 - number % 3, number)
    both.train(22, 2, "new_uniform", (9,))
    both.train(23, 2, "uniform", (3, 3), Distillation(96, 3))
    both.check()
    both.train(24, 2, "balanced", (), Distillation(255, 0))
    both.rollback()
    both.infer(2)
    both.restore()
    return both


CORRECTED = Shape(
    distillation=True, bias_correction=True, max_classes=6, exemplar_slots=16, staging_slots=14
)


@pytest.mark.parametrize("seed", range(4))
def test_session_of_bias_correction_matches_the_reference(seed: int) -> None:
    both = Both(random_model(CORRECTED, seed))
    for task, (hold, steps) in enumerate(((1, 25), (2, 255))):
        both.add_class()
        for number in range(9):
            both.learn(3 + task if number % 3 else number % 2, 20 * task + number)
        both.train(21, 2, "uniform", (1, 4), Distillation(140, 1), hold)
        both.save()
        both.restore()
        both.train(22, 2, "balanced", (), Distillation(140, 1), hold)
        both.commit(hold, steps)
        both.infer(task)
        both.check()
    both.commit()
    both.check()
    both.train(23, 1, "uniform", ())
    both.commit()
    both.commit(7, 1)
    both.check()


def test_correction_of_a_hand_worked_case() -> None:
    """One sample of the old class, logits 0 and 64 (one unit), two steps by hand.

    p of the new class is above 0, so both sums are positive: alpha falls by 512, beta by 32, twice.
    """
    found = fit_correction(np.array([[0, 64]]), np.array([0]), 1, 6, 2)
    assert found == Correction(1, 2, 4096 - 2 * 512, -2 * 32)
    turned = fit_correction(np.array([[0, 0], [0, 0]]), np.array([0, 1]), 1, 6, 9)
    assert turned == Correction(1, 2, 4096, 0), "both sums are 0: nothing moves"
    corrected = found.apply(np.array([[100, 100, 100]]))
    assert corrected.tolist() == [[100, ((3072 * 100 + 2048) >> 12) - 64, 100]]


def test_hold_out_spares_the_smallest_class() -> None:
    labels = np.array([0] * 8 + [1] * 4 + [2])
    assert held_out(labels, 1).tolist() == [7, 11], "v is max(1, 1 >> 1), and class 2 has one only"
    assert held_out(labels[:12], 1).tolist() == [6, 7, 10, 11]
    assert held_out(labels[:12], 3).tolist() == [7, 11]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["two layers", "head only, signed x0", "no transform"])
def test_session_of_distillation_matches_the_reference(name: str, seed: int) -> None:
    run_method_session(random_model(replace(SHAPES[name], distillation=True), seed))


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (
            "soft_targets",
            lambda logits, fy, t: np.minimum(255, soft_targets(logits, fy, t) + 1),
        ),
        (
            "distilled_error",
            lambda d, y, t, fy, how: distilled_error(d, y, t, fy, Distillation(how.weight, 0)),
        ),
        ("draw_batch", lambda memory, *a: learner.drawn_from(memory, a[-1])[[0] * a[0]]),
    ],
)
def test_session_of_distillation_with_a_planted_error_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object
) -> None:
    monkeypatch.setattr(learner, name, broken)
    with pytest.raises(AssertionError):
        run_method_session(random_model(Shape(distillation=True), 0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in SHAPES if SHAPES[name].inputs < 30])
def test_session_of_every_shape_matches_the_reference(name: str, seed: int) -> None:
    run_fixed_session(random_model(SHAPES[name], seed))


@pytest.mark.parametrize("name", ["saturating tiles", "saturating additions"])
def test_session_of_wide_layers_saturates_and_matches_the_reference(name: str) -> None:
    model = random_model(SHAPES[name], 0)
    both = Both(model)
    both.learn(0, 1)
    both.train(11, 2, "balanced", (5000,))
    both.check()
    both.commit()
    both.infer(1)
    head = both.twin.counters()[27:]
    assert head[19] > 0, "no forward tile of the head saturated"
    if name == "saturating tiles":
        assert head[21] > 0, "no tile of the head's input gradient saturated"


OPERATION = st.one_of(
    st.tuples(st.just("learn"), st.integers(0, 4), st.integers(0, 99), st.booleans()),
    st.tuples(st.just("put"), st.integers(0, 4), st.integers(0, 3), st.integers(0, 99)),
    st.tuples(st.just("add_class")),
    st.tuples(
        st.just("train"),
        st.integers(0, 2**32 - 1),
        st.integers(1, 2),
        st.sampled_from(["uniform", "balanced"]),
        st.lists(st.integers(0, 300), max_size=2),
    ),
    st.tuples(st.just("commit")),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("save")),
    st.tuples(st.just("restore")),
    st.tuples(st.just("infer"), st.integers(0, 99)),
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(SHAPES)[:7]),
    seed=st.integers(0, 999),
    operations=st.lists(OPERATION, min_size=4, max_size=14),
)
def test_session_of_any_operations_matches_the_reference(
    name: str, seed: int, operations: list[tuple[str, ...]]
) -> None:
    both = Both(random_model(SHAPES[name], seed))
    for operation, *arguments in operations:
        getattr(both, operation)(*arguments)
        both.check()


def broken_round(values: IntArray, shift: int | IntArray) -> IntArray:
    """Halves down instead of up."""
    half = np.left_shift(1, shift) >> 1
    return np.asarray((values + half - 1) >> shift, np.int64)


def broken_draws(key: int, index: IntArray) -> IntArray:
    """The other half of the word."""
    return kernels.draw_u16(key, index ^ 1)


def broken_widen(amax: int, factor: int) -> int:
    """Rounded instead of cut."""
    return (amax * factor + 8) >> 4


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("round_half_up", broken_round),
        ("draw_u16", broken_draws),
        ("widen", broken_widen),
        ("fwht", lambda values, order: kernels.fwht(values[:, ::-1], order)),
    ],
)
def test_session_with_a_planted_error_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object
) -> None:
    monkeypatch.setattr(layers, name, broken)
    with pytest.raises(AssertionError):
        for seed in range(4):
            run_fixed_session(random_model(Shape(), seed))
