# SPDX-License-Identifier: Apache-2.0
"""Where two runs part: layer by layer in an inference, field by field in a state.

A run is a model with its learner on an execution: the twin, the host build, or an emulated board.
Builds that are compared send what every layer makes; but for that they are the ordinary ones.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codegen.lower import lower
from device.harness.boards import BOARDS
from device.harness.client import DeviceClient
from device.harness.devices import HostTransport, open_device
from device.harness.transport import Transport
from device.harness.unicorn_device import UnicornTransport
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from device.twin.scale import Scale
from device.twin.state import LearnerState
from device.twin.trace import INT16_ENDS, LayerTrace, trace
from server.errors import DeviceFailedError
from server.learning.explaining import state_of
from server.learning.firmwares import backend_for, build_firmware, get_board, service_errors
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.ports import Float32Array, Int64Array, Json
from server.learning.sessions import LearnerOps, restore, stage

TWIN, HOST = "twin", "host"
ALL_UNITS = 2**32 - 1


@dataclass(frozen=True)
class Run:
    """A model, its learner, and what executes it: twin, host or a board's name."""

    model: IntModel
    learner: LearnerData
    execution: str


@dataclass(frozen=True)
class Layer:
    """A layer's integers in one run, int64 (N, values)."""

    name: str
    kind: str
    q: Int64Array


def first_difference(a: Sequence[Layer], b: Sequence[Layer]) -> tuple[list[Json], Json | None]:
    """Layers compared in order, up to and with the first that parts.

    Returns: a row a layer; and that layer's first difference, None if there is none: layer, reason,
        sample and position, both values, how many values differ, and by how much at most.
    """
    rows: list[Json] = []
    for at, (one, other) in enumerate(zip(a, b, strict=False)):
        found = _difference(at, one, other)
        rows.append({"layer": at, "name": one.name, "kind": one.kind, "equal": found is None,
                     "values": int(one.q[0].size)})  # fmt: skip
        if found is not None:
            return rows, found
    if len(a) != len(b):
        at = min(len(a), len(b))
        extra = (a if len(a) > at else b)[at]
        reason = f"one run has {len(a)} layers, the other {len(b)}"
        return rows, {"layer": at, "name": extra.name, "kind": extra.kind, "reason": reason}
    return rows, None


def _difference(at: int, a: Layer, b: Layer) -> Json | None:
    head: Json = {"layer": at, "name": a.name, "kind": a.kind}
    if (a.kind, a.q.shape) != (b.kind, b.q.shape):
        reason = f"{a.kind} of {a.q.shape[1]} values against {b.kind} of {b.q.shape[1]}"
        return {**head, "reason": reason}
    unequal = np.argwhere(a.q != b.q)
    if not len(unequal):
        return None
    sample, position = (int(i) for i in unequal[0])
    return {
        **head,
        "reason": "values differ",
        "sample": sample,
        "position": position,
        "a": int(a.q[sample, position]),
        "b": int(b.q[sample, position]),
        "different_values": len(unequal),
        "all_values": int(a.q.size),
        "largest_difference": int(np.abs(a.q - b.q).max()),
    }


def layers_of(run: Run, x: Float32Array, cache: Path) -> list[Layer]:
    """Every layer's integers in a run on samples x, float32 (N, features).

    Raises: InvalidInputError for an unknown board; ModelDoesNotFitError; ToolMissingError.
    """
    raw = raw_samples(run.model, x)
    twin = list(trace(run.model, state_of(run.model, run.learner.state), raw))
    if run.execution == TWIN:
        return [Layer(t.name, t.kind, t.q) for t in twin]
    with _device(run, cache, samples=0) as (device, transport):
        rows = []
        for sample in raw:
            device.infer(sample)
            rows.append(_one(run.model, twin, transport.traces))
    layers = [np.stack(parts) for parts in zip(*rows, strict=True)]
    return [Layer(t.name, t.kind, q) for t, q in zip(twin, layers, strict=True)]


def _one(model: IntModel, twin: Sequence[LayerTrace], traces: Sequence[bytes]) -> list[Int64Array]:
    """Traces of one inference by layer; the twin's shapes say how to read them."""
    calls = lower(model).calls
    if len(traces) != len(calls):
        raise DeviceFailedError(f"{len(traces)} traces came for {len(calls)} calls.")
    last = [at for at, call in enumerate(calls) if at + 1 == len(calls)
            or calls[at + 1].comment != call.comment]  # fmt: skip
    layers = []
    for layer, at in zip(twin, last, strict=True):
        dtype = "<i2" if layer.qmax == INT16_ENDS[1] else "i1"
        values = np.frombuffer(traces[at], dtype).astype(np.int64)
        layers.append(values[: layer.q.shape[1]])
    return layers


