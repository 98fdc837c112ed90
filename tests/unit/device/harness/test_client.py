# SPDX-License-Identifier: Apache-2.0
"""Frames of the typed client: bytes worked by hand from SPEC.md 10."""

import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from device.harness.client import DeviceClient, TrainProgress
from device.harness.errors import DeviceStatusError
from device.twin.scale import Scale


class FakeTransport:
    """Answers from a function; keeps the requests."""

    def __init__(self, answer: Callable[[int, bytes], bytes]) -> None:
        self.answer = answer
        self.requests: list[tuple[int, bytes]] = []

    def exchange(self, command: int, payload: bytes = b"", timeout_s: float = 1.0) -> bytes:
        self.requests.append((command, payload))
        return self.answer(command, payload)

    def instructions(self) -> int | None:
        return 17

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def info_reply(state_bytes: int) -> bytes:
    return bytes(range(16)) + struct.pack("<10H4I", *range(1, 11), 5, 6, state_bytes, 7)


def test_info_fields_are_in_the_order_of_the_wire() -> None:
    info = DeviceClient(FakeTransport(lambda c, p: info_reply(99))).info()
    assert info.model_id == bytes(range(16))
    assert (info.inputs, info.n_classes, info.staged) == (1, 5, 10)
    assert (info.step, info.steps_left, info.state_bytes, info.units_per_step) == (5, 6, 99, 7)


def test_infer_request_and_reply() -> None:
    transport = FakeTransport(lambda c, p: struct.pack("<HHhh", 1, 2, -3, 4))
    label, logits = DeviceClient(transport).infer(np.array([1, -2], np.int16), head=1)
    assert transport.requests == [(0x02, b"\x01\x00\x01\x00\xfe\xff")]
    assert (label, logits.tolist()) == (1, [-3, 4])


def test_infer_many_gives_all_labels_and_logits() -> None:
    transport = FakeTransport(lambda c, p: struct.pack("<HHh", p[2], 1, p[2]))
    labels, logits = DeviceClient(transport).infer_many(np.array([[3], [5]], np.int16))
    assert labels.tolist() == [3, 5]
    assert [row.tolist() for row in logits] == [[3], [5]]


def test_learn_x0_packs_the_first_value_low_and_pads_the_last() -> None:
    transport = FakeTransport(lambda c, p: b"\x07\x01")
    free = DeviceClient(transport).learn_x0(np.array([1, -1, 5]), 4, prototype_only=True)
    assert transport.requests == [(0x11, b"\x04\x01\xf1\x05")]
    assert free == 263


def test_train_begin_request() -> None:
    transport = FakeTransport(lambda c, p: b"")
    DeviceClient(transport).train_begin(9, 3, [(0, Scale(16384, -20)), (2, Scale(20000, 1))])
    expected = bytes.fromhex("09000000 03000000 01 02 0000 00000000 0040 ecff 02000000 204e 0100")
    assert transport.requests == [(0x05, expected)]


def test_train_reply() -> None:
    transport = FakeTransport(lambda c, p: struct.pack("<5I", 1, 2, 3, 4, 5))
    assert DeviceClient(transport).train(100) == TrainProgress(1, 2, 3, 4, 5)
    assert transport.requests == [(0x06, b"\x64\x00\x00\x00")]


def test_export_shrinks_its_chunk_until_the_device_takes_it() -> None:
    state = bytes(range(250))

    def answer(command: int, payload: bytes) -> bytes:
        if command == 0x01:
            return info_reply(len(state))
        offset, length, source, _ = struct.unpack("<IHBB", payload)
        assert source == 1
        if length > 100:
            raise DeviceStatusError(-8, command)
        return state[offset : offset + length]

    assert DeviceClient(FakeTransport(answer)).export_state(working=True) == state


def test_import_sends_all_chunks_in_order() -> None:
    received = bytearray()

    def answer(command: int, payload: bytes) -> bytes:
        if command == 0x0C:
            if len(payload) > 200:
                raise DeviceStatusError(-8, command)
            received.extend(payload)
        return b"hash" if command == 0x0D else b""

    data = bytes(n % 251 for n in range(1000))
    assert DeviceClient(FakeTransport(answer)).import_state(data) == b"hash"
    assert bytes(received) == data


def test_refusal_for_another_reason_is_passed_on() -> None:
    def answer(command: int, payload: bytes) -> bytes:
        if command == 0x0C:
            raise DeviceStatusError(-4, command)
        return b""

    with pytest.raises(DeviceStatusError, match="-4"):
        DeviceClient(FakeTransport(answer)).import_state(b"abc")


def test_counters_are_a_list_of_words() -> None:
    transport = FakeTransport(lambda c, p: struct.pack("<2I", 8, 1 << 31))
    assert DeviceClient(transport).counters(reset=True) == [8, 1 << 31]
    assert transport.requests == [(0x10, b"\x01")]


def test_instructions_are_those_of_the_transport() -> None:
    assert DeviceClient(FakeTransport(lambda c, p: b"")).instructions() == 17
