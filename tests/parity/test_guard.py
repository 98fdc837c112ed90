# SPDX-License-Identifier: Apache-2.0
"""The forgetting guard of a field device (SPEC.md 13.2): what it refuses, what it lets pass.

The twin says which reserved samples each state gets right; the expected verdict follows from that.
"""

from pathlib import Path

import numpy as np
import pytest

from device.harness.field_client import FieldClient
from device.packet import class_id
from device.twin.exemplars import pack_x0
from device.twin.learner import TwinLearner
from tests.faults.powercut.session import RELEASE, ROOT, VENDOR, make_packet, public
from tests.parity.models import random_raw
from tests.parity.test_field_device import BASE, MODEL, close, device, open_field

__all__ = ["device"]  # a fixture

OFF = 0xFFFF
CLASS_FELL, MEAN_FELL = 16, 17


def state(change: str) -> bytes:
    """BASE after a change: its two classes swapped, or a row moved that no class uses."""
    twin = TwinLearner(MODEL)
    head = twin.working.weights[-1]
    if change == "swapped":
        head.master[[0, 1]] = head.master[[1, 0]]
        head.bias[[0, 1]] = head.bias[[1, 0]]
    else:
        head.master[5] += 3
    twin.working.step = 5
    twin.commit()
    return twin.export_state()


def reserved() -> list[tuple[int, bytes]]:
    """Two samples a class that the base gets right, by a clear margin."""
    twin = TwinLearner(MODEL)
    x0 = twin.x0_of(random_raw(MODEL, 200, seed=6))
    logits = twin.forward_x0(x0, twin.committed)[1][:, :2]
    right = logits.argmax(axis=1)
    clear = np.abs(logits[:, 0] - logits[:, 1]) > 4
    chosen = [np.flatnonzero(clear & (right == c))[:2] for c in (0, 1)]
    assert all(len(found) == 2 for found in chosen)
    return [(c, pack_x0(x0[i].astype(np.int8))) for c in (0, 1) for i in chosen[c]]


def with_guard(device: FieldClient, *limits: int) -> None:
    """Reserve the samples and set class_drop, mean_drop, new_floor."""
    for label, packed in reserved():
        device.guard_add(label, packed)
    device.guard_limits(*limits)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [((999, OFF, OFF), CLASS_FELL), ((OFF, 999, OFF), MEAN_FELL), ((0, 0, OFF), CLASS_FELL)],
)
def test_packet_that_forgets_is_refused_and_rolled_back(
    device: FieldClient, limits: tuple[int, int, int], reason: int
) -> None:
    with_guard(device, *limits)
    before = device.state_hash()
    assert device.packet_status(make_packet(MODEL, BASE, state("swapped"), 2, [])) == -9
    assert device.field_info().reason == reason
    assert (device.export_state(), device.state_hash()) == (BASE, before)
    device.reboot()
    assert device.export_state() == BASE


def test_guard_of_an_emulated_board_refuses_and_passes(work: Path) -> None:
    device = open_field(work, "mps3-an547")
    device.provision(VENDOR, class_id(VENDOR, MODEL.model_id), public(ROOT), public(RELEASE))
    with_guard(device, 999, OFF, OFF)
    packet = make_packet(MODEL, BASE, state("swapped"), 2, [])
    assert (device.packet_status(packet), device.field_info().reason) == (-9, CLASS_FELL)
    device.reboot()
    assert device.export_state() == BASE
    device.guard_limits(1000, OFF, OFF)
    assert device.packet_status(packet) == 0
    assert device.export_state() == state("swapped")
    close(device)


def test_packet_within_the_limits_passes(device: FieldClient) -> None:
    with_guard(device, 0, 0, OFF)
    result = state("harmless")
    assert device.packet_status(make_packet(MODEL, BASE, result, 2, [])) == 0
    assert device.export_state() == result


@pytest.mark.parametrize("limits", [(1000, OFF, OFF), (OFF, 1000, OFF), (OFF, OFF, OFF)])
def test_packet_that_forgets_passes_where_the_limits_allow_it(
    device: FieldClient, limits: tuple[int, int, int]
) -> None:
    """A fall of all is 1000 thousandths: a limit of 1000 is not exceeded by it."""
    with_guard(device, *limits)
    result = state("swapped")
    assert device.packet_status(make_packet(MODEL, BASE, result, 2, [])) == 0
    assert device.export_state() == result
