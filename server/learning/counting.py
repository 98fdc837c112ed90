# SPDX-License-Identifier: Apache-2.0
"""Saturation and clipping of training, from the counters of a host build that counts (SPEC.md 6.5).

A build that counts leaves the packed kernels out and is slower, so a chunk trains without counters.
Its first steps are then done again by a build that counts, from the same working state: the bits
are the same, and so what is counted is what happened.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device.twin.layers import PRODUCTS, TENSORS
from server.learning.ports import Json

COUNTED_STEPS = 2
COUNTING = "HAD_COUNTERS=1"
A_LAYER = 3 * len(TENSORS) + 2 * len(PRODUCTS) + 3
PRODUCT_NAMES = ("forward", "input_gradient", "weight_gradient")


def saturation_rates(counters: Sequence[int], layers: Sequence[str]) -> Json:
    """Shares in [0, 1] of a learner's counters.

    Args:
        counters: A_LAYER numbers a layer in wire order, of the layers in order.
        layers: their names.
    Returns: saturated_forward, saturated_input_gradient, saturated_weight_gradient: saturated
        tiles (or additions) of all layers' products; clipped: quantised values outside their range,
        of all tensors; layers: a row a layer with the same shares, and masters_saturated as a
        count. None where nothing was counted.
    """
    table = np.array(counters, np.int64).reshape(len(layers), A_LAYER)
    rows = [{"name": n, **_shares(r)} for n, r in zip(layers, table, strict=True)]
    return {**_shares(table.sum(axis=0)), "layers": rows}


def _shares(row: NDArray[np.int64]) -> Json:
    tensors = row[: 3 * len(TENSORS)].reshape(-1, 3)
    products = row[3 * len(TENSORS) : -3].reshape(-1, 2)
    shares = {
        f"saturated_{name}": _share(saturated, tiles)
        for name, (tiles, saturated) in zip(PRODUCT_NAMES, products.tolist(), strict=True)
    }
    clipped = _share(int(tensors[:, 1].sum()), int(tensors[:, 0].sum()))
    return {**shares, "clipped": clipped, "masters_saturated": int(row[-3])}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
