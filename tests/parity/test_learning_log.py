# SPDX-License-Identifier: Apache-2.0
"""The learning log of a device (SPEC.md 13.4): its bytes, and that the twin repeats it."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.packet import class_id
from device.packet.learning_log import LearningLog, LearningLogError, digest_samples
from device.twin.learner import TwinLearner
from device.twin.session import LearnerError
from tests.faults.powercut.session import RATE, RELEASE, ROOT, VENDOR, make_session, public
from tests.parity.test_field_device import (
    BASE,
    DEFINES,
    GOOD,
    MODEL,
    close,
    open_field,
)

SESSION = make_session()
ROWS = digest_samples(np.stack([SESSION.x0(i) for i in range(len(SESSION.samples))]))
SMALL = 40


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture
def device(work: Path) -> Iterator[FieldClient]:
    client = open_field(work, "host", sanitize=True)
    client.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    yield client
    close(client)


def log_of(device: FieldClient) -> LearningLog:
    """The device's log, read."""
    return LearningLog.from_bytes(device.learning_log())


def digest(number: int) -> bytes:
    """Of a sample of the session, as a log has it."""
    return hashlib.sha256(SESSION.samples[number][1]).digest()[:8]


def learn_a_class(device: FieldClient, twin: TwinLearner) -> bytes:
    """A class, samples, an exemplar, training, a commit. Returns: the records by hand."""
    for learner in (device, twin):
        learner.add_class()
        for number in (0, 1, 4):
            learner.learn_x0(SESSION.x0(number), min(number, 2), number == 1)
        learner.put_exemplar(1, 7, SESSION.samples[1][1])
        learner.train_begin(9, 2, [(0, RATE)], "balanced")
        learner.train(1 << 30)
        learner.commit()
    session = struct.pack("<IIBBBB", 9, 2, 1, 1, 0, 0)
    session += struct.pack("<IHh", 0, RATE.mantissa, RATE.exponent)
    return b"".join(
        [
            b"\x04\x00",
            b"\x11\x0a\x00\x00" + digest(0),
            b"\x11\x0a\x01\x01" + digest(1),
            b"\x11\x0a\x02\x00" + digest(4),
            b"\x0e\x0c\x01\x00\x07\x00" + digest(1),
            b"\x05" + bytes([len(session)]) + session,
            b"\x07\x00",
        ]
    )


@pytest.mark.parametrize("board", ["host", "mps2-an385"])
def test_log_is_what_was_done_and_the_twin_repeats_it(work: Path, board: str) -> None:
    device, twin = open_field(work, board, sanitize=board == "host"), TwinLearner(MODEL)
    begin = twin.state_hash()
    records = learn_a_class(device, twin)
    log = log_of(device)
    head = b"HADL\x01\x00\x01\x00" + MODEL.model_id + begin + twin.state_hash()
    assert log.to_bytes() == head + struct.pack("<I", len(records)) + records
    assert log.repeat(TwinLearner(MODEL), ROWS) == log.result == device.state_hash()
    device.reboot()
    assert log_of(device) == log
    close(device)


def test_every_change_of_a_record_leads_elsewhere_or_is_refused(device: FieldClient) -> None:
    """The oracle can fail: another label, seed, rate or order is seen in the hash."""
    learn_a_class(device, TwinLearner(MODEL))
    log = log_of(device)
    for number, record in enumerate(log.records):
        if number == 2:  # in prototypes alone, which the commit took anew from exemplars
            continue
        for at in {0, 8, 16} & set(range(len(record.payload))):
            payload = bytearray(record.payload)
            payload[at] ^= 1
            records = list(log.records)
            records[number] = replace(record, payload=bytes(payload))
            try:
                arrived = replace(log, records=tuple(records)).repeat(TwinLearner(MODEL), ROWS)
            except (LearningLogError, LearnerError, ValueError):
                continue
            assert arrived != log.result, (number, at)


def test_log_in_the_middle_survives_a_start_from_flash(device: FieldClient) -> None:
    device.add_class()
    device.learn_x0(SESSION.x0(0), 0)
    before = log_of(device)
    device.reboot()
    assert log_of(device) == before
    assert before.repeat(TwinLearner(MODEL), ROWS) == device.state_hash()


def test_what_is_rolled_back_leaves_the_log(device: FieldClient) -> None:
    learn_a_class(device, TwinLearner(MODEL))
    before = log_of(device)
    device.learn_x0(SESSION.x0(1), 1)
    assert len(log_of(device).records) == len(before.records) + 1
    device.rollback()
    assert log_of(device) == before


def test_import_is_no_record_and_the_commit_after_it_begins_anew(device: FieldClient) -> None:
    device.import_state(BASE)
    assert not log_of(device).whole
    with pytest.raises(LearningLogError, match="not whole"):
        log_of(device).repeat(TwinLearner(MODEL), ROWS)
    now = device.commit()
    log = log_of(device)
    assert (log.whole, log.base, log.records) == (True, now, ())


def test_accepted_packet_begins_the_log_anew(device: FieldClient) -> None:
    now = device.apply_packet(GOOD)
    log = log_of(device)
    assert (log.whole, log.base, log.result, log.records) == (True, now, now, ())


def test_restart_is_refused_while_something_is_uncommitted(device: FieldClient) -> None:
    device.learn_x0(SESSION.x0(0), 0)
    with pytest.raises(DeviceStatusError, match="-2"):
        device.restart_log()
    now = device.commit()
    device.restart_log()
    log = log_of(device)
    assert (log.base, log.records) == (now, ())


def test_log_beyond_its_bytes_says_so_until_the_next_commit(work: Path) -> None:
    device = open_field(work, "host", defines=(*DEFINES, f"HAD_LOG_BYTES={SMALL}U"))
    for number in range(3):
        device.learn_x0(SESSION.x0(number), 0)
    assert log_of(device).whole
    device.learn_x0(SESSION.x0(3), 0)
    log = log_of(device)
    assert (log.whole, len(log.records)) == (False, 3)
    device.reboot()
    assert log_of(device) == log
    now = device.commit()
    assert (log_of(device).whole, log_of(device).base) == (True, now)
    close(device)


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "at least 92": lambda log: log[:91],
    "no learning log": lambda log: b"X" + log[1:],
    "bytes of records, not": lambda log: log + b"\0",
    "record at byte 0": lambda log: log[:88] + b"\x02\0\0\0" + b"\x04\x01",
    "record at byte 2": lambda log: log[:88] + b"\x04\0\0\0" + b"\x04\0\x0b\0",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_log_is_refused(text: str) -> None:
    good = LearningLog(True, bytes(16), bytes(32), bytes(32), ()).to_bytes()
    with pytest.raises(LearningLogError, match=text):
        LearningLog.from_bytes(MALFORMED[text](good))


def test_samples_that_are_missing_are_counted() -> None:
    twin = TwinLearner(MODEL)
    data = b"\x11\x0a\x00\x00" + digest(0)
    head = b"HADL\x01\x00\x01\x00" + MODEL.model_id + twin.state_hash() * 2
    log = LearningLog.from_bytes(head + struct.pack("<I", len(data)) + data)
    with pytest.raises(LearningLogError, match="1 samples of the log are not"):
        log.repeat(twin, {})
    with pytest.raises(LearningLogError, match="begins at 0000"):
        replace(log, base=bytes(32)).repeat(twin, ROWS)
