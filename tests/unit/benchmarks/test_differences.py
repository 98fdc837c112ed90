# SPDX-License-Identifier: Apache-2.0
"""Naming what differs between two executions."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.differences import compare_states, describe, state_fields
from benchmarks.executions import boot_twin
from benchmarks.models import SMALL_INT8, subject
from benchmarks.scenario import Event, Learner, Place, Trace, run_scenario
from device.twin.learner import TwinLearner
from device.twin.state import HEADER, payload_size

ITEM = subject(SMALL_INT8)


class _WrongLearner(TwinLearner):
    """A twin whose first head bias is one too large from its third step on."""

    def state_hash(self) -> bytes:
        self._spoil()
        return super().state_hash()

    def export_state(self, working: bool = False) -> bytes:
        self._spoil()
        return super().export_state(working)

    def _spoil(self) -> None:
        if self.working.step == 3:
            self.working.weights[1].bias[2] = 12345


@contextmanager
def _wrong() -> Iterator[Learner]:
    yield _WrongLearner(ITEM.model)


@pytest.fixture(scope="module")
def expected() -> Trace:
    with boot_twin(ITEM) as twin:
        return run_scenario(twin, ITEM)


def test_state_fields_cover_the_payload() -> None:
    sizes = {"<u4": 4, "<i1": 1, "<i2": 2, "<i4": 4, "<u2": 2}
    covered = sum(field.count * sizes[field.dtype] for field in state_fields(ITEM.model))
    assert covered == payload_size(ITEM.model)


def test_compare_states_names_layer_row_and_column() -> None:
    with boot_twin(ITEM) as twin:
        good = twin.export_state()
    at = HEADER.size + 4 + 64 * 3 + 5  # step, then row 3, column 5 of layer 0
    bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    (line,) = compare_states(ITEM.model, good, bad)
    assert line.startswith("layer 0 masters: 1 of 2048, first [3, 5]: ")
    assert compare_states(ITEM.model, good, good) == []


def test_describe_equal_traces_is_empty(expected: Trace) -> None:
    assert describe(ITEM, expected, expected, lambda: boot_twin(ITEM), _wrong) == ""


def test_describe_names_first_step_and_field(expected: Trace) -> None:
    with _wrong() as learner:
        got = run_scenario(learner, ITEM)
    text = describe(ITEM, expected, got, lambda: boot_twin(ITEM), _wrong)
    assert "first in session 1, step 3: layer 1 biases: 1 of 10, first 2: 12345" in text


def test_difference_sees_a_trace_that_ends_early(expected: Trace) -> None:
    short = Trace(expected.events[:-1], "", "", expected.steps)
    assert expected.difference(short) is not None
    assert expected.difference(expected) is None


def test_run_scenario_until_a_step_gives_the_same_bits(expected: Trace) -> None:
    place = Place(2, 4)
    with boot_twin(ITEM) as twin:
        cut = run_scenario(twin, ITEM, until=place)
    hashes = {event.place: event for event in expected.events if event.place}
    assert cut.events[-1] == Event("session 2, step 4", hashes[place].value, place)
