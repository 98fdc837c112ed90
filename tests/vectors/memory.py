# SPDX-License-Identifier: Apache-2.0
"""SPEC.md 8.1, 8.2, 8.4, 8.5 and 8.8 in plain Python: samples, sampler, herding, correction.

Part of the oracle of `arithmetic.py`: it imports nothing of the project.
"""

from collections import Counter
from dataclasses import dataclass

from tests.vectors import arithmetic as ar
from tests.vectors.arithmetic import Matrix, Vector

UNRANKED = 0x8000


@dataclass
class Sample:
    """A slot of the exemplar memory (8.1)."""

    label: int
    rank: int
    staged: bool
    x0: Vector


@dataclass
class Prototype:
    """Number and sums of a class (8.5)."""

    n: int
    s: Vector

    def add(self, f: Vector) -> None:
        """One more sample's features."""
        if self.n == 255:
            self.n, self.s = 128, [(v + 1) >> 1 for v in self.s]
        self.n += 1
        self.s = [a + b for a, b in zip(self.s, f, strict=True)]


def pack(x0: Vector) -> bytes:
    """Two values a byte, the first in the low nibble."""
    nibbles = [v & 15 for v in x0] + [0] * (len(x0) % 2)
    return bytes(nibbles[i] | nibbles[i + 1] << 4 for i in range(0, len(nibbles), 2))


def order_of(samples: list[Sample]) -> list[Sample]:
    """Canonical order (8.1)."""
    return sorted(samples, key=lambda s: (s.label, s.rank, s.staged))


def corrected(y: Vector, first: int, last: int, alpha: int, beta: int) -> Vector:
    """Logits of inference (5.4)."""
    return [
        max(-32768, min(32767, ar.rhu(alpha * v, 12) + beta)) if first <= c < last else v
        for c, v in enumerate(y)
    ]


def held_samples(samples: list[Sample], hold: int) -> list[Sample]:
    """What is held out, in canonical order (8.8)."""
    counts = Counter(s.label for s in samples)
    most = max(1, min(n >> hold for n in counts.values()))
    out = []
    for label in sorted(counts):
        members = order_of([s for s in samples if s.label == label])
        kept = len(members) - min(most, len(members) - 1)
        out += members[kept:]
    return out


def fit_correction(
    rows: list[tuple[Vector, int]], known: int, classes: int, fy: int, steps: int
) -> tuple[int, int, int, int]:
    """Correction of the classes from `known` on; rows: logits and label (8.8)."""
    if known >= classes or not rows:
        return 0, 0, 4096, 0
    value, width, last_sign = [4096, 0], [512, max(1, 2**fy // 2)], [0, 0]
    for _ in range(steps):
        ga = gb = 0
        for y, label in rows:
            p = ar.softmax(corrected(y, known, classes, *value), fy)
            for c in range(known, classes):
                e = p[c] - (32768 if c == label else 0)
                ga, gb = ga + e * y[c], gb + e
        for i, g in enumerate((ga, gb)):
            sign = 1 if g > 0 else -1 if g < 0 else 0
            if sign and sign == -last_sign[i]:
                width[i] = max(1, width[i] // 2)
            last_sign[i] = sign if sign else last_sign[i]
            value[i] -= sign * width[i]
        value = [max(0, min(16383, value[0])), max(-32768, min(32767, value[1]))]
    return known, classes, value[0], value[1]


def draw_batch(
    samples: list[Sample], batch: int, seed: int, step: int, sampling: str, hold: int = 0
) -> list[Sample]:
    """The rows of a batch (8.2)."""
    ordered = order_of(samples)
    if hold:
        held = held_samples(samples, hold)
        ordered = [s for s in ordered if not any(s is h for h in held)]
    if sampling.startswith("new_"):
        ordered = [s for s in ordered if s.rank >= UNRANKED]
    classes = sorted({s.label for s in ordered})
    stream = ar.key(seed, step, ar.SAMPLER)
    chosen = []
    for b in range(batch):
        w = ar.word(stream, b)
        pool = ordered
        if sampling.endswith("balanced"):
            label = classes[(w & 0xFFFF) * len(classes) >> 16]
            pool = [s for s in ordered if s.label == label]
        chosen.append(pool[(w >> 16) * len(pool) >> 16])
    return chosen


def herd(features: Matrix, quota: int) -> Vector:
    """Chosen indices in order of choice (8.4)."""
    count, width = len(features), len(features[0])
    mu = [(256 * sum(f[j] for f in features) + count // 2) // count for j in range(width)]
    chosen: Vector = []
    for k in range(1, min(count, quota) + 1):
        r = [sum(features[i][j] for i in chosen) for j in range(width)]
        t = [k * mu[j] - 256 * r[j] for j in range(width)]
        best, best_score = -1, 0
        for i, f in enumerate(features):
            score = sum(2 * f[j] * t[j] - 256 * f[j] * f[j] for j in range(width))
            if i not in chosen and (best < 0 or score > best_score):
                best, best_score = i, score
        chosen.append(best)
    return chosen


def nearest_mean(prototypes: list[Prototype], f: Vector) -> int:
    """Class of the nearest mean among the given ones (8.5)."""
    best, best_d = -1, 0
    for c, p in enumerate(prototypes):
        if p.n == 0:
            continue
        d = sum((p.n * v - s) ** 2 for v, s in zip(f, p.s, strict=True))
        if best < 0 or d * prototypes[best].n ** 2 < best_d * p.n**2:
            best, best_d = c, d
    return best
