# SPDX-License-Identifier: Apache-2.0
"""Checking sample rows: shape, finite, in range; every issue names row and column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.errors import Issue, SampleInvalidError
from server.learning.ports import Float32Array

MAX_ISSUES = 20
MAX_LABEL_CHARS = 100
FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_features(
    x: NDArray[Any], feature_count: int, low: float | None, high: float | None
) -> Float32Array:
    """Features as float32 (N, feature_count).

    Args:
        x: numbers, shape (N, feature_count).
        low, high: inclusive range that the model's input can carry; None: any float32.
    Raises: SampleInvalidError.
    """
    if x.ndim != 2 or x.shape[1] != feature_count or x.shape[0] == 0:
        issue = Issue(f"shape {x.shape}", "array x", f"shape (rows, {feature_count}), rows >= 1")
        raise SampleInvalidError(f"x has shape {x.shape}.", [issue])
    wide = x.astype(np.float64)
    low = -FLOAT32_MAX if low is None else low
    high = FLOAT32_MAX if high is None else high
    bad = ~np.isfinite(wide) | (wide < low) | (wide > high)
    _raise_first(wide, bad, f"a finite number in [{low:g}, {high:g}]")
    return wide.astype(np.float32)


def _raise_first(x: NDArray[np.float64], bad: NDArray[np.bool_], expected: str) -> None:
    where = np.argwhere(bad)
    if not len(where):
        return
    issues = [
        Issue(f"value {x[row, column]}", f"row {row}, column {column}", expected)
        for row, column in where[:MAX_ISSUES]
    ]
    first = issues[0]
    detail = f"{first.where}: {first.what}, expected {expected}; {len(where)} such values in all."
    raise SampleInvalidError(detail, issues)


def array_of_lists(rows: Sequence[Any], feature_count: int) -> NDArray[np.float64]:
    """Rows of a JSON body as float64 (N, feature_count). Raises: SampleInvalidError."""
    issues: list[Issue] = []
    for number, row in enumerate(rows):
        issue = _row_issue(number, row, feature_count)
        if issue is not None:
            issues.append(issue)
        if len(issues) == MAX_ISSUES:
            break
    if issues:
        first = issues[0]
        raise SampleInvalidError(f"{first.where}: {first.what}, expected {first.expected}.", issues)
    return np.array([[_number(v) for v in row] for row in rows], dtype=np.float64)


def _row_issue(number: int, row: Any, feature_count: int) -> Issue | None:
    if not isinstance(row, list):
        what = f"features are {type(row).__name__}"
        return Issue(what, f"row {number}", f"a list of {feature_count} numbers")
    for column, value in enumerate(row[:feature_count]):
        if isinstance(value, bool) or not isinstance(value, int | float):
            what = f"value of type {type(value).__name__}"
            return Issue(what, f"row {number}, column {column}", "a finite number")
    if len(row) != feature_count:
        return Issue(f"{len(row)} features", f"row {number}", f"{feature_count} features")
    return None


def _number(value: float) -> float:
    """A float; an integer too large for one becomes infinite, which is refused later by place."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def check_label(label: Any, row: int) -> str | int:
    """A class name or a class index. Raises: SampleInvalidError."""
    where, expected = (
        f"row {row}, label",
        f"a name of 1 to {MAX_LABEL_CHARS} characters or an index",
    )
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < 1 << 31:
        return label
    if isinstance(label, str) and 1 <= len(label) <= MAX_LABEL_CHARS and label.isprintable():
        return label
    what = "label missing" if label is None else f"label {str(label)[:40]!r}"
    raise SampleInvalidError(f"{where}: {what}.", [Issue(what, where, expected)])
