# SPDX-License-Identifier: Apache-2.0
"""The C runtime equals the twin, bit for bit, over whole sessions."""

from pathlib import Path

import numpy as np
import pytest

from codegen.generate import generate, write_folder
from codegen.lower import lower
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.harness.toolchain import find_toolchain
from device.twin.correction import NO_CORRECTION
from device.twin.learner import TwinLearner
from device.twin.scale import Scale
from tests.parity.conftest import COUNTERS, OpenDevice, OpenPair
from tests.parity.models import METHOD_SPECS, SPECS, ModelSpec, make_model, random_raw
from tests.parity.sessions import (
    SCHEDULE,
    Pair,
    run_correction_session,
    run_method_session,
    run_session,
)

METHOD = [spec for spec in METHOD_SPECS if spec.bias_correction]
SPEC = {spec.name: spec for spec in SPECS}
# Models whose tiles fit the vector kernels of hosts.
VECTOR = [spec.name for spec in SPECS if lower(make_model(spec), host=True).rows == 8]
# Levels that this processor runs; what it does not run is no test of it, rather than a skipped one.
_FLAGS = Path("/proc/cpuinfo").read_text().split()
_NEEDED = {"x86-64-v2": "ssse3", "x86-64-v3": "avx2", "x86-64-v4": "avx512bw"}
MARCHES = [march for march, flag in _NEEDED.items() if flag in _FLAGS]
# Models whose sums fit 16-bit fields: device layouts of the others use the plain kernels.
PACKED = [spec.name for spec in SPECS if lower(make_model(spec)).rows > 1]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_session_with_counters_and_sanitizers_equals_twin(
    spec: ModelSpec, open_pair: OpenPair
) -> None:
    pair = open_pair(make_model(spec), defines=(COUNTERS,), sanitize=True)
    run_session(pair, seed=5)
    pair.both("counters", True)
    pair.both("counters")


@pytest.mark.parametrize("layout", ["host", "microbit", "mps2-an386"])
@pytest.mark.parametrize("spec", METHOD_SPECS, ids=lambda spec: spec.name)
def test_session_of_distillation_equals_twin(
    spec: ModelSpec, layout: str, open_pair: OpenPair
) -> None:
    pair = open_pair(make_model(spec), layout=layout, defines=(COUNTERS,), sanitize=True)
    run_method_session(pair, seed=5)
    pair.both("counters")


@pytest.mark.parametrize(
    ("seed", "layout"), [(5, "host"), (6, "host"), (5, "microbit"), (5, "mps2-an386")]
)
def test_session_of_bias_correction_equals_twin(
    seed: int, layout: str, open_pair: OpenPair
) -> None:
    pair = open_pair(make_model(METHOD[0], seed=seed), layout=layout, sanitize=True)
    run_correction_session(pair, seed)


def test_bias_correction_is_not_idle(open_pair: OpenPair) -> None:
    """A session must correct something, or equal bits would prove nothing."""
    pair = open_pair(make_model(METHOD[0], seed=5))
    run_correction_session(pair, 5)
    found = pair.twin.committed.correction
    assert found == NO_CORRECTION, "the last commits have no new classes"
    new = pair.both("add_class")
    for sample in random_raw(pair.model, 6, 9):
        pair.both("learn", sample, new)
    pair.both("train_begin", 1, 2, SCHEDULE, "balanced")
    pair.both("train", 1 << 20)
    pair.both("commit", 1, 30)
    found = pair.twin.committed.correction
    assert (found.first, found.last) == (new, new + 1) and found.alpha != 4096 and found.beta != 0


def test_methods_without_distillation_compiled_in_are_refused_alike(open_pair: OpenPair) -> None:
    pair = open_pair(make_model(SPEC["plain"]))
    for options in (("new_uniform",), ("uniform", 1), ("uniform", 0, 1), ("uniform", 0, 0, 1)):
        assert pair.both("train_begin", 1, 1, SCHEDULE, *options) == ("refused", -1)
    assert pair.both("commit", 1, 1) == ("refused", -4)


