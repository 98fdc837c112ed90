# SPDX-License-Identifier: Apache-2.0
"""Refusals on the wire that a well-meant client can meet: states whose digest is right and whose
values are not, commands at the wrong time, and a field device's limits. Each changes nothing, and
after a reboot a field device is what it was. Run with sanitizers.
"""

import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from device.harness.client import DeviceClient
from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.packet import class_id
from device.twin.exemplars import pack_x0
from device.twin.learner import TwinLearner
from device.twin.state import StateFormatError
from tests.faults.powercut.session import RATE, RELEASE, ROOT, VENDOR, public
from tests.parity.conftest import OpenDevice
from tests.parity.models import METHOD_SPECS, SPECS, make_model, random_raw
from tests.parity.test_field_device import GOOD, MODEL, close, open_field

OFF = 0xFFFF
NEW_FELL = 18
PLAIN = make_model(next(s for s in SPECS if s.name == "head"))
CORRECTED = make_model(next(s for s in METHOD_SPECS if s.bias_correction))
Change = Callable[[TwinLearner], None]


def status_of(device: DeviceClient, command: int, payload: bytes = b"") -> int:
    """Status of a raw request."""
    try:
        device._transport.exchange(command, payload, 10.0)
    except DeviceStatusError as error:
        return error.status
    return 0


def set_master(twin: TwinLearner) -> None:
    """The one value that the grid of masters leaves out."""
    twin.working.weights[-1].master[0, 0] = -(1 << (twin.model.arithmetic.master_bits - 1))


def set_prototype(twin: TwinLearner) -> None:
    """A sum that its number of samples cannot reach."""
    twin.working.prototypes.count[0] = 1
    twin.working.prototypes.total[0, 0] = 16


def set_prototype_count(twin: TwinLearner) -> None:
    """More samples than a prototype counts."""
    twin.working.prototypes.count[0] = 256


def set_tracked(twin: TwinLearner) -> None:
    """A range below nothing."""
    twin.working.tracked[-1] = -1


def set_classes(twin: TwinLearner) -> None:
    """A learner of nothing."""
    twin.working.n_classes = 0


@pytest.mark.parametrize(
    "change",
    [set_master, set_prototype, set_prototype_count, set_classes],
    ids=lambda change: change.__name__,
)
def test_state_of_impossible_values_is_refused_although_its_digest_is_right(
    open_host: OpenDevice, change: Change
) -> None:
    refuse_state(open_host, change, "head")


def test_state_of_impossible_range_is_refused(open_host: OpenDevice) -> None:
    refuse_state(open_host, set_tracked, next(s.name for s in SPECS if len(s.widths) > 2))


def refuse_state(open_host: OpenDevice, change: Change, spec_name: str) -> None:
    """Device and twin both refuse; the device's working copy is the committed one afterwards."""
    model = make_model(next(s for s in SPECS if s.name == spec_name))
    device = open_host(model, sanitize=True)
    twin = TwinLearner(model)
    good = twin.export_state()
    change(twin)
    twin.committed = twin.working
    bad = twin.export_state()
    with pytest.raises(StateFormatError):
        TwinLearner(model).import_state(bad)
    before = device.state_hash()
    with pytest.raises(DeviceStatusError, match="-4"):
        device.import_state(bad)
    assert device.state_hash() == before
    assert device.import_state(good) == TwinLearner(model).import_state(good)


@pytest.mark.parametrize("cut", [1, 32])
def test_state_cut_short_is_refused(open_host: OpenDevice, cut: int) -> None:
    device = open_host(PLAIN, sanitize=True)
    before, state = device.state_hash(), device.export_state()
    assert status_of(device, 0x0B, struct.pack("<I", len(state))) == 0
    assert status_of(device, 0x0C, state[:-cut]) == 0
    assert status_of(device, 0x0D) == -4
    assert device.state_hash() == before


def test_import_and_learning_wait_for_the_end_of_training(open_host: OpenDevice) -> None:
    device = open_host(PLAIN, sanitize=True)
    total = device.info().state_bytes
    device.train_begin(1, 2, [(0, RATE)], "balanced")
    before = device.info().steps_left
    raw = random_raw(PLAIN, 1, seed=2)[0].astype("<i2").tobytes()
    wrong_now = [(0x0B, struct.pack("<I", total)), (0x04, b""), (0x07, b""), (0x03, b"\0\0" + raw)]
    wrong_now += [(0x05, struct.pack("<IIBBHIHh", 1, 1, 0, 1, 0, 0, 16384, -20))]
    for command, payload in wrong_now:
        assert status_of(device, command, payload) == -2, hex(command)
    assert device.info().steps_left == before == 2


def test_learning_beyond_the_slots_is_refused_and_keeps_what_is_there(
    open_host: OpenDevice,
) -> None:
    device, twin = open_host(PLAIN, sanitize=True), TwinLearner(PLAIN)
    raw = random_raw(PLAIN, 1, seed=2)[0]
    free = 1
    while free:
        free = device.learn(raw, 0)
        assert free == twin.learn(raw, 0)
    before = device.state_hash()
    for attempt in (lambda: device.learn(raw, 0), lambda: device.put_exemplar(0, 9, bytes(8))):
        with pytest.raises(DeviceStatusError, match="-3"):
            attempt()
    assert device.state_hash() == before == twin.state_hash()


def test_commit_with_half_a_correction_is_refused(open_host: OpenDevice) -> None:
    device = open_host(CORRECTED, sanitize=True)
    for payload, status in ((b"\1", -4), (b"\0\1", -1), (b"\1\0", -1), (b"\x08\1", -1)):
        assert status_of(device, 0x07, payload) == status, payload


