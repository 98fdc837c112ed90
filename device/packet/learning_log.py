# SPDX-License-Identifier: Apache-2.0
"""A device's learning log (SPEC.md 13.4): read, and repeated on any learner."""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device.twin.exemplars import Sampling, pack_x0
from device.twin.scale import Scale

MAGIC, VERSION = b"HADL", 1
_HEADER = struct.Struct("<4sHH16s32s32sI")
HEADER_BYTES = _HEADER.size
DIGEST_BYTES = 8
LEARN, PUT, ADD_CLASS, TRAIN_BEGIN, COMMIT = 0x11, 0x0E, 0x04, 0x05, 0x07
# Bytes of a sample's record before its digest.
SAMPLE_HEADS = {LEARN: 2, PUT: 4}
EXPANDS = 4
_SAMPLINGS: tuple[Sampling, ...] = ("uniform", "balanced", "new_uniform", "new_balanced")
_SESSION, _RATE = struct.Struct("<IIBBBB"), struct.Struct("<IHh")


Samples = Mapping[bytes, NDArray[np.int8]]


class LearningLogError(ValueError):
    """The bytes are no learning log, or it cannot be repeated."""


class Repeating(Protocol):
    """What repeating a log needs of a learner; TwinLearner and DeviceClient both have it."""

    def learn_x0(self, x0: NDArray[np.int8], label: int, prototype_only: bool = False) -> int:
        """Stage a sample."""

    def put_exemplar(self, label: int, rank: int, packed: bytes) -> int:
        """Stage an exemplar of a given rank."""

    def add_class(self) -> int:
        """One class more."""

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
        """Open a session."""

    def train(self, budget: int) -> Any:
        """Train; the answer has steps_left."""

    def commit(self, hold: int = 0, steps: int = 0) -> bytes:
        """Make it current."""

    def state_hash(self) -> bytes:
        """Of the working state."""


@dataclass(frozen=True)
class Record:
    """An operation: command of the wire, and its payload with digests in place of samples."""

    command: int
    payload: bytes

    @property
    def digest(self) -> bytes | None:
        """Of the sample that it is about, if there is one."""
        return self.payload[-DIGEST_BYTES:] if self.command in SAMPLE_HEADS else None

    def told(self) -> dict[str, Any]:
        """In words, for people."""
        if self.digest is not None:
            kind = "sample" if self.command == LEARN else "exemplar"
            return {"kind": kind, "label": self.payload[0], "digest": self.digest.hex()}
        if self.command == TRAIN_BEGIN:
            seed, steps = _SESSION.unpack_from(self.payload)[:2]
            return {"kind": "session", "seed": seed, "steps": steps}
        return {"kind": "class added" if self.command == ADD_CLASS else "commit"}


@dataclass(frozen=True)
class LearningLog:
    """A log.

    Attributes:
        whole: nothing is missing; otherwise it cannot be repeated.
        base, result: state hashes (SPEC.md 8.7) where it begins, and where it has led.
    """

    whole: bool
    model_id: bytes
    base: bytes
    result: bytes
    records: tuple[Record, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> "LearningLog":
        """Read an export. Raises: LearningLogError."""
        if len(data) < HEADER_BYTES:
            raise LearningLogError(f"{len(data)} bytes; a learning log has at least {HEADER_BYTES}")
        magic, version, whole, model_id, base, result, length = _HEADER.unpack_from(data)
        if (magic, version) != (MAGIC, VERSION) or whole > 1:
            raise LearningLogError("no learning log of version 1")
        if length != len(data) - HEADER_BYTES:
            raise LearningLogError(f"{len(data) - HEADER_BYTES} bytes of records, not {length}")
        return cls(bool(whole), model_id, base, result, tuple(_records(data[HEADER_BYTES:])))

    def to_bytes(self) -> bytes:
        """As the device gives it."""
        body = b"".join(bytes([r.command, len(r.payload)]) + r.payload for r in self.records)
        head = (MAGIC, VERSION, int(self.whole), self.model_id, self.base, self.result, len(body))
        return _HEADER.pack(*head) + body

    def missing(self, samples: Samples) -> int:
        """How many of its samples are not among these."""
        return sum(r.digest is not None and r.digest not in samples for r in self.records)

    def repeat(self, learner: Repeating, samples: Samples) -> bytes:
        """Carry the records out on a learner that stands at `base`.

        Args:
            samples: see `digest_samples`.
        Returns: the state hash arrived at; `result` if this device learns as that one does.
        Raises: LearningLogError if the log is not whole, starts elsewhere, or samples are missing.
        """
        if not self.whole:
            raise LearningLogError("the log is not whole: there was more than the device could log")
        if learner.state_hash() != self.base:
            raise LearningLogError(f"the log begins at {self.base.hex()}")
        if missing := self.missing(samples):
            raise LearningLogError(f"{missing} samples of the log are not in the data")
        for record in self.records:
            _repeat(learner, record, samples)
        return learner.state_hash()


def digest_samples(x0: NDArray[np.integer[Any]]) -> dict[bytes, NDArray[np.int8]]:
    """Samples (N, x0_size) by their digests in a log."""
    rows = x0.astype(np.int8)
    return {hashlib.sha256(pack_x0(row)).digest()[:DIGEST_BYTES]: row for row in rows}


def _records(data: bytes) -> Iterator[Record]:
    at = 0
    while at < len(data):
        payload = data[at + 2 : at + 2 + data[at + 1]] if at + 2 <= len(data) else b""
        record = Record(data[at], payload)
        if at + 2 > len(data) or len(payload) != data[at + 1] or not _is_sound(record):
            raise LearningLogError(f"record at byte {at} is malformed")
        yield record
        at += 2 + len(payload)


def _is_sound(record: Record) -> bool:
    length = len(record.payload)
    if record.command in SAMPLE_HEADS:
        return length == SAMPLE_HEADS[record.command] + DIGEST_BYTES
    if record.command == TRAIN_BEGIN:
        rates = record.payload[9] if length > _SESSION.size else 0
        known = rates > 0 and record.payload[8] < 2 * EXPANDS
        return known and length == _SESSION.size + rates * _RATE.size
    return (record.command, length) in ((ADD_CLASS, 0), (COMMIT, 0), (COMMIT, 2))


def _repeat(learner: Repeating, record: Record, samples: Samples) -> None:
    payload = record.payload
    if record.command == LEARN:
        learner.learn_x0(samples[payload[2:]], payload[0], bool(payload[1]))
    elif record.command == PUT:
        rank = int.from_bytes(payload[2:4], "little")
        learner.put_exemplar(payload[0], rank, pack_x0(samples[payload[4:]]))
    elif record.command == ADD_CLASS:
        learner.add_class()
    elif record.command == COMMIT:
        learner.commit(*payload)
    else:
        _train(learner, payload)


def _train(learner: Repeating, payload: bytes) -> None:
    seed, steps, sampling, _, distill, more = _SESSION.unpack_from(payload)
    rates = _RATE.iter_unpack(payload[_SESSION.size :])
    schedule = [(start, Scale(mantissa, exponent)) for start, mantissa, exponent in rates]
    expand = sampling >= EXPANDS
    name = _SAMPLINGS[sampling % EXPANDS]
    learner.train_begin(seed, steps, schedule, name, distill, more & 15, more >> 4, expand)
    while learner.train(1 << 20).steps_left:
        pass
