# SPDX-License-Identifier: Apache-2.0
"""Residual blocks of trained convolutions (SPEC.md 14.6): the C runtime equals the twin."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from codegen.importer import import_onnx
from codegen.lower import lower
from codegen.quantize import QuantizeOptions, quantize
from device.harness.errors import DeviceError
from device.packet import class_id
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic
from device.twin.work import step_rows
from tests.faults.powercut.session import RELEASE, ROOT, VENDOR, make_packet, public
from tests.parity.conftest import COUNTERS, OpenBoard, OpenDevice, OpenPair
from tests.parity.convs import RESIDUAL_SPECS, make_conv_model
from tests.parity.models import random_raw
from tests.parity.sessions import SCHEDULE, run_session, run_small_session
from tests.parity.test_field_device import close, open_field
from tests.parity.workshop import Mutation, Workshop
from tests.suite.models import SUITE

SPEC = {spec.name: spec for spec in RESIDUAL_SPECS}
DSP = "HAD_DSP_IN_C"
# Model, layout and macro; the rest is run by `make test-long`.
USUAL = [("residual", "host", COUNTERS)]
LONG = [
    (name, layout, macro)
    for name in SPEC
    for layout, macro in (
        ("host", COUNTERS),
        ("microbit", COUNTERS),
        ("mps2-an386", COUNTERS),
        ("mps2-an386", DSP),
    )
    if (name, layout, macro) not in USUAL
]
# In the model "residual".
MUTATIONS = (
    Mutation("had_conv_forward.c", "layer->adds != 0U ? y[c]", "layer->adds == 7U ? y[c]"),
    Mutation("had_residual.c", "saturate_s16(apply(x[j], m))", "saturate_s16(apply(x[j], m) + 1)"),
    Mutation("had_residual.c", "flow[layer->index].d_scale;", "flow[side->index].d_scale;"),
    Mutation("had_residual.c", "larger != 0U ? one : two", "larger != 0U ? two : one"),
    Mutation("had_residual.c", "two, -14)", "two, -13)"),
    Mutation("had_residual.c", "flow->d_scale = sum;", ""),
    Mutation("had_residual.c", "join->other) : 0;", "join->own) : 0;"),
    Mutation("had_residual.c", ">> (b & 7U) & 1U) != 0U", ">> (b & 7U) & 1U) != 2U"),
    Mutation("had_residual.c", "layer->side != 0U ? &ln", "layer->side == 7U ? &ln"),
    Mutation("had_conv_layer.h", "return &ln->step.side;", "return &ln->step.flow[0];"),
    Mutation("had_conv_infer.c", "shortcut != 0 ? shortcut[o]", "shortcut == 0 ? shortcut[o]"),
    Mutation("had_conv_infer.c", "shortcut + p * layer->outputs", "shortcut + p"),
    Mutation("had_residual.c", "view.x_scale[first->index]", "view.x_scale[0]"),
)


@pytest.mark.parametrize(("name", "layout", "macro"), USUAL)
def test_session_equals_twin(name: str, layout: str, macro: str, open_pair: OpenPair) -> None:
    pair = open_pair(make_conv_model(SPEC[name]), layout=layout, defines=(macro,), sanitize=True)
    run_session(pair, seed=5)
    if macro == COUNTERS:
        pair.both("counters")


@pytest.mark.long
@pytest.mark.parametrize(("name", "layout", "macro"), LONG)
def test_session_of_any_form_equals_twin(
    name: str, layout: str, macro: str, open_pair: OpenPair
) -> None:
    test_session_equals_twin(name, layout, macro, open_pair)


@pytest.mark.long
@pytest.mark.parametrize("name", SPEC)
def test_session_in_vector_kernels_equals_twin(name: str, open_pair: OpenPair) -> None:
    run_session(open_pair(make_conv_model(SPEC[name]), opt="-O3", march="native"), seed=6)


@pytest.mark.parametrize("name", SPEC)
def test_work_of_plan_and_twin_is_the_same(name: str) -> None:
    model = make_conv_model(SPEC[name])
    for host in (False, True):
        plan = lower(model, host=host)
        assert [(op.rows, op.units) for op in plan.operations] == step_rows(model)


@pytest.mark.long
def test_training_in_slices_equals_training_at_once(open_host: OpenDevice) -> None:
    model = make_conv_model(SPEC["residual"])
    whole, sliced = (open_host(model, opt="-O3", march="native") for _ in range(2))
    for device in (whole, sliced):
        device.train_begin(3, 2, SCHEDULE)
    whole.train(1 << 31)
    budget = 1
    while sliced.train(budget).steps_left:
        budget = budget % 7 + 1
    assert whole.state_hash() == sliced.state_hash()


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("residual", "mps2-an386"),
        *(
            pytest.param(name, board, marks=pytest.mark.long)
            for name in SPEC
            for board in ("microbit", "mps2-an386", "mps3-an547", "riscv-virt")
            if (name, board) != ("residual", "mps2-an386")
        ),
    ],
)
def test_firmware_in_the_emulator_equals_twin(name: str, board: str, open_board: OpenBoard) -> None:
    model = make_conv_model(SPEC[name])
    twin, device = TwinLearner(model), open_board(model, board)
    raw = random_raw(model, 2, 7)
    for learner in (twin, device):
        learner.learn(raw[0], 1)
        learner.train_begin(3, 2, SCHEDULE, "balanced")
        learner.train(1 << 30)
        learner.commit()
    assert device.state_hash() == twin.state_hash()
    assert device.infer(raw[1])[1].tolist() == twin.infer(raw[1])[1].tolist()


@pytest.mark.long
def test_packet_takes_a_device_to_what_was_trained_elsewhere(tmp_path: Path) -> None:
    model = make_conv_model(SPEC["residual"])
    twin = TwinLearner(model)
    base = twin.export_state()
    twin.train_begin(3, 2, SCHEDULE, "balanced")
    twin.train(1 << 30)
    twin.commit()
    result = twin.export_state()
    device = open_field(tmp_path, "host", model=model)
    device.provision(VENDOR, class_id(VENDOR, model.model_id), public(ROOT), public(RELEASE))
    device.apply_packet(make_packet(model, base, result, 2, []))
    assert base != result == device.export_state()
    close(device)


@pytest.mark.long
@pytest.mark.parametrize("board", ["mps2-an386", "mps3-an547"])
def test_resnet8_trains_its_last_block_on_a_board(board: str, open_board: OpenBoard) -> None:
    """From file to firmware; a class more, a step, and what is inferred then."""
    entry = SUITE["resnet8"]
    graph = import_onnx(entry.build().SerializeToString())
    x = entry.samples(24, seed=1).reshape(24, -1)
    options = QuantizeOptions(Arithmetic(batch=4), train_last=4, exemplar_slots=12)
    model = quantize(graph, x, np.arange(24) % graph.n_classes, options)
    twin, device = TwinLearner(model), open_board(model, board)
    raw = raw_samples(model, entry.samples(2, seed=2).reshape(2, -1))
    for learner in (twin, device):
        learner.add_class()
        learner.learn(raw[0], graph.n_classes)
        learner.train_begin(3, 1, SCHEDULE, "balanced")
        learner.train(1 << 30)
        learner.commit()
    assert device.state_hash() == twin.state_hash()
    assert device.infer(raw[1])[1].tolist() == twin.infer(raw[1])[1].tolist()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A model in which both kinds of shortcut are at work."""
    model = make_conv_model(SPEC["residual"])
    return Workshop(tmp_path_factory.mktemp("residual"), model, "mps2-an386")


def test_session_without_an_error_passes(workshop: Workshop, stack: ExitStack) -> None:
    run_small_session(workshop.pair(workshop.sound(), stack))


@pytest.mark.parametrize(
    "number",
    [
        number if number % 3 == 0 else pytest.param(number, marks=pytest.mark.long)
        for number in range(len(MUTATIONS))
    ],
)
def test_session_with_a_planted_error_fails(
    number: int, workshop: Workshop, stack: ExitStack
) -> None:
    elf = workshop.planted(MUTATIONS[number], number)
    with pytest.raises((AssertionError, DeviceError)):
        run_small_session(workshop.pair(elf, stack))
