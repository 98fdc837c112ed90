# SPDX-License-Identifier: Apache-2.0
"""The range of features that a model's raw samples can carry (SPEC.md 3)."""

import numpy as np
from numpy.typing import NDArray

from device.twin.model import IntModel
from server.errors import Issue, SampleInvalidError

MOST_ISSUES = 20


def raw_ranges(model: IntModel) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Smallest and largest value of every feature, both of shape (features,)."""
    step = np.ldexp(1.0, -model.input.raw_frac_bits.astype(np.int64))
    return -32768 * step, 32767 * step


def check_ranges(model: IntModel, x: NDArray[np.float32]) -> None:
    """Refuse samples that would be cut off at the edge of the raw grid.

    Args:
        x: float32, shape (N, features).
    Raises: SampleInvalidError that names row, column, value and range; at most 20 of them.
    """
    low, high = raw_ranges(model)
    bad = np.argwhere((x < low) | (x > high))
    if len(bad) == 0:
        return
    issues = [
        Issue(f"value {x[r, c]:g}", f"row {r}, column {c}", f"{low[c]:g} to {high[c]:g}")
        for r, c in bad[:MOST_ISSUES].tolist()
    ]
    raise SampleInvalidError(
        f"{len(bad)} values are outside the range that the model was calibrated for.", issues
    )
