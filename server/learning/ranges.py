# SPDX-License-Identifier: Apache-2.0
"""The range of features that a model's raw samples can carry (SPEC.md 3)."""

import numpy as np
from numpy.typing import NDArray

from device.twin.inference import AnyModel
from device.twin.model import IntModel


def raw_ranges(model: AnyModel) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Smallest and largest value of every feature, both of shape (features,)."""
    step = np.ldexp(1.0, -model.raw_bits.astype(np.int64))
    return -32768 * step, 32767 * step


def count_clipped(model: IntModel, x: NDArray[np.float32]) -> int:
    """How many values of x (N, features) are cut off at the edge of their raw grid."""
    low, high = raw_ranges(model)
    return int(np.count_nonzero((x < low) | (x > high)))