@pytest.mark.parametrize("layout", ["microbit", "mps2-an386"])
@pytest.mark.parametrize(
    "name",
    ["odd", "frozen", *(pytest.param(n, marks=pytest.mark.long) for n in ("plain", "head_odd"))],
)
def test_session_in_device_layout_equals_twin(name: str, layout: str, open_pair: OpenPair) -> None:
    pair = open_pair(make_model(SPEC[name], seed=2), layout=layout, opt="-O2")
    run_session(pair, seed=9)


@pytest.mark.parametrize("layout", ["microbit", "mps2-an386"])
@pytest.mark.parametrize("name", PACKED)
def test_session_in_packed_fields_with_counters_and_sanitizers_equals_twin(
    name: str, layout: str, open_pair: OpenPair
) -> None:
    pair = open_pair(make_model(SPEC[name]), layout=layout, defines=(COUNTERS,), sanitize=True)
    run_session(pair, seed=5)
    pair.both("counters")


@pytest.mark.parametrize("name", PACKED)
def test_session_in_kernels_of_the_dsp_extension_from_plain_c_equals_twin(
    name: str, open_pair: OpenPair
) -> None:
    defines = ("HAD_DSP_IN_C",)
    pair = open_pair(make_model(SPEC[name]), layout="mps2-an386", defines=defines, sanitize=True)
    run_session(pair, seed=5)


@pytest.mark.parametrize("name", ["plain", "odd", "head_odd"])
def test_session_in_long_multiplications_from_plain_c_equals_twin(
    name: str, open_pair: OpenPair
) -> None:
    defines = ("HAD_LONG_IN_C",)
    pair = open_pair(make_model(SPEC[name]), layout="mps2-an385", defines=defines, sanitize=True)
    run_session(pair, seed=5)


@pytest.mark.parametrize("name", ["mps2-an385", "mps2-an386"])
def test_session_with_sums_at_their_bounds_in_assembly_equals_twin(
    name: str, tmp_path: Path
) -> None:
    """Fields of [0, 15] that only the weights' sums tell apart, in the assembly of M3 and M4."""
    board = BOARDS[name]
    shape = {"order": 4, "batch": 6}
    model = make_model(ModelSpec("steep", (45, 40, 5), steep=True, arithmetic=shape))
    sources = write_folder(generate(model, board), tmp_path / "sources")
    firmware = build(sources, board, find_toolchain(board, "gcc"), tmp_path / "builds", opt="-O2")
    with open_device(firmware, board, "qemu", count=False) as transport:
        run_session(Pair(model, TwinLearner(model), DeviceClient(transport)), seed=5)


@pytest.mark.parametrize("kind", ["gcc", "clang"])
@pytest.mark.parametrize("opt", ["-O0", "-O2", "-O3", "-Os"])
def test_session_at_any_optimisation_equals_twin(kind: str, opt: str, open_pair: OpenPair) -> None:
    run_session(open_pair(make_model(SPEC["odd"], seed=3), opt=opt, kind=kind), seed=4, steps=2)


@pytest.mark.parametrize(
    ("name", "march"),
    [("blocks", march) for march in MARCHES] + [(name, "native") for name in VECTOR],
)
def test_session_with_vector_kernels_equals_twin(
    name: str, march: str, open_pair: OpenPair
) -> None:
    run_session(open_pair(make_model(SPEC[name], seed=4), opt="-O2", march=march), seed=7)


@pytest.mark.parametrize("march", ["", "native"])
def test_session_with_vector_kernels_and_counters_equals_twin(
    march: str, open_pair: OpenPair
) -> None:
    pair = open_pair(make_model(SPEC["wide"]), defines=(COUNTERS,), march=march)
    run_session(pair, seed=5)
    pair.both("counters")


def test_training_in_slices_equals_training_at_once(open_host: OpenDevice) -> None:
    model = make_model(SPEC["deep"])
    whole, sliced = open_host(model), open_host(model)
    for device in (whole, sliced):
        device.train_begin(3, 4, SCHEDULE)
    whole.train(1 << 31)
    while sliced.train(1).steps_left:
        pass
    assert whole.state_hash() == sliced.state_hash()


