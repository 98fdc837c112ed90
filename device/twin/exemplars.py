# SPDX-License-Identifier: Apache-2.0
"""Exemplar memory, herding, prototypes and the batch sampler (SPEC.md 8.1 to 8.5)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from device.twin.correction import held_out
from device.twin.kernels import SAMPLER_TENSOR, IntArray, draw_words, stream_key
from device.twin.model import Exemplar, Int8Array

STAGED = 0x8000
MAX_QUOTA = 1023
MAX_PROTOTYPE_COUNT = 255

FeaturesOf = Callable[[IntArray], IntArray]
Sampling = Literal["uniform", "balanced", "new_uniform", "new_balanced"]
NEW = ("new_uniform", "new_balanced")


def pack_x0(x0: Int8Array) -> bytes:
    """Two 4-bit values a byte, the first in the low nibble (SPEC.md 8.1).

    >>> pack_x0(np.array([1, -2, 3], np.int8)).hex()
    'e103'
    """
    nibbles = np.zeros((len(x0) + 1) // 2 * 2, np.uint8)
    nibbles[: len(x0)] = np.asarray(x0, np.int8).view(np.uint8) & 15
    return bytes(nibbles[0::2] | (nibbles[1::2] << 4))


def unpack_x0(packed: bytes, size: int, signed: bool) -> Int8Array:
    """The inverse of `pack_x0`."""
    pairs = np.frombuffer(packed, np.uint8)
    nibbles = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:size].astype(np.int8)
    return np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8) if signed else nibbles


@dataclass
class StoredSample:
    """A slot: an exemplar and whether it waits for the next commit."""

    exemplar: Exemplar
    staged: bool


@dataclass
class ExemplarMemory:
    """Slots in canonical order (SPEC.md 8.1).

    Attributes:
        exemplar_slots, staging_slots: together the capacity.
        samples: sorted by (label, rank).
    """

    exemplar_slots: int
    staging_slots: int
    samples: list[StoredSample] = field(default_factory=list)
    arrivals: dict[int, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """Slots without a sample."""
        return self.exemplar_slots + self.staging_slots - len(self.samples)

    def has_staged(self, label: int, rank: int) -> bool:
        """Whether a staged sample has this label and rank."""
        return any(
            s.staged and (s.exemplar.label, s.exemplar.rank) == (label, rank) for s in self.samples
        )

    def replace_committed(self) -> None:
        """Drop committed exemplars that a staged one of the same label and rank replaces."""
        staged = {(s.exemplar.label, s.exemplar.rank) for s in self.samples if s.staged}
        self.samples = [
            s for s in self.samples if s.staged or (s.exemplar.label, s.exemplar.rank) not in staged
        ]

    def put(self, exemplar: Exemplar, staged: bool) -> None:
        """Store in canonical order; the caller has checked room and uniqueness."""
        self.samples.append(StoredSample(exemplar, staged))
        self.samples.sort(key=lambda s: (s.exemplar.label, s.exemplar.rank, s.staged))

    def stage_arrival(self, label: int, x0: Int8Array) -> None:
        """Stage a learned sample under the next arrival number of its class."""
        number = self.arrivals.get(label, 0)
        self.arrivals[label] = number + 1
        self.put(Exemplar(label, STAGED + number, x0), staged=True)

    def drop_staged(self) -> None:
        """Forget what came since the last commit."""
        self.samples = [s for s in self.samples if not s.staged]
        self.arrivals = {}

    def of_class(self, label: int) -> list[Exemplar]:
        """Samples of a class in canonical order."""
        return [s.exemplar for s in self.samples if s.exemplar.label == label]

    def keep(self, exemplars: list[Exemplar]) -> None:
        """Replace all contents by committed exemplars."""
        ordered = sorted(exemplars, key=lambda e: (e.label, e.rank))
        self.samples = [StoredSample(e, staged=False) for e in ordered]
        self.arrivals = {}


def drawn_from(memory: ExemplarMemory, sampling: Sampling, hold: int = 0) -> IntArray:
    """Canonical indices of the samples that a session draws from (SPEC.md 8.2, 8.8)."""
    ranks = np.array([s.exemplar.rank for s in memory.samples], np.int64)
    if sampling in NEW:
        return np.flatnonzero(ranks >= STAGED)
    return np.setdiff1d(np.arange(len(ranks)), held_out(labels_of(memory), hold))


def labels_of(memory: ExemplarMemory) -> IntArray:
    """Labels of all samples in canonical order, int64."""
    return np.array([s.exemplar.label for s in memory.samples], np.int64)


def draw_batch(
    memory: ExemplarMemory, batch: int, seed: int, step: int, sampling: Sampling, hold: int = 0
) -> IntArray:
    """Canonical indices of a batch's samples, shape (B,) (SPEC.md 8.2)."""
    key = stream_key(seed, step, SAMPLER_TENSOR)
    words = draw_words(key, np.arange(batch)).astype(np.int64)
    pool = drawn_from(memory, sampling, hold)
    labels = np.array([memory.samples[i].exemplar.label for i in pool])
    present = np.unique(labels)
    chosen = []
    for w in words.tolist():
        if sampling in ("uniform", "new_uniform"):
            chosen.append(((w >> 16) * len(pool)) >> 16)
        else:
            members = np.flatnonzero(labels == present[((w & 0xFFFF) * len(present)) >> 16])
            chosen.append(int(members[((w >> 16) * len(members)) >> 16]))
    return np.asarray(pool[chosen], np.int64)


