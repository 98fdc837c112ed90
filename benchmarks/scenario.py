# SPDX-License-Identifier: Apache-2.0
"""One life of a learner, as a list of events that any two executions must agree on.

Boot, learn, train in odd slices with inferences between them, commit, take back a staged sample,
add a class, learn it, train again, commit, nearest-mean inference, export and import.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import RawArray, Subject
from device.twin.scale import Scale
from device.twin.work import units_per_step

STEPS = (26, 26)  # of the two sessions; at least 50 together
SEEDS = (11, 12)
SCHEDULE = ((0, 0.1), (18, 0.02))  # from session step, learning rate
PER_CLASS = 2  # samples learned of each known class
NEW_SAMPLES = 8  # of the added class
FINAL_SAMPLES = 40  # inferred at the end, with each head
CUTS = 2  # slices end this often inside a step
SLICE_SEED = 3


class Progress(Protocol):
    """Answer of `train`."""

    @property
    def units(self) -> int:
        """Units of work that the call used."""

    @property
    def steps_left(self) -> int:
        """Steps of the session still to do."""

    @property
    def seen(self) -> int:
        """Samples seen since train_begin."""

    @property
    def correct(self) -> int:
        """How many of them were classified rightly."""

    @property
    def probability(self) -> int:
        """Sum of p[label] >> 8 over them, p in 2**-15."""


class Learner(Protocol):
    """What the twin and a device have in common."""

    def infer(self, raw: NDArray[np.int16], head: int = 0) -> tuple[int, NDArray[np.int64]]:
        """Class and logits of a raw sample."""

    def learn(self, raw: NDArray[np.int16], label: int, prototype_only: bool = False) -> int:
        """Store a raw sample; the free slots after it."""

    def add_class(self) -> int:
        """One class more; its slot."""

    def train_begin(
        self,
        seed: int,
        steps: int,
        schedule: list[tuple[int, Scale]],
        sampling: Literal["uniform", "balanced"] = "balanced",
    ) -> None:
        """Open a session."""

    def train(self, budget: int) -> Progress:
        """Train for about `budget` units."""

    def commit(self) -> bytes:
        """Make what was learned current; the state hash."""

    def rollback(self) -> bytes:
        """Back to the committed state; its hash."""

    def state_hash(self) -> bytes:
        """Hash of the committed state."""

    def export_state(self, working: bool = False) -> bytes:
        """State bytes (SPEC.md 9), of the working copy if asked."""

    def import_state(self, data: bytes) -> bytes:
        """Take over state bytes; the state hash."""

    def get_exemplar(self, index: int) -> tuple[int, int, bytes]:
        """Label, rank and packed values of an exemplar."""

    def counters(self, reset: bool = False) -> list[int]:
        """Counts of saturation since the last reset."""


@dataclass(frozen=True)
class Place:
    """A step of a session, both counted from 1."""

    session: int
    step: int


@dataclass(frozen=True)
class Event:
    """Something that all executions must answer alike.

    Attributes:
        what: for people.
        value: the answer, as hex or text.
        place: set if the event ends a training step.
    """

    what: str
    value: str
    place: Place | None = None


@dataclass(frozen=True)
class Trace:
    """What one execution answered.

    Attributes:
        events: in order.
        state_hash: the last one, hex.
        predictions: SHA-256 over every class and logit answered, hex.
        steps: training steps.
    """

    events: tuple[Event, ...]
    state_hash: str
    predictions: str
    steps: int

    def difference(self, other: "Trace") -> tuple[Event, Event] | None:
        """The first pair of events that is not equal."""
        for mine, theirs in zip(self.events, other.events, strict=False):
            if mine != theirs:
                return mine, theirs
        if len(self.events) != len(other.events):
            return self.events[-1], other.events[-1]
        return None


@dataclass
class _Recorder:
    """Runs commands and keeps the answers."""

    learner: Learner
    subject: Subject
    until: Place | None = None
    events: list[Event] = field(default_factory=list)
    answers: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    steps: int = 0
    probes: int = 0

    def note(self, what: str, value: bytes | str, place: Place | None = None) -> None:
        text = value.hex() if isinstance(value, bytes) else value
        self.events.append(Event(what, text, place))

    def infer(self, raw: NDArray[np.int16], head: int = 0) -> None:
        label, logits = self.learner.infer(raw, head)
        answer = f"{head} {label} {logits.tolist()}"
        self.answers.update(answer.encode() + b"\n")
        self.note("inference", answer)

    def probe(self) -> None:
        """One inference, each time of the next sample."""
        self.infer(self.subject.raw[self.probes % len(self.subject.raw)])
        self.probes += 1

    def is_done(self) -> bool:
        return self.until is not None and self.events[-1].place == self.until


def run_scenario(learner: Learner, subject: Subject, until: Place | None = None) -> Trace:
    """Run the whole scenario on a freshly booted learner.

    Args:
        until: stop right after this step, its session cut to end there; the working state can then
            be exported.
    """
    recorder = _Recorder(learner, subject, until)
    recorder.note("boot", learner.state_hash())
    _first_session(recorder)
    if not recorder.is_done():
        before = learner.export_state()
        recorder.note("export", hashlib.sha256(before).digest())
        _take_back(recorder)
        _second_session(recorder)
        if not recorder.is_done():
            _finish(recorder, before)
    last = recorder.events[-1]
    return Trace(tuple(recorder.events), last.value, recorder.answers.hexdigest(), recorder.steps)


def _first_session(recorder: _Recorder) -> None:
    subject = recorder.subject
    known = subject.model.n_classes
    for label in range(known):
        _learn(recorder, subject.raw[subject.labels == label][:PER_CLASS], label)
    recorder.probe()
    recorder.note("learned", recorder.learner.state_hash())
    _train(recorder, 1)


def _take_back(recorder: _Recorder) -> None:
    """A staged sample is dropped; one that only moves a prototype stays."""
    learner, subject = recorder.learner, recorder.subject
    _learn(recorder, subject.raw[:1], 0)
    recorder.note("staged", learner.state_hash())
    recorder.note("rollback", learner.rollback())
    recorder.note("prototype only", str(learner.learn(subject.raw[1], 1, True)))


def _second_session(recorder: _Recorder) -> None:
    subject = recorder.subject
    new = recorder.learner.add_class()
    recorder.note("class added", str(new))
    _learn(recorder, subject.raw[subject.labels == new][:NEW_SAMPLES], new)
    recorder.note("learned", recorder.learner.state_hash())
    _train(recorder, 2)


def _finish(recorder: _Recorder, before: bytes) -> None:
    """Both heads on many samples; the state out, an older one in and out again, and back."""
    learner, raw = recorder.learner, recorder.subject.raw
    for sample in raw[-FINAL_SAMPLES:]:
        recorder.infer(sample)
        if recorder.subject.model.keep_prototypes:
            recorder.infer(sample, 1)
    after = learner.export_state()
    recorder.note("export", hashlib.sha256(after).digest())
    recorder.note("exemplar", repr(learner.get_exemplar(0)))
    recorder.note("import", learner.import_state(before))
    recorder.note("rollback", learner.rollback())
    recorder.note("import", learner.import_state(after))
    recorder.note("counters", str(learner.counters()))
    recorder.note("commit", learner.commit())


def _learn(recorder: _Recorder, raw: RawArray, label: int) -> None:
    for sample in raw:
        recorder.note("free slots", str(recorder.learner.learn(sample, label)))


def _train(recorder: _Recorder, session: int) -> None:
    """A session, and its commit unless the scenario ends in it."""
    steps, until = STEPS[session - 1], recorder.until
    if until is not None and until.session == session:
        steps = until.step
    schedule = [(start, Scale.from_real(rate)) for start, rate in SCHEDULE]
    sampling: Literal["uniform", "balanced"] = "balanced" if session == 1 else "uniform"
    recorder.learner.train_begin(SEEDS[session - 1], steps, schedule, sampling)
    generator = np.random.default_rng([SLICE_SEED, session])
    for step in range(1, steps + 1):
        _step(recorder, generator)
        recorder.steps += 1
        place = Place(session, step)
        what = f"session {session}, step {step}"
        recorder.note(what, recorder.learner.state_hash(), place)
    if not recorder.is_done():
        recorder.note("commit", recorder.learner.commit())


def _step(recorder: _Recorder, generator: np.random.Generator) -> None:
    """One step in slices that end anywhere in it, an inference after each but the last."""
    units = units_per_step(recorder.subject.model)
    ends = [*sorted(generator.integers(1, units, CUTS).tolist()), units]
    used = 0
    for end in ends:
        if end <= used:
            continue
        progress = recorder.learner.train(end - used)
        used += progress.units
        recorder.note("slice", _progress(progress))
        if used < units:
            recorder.probe()


def _progress(progress: Progress) -> str:
    values: Sequence[int] = (
        progress.units,
        progress.steps_left,
        progress.seen,
        progress.correct,
        progress.probability,
    )
    return " ".join(str(v) for v in values)