def test_train_of_any_budget_stops_after_the_row_that_reaches_it(open_host: OpenDevice) -> None:
    """To the unit: whole rows of the operations in their order, and not one row more."""
    model = make_model(SPEC["plain"])
    rows = [op.units for op in lower(model, host=True).operations for _ in range(op.rows)]
    device = open_host(model)
    assert device.info().units_per_step == sum(rows)
    device.train_begin(3, 50, SCHEDULE)
    at = 0
    for budget in (1, 2, 7, 30, 111, 1, sum(rows) - 1, sum(rows), sum(rows) + 1, 5, 64):
        used = 0
        while used < budget:
            last = rows[at % len(rows)]
            used += last
            at += 1
        assert device.train(budget).units == used < budget + last


def test_training_of_fifty_steps_equals_twin(open_pair: OpenPair) -> None:
    pair = open_pair(make_model(SPEC["odd"]))
    pair.both("train_begin", 11, 50, SCHEDULE, "balanced")
    for _ in range(50):
        pair.both("train", pair.device.info().units_per_step)
        pair.compare_states()


def test_state_taken_to_another_device_goes_on_to_the_same_bits(open_pair: OpenPair) -> None:
    model = make_model(SPEC["plain"])
    first, second = open_pair(model), open_pair(model)
    run_session(first, seed=6)
    state = first.both("export_state")
    second.both("import_state", state)
    for index in range(first.device.info().samples):
        second.both("put_exemplar", *first.both("get_exemplar", index))
    assert second.both("commit") == first.both("commit")
    for pair in (first, second):
        pair.both("train_begin", 8, 2, [(0, Scale.from_real(0.1))], "uniform")
        pair.both("train", 1 << 20)
    assert first.both("state_hash") == second.both("state_hash")


def test_checkpoint_of_working_state_keeps_its_trained_flag(open_pair: OpenPair) -> None:
    model = make_model(SPEC["plain"])
    first, second = open_pair(model), open_pair(model)
    first.both("train_begin", 2, 3, SCHEDULE, "balanced")
    first.both("train", 1 << 20)
    second.both("import_state", first.both("export_state", True))
    assert first.both("commit") == second.both("commit")


def test_put_exemplar_replaces_the_committed_one_at_commit(open_pair: OpenPair) -> None:
    model = make_model(SPEC["plain"])
    pair = open_pair(model)
    label, rank, packed = pair.both("get_exemplar", 1)
    changed = bytes([packed[0] ^ 1]) + packed[1:]
    pair.both("put_exemplar", label, rank, changed)
    assert pair.both("put_exemplar", label, rank, packed) == ("refused", -1)
    pair.compare_states()
    pair.both("commit")
    assert pair.both("get_exemplar", 1) == (label, rank, changed)


def test_learn_beyond_the_slots_is_refused(open_pair: OpenPair) -> None:
    model = make_model(SPEC["head"])
    pair = open_pair(model)
    raw = random_raw(model, 30, 1)
    answers = [pair.both("learn", sample, at % 3) for at, sample in enumerate(raw)]
    assert answers[-1] == ("refused", -3)
    pair.both("commit")


def test_staging_slots_set_from_outside_are_used(open_host: OpenDevice) -> None:
    device = open_host(make_model(SPEC["head"]), defines=("HAD_STAGING_SLOTS=500U",))
    assert device.info().staging_slots == 500


def test_corrupt_state_is_refused_and_leaves_the_committed_state(open_pair: OpenPair) -> None:
    pair = open_pair(make_model(SPEC["odd"]), sanitize=True)
    state = pair.both("export_state")
    before = pair.both("state_hash")
    for at in range(0, len(state), 41):
        bad = state[:at] + bytes([state[at] ^ 0x11]) + state[at + 1 :]
        assert pair.both("import_state", bad)[0] == "refused"
    assert pair.both("import_state", state[:-1])[0] == "refused"
    assert pair.both("state_hash") == before


def test_masters_after_training_have_moved(open_pair: OpenPair) -> None:
    """The session must do something, or equal hashes would prove nothing."""
    pair: Pair = open_pair(make_model(SPEC["plain"]))
    before = np.frombuffer(pair.device.export_state(), np.uint8)
    pair.both("train_begin", 1, 5, [(0, Scale.from_real(0.3))], "balanced")
    pair.both("train", 1 << 20)
    pair.both("commit")
    after = np.frombuffer(pair.device.export_state(), np.uint8)
    assert np.count_nonzero(before != after) > 200
