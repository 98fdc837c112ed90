# SPDX-License-Identifier: Apache-2.0
"""The device's forgetting guard against the twin's (SPEC.md 13.2), corrected commits included."""

from pathlib import Path

import numpy as np

from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.twin.exemplars import pack_x0
from device.twin.guard import OFF, Limits, TwinGuard, Verdict, guarded_commit
from device.twin.learner import TwinLearner
from device.twin.scale import Scale
from tests.parity.models import METHOD_SPECS, make_model, random_raw
from tests.parity.test_field_device import close, open_field

SPEC = next(s for s in METHOD_SPECS if s.bias_correction)
MODEL = make_model(SPEC)
DEFINES = ("HAD_FIELD=1", "HAD_GUARD_SLOTS=12U")
LIMITS = [Limits(0, OFF, OFF), Limits(OFF, 40, OFF), Limits(400, 200, 500), Limits(OFF, OFF, 900)]
REFUSED = -9


def session(device: FieldClient, twin: TwinLearner, guard: TwinGuard, seed: int) -> None:
    """Reserve, learn old and new samples, replace an exemplar, train; on both."""
    rng = np.random.default_rng(seed)
    x0 = twin.x0_of(random_raw(MODEL, 24, seed)).astype(np.int8)
    labels = rng.integers(0, twin.committed.n_classes, 24)
    answers = twin.forward_x0(x0[:12].astype(np.int64), twin.committed)[1]
    right = answers[:, : twin.committed.n_classes].argmax(axis=1)
    for j in range(12 - len(guard.reserved)):
        label = int(right[j]) if rng.random() < 0.8 else int(labels[j])
        guard.reserved.append((label, pack_x0(x0[j])))
        device.guard_add(*guard.reserved[-1])
    new = device.add_class() if twin.working.n_classes < MODEL.max_classes else 0
    if new:
        assert twin.add_class() == new
    held = [s.exemplar for s in twin.memory.samples if not s.staged]
    for j in range(12, 18):
        label = new if j < 15 else int(labels[j])
        for learner in (device, twin):
            learner.learn_x0(x0[j], label)
    if held and seed % 2:
        place = (held[0].label, held[0].rank, pack_x0(x0[20]))
        for learner in (device, twin):
            learner.put_exemplar(*place)
    for learner in (device, twin):
        learner.train_begin(seed, 2, [(0, Scale.from_real(0.3))], "balanced")
        learner.train(1 << 30)


def verdict(device: FieldClient, hold: int, steps: int) -> tuple[int, int, int, int]:
    """Reason, class, classes compared, and drop of a commit on the device."""
    try:
        device.commit(hold, steps)
    except DeviceStatusError as error:
        assert error.status == REFUSED
    info = device.field_info()
    return info.reason, info.at_class, info.compared, info.drop


def facts(found: Verdict | None) -> tuple[int, int, int, int]:
    """The same of the twin's verdict."""
    assert found is not None
    return found.reason, found.at_class, found.compared, found.drop


def test_verdicts_are_those_of_the_twin(work: Path) -> None:
    seen = set()
    device = open_field(work, "host", sanitize=True, model=MODEL, defines=DEFINES)
    twin, guard = TwinLearner(MODEL), TwinGuard()
    for seed in range(12):
        guard.limits = LIMITS[seed % 4]
        device.guard_limits(guard.limits.class_drop, guard.limits.mean_drop, guard.limits.new_floor)
        session(device, twin, guard, seed)
        hold, steps = (0, 0) if seed % 3 == 0 else (2, 9)
        expected = facts(guarded_commit(twin, guard, hold, steps))
        assert verdict(device, hold, steps) == expected, f"round {seed}"
        assert device.state_hash() == twin.state_hash(), f"round {seed}"
        device.reboot()
        assert device.state_hash() == twin.state_hash(), f"round {seed}, after a reboot"
        seen.add((expected[0], bool(steps)))
    close(device)
    assert {reason for reason, _ in seen} >= {0, 16}
    assert any(corrected for reason, corrected in seen if reason == 0)
    assert any(corrected for reason, corrected in seen if reason)
