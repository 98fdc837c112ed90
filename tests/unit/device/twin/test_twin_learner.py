# SPDX-License-Identifier: Apache-2.0
"""The learner's operations: slices, refusals, commit, rollback, counters (SPEC.md 8.3, 8.6, 10)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twin_models import RATE, Shape, random_model, random_raw

from device.twin.exemplars import pack_x0
from device.twin.learner import LearnerError, TwinLearner
from device.twin.model import Arithmetic, IntModel
from device.twin.scale import Scale
from device.twin.work import step_rows, units_per_step

ARGUMENT, STATE, FULL, FORMAT = -1, -2, -3, -4
MODEL = random_model(Shape(), 5)
RAW = random_raw(MODEL, 5, 20)


def learner(model: IntModel = MODEL, *, counters: bool = False) -> TwinLearner:
    return TwinLearner(model, counters=counters)


def trained(steps: int = 2, seed: int = 7) -> TwinLearner:
    """A learner that has staged a sample and finished a session, not committed."""
    twin = learner()
    twin.learn(RAW[0], 1)
    twin.train_begin(seed, steps, [(0, RATE)])
    twin.train(10**9)
    return twin


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(LearnerError) as refused:
        call()
    return refused.value.status


# Slices


@settings(derandomize=True, deadline=None, max_examples=25)
@given(budgets=st.lists(st.integers(0, 400), max_size=30))
def test_train_in_pieces_gives_the_bits_of_one_go(budgets: list[int]) -> None:
    twin = learner()
    twin.learn(RAW[0], 1)
    twin.train_begin(7, 2, [(0, RATE)])
    dearest = max(units for _, units in step_rows(MODEL))
    total = 0
    for budget in [*budgets, 10**9]:
        before = twin.train(0).steps_left
        result = twin.train(budget)
        total += result.units
        assert result.units < budget + dearest
        assert result.units >= budget or result.steps_left == 0 or before == 0
    assert total == 2 * units_per_step(MODEL)
    assert twin.state_hash() == trained().state_hash()


def test_train_with_budget_of_one_runs_one_row() -> None:
    twin = learner()
    twin.train_begin(7, 1, [(0, RATE)])
    assert twin.train(1).units == step_rows(MODEL)[0][1] == 1


def test_train_after_the_last_step_does_nothing() -> None:
    twin = trained()
    assert twin.train(1000).units == 0
    twin.commit()
    assert status_of(lambda: twin.train(1)) == STATE


def test_units_of_a_step_by_hand() -> None:
    """I 6, O 5 and 5 (padded to 8), B 5 (padded to 8), n 4: products a row, rounded up to 64."""
    table = [
        (5, 1),  # gather: 6
        (5, 1),  # forward 0: 6 x 5 + 24 = 54
        (5, 1),  # activate 0: 10
        (5, 1),  # forward 1: 5 x 5 + 20 = 45
        (5, 2),  # loss: 16 x 5 = 80
        (5, 1),  # error range 1: 32
        (5, 1),  # weight range 1: 32
        (5, 1),  # error quantise 1: 64
        (5, 2),  # input gradient 1: 8 x 5 + 64 = 104
        (5, 1),  # activation range 1: 32
        (5, 1),  # activation quantise 1: 64
        (5, 3),  # weight gradient 1: 5 x 8 + 64 + 40 = 144
        (6, 1),  # activation range 0: 32
        (6, 1),  # activation quantise 0: 64
        (5, 3),  # weight gradient 0: 6 x 8 + 64 + 48 = 160
    ]
    assert step_rows(MODEL) == table
    assert units_per_step(MODEL) == sum(rows * units for rows, units in table)


# Refusals


def refusals() -> dict[str, tuple[Callable[[TwinLearner], object], int]]:
    """Every refused call on a fresh learner, and its status."""
    x0 = np.zeros(6, np.int8)
    return {
        "learn of an unknown label": (lambda t: t.learn(RAW[0], 3), ARGUMENT),
        "learn of a negative label": (lambda t: t.learn(RAW[0], -1), ARGUMENT),
        "x0 of -8": (lambda t: t.learn_x0(x0 - 8, 0), ARGUMENT),
        "x0 above 7": (lambda t: t.learn_x0(x0 + 8, 0), ARGUMENT),
        "x0 too short": (lambda t: t.learn_x0(x0[1:], 0), FORMAT),
        "put of an unknown label": (lambda t: t.put_exemplar(3, 0, bytes(3)), ARGUMENT),
        "put of a staged rank": (lambda t: t.put_exemplar(0, 0x8000, bytes(3)), ARGUMENT),
        "put of a negative rank": (lambda t: t.put_exemplar(0, -1, bytes(3)), ARGUMENT),
        "put of -8": (lambda t: t.put_exemplar(0, 9, b"\x08\0\0"), ARGUMENT),
        "put of the wrong length": (lambda t: t.put_exemplar(0, 9, bytes(4)), FORMAT),
        "get beyond the last": (lambda t: t.get_exemplar(6), ARGUMENT),
        "train without a session": (lambda t: t.train(1), STATE),
        "no steps": (lambda t: t.train_begin(0, 0, [(0, RATE)]), ARGUMENT),
        "no schedule": (lambda t: t.train_begin(0, 1, []), ARGUMENT),
        "late schedule": (lambda t: t.train_begin(0, 1, [(1, RATE)]), ARGUMENT),
        "schedule that stands still": (
            lambda t: t.train_begin(0, 1, [(0, RATE), (3, RATE), (3, RATE)]),
            ARGUMENT,
        ),
        "five rates": (lambda t: t.train_begin(0, 1, [(n, RATE) for n in range(5)]), ARGUMENT),
        "a rate too large to send": (
            lambda t: t.train_begin(0, 1, [(0, Scale(1 << 14, 1 << 15))]),
            ARGUMENT,
        ),
        "unknown head": (lambda t: t.infer(RAW[0], head=2), ARGUMENT),
    }


@pytest.mark.parametrize("name", refusals())
def test_learner_refuses_and_keeps_its_state(name: str) -> None:
    call, status = refusals()[name]
    twin = learner()
    before = twin.state_hash()
    assert status_of(lambda: call(twin)) == status
    assert twin.state_hash() == before


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.learn(RAW[0], 0),
        lambda t: t.learn_x0(np.zeros(6, np.int8), 0),
        lambda t: t.put_exemplar(0, 9, bytes(3)),
        lambda t: t.add_class(),
        lambda t: t.train_begin(0, 1, [(0, RATE)]),
        lambda t: t.commit(),
        lambda t: t.import_state(learner().export_state()),
        lambda t: t.export_state(working=True),
    ],
)
def test_learner_in_a_session_refuses_what_would_change_it(
    call: Callable[[TwinLearner], object],
) -> None:
    twin = learner()
    twin.train_begin(7, 2, [(0, RATE)])
    assert status_of(lambda: call(twin)) == STATE
    twin.export_state()
    twin.infer(RAW[0])


def test_state_hash_in_the_middle_of_a_step_is_refused() -> None:
    twin = learner()
    twin.train_begin(7, 2, [(0, RATE)])
    twin.train(1)
    assert status_of(twin.state_hash) == STATE
    twin.train(units_per_step(MODEL) - 1)
    assert len(twin.state_hash()) == 32


def test_learn_without_room_is_refused_and_leaves_the_prototypes() -> None:
    twin = learner()
    for number in range(11):
        assert twin.learn(RAW[number], 0) == 10 - number
    before = twin.state_hash()
    assert status_of(lambda: twin.learn(RAW[11], 0)) == FULL
    assert status_of(lambda: twin.put_exemplar(1, 9, bytes(3))) == FULL
    assert twin.state_hash() == before
    assert twin.learn(RAW[11], 0, prototype_only=True) == 0


def test_add_class_beyond_the_reserved_rows_is_refused() -> None:
    twin = learner()
    assert [twin.add_class(), twin.add_class()] == [3, 4]
    assert status_of(twin.add_class) == FULL


def test_train_begin_without_samples_is_refused() -> None:
    twin = learner(replace(MODEL, exemplars=()))
    assert status_of(lambda: twin.train_begin(0, 1, [(0, RATE)])) == STATE


def test_put_exemplar_staged_twice_is_refused_but_replaces_a_committed_one() -> None:
    twin = learner()
    packed = pack_x0(np.array([1, 2, 3, 4, 5, 6], np.int8))
    twin.put_exemplar(2, 0, packed)
    assert status_of(lambda: twin.put_exemplar(2, 0, packed)) == ARGUMENT
    assert [twin.get_exemplar(i)[:2] for i in (4, 5, 6)] == [(2, 0), (2, 0), (2, 1)]
    assert twin.get_exemplar(5)[2] == packed
    twin.commit()
    assert twin.get_exemplar(4) == (2, 0, packed)
    assert len(twin.memory.samples) == 6


# Nearest mean


@pytest.mark.parametrize("keep", [True, False])
def test_infer_by_nearest_mean_without_any_prototype_is_refused(keep: bool) -> None:
    model = random_model(Shape(keep_prototypes=keep), 5)
    if keep:
        model = replace(
            model,
            prototype_count=np.zeros_like(model.prototype_count),
            prototype_sum=np.zeros_like(model.prototype_sum),
        )
    assert status_of(lambda: learner(model).infer(RAW[0], head=1)) == STATE


# Commit and rollback


def test_inference_is_that_of_the_last_commit() -> None:
    fresh, twin = learner(), trained()
    before = fresh.infer_many(RAW)[1]
    assert np.array_equal(twin.infer_many(RAW)[1], before)
    twin.commit()
    assert not np.array_equal(twin.infer_many(RAW)[1], before)


def test_rollback_gives_the_committed_hash() -> None:
    twin = trained()
    twin.add_class()
    twin.learn(RAW[3], 3)
    assert twin.state_hash() != learner().state_hash()
    assert twin.rollback() == learner().state_hash()


def test_rollback_in_the_middle_of_a_step_ends_the_session() -> None:
    twin = learner()
    twin.train_begin(7, 3, [(0, RATE)])
    twin.train(units_per_step(MODEL) + 1)
    assert twin.rollback() == learner().state_hash()
    assert status_of(lambda: twin.train(1)) == STATE


def test_commit_twice_changes_nothing() -> None:
    twin = trained()
    assert twin.commit() == twin.commit()


def test_commit_without_training_keeps_prototypes_of_dropped_samples() -> None:
    twin = learner()
    twin.learn(RAW[0], 0, prototype_only=True)
    counts = twin.working.prototypes.count.copy()
    twin.commit()
    assert np.array_equal(twin.committed.prototypes.count, counts)


def test_commit_after_training_takes_prototypes_from_the_exemplars() -> None:
    twin = trained()
    twin.commit()
    stored = [s.exemplar.label for s in twin.memory.samples]
    assert twin.committed.prototypes.count.tolist() == [stored.count(c) for c in range(5)]


def test_commit_trims_every_class_to_its_share() -> None:
    twin = learner()
    for number in range(6):
        twin.learn(RAW[number], number % 2)
    twin.add_class()
    twin.commit()
    # nine slots for four classes: two each
    assert [(s.exemplar.label, s.exemplar.rank) for s in twin.memory.samples] == [
        (label, rank) for label in range(3) for rank in range(2)
    ]


# Samples of classes that an import has taken away


def test_training_with_samples_of_inactive_classes_works() -> None:
    """Regression: the loss took the label for a column and failed on a class not active."""
    twin = learner()
    before = twin.export_state()
    twin.add_class()
    twin.learn(RAW[0], 3)
    twin.import_state(before)
    twin.train_begin(7, 2, [(0, RATE)])
    result = twin.train(10**9)
    assert result.seen == 10
    twin.commit()
    assert any(s.exemplar.label == 3 for s in twin.memory.samples)


# Extreme rates


@pytest.mark.parametrize("exponent", [-(1 << 15), -300, 300, (1 << 15) - 1])
def test_training_at_any_rate_that_can_be_sent_stays_in_range(exponent: int) -> None:
    """Regression: a product of scales beyond 16 bits of exponent was refused in mid-step."""
    twin = learner()
    twin.train_begin(7, 3, [(0, Scale((1 << 15) - 1, exponent))])
    assert twin.train(10**9).steps_left == 0
    twin.commit()
    assert all(np.abs(w.master).max() <= 32767 for w in twin.working.weights)
    assert all(np.abs(w.bias).max() <= 1 << 31 for w in twin.working.weights)


def test_training_at_a_tiny_rate_moves_no_bias() -> None:
    twin = learner()
    twin.train_begin(7, 1, [(0, Scale(1 << 14, -300))])
    twin.train(10**9)
    for layer, weights in zip(MODEL.layers, twin.working.weights, strict=True):
        assert np.array_equal(weights.bias, layer.bias)


# Counters


def test_counters_of_a_step_by_hand() -> None:
    twin = learner(counters=True)
    twin.train_begin(7, 1, [(0, RATE)])
    twin.train(10**9)
    body, head = twin.counters()[:27], twin.counters()[27:]
    elements, zeros = slice(0, 18, 3), slice(2, 18, 3)
    # x, wq, dh, wh, dt, xh: B 5, I 6 and 5, O 5 (padded 8), padded batch 8, three active classes
    assert body[elements] == [0, 5 * 6, 0, 0, 5 * 8, 6 * 8]
    assert head[elements] == [5 * 5, 5 * 5, 5 * 8, 5 * 8, 3 * 8, 5 * 8]
    for part in (body, head):
        assert all(z <= n for z, n in zip(part[zeros], part[elements], strict=True))
    # forward: tiles of four terms of six and five; input gradient: eight terms; weight: eight
    assert body[18] == 5 * 5 * 2 and head[18] == 5 * 5 * 2
    assert body[20] == 0 and head[20] == 5 * 5 * 2
    assert head[22] == 3 * 5 * 2


def test_counters_add_up_over_steps_and_can_be_reset() -> None:
    twin = learner(counters=True)
    twin.train_begin(7, 2, [(0, RATE)])
    twin.train(units_per_step(MODEL))
    first = twin.counters(reset=True)
    assert not any(twin.counters())
    twin.train(10**9)
    second = twin.counters()
    both = learner(counters=True)
    both.train_begin(7, 2, [(0, RATE)])
    both.train(10**9)
    assert both.counters() == [a + b for a, b in zip(first, second, strict=True)]


def test_counters_are_no_part_of_the_state() -> None:
    twin = learner(counters=True)
    twin.learn(RAW[0], 1)
    twin.train_begin(7, 2, [(0, RATE)])
    twin.train(10**9)
    assert twin.state_hash() == trained().state_hash()
    assert learner().counters() == []


# Determinism and independence


def test_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    assert trained(seed=1).state_hash() == trained(seed=1).state_hash()
    assert trained(seed=1).state_hash() != trained(seed=2).state_hash()


def test_prediction_does_not_depend_on_its_batch_mates() -> None:
    twin = trained()
    twin.commit()
    together = twin.infer_many(RAW)[1]
    alone = [twin.infer(raw)[1] for raw in RAW]
    assert np.array_equal(together, np.stack(alone))


def test_staging_slots_of_a_host_build_do_not_change_the_bits() -> None:
    small, large = learner(), TwinLearner(MODEL, staging_slots=500)
    for twin in (small, large):
        for number in range(8):
            twin.learn(RAW[number], number % 3)
        twin.train_begin(3, 2, [(0, RATE)])
        twin.train(10**9)
    assert small.commit() == large.commit()


@pytest.mark.parametrize(
    ("field", "value"),
    [("order", 3), ("tile_k", 0), ("acc_bits", 9), ("saturation", "x"), ("batch", 513)],
)
def test_arithmetic_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Arithmetic(**{field: value})  # type: ignore[arg-type]
