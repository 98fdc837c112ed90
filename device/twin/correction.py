# SPDX-License-Identifier: Apache-2.0
"""Correction of the logits of new classes (SPEC.md 8.8).

Source: Wu et al., Large Scale Incremental Learning, CVPR 2019 (BiC): a second stage fits
alpha y + beta to the new classes' logits on held-out samples. What integers changed: alpha is in
Q12, beta in the grid of the logits; the fit is a fixed number of full-batch steps by the signs of
the gradients, halved when a sign turns (after Rprop), in place of SGD; only the latest new classes
are corrected, and distillation hands the corrected outputs on.
"""

from dataclasses import dataclass

import numpy as np

from device.twin.kernels import IntArray, round_half_up, saturate, softmax_q15

ALPHA_ONE, ALPHA_MAX, ALPHA_STEP = 1 << 12, 16383, 512
MAX_HOLD, MAX_STEPS = 7, 255


@dataclass(frozen=True)
class Correction:
    """Of the logits of classes first .. last - 1: alpha in Q12, beta in the logit grid."""

    first: int = 0
    last: int = 0
    alpha: int = ALPHA_ONE
    beta: int = 0

    def apply(self, logits: IntArray) -> IntArray:
        """Corrected logits, same shape (rows, classes)."""
        out = logits.copy()
        part = slice(self.first, self.last)
        out[:, part] = saturate(round_half_up(self.alpha * out[:, part], 12) + self.beta, 16)
        return out


NO_CORRECTION = Correction()


def held_out(labels: IntArray, hold: int) -> IntArray:
    """Canonical indices of the samples that are held out.

    Args:
        labels: of all samples in canonical order; hold: 1 to 7, or 0 for none.
    """
    if hold == 0:
        return np.zeros(0, np.int64)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = max(1, min(len(m) >> hold for m in members))
    return np.concatenate([m[len(m) - min(most, len(m) - 1) :] for m in members])


def held_rows(labels: IntArray, hold: int, n_classes: int) -> IntArray:
    """Those of `held_out` whose class is active."""
    held = held_out(labels, hold) if len(labels) else labels
    return np.asarray(held[labels[held] < n_classes])


def fit_correction(
    logits: IntArray, labels: IntArray, known: int, frac_bits: int, steps: int
) -> Correction:
    """Correction of the classes from `known` on.

    Args:
        logits: of held-out samples, (rows, n_classes); labels: (rows,).
    """
    classes = logits.shape[1]
    if known >= classes or len(labels) == 0:
        return NO_CORRECTION
    wanted = (np.eye(classes, dtype=np.int64) << 15)[labels][:, known:]
    values = [ALPHA_ONE, 0]
    strides = [ALPHA_STEP, max(1, 1 << frac_bits >> 1)]
    bounds = [(0, ALPHA_MAX), (-32768, 32767)]
    signs = [0, 0]
    for _ in range(steps):
        corrected = Correction(known, classes, *values).apply(logits)
        error = softmax_q15(corrected, frac_bits)[:, known:] - wanted
        sums = (int((error * logits[:, known:]).sum()), int(error.sum()))
        for i, gradient in enumerate(sums):
            sign = (gradient > 0) - (gradient < 0)
            if sign * signs[i] < 0:
                strides[i] = max(1, strides[i] >> 1)
            signs[i] = sign or signs[i]
            values[i] = int(np.clip(values[i] - sign * strides[i], *bounds[i]))
    return Correction(known, classes, *values)
