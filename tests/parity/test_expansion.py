# SPDX-License-Identifier: Apache-2.0
"""Networks that grow (SPEC.md 16): twin, C on the host, boards; what must not move does not."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from device.harness.errors import DeviceError
from device.twin.learner import TwinLearner
from device.twin.model import Expansion, IntModel
from device.twin.scale import Scale
from tests.parity.conftest import COUNTERS, OpenBoard, OpenPair
from tests.parity.models import ModelSpec, make_model, random_raw
from tests.parity.sessions import Pair
from tests.parity.workshop import Mutation, Workshop

BLOCKS, ROWS = 2, 5
# High, so that few steps move what they may and what they must not.
SCHEDULE = [(0, Scale.from_real(16.0))]
MEMO = ModelSpec(
    "memo",
    (21, 9, 8 + BLOCKS * ROWS, 6),
    factors=True,
    distillation=True,
    bias_correction=True,
    exemplar_slots=15,
    staging_slots=15,
    arithmetic={"order": 8, "batch": 9, "tile_k": 16, "master_bits": 8},
)
DER = ModelSpec(
    "der",
    (14, 7 + BLOCKS * ROWS, 6 + BLOCKS * ROWS, 6),
    exemplar_slots=15,
    staging_slots=15,
    arithmetic={"order": 4, "batch": 8, "tile_k": 8},
)
ERRORS = (
    ("(HAD_EXPANSIONS - block)", "(HAD_EXPANSIONS - block - 1U)", "memo"),
    ("layer->index > HAD_EXPANSION_FIRST &&", "layer->index > HAD_LAYERS &&", "der"),
    ("is_free(ln, HAD_EXPORT_COMMITTED, block)", "is_free(ln, HAD_EXPORT_WORKING, block)", "memo"),
    ("is_free(ln, HAD_EXPORT_WORKING, block) != 0U", "block < HAD_EXPANSIONS", "memo"),
    ("16U * (index & 1U)", "0U * (index & 1U)", "der"),
    ("(2U * g + 1U)", "(2U * g)", "memo"),
    ("? mask[j] : 0U", "? mask[j] : mask[j]", "memo"),
    ("xh[b] = 0;", "xh[b] = xh[b];", "der"),
)
MODELS = {"memo": (MEMO, 1, (90,)), "der": (DER, 0, (20000, 9000))}


def growing(name: str) -> IntModel:
    """A random model with free blocks."""
    spec, first, draws = MODELS[name]
    model = make_model(spec, seed=3)
    layers = list(model.layers)
    for index in range(first, len(layers) - 1):
        below, above = layers[index], layers[index + 1]
        start = below.outputs - BLOCKS * ROWS
        master, bias, next_master = below.master.copy(), below.bias.copy(), above.master.copy()
        master[start:], bias[start:], next_master[:, start:] = 0, 0, 0
        layers[index] = replace(below, master=master, bias=bias)
        layers[index + 1] = replace(above, master=next_master)
    expansion = Expansion(first, BLOCKS, ROWS, draws)
    return IntModel.from_bytes(replace(model, layers=tuple(layers), expansion=expansion).to_bytes())


def run(pair: Pair, seed: int = 5) -> None:
    """Two tasks that grow and one for which no block is left, a checkpoint between."""
    raw = random_raw(pair.model, 40, seed)
    for task in range(BLOCKS):
        new = pair.both("add_class")
        for at, sample in enumerate(raw[8 * task : 8 * task + 8]):
            pair.both("learn", sample, new if at % 3 else at % pair.model.n_classes)
        for at in (0, 1):
            pair.both("train_begin", seed + at, 3, SCHEDULE, "balanced", expand=True)
            pair.both("state_hash")
            for budget in np.random.default_rng(task).integers(1, 60, 4000):
                if pair.both("train", int(budget))[1] == 0:
                    break
            pair.compare_states()
            pair.both("import_state", pair.both("export_state", True))
        pair.both("commit")
        for sample in raw[20:28]:
            pair.both("infer", sample)
    assert pair.both("train_begin", 1, 2, SCHEDULE, "balanced", expand=True) == ("refused", -3)
    pair.both("train_begin", 1, 2, SCHEDULE, "balanced")
    pair.both("train", 1 << 20)
    pair.both("commit")
    pair.both("export_state")


@pytest.mark.parametrize(
    ("name", "layout"), [("memo", "microbit"), ("der", "microbit"), ("der", "mps2-an386")]
)
def test_sessions_that_grow_equal_the_twin(name: str, layout: str, open_pair: OpenPair) -> None:
    pair = open_pair(growing(name), layout=layout, defines=(COUNTERS,), sanitize=True)
    run(pair)
    pair.both("counters")


def test_vector_kernels_grow_to_the_same_bits(open_pair: OpenPair) -> None:
    run(open_pair(growing("der"), opt="-O2", march="native"))


def test_model_without_blocks_refuses_alike(open_pair: OpenPair) -> None:
    pair = open_pair(make_model(replace(DER, name="plain_der")))
    assert pair.both("train_begin", 1, 1, SCHEDULE, expand=True) == ("refused", -1)


@pytest.fixture(scope="module")
def workshops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workshop]:
    """Models whose growth has an error planted, compiled file by file."""
    return {n: Workshop(tmp_path_factory.mktemp(n), growing(n), "host") for n in MODELS}


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_planted_error_is_seen(
    number: int, workshops: dict[str, Workshop], stack: ExitStack
) -> None:
    old, new, name = ERRORS[number]
    workshop = workshops[name]
    elf = workshop.planted(Mutation("had_expand.c", old, new), number)
    with pytest.raises((AssertionError, DeviceError)):
        run(workshop.pair(elf, stack))


@pytest.mark.parametrize("name", MODELS)
def test_without_an_error_nothing_differs(
    name: str, workshops: dict[str, Workshop], stack: ExitStack
) -> None:
    run(workshops[name].pair(workshops[name].sound(), stack))


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("der", "mps2-an386"),
        pytest.param("memo", "mps2-an386", marks=pytest.mark.long),
        *(
            pytest.param(name, board, marks=pytest.mark.long)
            for name in MODELS
            for board in ("microbit", "mps2-an385", "mps2-an505", "mps3-an547")
        ),
    ],
)
def test_emulated_board_grows_to_the_same_bits(
    name: str, board: str, open_board: OpenBoard
) -> None:
    model = growing(name)
    run(Pair(model, TwinLearner(model), open_board(model, board)))


def learned(name: str, tasks: int) -> tuple[IntModel, list[TwinLearner]]:
    """A twin after 0, 1, .. tasks that grow."""
    model, states = growing(name), []
    twin = TwinLearner(model)
    raw = random_raw(model, 40, 7)
    for task in range(tasks + 1):
        if task:
            new = twin.add_class()
            for at, sample in enumerate(raw[8 * task : 8 * task + 8]):
                twin.learn(sample, new if at % 2 else at % model.n_classes)
            twin.train_begin(task, 4, SCHEDULE, expand=True)
            drawn = twin.working.copy()
            twin.train(1 << 30)
            assert model.expansion is not None
            for index in range(model.expansion.first, len(model.layers)):
                pair = (drawn.weights[index], twin.working.weights[index])
                assert (pair[0].master != pair[1].master).any(), "it learns, so the tests can fail"
            twin.commit()
        copy = TwinLearner(model)
        copy.committed = twin.committed.copy()
        states.append(copy)
    return model, states


@pytest.mark.parametrize("name", MODELS)
def test_only_the_block_and_the_head_move(name: str) -> None:
    model, states = learned(name, BLOCKS)
    assert model.expansion is not None
    for task in range(1, BLOCKS + 1):
        before, after = states[task - 1].committed.weights, states[task].committed.weights
        for index, layer in enumerate(model.layers[:-1]):
            start = layer.outputs - (BLOCKS - task + 1) * ROWS
            block = slice(start, start + ROWS)
            moved = before[index].master != after[index].master
            if index < model.expansion.first:
                assert not moved.any() and (before[index].bias == after[index].bias).all()
                continue
            assert moved[block].any(axis=1).all(), "every row of the block was drawn"
            moved[block] = False
            assert not moved.any()
            stayed = np.delete(
                before[index].bias - after[index].bias, np.arange(layer.outputs)[block]
            )
            assert not stayed.any()
        assert (before[-1].master != after[-1].master).any()


def test_rows_of_a_block_read_the_block_below_alone() -> None:
    model, states = learned("der", BLOCKS)
    master = states[-1].committed.weights[1].master
    below = model.layers[0].outputs - BLOCKS * ROWS
    here = model.layers[1].outputs - BLOCKS * ROWS
    for k in range(BLOCKS):
        rows = master[here + k * ROWS : here + (k + 1) * ROWS]
        own = slice(below + k * ROWS, below + (k + 1) * ROWS)
        assert rows[:, own].any()
        rest = rows.copy()
        rest[:, own] = 0
        assert not rest.any()
    assert not master[:here, below:].any()


def test_draws_are_those_of_the_page() -> None:
    """In plain integers, from SPEC.md 1.3 and 16.1."""

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D & 0xFFFFFFFF
        x ^= x >> 15
        x = x * 0x846CA68B & 0xFFFFFFFF
        return x ^ x >> 16

    model = growing("der")
    twin = TwinLearner(model)
    twin.working.step = twin.committed.step = 77
    twin.train_begin(9, 1, SCHEDULE, expand=True)
    for index, g in enumerate((20000, 9000)):
        layer = model.layers[index]
        key = mix((mix((mix(9) + 77) & 0xFFFFFFFF) + 8 * index + 4) & 0xFFFFFFFF)
        start = layer.outputs - BLOCKS * ROWS
        for o in range(start, start + ROWS):
            for i in range(layer.inputs):
                at = o * (layer.inputs + layer.inputs % 2) + i
                u = mix((key + (at >> 1)) & 0xFFFFFFFF) >> (16 * (at & 1)) & 0xFFFF
                below = model.layers[0].outputs - BLOCKS * ROWS
                reads = index == 0 or below <= i < below + ROWS
                wanted = ((u * (2 * g + 1)) >> 16) - g if reads else 0
                assert twin.working.weights[index].master[o, i] == wanted
