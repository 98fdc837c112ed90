# SPDX-License-Identifier: Apache-2.0
"""The learner of SPEC.md 8, for reading and for checking the C runtime against.

`TwinLearner` has the operations of `device.harness.client.DeviceClient`, so a test can drive both.
"""

import numpy as np
from numpy.typing import NDArray

from device.twin.correction import (
    NO_CORRECTION,
    Correction,
    fit_correction,
    held_rows,
)
from device.twin.distillation import Distillation, distilled_error, soft_targets
from device.twin.exemplars import (
    STAGED,
    ExemplarMemory,
    Sampling,
    draw_batch,
    drawn_from,
    labels_of,
    pack_x0,
    reduce_memory,
    rows_of,
    unpack_x0,
)
from device.twin.expansion import block_of, draw_block, first_free
from device.twin.front import x0_of, x0_rests
from device.twin.kernels import IntArray, loss_error
from device.twin.layers import LayerCounters, StepContext, raw_samples
from device.twin.model import Exemplar, IntModel
from device.twin.network import backward, forward_batch, infer_x0
from device.twin.scale import Scale
from device.twin.session import (
    ARGUMENT,
    FORMAT,
    FULL,
    STATE,
    LearnerError,
    Session,
    TrainResult,
    check_correction,
    check_options,
)
from device.twin.state import LearnerState, check_length, initial_state
from device.twin.state import export_state as export_bytes
from device.twin.state import import_state as import_bytes
from device.twin.state import state_hash as hash_of
from device.twin.work import step_rows, target_units


