# SPDX-License-Identifier: Apache-2.0
"""Structure of the integer model: layers, masters, grids, memory; determinism."""

import numpy as np
import pytest
from quantize_graphs import graph_of, normal_samples, random_graph, random_weights

from codegen.quantize import QuantizeOptions, quantize
from device.twin.check import check_model
from device.twin.exemplars import MAX_QUOTA
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel

GRAPH = random_graph(10, 9, 8, 4)
X = normal_samples(200, 10)
LABELS = np.arange(200) % 4
SMALL = Arithmetic(master_bits=8)


def made(**options: object) -> IntModel:
    model = quantize(GRAPH, X, LABELS, QuantizeOptions(**options))  # type: ignore[arg-type]
    check_model(model)
    return model


# Layers


@pytest.mark.parametrize(
    ("train_last", "frozen", "trainable"), [(None, 0, 3), (3, 0, 3), (2, 1, 2), (1, 2, 1)]
)
def test_last_layers_are_trainable_and_the_others_frozen(
    train_last: int | None, frozen: int, trainable: int
) -> None:
    model = made(train_last=train_last)
    names = [layer.name for layer in model.frozen] + [layer.name for layer in model.layers]
    assert names == ["dense_0", "dense_1", "dense_2"]
    assert (len(model.frozen), len(model.layers)) == (frozen, trainable)
    assert [layer.relu for layer in model.layers] == [True] * (trainable - 1) + [False]
    # after a ReLU x0 is unsigned; the normal inputs are signed
    assert model.x0_signed is (frozen == 0)


def test_reserved_rows_of_the_head_are_zero() -> None:
    head = made(max_classes=9).layers[-1]
    assert head.master.shape == (9, 8)
    assert not head.master[4:].any() and not head.bias[4:].any()
    assert head.master[:4].any()


def test_classes_reserved_by_default_are_four_more() -> None:
    model = made()
    assert (model.n_classes, model.max_classes) == (4, 8)
    assert model.class_names == ("0", "1", "2", "3")


# Masters


def test_16_bit_masters_share_one_scale_with_headroom() -> None:
    for layer, dense in zip(made().layers, GRAPH.dense_layers, strict=True):
        assert (layer.row_factor == 1).all()
        rows = dense.outputs
        weights = layer.master[:rows] * layer.scale.value
        assert np.abs(weights - dense.weight).max() <= layer.scale.value * 0.501
        assert 0.24 * 32767 < np.abs(layer.master).max() < 0.26 * 32767


def test_8_bit_masters_have_a_factor_a_row() -> None:
    weights = random_weights((10, 9, 4))
    weights[0][0][:] *= np.logspace(0, -2, 9)[:, None]
    graph = graph_of(weights)
    model = quantize(graph, X, None, QuantizeOptions(arithmetic=SMALL))
    check_model(model)
    layer, dense = model.layers[0], graph.dense_layers[0]
    largest = np.abs(dense.weight).max(axis=1)
    assert layer.row_factor.max() == 255 and layer.row_factor.min() >= 1
    assert (np.argsort(layer.row_factor)[-1]) == np.argmax(largest)
    step = layer.row_factor[:, None] * layer.scale.value
    assert np.abs(layer.master * step - dense.weight).max() <= step.max() * 0.501
    # every row uses its own range: half of 127, less what the whole factor costs a small row
    use = np.abs(layer.master).max(axis=1)
    assert use.max() <= 64 and use.min() >= 30


def test_masters_of_a_zero_row_are_zero_with_room_to_learn() -> None:
    weights = random_weights((10, 9, 4))
    weights[0][0][3] = 0
    for arithmetic in (Arithmetic(), SMALL):
        model = quantize(graph_of(weights), X, None, QuantizeOptions(arithmetic=arithmetic))
        check_model(model)
        widest = 255 if arithmetic.master_bits == 8 else 1
        assert not model.layers[0].master[3].any()
        assert model.layers[0].row_factor[3] == widest


# Grids


def test_raw_samples_have_eight_times_the_calibrated_range() -> None:
    model = made()
    assert np.abs(raw_samples(model, X)).max() <= 4096
    assert np.abs(raw_samples(model, X)).max() > 2000
    larger = raw_samples(model, 7.99 * X)
    assert np.abs(larger).max() < 32767


def test_raw_samples_saturate_and_round_half_up() -> None:
    model = made()
    assert len(set(model.input.raw_frac_bits.tolist())) == 1  # no normaliser: one grid
    step = 2.0 ** -float(model.input.raw_frac_bits[0])
    x = np.zeros((1, model.inputs))
    x[0, :5] = 1e9, -1e9, 0.5 * step, -0.5 * step, -1.5 * step
    assert raw_samples(model, x)[0, :6].tolist() == [32767, -32768, 1, 0, -1, 0]


