# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 8 and 9 in plain Python: memory, sampler, training session, commit, state bytes.

Part of the oracle of `arithmetic.py`: it imports nothing of the project. Written to be read beside
the specification and to be slow; refusals are left out, its users ask only what is allowed.
"""

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass

from tests.vectors import arithmetic as ar
from tests.vectors import network as nw
from tests.vectors.arithmetic import Matrix, ScalePair, Vector
from tests.vectors.memory import (
    UNRANKED,
    Prototype,
    Sample,
    corrected,
    draw_batch,
    fit_correction,
    held_samples,
    herd,
    nearest_mean,
    order_of,
    pack,
)
from tests.vectors.network import Network, Weights

__all__ = ["Memory", "Prototype", "ReferenceLearner", "Sample", "State"]

TENSORS = ("x", "wq", "dh", "wh", "dt", "xh")
PRODUCTS = ("forward", "input_gradient", "weight_gradient")


@dataclass
class State:
    """Working or committed copy (8)."""

    n_classes: int
    step: int
    weights: list[Weights]
    tracked: Vector
    prototypes: list[Prototype]
    correction: tuple[int, int, int, int] = (0, 0, 4096, 0)

    def copy(self) -> "State":
        """A deep copy."""
        return State(
            self.n_classes,
            self.step,
            [w.copy() for w in self.weights],
            list(self.tracked),
            [Prototype(p.n, list(p.s)) for p in self.prototypes],
            self.correction,
        )

    @property
    def frozen_ranges(self) -> Vector:
        """Ranges of inference (5.3)."""
        return [max(1, ar.rhu(t, 8)) for t in self.tracked]


@dataclass
class Memory:
    """Sizes of the exemplar memory (2)."""

    exemplar_slots: int
    per_class_limit: int
    keep_prototypes: bool
    bias_correction: bool = False


@dataclass
class Session:
    """A training session and its statistics."""

    seed: int
    steps: int
    schedule: list[tuple[int, ScalePair]]
    sampling: str
    weight: int = 0
    soften: int = 0
    hold: int = 0
    targets: list[tuple[Sample, Vector]] | None = None
    done: int = 0
    row: int = 0
    correct: int = 0
    probability: int = 0


def work_rows(net: Network, weights: list[Weights]) -> Vector:
    """Units of every row of a step, in order (8.6); the head has C rows."""
    b, bp = net.batch, ar.padded(net.batch, net.n)
    sizes = [(len(w.master), len(w.master[0])) for w in weights]
    table = [(b, sizes[0][1])]
    for index, (o, i) in enumerate(sizes):
        table.append((o, i * b + 4 * i))
        if index + 1 < len(sizes):
            table.append((b, 2 * o))
    table.append((b, 16 * sizes[-1][0]))
    for index in range(len(sizes) - 1, -1, -1):
        o, i = sizes[index]
        op = ar.padded(o, net.n)
        if index > 0:
            table += [(b, 4 * op), (i, 4 * op), (b, 8 * op), (i, op * b + 8 * op)]
        table += [(i, 4 * bp), (i, 8 * bp), (o, i * bp + 8 * bp + 8 * i)]
    return [max(1, (products + 63) // 64) for rows, products in table for _ in range(rows)]


class ReferenceLearner:
    """The learner of SPEC.md 8; attributes are plain and may be looked at."""

    def __init__(
        self, model_id: bytes, net: Network, memory: Memory, state: State, samples: list[Sample]
    ) -> None:
        self.model_id, self.net, self.memory = model_id, net, memory
        self.working, self.committed = state, state.copy()
        self.samples = samples
        self.session: Session | None = None
        self.trained = False
        net.counts = [Counter() for _ in net.layers]

    def _features(self, state: State, x0: Vector) -> Vector:
        return nw.features_and_logits(self.net, state.weights, state.frozen_ranges, x0)[0]

    def infer(self, raw: Vector) -> tuple[int, Vector, int]:
        """Linear class, logits of the active classes, nearest-mean class (-1: none)."""
        state = self.committed
        x0 = nw.input_stage(self.net, raw)
        f, y = nw.features_and_logits(self.net, state.weights, state.frozen_ranges, x0)
        y = corrected(y[: state.n_classes], *state.correction)
        nearest = nearest_mean(state.prototypes[: state.n_classes], f)
        return y.index(max(y)), y, nearest

    def learn(self, raw: Vector, label: int, prototype_only: bool = False) -> None:
        """Stage a sample and add it to the prototypes."""
        x0 = nw.input_stage(self.net, raw)
        if not prototype_only:
            number = sum(s.label == label and s.rank >= UNRANKED for s in self.samples)
            self.samples.append(Sample(label, UNRANKED + number, True, x0))
        if self.memory.keep_prototypes:
            self.working.prototypes[label].add(self._features(self.committed, x0))

    def put_exemplar(self, label: int, rank: int, x0: Vector) -> None:
        """Stage an exemplar that has a rank."""
        self.samples.append(Sample(label, rank, True, x0))

    def add_class(self) -> None:
        """One more active class."""
        self.working.n_classes += 1

    def train_begin(
        self,
        seed: int,
        steps: int,
        schedule: list[tuple[int, ScalePair]],
        sampling: str,
        weight: int = 0,
        soften: int = 0,
        hold: int = 0,
    ) -> None:
        """Start a session; weight and soften are q and t of 6.6, hold is h of 8.8."""
        self.session = Session(seed, steps, schedule, sampling, weight, soften, hold)
        self.session.targets = [] if weight else None

    def _take_target(self, targets: list[tuple[Sample, Vector]], soften: int) -> int:
        """8-bit targets of the next sample (6.6). Returns: units."""
        state, sample = self.committed, order_of(self.samples)[len(targets)]
        old = min(state.n_classes, self.working.n_classes)
        y = nw.features_and_logits(self.net, state.weights, state.frozen_ranges, sample.x0)[1]
        r = ar.softmax(corrected(y, *state.correction)[:old], self.net.layers[-1].fy + soften)
        targets.append((sample, [(255 * v + 2**14) >> 15 for v in r]))
        return max(1, (sum(len(w.master) * len(w.master[0]) for w in state.weights) + 63) // 64)

    def _distilled(self, session: Session, d: Vector, y: Vector, sample: Sample) -> Vector:
        """Errors of a row of both losses (6.6)."""
        if session.targets is None:
            return d
        target = next(t for s, t in session.targets if s is sample)
        s = ar.softmax(y[: len(target)], self.net.layers[-1].fy + session.soften)
        out = []
        for c, e in enumerate(d):
            v = (256 - session.weight) * e
            if c < len(target):
                v += session.weight * 2**session.soften * (s[c] - (257 * target[c]) // 2)
            out.append(max(-32767, min(32767, ar.rhu(v, 8))))
        return out

    def train(self, budget: int) -> tuple[int, int, int, int, int]:
        """Units used, steps left, samples seen, correct, sum of p[label] >> 8."""
        session = self.session
        if session is None:
            raise ValueError("no session")
        costs = work_rows(self.net, self.working.weights)
        used = 0
        while used < budget and session.done < session.steps:
            if session.targets is not None and len(session.targets) < len(self.samples):
                used += self._take_target(session.targets, session.soften)
                continue
            used += costs[session.row]
            session.row += 1
            if session.row == len(costs):
                self._step(session)
                session.row, session.done = 0, session.done + 1
        seen = session.done * self.net.batch
        left = session.steps - session.done
        return used, left, seen, session.correct, session.probability

    def _step(self, session: Session) -> None:
        net, state = self.net, self.working
        place = (session.seed, state.step, session.sampling, session.hold)
        rows = draw_batch(self.samples, net.batch, *place)
        x = nw.Activation([s.x0 for s in rows], net.x0_scale, 7 if net.x0_signed else 15)
        inputs, masks = [x], []
        for index in range(len(net.layers)):
            y = nw.forward(net, index, state.weights[index], inputs[index])
            if index + 1 < len(net.layers):
                top = max(0, max(max(row) for row in y))
                inputs.append(nw.activate(net, index + 1, y, top))
                masks.append([[int(v > 0) for v in row] for row in y])
                for q in inputs[-1].q:
                    net.count_tensor(index + 1, "x", q, [], 0)
                t = state.tracked[index]
                state.tracked[index] = t + (((top << 8) - t) >> 4)
        d = []
        for row, sample in zip(y, rows, strict=True):
            active = row[: state.n_classes]
            p = ar.softmax(active, net.layers[-1].fy)
            session.correct += active.index(max(active)) == sample.label
            # An import can leave samples of classes that are not active: their row's error is p.
            session.probability += p[sample.label] >> 8 if sample.label < len(p) else 0
            e = self._distilled(session, ar.loss_error(p, sample.label), active, sample)
            d.append(e + [0] * (len(row) - len(active)))
        rate = [scale for start, scale in session.schedule if start <= session.done][-1]
        self._backward(inputs, masks, d, nw.Step(session.seed, state.step, rate))
        state.step += 1
        self.trained = True

    def _backward(
        self, inputs: list[nw.Activation], masks: list[Matrix], d: Matrix, at: nw.Step
    ) -> None:
        net, state = self.net, self.working
        sd = (2**14, -29)
        for index in range(len(net.layers) - 1, -1, -1):
            if not any(v for row in d for v in row):
                return
            weights = state.weights[index]
            below, below_scale = d, sd
            if index > 0:
                below, below_scale = nw.input_gradient(
                    net, index, weights, d, sd, masks[index - 1], at
                )
            head = index + 1 == len(net.layers)
            rows = state.n_classes if head else len(weights.master)
            nw.update(net, index, weights, inputs[index], d, sd, rows, at)
            d, sd = below, below_scale

    def _fit(self, samples: list[Sample], hold: int, steps: int) -> tuple[int, int, int, int]:
        state, rows = self.working, []
        for s in held_samples(samples, hold) if samples else []:
            if s.label < state.n_classes:
                out = nw.features_and_logits(self.net, state.weights, state.frozen_ranges, s.x0)
                rows.append((out[1][: state.n_classes], s.label))
        fy = self.net.layers[-1].fy
        return fit_correction(rows, self.committed.n_classes, state.n_classes, fy, steps)

    def commit(self, hold: int = 0, steps: int = 0) -> bytes:
        """Herding, trimming, prototypes; the working copy becomes current."""
        replaced = {(s.label, s.rank) for s in self.samples if s.staged}
        kept = [s for s in self.samples if s.staged or (s.label, s.rank) not in replaced]
        state = self.working
        if steps:
            state.correction = self._fit(kept, hold, steps)
        elif self.trained:
            state.correction = (0, 0, 4096, 0)
        quota = min(self.memory.exemplar_slots // state.n_classes, 1023)
        if self.memory.per_class_limit:
            quota = min(quota, self.memory.per_class_limit)
        self.samples = []
        for label in sorted({s.label for s in kept}):
            members = order_of([s for s in kept if s.label == label])
            ranks = [s.rank for s in members[:quota]]
            if any(s.rank >= UNRANKED for s in members):
                chosen = herd([self._features(state, s.x0) for s in members], quota)
                members, ranks = [members[i] for i in chosen], list(range(len(chosen)))
            for s, rank in zip(members, ranks, strict=False):
                self.samples.append(Sample(label, rank, False, s.x0))
        if self.trained and self.memory.keep_prototypes:
            for p in state.prototypes:
                p.n, p.s = 0, [0] * len(p.s)
            for s in order_of(self.samples):
                state.prototypes[s.label].add(self._features(state, s.x0))
        self.committed, self.session, self.trained = state.copy(), None, False
        return self.state_hash()

    def rollback(self) -> bytes:
        """Back to the last commit."""
        self.working, self.session, self.trained = self.committed.copy(), None, False
        self.samples = [s for s in self.samples if not s.staged]
        return self.state_hash()

    def _model_bytes(self, state: State) -> bytes:
        code = "<b" if self.net.master_bits == 8 else "<h"
        out = b""
        for w in state.weights:
            out += b"".join(struct.pack(code, v) for row in w.master for v in row)
            out += b"".join(struct.pack("<i", v) for v in w.bias)
        out += b"".join(struct.pack("<i", t) for t in state.tracked)
        if self.memory.bias_correction:
            out += struct.pack("<HHhh", *state.correction)
        if self.memory.keep_prototypes:
            for p in state.prototypes:
                out += struct.pack("<H", p.n) + b"".join(struct.pack("<h", v) for v in p.s)
        return out

    def state_hash(self) -> bytes:
        """SHA-256 of the working state (8.7)."""
        state = self.working
        data = b"HADSTATE" + struct.pack("<H", 1) + self.model_id
        data += struct.pack("<HI", state.n_classes, state.step) + self._model_bytes(state)
        data += struct.pack("<H", len(self.samples))
        for s in order_of(self.samples):
            data += struct.pack("<BH", s.label, s.rank) + pack(s.x0)
        return hashlib.sha256(data).digest()

    def export_state(self, working: bool) -> bytes:
        """State bytes of the working or the committed copy (9)."""
        state = self.working if working else self.committed
        flags = int(self.net.master_bits == 16) + 2 * self.memory.keep_prototypes
        flags += 4 * (working and self.trained) + 8 * self.memory.bias_correction
        payload = struct.pack("<I", state.step) + self._model_bytes(state)
        data = b"HADS" + struct.pack("<HH", 1, flags) + self.model_id
        data += struct.pack("<IHH", len(payload), state.n_classes, 0) + payload
        return data + hashlib.sha256(data).digest()

    def counters(self) -> Vector:
        """The numbers of 6.5 in their order."""
        out = []
        for counts in self.net.counts:
            for tensor in TENSORS:
                out += [counts[f"{tensor} {what}"] for what in ("elements", "clipped", "zeros")]
            out += [counts[f"{p} {what}"] for p in PRODUCTS for what in ("tiles", "saturated")]
            out += [counts[f"{what} saturated"] for what in ("masters", "y", "d")]
        return out
