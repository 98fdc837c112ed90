# SPDX-License-Identifier: Apache-2.0
"""Bias correction in float32: alpha y + beta on the logits of the latest new classes.

Source: Wu et al., Large Scale Incremental Learning, CVPR 2019 (BiC), stage 2. As on the device,
only the latest new classes are corrected, by signs and halving steps (SPEC.md 8.8).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]

FIRST_STRIDES = (0.125, 0.5)  # of alpha and beta
ALPHA_MAX = 4.0


@dataclass(frozen=True)
class Correction:
    """Of the logits of classes first .. last - 1."""

    first: int = 0
    last: int = 0
    alpha: float = 1.0
    beta: float = 0.0

    def apply(self, logits: Float32Array) -> Float32Array:
        """Corrected logits, float32, same shape (rows, classes)."""
        out = logits.copy()
        part = slice(self.first, self.last)
        out[:, part] = np.float32(self.alpha) * out[:, part] + np.float32(self.beta)
        return out


NO_CORRECTION = Correction()


def held_counts(counts: Int64Array, hold: int) -> Int64Array:
    """Samples held out of each class with samples, of SPEC.md 8.8.

    Args:
        counts: samples of each, int64 (P,), at least 1. hold: 1 to 7; 0: none.
    """
    if hold == 0:
        return np.zeros_like(counts)
    return np.minimum(max(1, int((counts >> hold).min())), counts - 1)


def fit_correction(logits: Float32Array, labels: Int64Array, known: int, steps: int) -> Correction:
    """Correction of the classes from `known` on, by as many steps as the device takes.

    Args:
        logits: of held-out samples, float32 (rows, classes); labels: int64 (rows,).
    """
    classes = logits.shape[1]
    if known >= classes or len(labels) == 0:
        return NO_CORRECTION
    wanted = labels[:, None] == np.arange(known, classes)
    value, stride, last = np.array([1.0, 0.0]), np.array(FIRST_STRIDES), np.zeros(2)
    for _ in range(steps):
        found = Correction(known, classes, *value.tolist()).apply(logits)
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        error = (powers / powers.sum(axis=1, keepdims=True))[:, known:] - wanted
        sign = np.sign([(error * logits[:, known:]).sum(), error.sum()])
        stride = np.where(sign * last < 0, stride / 2, stride)
        last = np.where(sign == 0, last, sign)
        value -= sign * stride
        value[0] = np.clip(value[0], 0, ALPHA_MAX)
    return Correction(known, classes, *value.tolist())