def rows_of(memory: ExemplarMemory, indices: IntArray) -> tuple[IntArray, IntArray]:
    """x0 (B, I0) and labels (B,), int64, of samples by canonical index."""
    stored = [memory.samples[i].exemplar for i in indices]
    x0 = np.stack([e.x0 for e in stored]).astype(np.int64)
    return x0, np.array([e.label for e in stored], np.int64)


def herd(features: IntArray, quota: int) -> list[int]:
    """Greedy selection whose running mean stays nearest the class mean (SPEC.md 8.4).

    Source: Rebuffi et al., iCaRL, CVPR 2017, algorithm 4, in integers.

    Args:
        features: int64, shape (N, features), in canonical order.
    Returns: indices of at most `quota` samples, in order of selection.

    >>> herd(np.array([[0], [4], [6], [10]]), 2)
    [1, 2]
    """
    count = len(features)
    mean = (256 * features.sum(axis=0) + count // 2) // count
    squares = 256 * (features * features).sum(axis=1)
    total = np.zeros(features.shape[1], np.int64)
    chosen: list[int] = []
    for k in range(1, min(count, quota) + 1):
        target = k * mean - 256 * total
        score = 2 * (features @ target) - squares
        score[chosen] = np.iinfo(np.int64).min
        best = int(np.argmax(score))
        chosen.append(best)
        total += features[best]
    return chosen


def reduce_memory(
    memory: ExemplarMemory, n_classes: int, per_class_limit: int, features_of: FeaturesOf
) -> None:
    """Herding of classes with unranked samples, trimming of the others (SPEC.md 8.4)."""
    quota = min(memory.exemplar_slots // n_classes, MAX_QUOTA)
    if per_class_limit:
        quota = min(quota, per_class_limit)
    kept: list[Exemplar] = []
    for label in sorted({s.exemplar.label for s in memory.samples}):
        members = memory.of_class(label)
        if any(e.rank >= STAGED for e in members):
            x0 = np.stack([e.x0 for e in members]).astype(np.int64)
            order = herd(features_of(x0), quota)
            kept += [replace(members[i], rank=k) for k, i in enumerate(order)]
        else:
            kept += members[:quota]
    memory.keep(kept)


@dataclass
class Prototypes:
    """Per class the number and the sum of features (SPEC.md 8.5).

    Attributes:
        count: int64, shape (C,), at most 255.
        total: int64, shape (C, features).
    """

    count: IntArray
    total: IntArray

    def copy(self) -> "Prototypes":
        """An independent copy."""
        return Prototypes(self.count.copy(), self.total.copy())

    def add(self, label: int, features: IntArray) -> None:
        """Add one sample's features, shape (features,)."""
        if self.count[label] == MAX_PROTOTYPE_COUNT:
            self.count[label] = 128
            self.total[label] = (self.total[label] + 1) >> 1
        self.count[label] += 1
        self.total[label] += features

    def clear(self) -> None:
        """Forget all prototypes."""
        self.count[:] = 0
        self.total[:] = 0

    def nearest(self, features: IntArray, n_classes: int) -> int:
        """Class of the nearest mean, the lowest on ties; at least one class has a prototype."""
        best, best_distance, best_square = 0, None, 1
        for label in range(n_classes):
            n = int(self.count[label])
            if n == 0:
                continue
            difference = n * features - self.total[label]
            distance = int((difference * difference).sum())
            if best_distance is None or distance * best_square < best_distance * n * n:
                best, best_distance, best_square = label, distance, n * n
        return best