@contextmanager
def _device(
    run: Run, cache: Path, samples: int
) -> Iterator[tuple[DeviceClient, HostTransport | UnicornTransport]]:
    """The run's learner on its execution, in a build that sends traces."""
    board = BOARDS[HOST] if run.execution == HOST else get_board(run.execution)
    slots = max(run.model.staging_slots, samples)
    defines = (f"HAD_STAGING_SLOTS={slots}U",) if board.is_host else ()
    firmware = build_firmware(run.model, board, cache, defines, trace=True)
    backend = "host" if board.is_host else backend_for(board)
    with service_errors(), open_device(firmware, board, backend, count=False) as transport:
        device = DeviceClient(transport)
        restore(device, initial_exemplars(run.model), run.learner)
        yield device, _tracing(transport)


def _tracing(transport: Transport) -> HostTransport | UnicornTransport:
    return transport  # type: ignore[return-value]


def states_differ(model: IntModel, a: bytes, b: bytes) -> Json | None:
    """The first field in which two exported states part (SPEC.md 9), None if there is none.

    Raises: StateFormatError if either is not a state of this model.
    """
    return _fields_differ(model, state_of(model, a), state_of(model, b))


def _fields_differ(model: IntModel, a: LearnerState, b: LearnerState) -> Json | None:
    for (name, one), (_, other) in zip(_fields(model, a), _fields(model, b), strict=True):
        unequal = np.argwhere(one != other)
        if len(unequal):
            at = tuple(int(i) for i in unequal[0])
            return {
                "field": name,
                "position": list(at),
                "a": int(one[at]),
                "b": int(other[at]),
                "different_values": len(unequal),
                "all_values": int(one.size),
            }
    return None


def _fields(model: IntModel, state: LearnerState) -> Iterator[tuple[str, Int64Array]]:
    """Fields of a state in the order of SPEC.md 8.7."""
    yield "n_classes", np.array([state.n_classes])
    yield "step", np.array([state.step])
    for layer, weights in zip(model.layers, state.weights, strict=True):
        yield f"masters of {layer.name}", weights.master
        yield f"biases of {layer.name}", weights.bias
    yield "tracked ranges", np.array(state.tracked, np.int64)
    c = state.correction
    yield "bias correction", np.array([c.first, c.last, c.alpha, c.beta])
    yield "prototype counts", state.prototypes.count
    yield "prototype sums", state.prototypes.total


@dataclass(frozen=True)
class Lesson:
    """What both runs train: samples (N, features), labels (N,), steps, seed, learning rate."""

    x: Float32Array
    y: Int64Array
    steps: int
    seed: int
    rate: float = 0.05


def training_differs(a: Run, b: Run, lesson: Lesson, cache: Path) -> Json | None:
    """Train both from their learners, step by step; the first step whose states part.

    Returns: step (0: before any) and the field, as in `states_differ`; None if all are equal.
    """
    with _learner(a, lesson, cache) as one, _learner(b, lesson, cache) as other:
        pairs = zip(_states(one, a, lesson), _states(other, b, lesson), strict=True)
        for step, (left, right) in enumerate(pairs):
            found = states_differ(a.model, left, right)
            if found is not None:
                return {"step": step, **found}
    return None


@contextmanager
def _learner(run: Run, lesson: Lesson, cache: Path) -> Iterator[LearnerOps]:
    if run.execution == TWIN:
        twin = TwinLearner(run.model, staging_slots=max(run.model.staging_slots, len(lesson.x)))
        restore(twin, initial_exemplars(run.model), run.learner)
        yield twin
        return
    with _device(run, cache, len(lesson.x)) as (device, _):
        yield device


def _states(learner: LearnerOps, run: Run, lesson: Lesson) -> Iterator[bytes]:
    """The working state before the first step and after every one, each a session of its own."""
    count = max(run.learner.n_classes, int(lesson.y.max()) + 1)
    raw = raw_samples(run.model, lesson.x)
    stage(learner, raw, lesson.y, run.learner.n_classes, count)
    yield learner.export_state(working=True)
    for _ in range(lesson.steps):
        learner.train_begin(lesson.seed, 1, [(0, Scale.from_real(lesson.rate))])
        while learner.train(ALL_UNITS).steps_left:
            pass
        yield learner.export_state(working=True)