class TwinLearner:
    """A learner in NumPy, bit for bit as the generated firmware."""

    def __init__(
        self, model: IntModel, *, staging_slots: int | None = None, counters: bool = False
    ) -> None:
        self.model = model
        self.model_id = model.model_id
        staging = model.staging_slots if staging_slots is None else staging_slots
        self.memory = ExemplarMemory(model.exemplar_slots, staging)
        self.memory.keep(list(model.exemplars))
        self.working = initial_state(model)
        self.committed = self.working.copy()
        self.session: Session | None = None
        self.trained = False
        self.layer_counters = [LayerCounters() for _ in model.layers] if counters else None

    # Inference

    def x0_of(self, raw: NDArray[np.int16]) -> IntArray:
        """x0 (N, I0) of raw samples (N, I) (SPEC.md 3 and 4)."""
        return x0_of(self.model, raw)

    def forward_x0(
        self, x0: IntArray, state: LearnerState, rests: IntArray | None = None
    ) -> tuple[IntArray, IntArray]:
        """Features (N, features) and logits (N, C) as inference computes them (SPEC.md 5, 18)."""
        return infer_x0(self.model, state, x0, rests)

    def infer_many(
        self, raw: NDArray[np.int16], head: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes (N,) and logits (N, n_classes) of raw samples (N, I); committed weights.

        Args:
            head: 0 for the largest logit, 1 for the nearest mean, which gives no logits.
        """
        if head not in (0, 1):
            raise LearnerError(ARGUMENT, f"head {head}")
        rests = x0_rests(self.model, raw) if self.model.fine_inference else None
        features, logits = self.forward_x0(self.x0_of(raw), self.committed, rests)
        active = self.committed.correction.apply(logits[:, : self.committed.n_classes])
        if head == 0:
            return np.argmax(active, axis=1), active
        if not self.committed.prototypes.count[: self.committed.n_classes].any():
            raise LearnerError(STATE, "no class has a prototype")
        nearest = [self.committed.prototypes.nearest(f, self.committed.n_classes) for f in features]
        return np.array(nearest, np.int64), np.zeros((len(features), 0), np.int64)

    def infer(self, raw: NDArray[np.int16], head: int = 0) -> tuple[int, NDArray[np.int64]]:
        """Class and logits of one raw sample (I,)."""
        classes, logits = self.infer_many(np.asarray(raw)[None, :], head)
        return int(classes[0]), logits[0]

    # Samples and classes

    def learn(self, raw: NDArray[np.int16], label: int, prototype_only: bool = False) -> int:
        """Stage a raw sample (SPEC.md 8.3). Returns: free slots."""
        return self.learn_x0(self.x0_of(np.asarray(raw)[None, :])[0], label, prototype_only)

    def learn_x0(self, x0: NDArray[np.integer], label: int, prototype_only: bool = False) -> int:
        """Stage a sample given as x0, shape (I0,)."""
        self._check_label(label)
        self._check_x0(np.asarray(x0))
        self._refuse_in_session()
        if not prototype_only:
            if self.memory.free == 0 or self.memory.arrivals.get(label, 0) >= STAGED:
                raise LearnerError(FULL, "no free slot")
            self.memory.stage_arrival(label, np.asarray(x0, np.int8))
        if self.model.keep_prototypes:
            features, _ = self.forward_x0(np.asarray(x0, np.int64)[None, :], self.committed)
            self.working.prototypes.add(label, features[0])
        return self.memory.free

    def put_exemplar(self, label: int, rank: int, packed: bytes) -> int:
        """Stage an exemplar of known rank (SPEC.md 8.3). Returns: free slots."""
        if len(packed) != (self.model.x0_size + 1) // 2:
            raise LearnerError(FORMAT, "length")
        self._check_label(label)
        x0 = unpack_x0(packed, self.model.x0_size, self.model.x0_signed)
        self._check_x0(x0)
        if not 0 <= rank < STAGED or pack_x0(x0) != packed:
            raise LearnerError(ARGUMENT, "rank, or a last nibble that is not 0")
        self._refuse_in_session()
        if self.memory.has_staged(label, rank):
            raise LearnerError(ARGUMENT, "a duplicate")
        if self.memory.free == 0:
            raise LearnerError(FULL, "no free slot")
        self.memory.put(Exemplar(label, rank, x0), staged=True)
        return self.memory.free

    def get_exemplar(self, index: int) -> tuple[int, int, bytes]:
        """Label, rank and packed x0 of a sample by canonical index."""
        if not 0 <= index < len(self.memory.samples):
            raise LearnerError(ARGUMENT, "index")
        exemplar = self.memory.samples[index].exemplar
        return exemplar.label, exemplar.rank, pack_x0(exemplar.x0)

    def add_class(self) -> int:
        """Make a reserved class active. Returns: its label."""
        self._refuse_in_session()
        if self.working.n_classes == self.model.max_classes:
            raise LearnerError(FULL, "no class slot left")
        self.working.n_classes += 1
        return self.working.n_classes - 1

    # Training

    def train_begin(
        self,
        seed: int,
        steps: int,
        schedule: list[tuple[int, Scale]],
        sampling: Sampling = "balanced",
        distill: int = 0,
        soften: int = 0,
        hold: int = 0,
        expand: bool = False,
    ) -> None:
        """Start a session (SPEC.md 8.3, 7); distillation by weight and log2 of temperature.

        Args:
            expand: train a fresh block of rows and the head alone (SPEC.md 16).
        """
        distillation = Distillation(distill, soften)
        session = Session(seed, steps, tuple(schedule), sampling, distillation, hold, expand)
        check_options(self.model, session)
        self._refuse_in_session()
        if not len(drawn_from(self.memory, sampling, hold)):
            raise LearnerError(STATE, "no samples")
        session.targets = [] if distill else None
        self._grow(session)
        self.session = session

    def _grow(self, session: Session) -> None:
        expansion = self.model.expansion
        if not session.expand or expansion is None:
            return
        number = first_free(self.model, expansion, self.committed)
        if number is None:
            raise LearnerError(FULL, "no block left")
        session.block = block_of(self.model, expansion, number)
        draw_block(self.model, expansion, self.working, number, session.seed)

    def train(self, budget: int) -> TrainResult:
        """Work for at least `budget` units or to the end (SPEC.md 8.6).

        The twin computes a whole step when its last row is reached; the position moves by rows.
        """
        session = self.session
        if session is None:
            raise LearnerError(STATE, "no session")
        operations = step_rows(self.model)
        used = 0
        while used < budget and session.done < session.steps:
            if session.targets is not None and len(session.targets) < len(self.memory.samples):
                session.targets.append(self._targets_of(len(session.targets), session))
                used += target_units(self.model)
                continue
            rows, units = operations[session.operation]
            count = min(rows - session.row, -(-(budget - used) // units))
            used += count * units
            session.row += count
            if session.row == rows:
                session.row, session.operation = 0, session.operation + 1
            if session.operation == len(operations):
                session.operation = 0
                self._step(session)
        left = session.steps - session.done
        return TrainResult(used, left, session.seen, session.correct, session.probability)

    def _step(self, session: Session) -> None:
        arithmetic = self.model.arithmetic
        place = (session.seed, self.working.step, session.sampling, session.hold)
        chosen = draw_batch(self.memory, arithmetic.batch, *place)
        x0, labels = rows_of(self.memory, chosen)
        passed, logits = forward_batch(self.model, self.working, x0, self.layer_counters)
        active = logits[:, : self.working.n_classes]
        frac_bits = self.model.layers[-1].out_frac_bits
        error, p = loss_error(active, labels, frac_bits)
        if session.targets is not None:
            targets = np.stack([session.targets[i] for i in chosen])
            error = distilled_error(error, active, targets, frac_bits, session.distillation)
        session.seen += len(labels)
        session.correct += int(np.count_nonzero(np.argmax(active, axis=1) == labels))
        known = np.flatnonzero(labels < self.working.n_classes)
        session.probability += int((p[known, labels[known]] >> 8).sum())
        d = np.zeros_like(logits)
        d[:, : self.working.n_classes] = error
        context = StepContext(arithmetic, session.seed, self.working.step, session.rate)
        backward(self.model, self.working, passed, d, context, self.layer_counters, session.block)
        self.working.step += 1
        self.trained = True
        session.done += 1

    def _targets_of(self, index: int, session: Session) -> IntArray:
        """Targets of a stored sample (SPEC.md 6.6): 8-bit, one an old class."""
        x0, _ = rows_of(self.memory, np.array([index]))
        _, logits = self.forward_x0(x0, self.committed)
        old = min(self.committed.n_classes, self.working.n_classes)
        frac_bits = self.model.layers[-1].out_frac_bits
        logits = self.committed.correction.apply(logits)[:, :old]
        targets = soft_targets(logits, frac_bits, session.distillation.soften)
        return np.asarray(targets[0])

    # Commit, rollback, state

    def commit(self, hold: int = 0, steps: int = 0) -> bytes:
        """Make the working copy current (SPEC.md 8.3). Returns: state hash, 32 bytes.

        Args:
            hold, steps: hold-out and steps of the correction's fit (SPEC.md 8.8); 0: none.
        """
        check_correction(self.model, hold, steps)
        self._refuse_in_session()
        self.memory.replace_committed()
        if steps:
            self.working.correction = self._fit_correction(hold, steps)
        elif self.trained:
            self.working.correction = NO_CORRECTION
        reduce_memory(
            self.memory,
            self.working.n_classes,
            self.model.per_class_limit,
            lambda x0: self.forward_x0(x0, self.working)[0],
        )
        if self.trained and self.model.keep_prototypes:
            self._prototypes_from_exemplars()
        self.committed = self.working.copy()
        self.session = None
        self.trained = False
        return self.state_hash()

    def _fit_correction(self, hold: int, steps: int) -> Correction:
        held = held_rows(labels_of(self.memory), hold, self.working.n_classes)
        if not len(held):
            return NO_CORRECTION
        x0, labels = rows_of(self.memory, held)
        logits = self.forward_x0(x0, self.working)[1][:, : self.working.n_classes]
        frac_bits = self.model.layers[-1].out_frac_bits
        return fit_correction(logits, labels, self.committed.n_classes, frac_bits, steps)

    def _prototypes_from_exemplars(self) -> None:
        prototypes = self.working.prototypes
        prototypes.clear()
        for stored in self.memory.samples:
            x0 = stored.exemplar.x0.astype(np.int64)[None, :]
            features, _ = self.forward_x0(x0, self.working)
            prototypes.add(stored.exemplar.label, features[0])

    def rollback(self) -> bytes:
        """Return to the last commit (SPEC.md 8.3). Returns: state hash, 32 bytes."""
        self.working = self.committed.copy()
        self.memory.drop_staged()
        self.session = None
        self.trained = False
        return self.state_hash()

    def state_hash(self) -> bytes:
        """SHA-256 of the working state (SPEC.md 8.7), taken at a step end."""
        if self.session and (self.session.operation or self.session.row):
            raise LearnerError(STATE, "in the middle of a step")
        return hash_of(self.model, self.model_id, self.working, self.memory)

    def export_state(self, working: bool = False) -> bytes:
        """The committed model part, or between sessions the working one (SPEC.md 9)."""
        if not working:
            return export_bytes(self.model, self.model_id, self.committed, False)
        self._refuse_in_session()
        return export_bytes(self.model, self.model_id, self.working, self.trained)

    def import_state(self, data: bytes) -> bytes:
        """Load a model part into the working copy (SPEC.md 9). Returns: state hash.

        Bytes of the wrong length change nothing. Any other fault leaves the committed model part in
        the working copy, as on a device, which reads the bytes into it before it can judge them.
        """
        self._refuse_in_session()
        check_length(self.model, data)
        self.working, self.trained, self.session = self.committed.copy(), False, None
        self.working, self.trained = import_bytes(self.model, self.model_id, data)
        return self.state_hash()

    def counters(self, reset: bool = False) -> list[int]:
        """The counters in wire order, empty if they are off (SPEC.md 6.5)."""
        if not self.layer_counters:
            return []
        out = [n for layer in self.layer_counters for n in layer.flat()]
        if reset:
            self.layer_counters = [LayerCounters() for _ in self.model.layers]
        return out

    # Checks

    def _refuse_in_session(self) -> None:
        if self.session is not None and self.session.done < self.session.steps:
            raise LearnerError(STATE, "a training session is under way")

    def _check_label(self, label: int) -> None:
        if not 0 <= label < self.working.n_classes:
            raise LearnerError(ARGUMENT, f"label {label} is not below {self.working.n_classes}")

    def _check_x0(self, x0: NDArray[np.integer]) -> None:
        if x0.shape != (self.model.x0_size,):
            raise LearnerError(FORMAT, f"x0 has shape {x0.shape}")
        low, high = (-7, 7) if self.model.x0_signed else (0, 15)
        if x0.min() < low or x0.max() > high:
            raise LearnerError(ARGUMENT, f"a value of x0 is not in [{low}, {high}]")


__all__ = ["LearnerError", "TrainResult", "TwinLearner", "raw_samples"]
