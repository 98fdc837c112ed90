# SPDX-License-Identifier: Apache-2.0
"""Trainable convolutions (SPEC.md 14): the C runtime equals the twin, bit for bit."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from codegen.lower import lower
from device.harness.errors import DeviceError
from device.twin.check import check_model
from device.twin.learner import TwinLearner
from device.twin.model import IntModel, ModelFormatError
from device.twin.work import step_rows
from tests.parity.conftest import COUNTERS, OpenBoard, OpenDevice, OpenPair
from tests.parity.convs import CONV_SPECS, make_conv_model
from tests.parity.models import random_raw
from tests.parity.sessions import SCHEDULE, run_session, run_small_session
from tests.parity.workshop import Mutation, Workshop

SPEC = {spec.name: spec for spec in CONV_SPECS}
DSP = "HAD_DSP_IN_C"
# Model, layout and macro; the rest is run by `make test-long`.
USUAL = [
    ("conv1d", "microbit", COUNTERS),
    ("conv2d", "host", COUNTERS),
    ("conv2d", "mps2-an386", DSP),
    ("depthwise", "mps2-an386", COUNTERS),
]
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
MUTATIONS = (
    Mutation("had_conv_layer.c", "w->kernel_width - columns.last", "columns.last * 0U"),
    Mutation("had_conv_layer.c", "j * w->dilation_width", "j"),
    Mutation("had_conv_forward.c", "value > y_max ? value", "value < y_max ? value"),
    Mutation("had_pool_train.c", "value > largest ? feature", "value >= largest ? feature"),
    Mutation("had_pool_train.c", "passes != 0U ? dz", "passes == 0U ? dz"),
    Mutation("had_conv_error.c", "(p * HAD_BATCH + b)", "(p + b)"),
    Mutation("had_conv_error.c", "= channel % HAD_ROWS", "= (channel + 1U) % HAD_ROWS"),
    Mutation("had_conv_layer.h", "at % stride != 0U", "at % stride == 7U"),
    Mutation("had_conv_error.c", "total[k] += acc[k]", "total[k] = acc[k]"),
    Mutation("had_conv_update.c", "p == 0U ? 0 : amax[o]", "0"),
    Mutation("had_conv_update.c", "(p * layer->outputs + o + r) *", "(p + o + r) *"),
    Mutation("had_conv_update.c", "(word << 16) >> 2", "(word << 16) >> 3"),
    Mutation("had_conv_update.c", "gradient += errors[b]", "gradient = errors[b]"),
    Mutation("had_conv_infer.c", "window.out_width + j;", "window.out_width;"),
    Mutation("had_conv_infer.c", "so_far + y;", "so_far + y / 2;"),
    Mutation("had_pool_train.c", "had_scale_mul(flow->d_scale, part)", "part"),
)
# In the model "depthwise".
GROUP_MUTATIONS = (
    Mutation("had_groups_error.c", "layer->outputs + g * outputs", "layer->outputs"),
    Mutation("had_groups_error.c", "t / outputs * channels", "0U"),
    Mutation("had_groups_error.c", "at * HAD_BATCH * layer->", "HAD_BATCH * layer->"),
    Mutation("had_groups_error.c", "at % groups * group_words", "0U * group_words"),
    Mutation("had_conv_layer.c", "x += group * part", "x += 0U * part"),
    Mutation("had_conv_layer.h", "conv->top != 0U", "conv->top == 7U"),
    Mutation("had_activate.c", "y[b] >= top", "y[b] > top"),
    Mutation("had_conv_update.c", "+ group * channels", "+ 0U * channels"),
    Mutation("had_conv_infer.c", "& 0xFU) - 8", "& 0xFU) - 7"),
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


@pytest.mark.parametrize(
    "name",
    ["groups", *(pytest.param(n, marks=pytest.mark.long) for n in ("conv2d", "conv1d", "behind"))],
)
def test_session_in_vector_kernels_equals_twin(name: str, open_pair: OpenPair) -> None:
    run_session(open_pair(make_conv_model(SPEC[name]), opt="-O3", march="native"), seed=6)


def test_training_in_slices_equals_training_at_once(open_host: OpenDevice) -> None:
    """Slices that end within a channel's pixels, the unit being one row."""
    model = make_conv_model(SPEC["conv2d"])
    plan = lower(model, host=True)
    assert [(op.rows, op.units) for op in plan.operations] == step_rows(model)
    whole, sliced = (open_host(model, opt="-O3", march="native") for _ in range(2))
    for device in (whole, sliced):
        device.train_begin(3, 2, SCHEDULE)
    whole.train(1 << 31)
    budget = 1
    while sliced.train(budget).steps_left:
        budget = budget % 7 + 1
    assert whole.state_hash() == sliced.state_hash()


