# SPDX-License-Identifier: Apache-2.0
"""Fine inference (SPEC.md 18): twin, C on the host, boards; training must not see it."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from device.harness.errors import DeviceError
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from device.twin.scale import Scale
from tests.parity.conftest import COUNTERS, OpenBoard, OpenPair
from tests.parity.models import ModelSpec, make_model, random_raw
from tests.parity.sessions import Pair
from tests.parity.workshop import Mutation, Workshop

SCHEDULE = [(0, Scale.from_real(16.0))]
SLOTS = {"exemplar_slots": 15, "staging_slots": 15}
SPECS = {
    "signed": ModelSpec(
        "fine_signed",
        (45, 21, 13, 6),
        signed=True,
        factors=True,
        distillation=True,
        bias_correction=True,
        **SLOTS,
        arithmetic={"order": 8, "batch": 9, "tile_k": 16, "master_bits": 8},
    ),
    "unsigned": ModelSpec(
        "fine_unsigned", (37, 18, 5), **SLOTS, arithmetic={"order": 4, "batch": 8, "tile_k": 16}
    ),
    "frozen": ModelSpec(
        "fine_frozen",
        (18, 9, 6),
        (30, 22, 18),
        **SLOTS,
        arithmetic={"order": 4, "batch": 6, "tile_k": 32, "acc_bits": 12},
    ),
    "head": ModelSpec(
        "fine_head", (23, 6), signed=True, **SLOTS, arithmetic={"order": 4, "batch": 6}
    ),
}
ERRORS = (  # the session of "frozen" sees them all
    Mutation("had_infer.c", "16 * acc[r]", "15 * acc[r]"),
    Mutation("had_infer.c", "sums + HAD_PACKED_SUMS, 0U)", "sums, 0U)"),
    Mutation(
        "had_view.c", "(int32_t)layer->forward_shift - 4;", "(int32_t)layer->forward_shift - 3;"
    ),
    Mutation("had_frozen.c", "out[layer->outputs + o] =", "out[o] ="),
    Mutation("had_exemplar.c", "x0[HAD_X0_SIZE + i] = 0;", "x0[HAD_X0_SIZE + i] += 0;"),
)


def fine(name: str) -> IntModel:
    """A random model with fine inference, as its bytes give it back."""
    model = replace(make_model(SPECS[name], seed=3), fine_inference=True)
    return IntModel.from_bytes(model.to_bytes())


def run(pair: Pair, seed: int = 5) -> None:
    """Inference by both heads before, between and after two tasks."""
    raw = random_raw(pair.model, 40, seed)
    for task in range(2):
        new = pair.both("add_class")
        for at, sample in enumerate(raw[10 * task : 10 * task + 10]):
            pair.both("learn", sample, new if at % 3 else at % pair.model.n_classes)
            pair.both("infer", sample, at % 2)
        pair.both("train_begin", seed, 3, SCHEDULE, "balanced")
        pair.both("train", 1 << 20)
        pair.compare_states()
        pair.both("commit")
        for at, sample in enumerate(raw[20:40]):
            pair.both("infer", sample, at % 2)
    pair.both("export_state")


@pytest.mark.parametrize(
    ("name", "layout"),
    [("signed", "microbit"), ("unsigned", "mps2-an386"), ("frozen", "host"), ("head", "microbit")],
)
def test_fine_inference_equals_the_twin(name: str, layout: str, open_pair: OpenPair) -> None:
    pair = open_pair(fine(name), layout=layout, defines=(COUNTERS,), sanitize=True)
    run(pair)
    pair.both("counters")


@pytest.mark.parametrize("name", SPECS)
def test_training_is_that_of_the_model_without(name: str) -> None:
    model = fine(name)
    learners = [TwinLearner(m) for m in (model, replace(model, fine_inference=False))]
    raw, hashes, logits = random_raw(model, 20, 4), [], []
    for learner in learners:
        learner.add_class()
        for at, sample in enumerate(raw):
            learner.learn(sample, at % 4)
        learner.train_begin(3, 4, SCHEDULE, "balanced")
        learner.train(1 << 30)
        state = learner.working
        hashes.append([*(w.master.tobytes() for w in state.weights), *state.tracked])
        logits.append(learner.infer_many(raw)[1])
    assert hashes[0] == hashes[1]
    assert (logits[0] != logits[1]).any()
    assert np.abs(logits[0] - logits[1]).max() < np.abs(logits[1]).max()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A model whose inference has an error planted, compiled file by file."""
    return Workshop(tmp_path_factory.mktemp("fine"), fine("frozen"), "host")


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_planted_error_is_seen(number: int, workshop: Workshop, stack: ExitStack) -> None:
    elf = workshop.planted(ERRORS[number], number)
    with pytest.raises((AssertionError, DeviceError)):
        run(workshop.pair(elf, stack))


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("signed", "mps2-an386"),
        *(
            pytest.param(name, board, marks=pytest.mark.long)
            for name in SPECS
            for board in ("microbit", "mps2-an385", "mps2-an386", "mps3-an547", "riscv-virt")
        ),
    ],
)
def test_emulated_board_infers_to_the_same_bits(
    name: str, board: str, open_board: OpenBoard
) -> None:
    model = fine(name)
    run(Pair(model, TwinLearner(model), open_board(model, board)))