# A field device


@pytest.fixture
def fresh(work: object) -> Iterator[FieldClient]:
    """A field device without identity."""
    client = open_field(work, "host", sanitize=True)  # type: ignore[arg-type]
    yield client
    close(client)


@pytest.fixture
def field(fresh: FieldClient) -> FieldClient:
    """A provisioned one."""
    fresh.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    return fresh


def test_request_of_a_wrong_length_is_refused_by_every_field_command(field: FieldClient) -> None:
    before = field.export_state()
    x0 = len(pack_x0(np.zeros(MODEL.x0_size, np.int8)))
    lengths = {
        0x20: 0,
        0x21: 0,
        0x22: 96,
        0x23: 4,
        0x25: 0,
        0x26: 2 + x0,
        0x27: 6,
        0x28: 0,
        0x29: 8,
        0x2A: 0,
    }
    for command, right in lengths.items():
        for length in {right + 1, max(right - 1, 0)} - {right}:
            assert status_of(field, command, bytes(length)) == -4, (hex(command), length)
    assert status_of(field, 0x2B) == -7
    assert field.export_state() == before


def test_provisioning_with_one_key_for_both_is_refused(fresh: FieldClient) -> None:
    with pytest.raises(DeviceStatusError, match="-1"):
        fresh.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(ROOT))
    assert fresh.field_info().provisioned == 0


def test_packet_data_and_end_need_a_begin(field: FieldClient) -> None:
    assert status_of(field, 0x24, GOOD[:20]) == -2
    assert status_of(field, 0x25) == -2
    assert status_of(field, 0x23, struct.pack("<I", len(GOOD))) == 0
    assert status_of(field, 0x23, struct.pack("<I", len(GOOD))) == -2
    field.rollback()
    assert field.packet_status(GOOD) == 0


def test_packet_waits_for_the_end_of_training(field: FieldClient) -> None:
    field.learn_x0(np.zeros(MODEL.x0_size, np.int8), 0)
    field.commit()
    field.train_begin(1, 2, [(0, RATE)], "balanced")
    assert status_of(field, 0x23, struct.pack("<I", len(GOOD))) == -2


def test_guard_takes_no_more_than_it_has_room_for(field: FieldClient) -> None:
    packed = pack_x0(np.zeros(MODEL.x0_size, np.int8))
    with pytest.raises(DeviceStatusError, match="-1"):
        field.guard_add(MODEL.max_classes, packed)
    left = [field.guard_add(0, packed) for _ in range(4)]
    assert left == [3, 2, 1, 0]
    with pytest.raises(DeviceStatusError, match="-3"):
        field.guard_add(0, packed)
    field.reboot()
    assert field.field_info().reserved == 4


@pytest.mark.parametrize(("floor", "refused"), [(1000, True), (1, True), (0, False), (OFF, False)])
def test_new_class_below_its_floor_is_not_committed(
    field: FieldClient, floor: int, refused: bool
) -> None:
    """The twin says which samples the untrained new class does not get."""
    twin = TwinLearner(MODEL)
    label = twin.add_class()
    x0 = twin.x0_of(random_raw(MODEL, 50, seed=3))
    missed = np.flatnonzero(twin.forward_x0(x0, twin.working)[1][:, : label + 1].argmax(1) != label)
    assert len(missed) >= 2
    before = field.state_hash()
    assert field.add_class() == label
    for row in missed[:2]:
        field.guard_add(label, pack_x0(x0[row].astype(np.int8)))
    field.guard_limits(OFF, OFF, floor)
    if not refused:
        assert field.commit() == twin.commit()
        return
    with pytest.raises(DeviceStatusError, match="-9"):
        field.commit()
    info = field.field_info()
    assert (info.reason, info.at_class) == (NEW_FELL, label)
    assert field.state_hash() == before
    field.reboot()
    assert field.state_hash() == before


def test_what_was_learned_since_the_save_is_there_after_a_reboot(field: FieldClient) -> None:
    """The journal: raw samples, exemplars and classes, one after the other."""
    twin = TwinLearner(MODEL)
    raw = random_raw(MODEL, 3, seed=4)
    packed = pack_x0(twin.x0_of(raw[:1])[0].astype(np.int8))
    field.learn(raw[1], 0)
    twin.learn(raw[1], 0)
    field.put_exemplar(1, 40, packed)
    twin.put_exemplar(1, 40, packed)
    assert field.add_class() == twin.add_class()
    field.learn(raw[2], 2)
    twin.learn(raw[2], 2)
    assert field.reboot() == twin.state_hash()
    stored = [field.get_exemplar(i) for i in range(field.info().samples)]
    assert stored == [twin.get_exemplar(i) for i in range(len(stored))]
    assert field.commit() == twin.commit()
    assert field.reboot() == twin.state_hash()


def test_session_goes_on_from_its_checkpoint(field: FieldClient) -> None:
    twin = TwinLearner(MODEL)
    field.train_begin(7, 3, [(0, RATE)], "balanced")
    twin.train_begin(7, 3, [(0, RATE)], "balanced")
    field.train(field.info().units_per_step)
    field.checkpoint()
    field.train(field.info().units_per_step)
    assert field.reboot() is not None
    assert field.info().steps_left == 2
    while field.info().steps_left:
        field.train(1 << 16)
    while twin.train(1 << 16).steps_left:
        pass
    assert field.commit() == twin.commit()


def test_checkpoint_within_a_step_is_refused(field: FieldClient) -> None:
    field.train_begin(7, 2, [(0, RATE)], "balanced")
    field.train(1)
    assert status_of(field, 0x21) == -2
