# SPDX-License-Identifier: Apache-2.0
"""Learning from the old network's outputs (SPEC.md 6.6).

Source: Li and Hoiem, Learning without Forgetting, ECCV 2016; Hinton et al., arXiv 1503.02531. What
integers changed: the old outputs are taken once a session, as 8-bit probabilities, so there is
never a second network in memory; the temperature is a power of two; the weights of the two losses
are in 1/256; the softmax is that of the cross-entropy.
"""

from dataclasses import dataclass

import numpy as np

from device.twin.kernels import IntArray, round_half_up, softmax_q15

MAX_WEIGHT = 255
MAX_SOFTEN = 3


@dataclass(frozen=True)
class Distillation:
    """How a session learns from the committed network.

    Attributes:
        weight: of the distillation loss, in 1/256, 0 (none) to 255; the rest is cross-entropy's.
        soften: log2 of the temperature, 0 to 3.
    """

    weight: int = 0
    soften: int = 0

    @property
    def is_valid(self) -> bool:
        """Whether SPEC.md 10 allows it: no temperature without a weight."""
        allowed = 0 <= self.weight <= MAX_WEIGHT and 0 <= self.soften <= MAX_SOFTEN
        return allowed and (self.weight > 0 or self.soften == 0)


NONE = Distillation()


def soft_targets(logits: IntArray, frac_bits: int, soften: int) -> IntArray:
    """8-bit targets of the committed network's logits (rows, K), int64 in [0, 255]."""
    softened = softmax_q15(logits, frac_bits + soften)
    return np.asarray((255 * softened + (1 << 14)) >> 15)


def distilled_error(
    error: IntArray, logits: IntArray, targets: IntArray, frac_bits: int, how: Distillation
) -> IntArray:
    """Error of the weighted sum of both losses.

    Args:
        error: of cross-entropy (SPEC.md 6.2), Q15, shape (B, active classes).
        logits: int64, shape (B, active classes).
        targets: 8-bit, shape (B, K), K old classes.
    Returns: int64 in [-32767, 32767], Q15, shape (B, active classes).
    """
    old = targets.shape[1]
    student = softmax_q15(logits[:, :old], frac_bits + how.soften)
    mixed = (256 - how.weight) * error
    mixed[:, :old] += (how.weight << how.soften) * (student - ((257 * targets) >> 1))
    return np.clip(round_half_up(mixed, 8), -32767, 32767)