def test_normalised_features_of_different_size_have_grids_of_their_own() -> None:
    size = 10.0 ** np.linspace(-3, 3, X.shape[1])
    x = X * size.astype(np.float32)
    plain = quantize(graph_of(random_weights((X.shape[1], 12, 5))), X)
    model = quantize(
        graph_of(random_weights((X.shape[1], 12, 5)), (np.zeros(X.shape[1]), 1 / size)), x
    )
    assert np.abs(raw_samples(model, x)).max(axis=0).min() > 100
    same, _ = TwinLearner(model).infer_many(raw_samples(model, x))
    expected, _ = TwinLearner(plain).infer_many(raw_samples(plain, X))
    assert np.mean(same == expected) > 0.95  # the size of a feature costs nothing


def test_outputs_have_headroom() -> None:
    model = made()
    learner = TwinLearner(model)
    logits = learner.infer_many(raw_samples(model, X))[1]
    assert np.abs(logits).max() <= 32767 / 3
    assert np.abs(logits).max() > 32767 / 10


def test_nonnegative_inputs_are_unsigned() -> None:
    sparse = np.maximum(np.abs(X) - 1.5, 0)
    model = quantize(GRAPH, sparse, LABELS)
    assert not model.input.signed
    x0 = TwinLearner(model).x0_of(raw_samples(model, sparse))
    assert x0.min() == 0 and x0.max() == 15


def test_x0_has_the_scale_the_model_says() -> None:
    for train_last in (None, 2, 1):
        model = made(train_last=train_last)
        y = X
        for dense in GRAPH.dense_layers[: len(model.frozen)]:
            y = dense.forward(y)
        x0 = TwinLearner(model).x0_of(raw_samples(model, X)) * model.input.scale.value
        limit = model.input.scale.value * (7 if model.x0_signed else 15)
        inside = np.abs(y) < limit
        assert inside.mean() > 0.9
        assert np.abs(x0 - y)[inside].max() < model.input.scale.value * 0.75


# Memory


def test_exemplars_are_the_ranks_the_device_would_choose() -> None:
    model = made(exemplar_slots=22, per_class_limit=0)
    places = [(e.label, e.rank) for e in model.exemplars]
    assert places == [(label, rank) for label in range(4) for rank in range(5)]
    learner = TwinLearner(model)
    before = learner.state_hash()
    assert learner.commit() == before


def test_exemplars_chosen_are_those_of_a_commit_on_the_device() -> None:
    """A device that is given all samples and commits keeps the same exemplars."""
    model = made(exemplar_slots=22)
    empty = quantize(GRAPH, X, None, QuantizeOptions(exemplar_slots=22))
    learner = TwinLearner(empty, staging_slots=300)
    for raw, label in zip(raw_samples(empty, X), LABELS, strict=True):
        learner.learn(raw, int(label))
    learner.commit()
    kept = [s.exemplar for s in learner.memory.samples]
    assert [(e.label, e.rank, e.x0.tolist()) for e in kept] == [
        (e.label, e.rank, e.x0.tolist()) for e in model.exemplars
    ]
    assert np.array_equal(learner.committed.prototypes.count[:4], model.prototype_count[:4])
    assert np.array_equal(learner.committed.prototypes.total, model.prototype_sum)


def test_exemplars_of_a_class_are_limited() -> None:
    assert len(made(exemplar_slots=400, per_class_limit=3).exemplars) == 12
    assert len(made(exemplar_slots=4).exemplars) == 4


def test_exemplars_of_a_class_are_at_most_what_a_commit_keeps() -> None:
    """Regression: SPEC.md 8.4 keeps 1023 a class, the quantizer had no such limit."""
    x = normal_samples(1200, 4)
    options = QuantizeOptions(exemplar_slots=5000, staging_slots=1, keep_prototypes=False)
    model = quantize(random_graph(4, 2), x, np.zeros(1200, np.int64), options)
    assert len(model.exemplars) == MAX_QUOTA


def test_classes_without_samples_have_no_exemplars_nor_prototypes() -> None:
    model = quantize(GRAPH, X, np.full(200, 2))
    assert {e.label for e in model.exemplars} == {2}
    assert model.prototype_count[[0, 1, 3]].tolist() == [0, 0, 0]
    assert 128 < model.prototype_count[2] <= 255


def test_prototypes_can_be_left_out() -> None:
    model = made(keep_prototypes=False)
    assert not model.keep_prototypes and model.prototype_count.size == 0


def test_model_without_labels_starts_empty() -> None:
    model = quantize(GRAPH, X)
    assert model.exemplars == () and not model.prototype_count.any()


# Determinism


@pytest.mark.parametrize("train_last", [None, 1])
def test_same_inputs_give_the_same_bytes(train_last: int | None) -> None:
    assert made(train_last=train_last).to_bytes() == made(train_last=train_last).to_bytes()


def test_model_comes_back_from_its_bytes() -> None:
    model = made(train_last=2)
    assert IntModel.from_bytes(model.to_bytes()).model_id == model.model_id


def test_integer_labels_of_any_width_give_the_same_model() -> None:
    narrow = quantize(GRAPH, X, LABELS.astype(np.uint8))
    assert narrow.to_bytes() == quantize(GRAPH, X, LABELS).to_bytes()
