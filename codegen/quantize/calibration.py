# SPDX-License-Identifier: Apache-2.0
"""Checks of the calibration samples and their labels."""

import numpy as np
from numpy.typing import NDArray

from codegen.errors import CalibrationError
from codegen.graph import Affine, FloatGraph
from codegen.quantize.ranges import FloatArray
from device.twin.kernels import IntArray

MIN_CALIBRATION = 2


def checked_samples(graph: FloatGraph, calibration: NDArray[np.floating]) -> FloatArray:
    """Calibration samples as rows, float32, shape (N, features).

    Raises: CalibrationError if there are too few, or a value is not finite. ShapeError.
    """
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite and is named below
        x = graph.flatten(np.asarray(calibration).astype(np.float32))
    if len(x) < MIN_CALIBRATION:
        raise CalibrationError(
            f"{len(x)} samples", where="calibration", expected=f"at least {MIN_CALIBRATION}"
        )
    _require_finite(x, "value")
    return x


def normalized(normalizer: Affine, x: FloatArray) -> FloatArray:
    """The samples after the graph's normaliser, float32, shape (N, features).

    Raises: CalibrationError if a value overflows, or if nothing but zeros is left.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        normal = normalizer.forward(x)
    _require_finite(normal, "normalised value")
    if not normal.any():
        raise CalibrationError(
            "every normalised value is zero",
            where="calibration",
            expected="samples like those of use",
        )
    return normal


def _require_finite(x: FloatArray, what: str) -> None:
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = (int(n) for n in bad[0])
        raise CalibrationError(
            f"{what} {x[row, column]}",
            where=f"calibration row {row}, column {column}",
            expected="finite numbers",
            details={"row": row, "column": column},
        )


def checked_labels(graph: FloatGraph, labels: NDArray[np.integer], count: int) -> IntArray:
    """Labels as int64, shape (count,).

    Raises: CalibrationError if shape or type are wrong, or a label is no class of the graph.
    """
    y = np.asarray(labels)
    if y.shape != (count,) or not np.issubdtype(y.dtype, np.integer):
        raise CalibrationError(
            f"labels have shape {y.shape} and dtype {y.dtype}",
            where="calibration labels",
            expected=f"integers of shape ({count},)",
        )
    bad = np.flatnonzero((y < 0) | (y >= graph.n_classes))
    if len(bad):
        raise CalibrationError(
            f"label {int(y[bad[0]])}",
            where=f"calibration labels, row {int(bad[0])}",
            expected=f"0 to {graph.n_classes - 1}",
        )
    return y.astype(np.int64)
