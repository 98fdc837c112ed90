# SPDX-License-Identifier: Apache-2.0
"""A learner at rest as bytes: its state bytes (SPEC.md 9) and its exemplars."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from device.twin.exemplars import pack_x0
from device.twin.model import IntModel

_MAGIC = b"HADL\x01\x00\x00\x00"
_RECORD = struct.Struct("<BH")


class LearnerFormatError(ValueError):
    """The bytes are not a learner of this version."""


@dataclass(frozen=True)
class StoredExemplar:
    """An exemplar as devices exchange it: label, rank, packed x0 (SPEC.md 8.1)."""

    label: int
    rank: int
    packed: bytes


@dataclass(frozen=True)
class LearnerData:
    """A committed learner.

    Attributes:
        state: state bytes of the model part.
        state_hash: 32 bytes, of model part and exemplars (SPEC.md 8.7).
        exemplars: in canonical order.
    """

    state: bytes
    state_hash: bytes
    exemplars: tuple[StoredExemplar, ...]

    @property
    def n_classes(self) -> int:
        """Classes the state knows, from its header."""
        return int.from_bytes(self.state[28:30], "little")

    def counts(self) -> dict[str, int]:
        """Exemplars a class, by label."""
        labels = [e.label for e in self.exemplars]
        return {str(label): labels.count(label) for label in range(self.n_classes)}

    def to_bytes(self) -> bytes:
        """Serialise; the same learner gives the same bytes."""
        width = len(self.exemplars[0].packed) if self.exemplars else 0
        head = struct.pack("<III", len(self.state), len(self.exemplars), width)
        body = b"".join(_RECORD.pack(e.label, e.rank) + e.packed for e in self.exemplars)
        return _MAGIC + head + self.state_hash + self.state + body

    @classmethod
    def from_bytes(cls, data: bytes) -> "LearnerData":
        """Read what `to_bytes` wrote.

        Raises: LearnerFormatError if the bytes are anything else.
        """
        if len(data) < 52 or not data.startswith(_MAGIC):
            raise LearnerFormatError("these bytes are not a learner")
        size, count, width = struct.unpack_from("<III", data, 8)
        start = 52 + size
        stride = _RECORD.size + width
        if len(data) != start + count * stride:
            raise LearnerFormatError("the learner is cut short or too long")
        records = [data[start + i * stride : start + (i + 1) * stride] for i in range(count)]
        exemplars = []
        for record in records:
            label, rank = _RECORD.unpack_from(record)
            exemplars.append(StoredExemplar(label, rank, record[_RECORD.size :]))
        return cls(data[52:start], data[20:52], tuple(exemplars))


def initial_exemplars(model: IntModel) -> tuple[StoredExemplar, ...]:
    """The exemplars a freshly booted device holds, in canonical order."""
    stored = (StoredExemplar(e.label, e.rank, pack_x0(e.x0)) for e in model.exemplars)
    return tuple(sorted(stored, key=lambda e: (e.label, e.rank)))


def missing_exemplars(
    held: Sequence[StoredExemplar], wanted: Sequence[StoredExemplar]
) -> list[StoredExemplar]:
    """Exemplars of `wanted` that a device with `held` has yet to be given."""
    known = set(held)
    return [e for e in wanted if e not in known]