@pytest.mark.parametrize("name", SPEC)
def test_every_trained_layer_learns(name: str) -> None:
    """Masters and biases of each layer must move, or equal bits would prove nothing."""
    model = make_conv_model(SPEC[name])
    check_model(model)
    assert IntModel.from_bytes(model.to_bytes()).to_bytes() == model.to_bytes()
    twin = TwinLearner(model)
    before = twin.working.copy()
    twin.train_begin(3, 2, SCHEDULE, "uniform")
    twin.train(1 << 30)
    for old, new in zip(before.weights, twin.working.weights, strict=True):
        assert (old.master != new.master).mean() > 0.1 and (old.bias != new.bias).any()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"in_shape": (6, 7, 4)}, "input size"),
        ({"groups": 2}, "multiple of its groups"),
        ({"groups": 0}, "groups of the convolution"),
        ({"top": 40000}, "upper bound"),
        ({"kernel": (3, 4)}, "master"),
        ({"out_size": (60, 7)}, "outside"),
        ({"stride": (0, 1)}, "stride"),
        ({"pool": "median"}, "pool"),
        ({"pool": "max", "pool_size": (7, 1)}, "too large"),
        ({"pool": "none"}, "pool and its size"),
    ],
)
def test_broken_geometry_is_refused(changes: dict[str, Any], rule: str) -> None:
    model = make_conv_model(SPEC["conv2d"])
    first = model.layers[0]
    assert first.conv is not None
    layer = replace(first, conv=replace(first.conv, **changes))
    with pytest.raises(ModelFormatError, match=rule):
        check_model(replace(model, layers=(layer, *model.layers[1:])))


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("conv1d", "mps2-an386"),
        *(
            pytest.param(name, board, marks=pytest.mark.long)
            for name, board in (
                ("conv2d", "mps2-an386"),
                ("conv1d", "microbit"),  # conv2d is too large for its 16 KB
                ("depthwise", "microbit"),
                ("depthwise", "mps2-an386"),
                ("conv2d", "mps3-an547"),
                ("depthwise", "mps3-an547"),
                ("depthwise", "riscv-virt"),
            )
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


@pytest.fixture(scope="module")
def workshops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workshop]:
    """Models of the planted errors, whose every kernel is at work."""
    return {
        name: Workshop(tmp_path_factory.mktemp(name), make_conv_model(SPEC[name]), "mps2-an386")
        for name in ("conv2d", "depthwise")
    }


@pytest.mark.parametrize("name", ["conv2d", "depthwise"])
def test_session_without_an_error_passes(
    name: str, workshops: dict[str, Workshop], stack: ExitStack
) -> None:
    run_small_session(workshops[name].pair(workshops[name].sound(), stack))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("conv2d", number) for number in range(len(MUTATIONS))),
        *(("depthwise", number) for number in range(len(GROUP_MUTATIONS))),
    ],
)
def test_session_with_a_planted_error_fails(
    name: str, number: int, workshops: dict[str, Workshop], stack: ExitStack
) -> None:
    mutations = MUTATIONS if name == "conv2d" else GROUP_MUTATIONS
    elf = workshops[name].planted(mutations[number], number)
    with pytest.raises((AssertionError, DeviceError)):
        run_small_session(workshops[name].pair(elf, stack))
