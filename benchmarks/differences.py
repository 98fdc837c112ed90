# SPDX-License-Identifier: Apache-2.0
"""Where two executions part: the first event, and the fields of the state after that step."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import Subject
from benchmarks.scenario import Event, Learner, Place, Trace, run_scenario
from device.harness.errors import HarnessError
from device.twin.model import IntModel
from device.twin.state import HEADER

Boot = Callable[[], AbstractContextManager[Learner]]


def describe(item: Subject, expected: Trace, got: Trace, twin: Boot, device: Boot) -> str:
    """What differs first, for people; "" if nothing does.

    Where the difference can come from a training step, both run again up to the end of that step,
    and their working states are compared field by field.

    Args:
        twin, device: how to boot each afresh.
    """
    first = expected.difference(got)
    if first is None:
        return ""
    text = f"{first[0].what}: {first[1].value[:64]}, twin {first[0].value[:64]}"
    place = _step_at(expected, got)
    if place is None:
        return text
    try:
        fields = _compare_after(item, place, twin, device)
    except HarnessError as error:
        return f"{text}; state not readable: {error}"
    where = f"first in session {place.session}, step {place.step}"
    return f"{text}; {where}: {'; '.join(fields) or 'samples or statistics only'}"


def _step_at(expected: Trace, got: Trace) -> Place | None:
    """The step in which, or right after which, the traces part; None before the first step."""
    for at, event in enumerate(expected.events):
        other = got.events[at] if at < len(got.events) else Event("none", "")
        if event != other:
            return next((e.place for e in expected.events[at:] if e.place is not None), None)
    return None


def _compare_after(item: Subject, place: Place, twin: Boot, device: Boot) -> list[str]:
    states = []
    for boot in (twin, device):
        with boot() as learner:
            run_scenario(learner, item, until=place)
            states.append(learner.export_state(working=True))
    return compare_states(item.model, states[0], states[1])


@dataclass(frozen=True)
class Field:
    """A run of equal values in an exported state (SPEC.md 9)."""

    name: str
    dtype: str
    count: int
    columns: int = 1


def state_fields(model: IntModel) -> list[Field]:
    """Fields of an exported state in their order, without header and digest."""
    width = "<i1" if model.arithmetic.master_bits == 8 else "<i2"
    fields = [Field("step", "<u4", 1)]
    for at, layer in enumerate(model.layers):
        fields.append(Field(f"layer {at} masters", width, layer.master.size, layer.inputs))
        fields.append(Field(f"layer {at} biases", "<i4", layer.outputs))
    fields.append(Field("tracked ranges", "<i4", len(model.layers) - 1))
    for label in range(model.max_classes if model.keep_prototypes else 0):
        fields.append(Field(f"prototype {label} count", "<u2", 1))
        fields.append(Field(f"prototype {label} sums", "<i2", model.features))
    return fields


def compare_states(model: IntModel, expected: bytes, got: bytes) -> list[str]:
    """One line for every field that differs between two exported states of equal length."""
    at, lines = HEADER.size, []
    for field in state_fields(model):
        mine = np.frombuffer(expected, field.dtype, field.count, at)
        theirs = np.frombuffer(got, field.dtype, field.count, at)
        at += mine.nbytes
        if (mine != theirs).any():
            lines.append(_field_line(field, mine, theirs))
    return lines


def _field_line(field: Field, expected: NDArray[np.generic], got: NDArray[np.generic]) -> str:
    wrong = np.flatnonzero(expected != got)
    first = int(wrong[0])
    index = f"[{first // field.columns}, {first % field.columns}]" if field.columns > 1 else first
    count = f"{len(wrong)} of {field.count}"
    return f"{field.name}: {count}, first {index}: {got[first]}, twin {expected[first]}"
