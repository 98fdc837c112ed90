# SPDX-License-Identifier: Apache-2.0
"""Samples from npz files: x (or x_train), y (or y_train); also x_test, y_test, class_names.

Labels are class slots (0, 1, ..) or names, and where classes are named by numbers (1, 2, 3 by
scikit-learn) those numbers; other arrays in the file are left alone.
"""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.commands.console import read_input, wrong
from server.errors import Issue, SampleInvalidError
from server.learning.class_numbers import names_are_numbers
from server.learning.datasets import UNREADABLE, load_arrays
from server.learning.ports import Float32Array, Int64Array

MAX_BYTES = 1024 * 1024 * 1024
MAX_CLASSES = 1000
READABLE = "an npz file with x or x_train (rows, features), and y or y_train"


@dataclass(frozen=True)
class Samples:
    """Rows of a file: x float32 (N, features), labels integer or text (N,) or None.

    class_names: names of integer labels, if the file has them.
    """

    x: Float32Array
    labels: NDArray[Any] | None
    class_names: tuple[str, ...] | None = None

    def of_classes(self, wanted: list[str] | None) -> "Samples":
        """Only rows of these classes, given as slots or names; all of them for None.

        Raises: SampleInvalidError if nothing is left.
        """
        if wanted is None:
            return self
        rows = np.isin(required_labels(self).astype(str), wanted)
        if not rows.any():
            issue = Issue(
                "no rows of these classes",
                ",".join(wanted),
                "classes that the file has",
            )
            raise SampleInvalidError(f"There are no rows of classes {','.join(wanted)}.", [issue])
        return Samples(self.x[rows], required_labels(self)[rows], self.class_names)


def read_samples(path: Path, feature_count: int | None, part: str = "train") -> Samples:
    """Rows of an npz file.

    Args:
        feature_count: values in a row; None: as many as the file has.
        part: "train" reads x or x_train; "test" reads x_test, else as "train".
    Raises: UsageError if the file cannot be read; SampleInvalidError naming row and column.
    """
    read_input(path, READABLE)
    arrays = _load(path)
    pairs = [("x", "y"), ("x_train", "y_train")]
    pairs = [("x_test", "y_test"), *pairs] if part == "test" else pairs
    x_name, y_name = next((p for p in pairs if p[0] in arrays), ("", ""))
    if not x_name:
        what = f"holds {', '.join(_names_in(path))[:200] or 'nothing'}"
        raise SampleInvalidError(f"{path}: {what}.", [Issue(what, str(path), READABLE)])
    x = _features(path, x_name, arrays[x_name], feature_count)
    labels = arrays.get(y_name)
    if labels is not None:
        labels = _labels(path, y_name, labels, len(x))
    return Samples(x, labels, _class_names(path, arrays.get("class_names")))


def npy_bytes(x: Float32Array) -> bytes:
    """An array as the bytes of a .npy file."""
    out = io.BytesIO()
    np.save(out, x, allow_pickle=False)
    return out.getvalue()


def has_test_rows(path: Path) -> bool:
    """True if the file has x_test and y_test beside its training rows."""
    return {"x_test", "y_test"} <= set(_load(path))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    wanted = {"x", "y", "x_train", "y_train", "x_test", "y_test", "class_names"}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES} bytes when unpacked")
        return load_arrays(path, wanted)
    except (*UNREADABLE, KeyError) as error:
        what = f"not a readable npz file ({_first_line(error)})"
        raise SampleInvalidError(f"{path}: {what}.", [Issue(what, str(path), READABLE)]) from error


def _names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _features(path: Path, name: str, x: NDArray[Any], feature_count: int | None) -> Float32Array:
    where = f"{path}, array {name}"
    if feature_count is None:
        feature_count = int(np.prod(x.shape[1:]))
    if x.dtype.kind not in "fiub" or x.ndim < 2 or len(x) == 0 or x[0].size != feature_count:
        what, expected = (
            f"shape {x.shape}, type {x.dtype}",
            f"numbers, shape (N, {feature_count})",
        )
        raise SampleInvalidError(f"{where}: {what}.", [Issue(what, where, expected)])
    flat = x.reshape(len(x), feature_count).astype(np.float64)
    bad = np.argwhere(~np.isfinite(flat) | (np.abs(flat) > np.finfo(np.float32).max))
    if len(bad):
        row, column = bad[0].tolist()
        issue = Issue(
            f"value {flat[row, column]}",
            f"row {row}, column {column}",
            "finite numbers",
        )
        raise SampleInvalidError(f"{where}: {issue.where} holds {flat[row, column]}.", [issue])
    return flat.astype(np.float32)


def _labels(path: Path, name: str, labels: NDArray[Any], count: int) -> NDArray[Any]:
    """Labels (N,), int64 or text, of whole numbers or text of shape (N,) or (N, 1)."""
    where, expected = f"{path}, array {name}", f"whole numbers or text, shape ({count},)"
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iubfU":
        what = f"shape {labels.shape}, type {labels.dtype}"
        if labels.ndim == 2 and labels.shape[0] == count:
            expected += f", such as {name}.argmax(axis=1) of one-hot rows"
        raise SampleInvalidError(f"{where}: {what}.", [Issue(what, where, expected)])
    labels = labels.reshape(count)
    if labels.dtype.kind == "U":
        return labels
    with np.errstate(invalid="ignore"):  # what is beyond int64 differs from what it becomes
        whole = labels.astype(np.int64)
    if (bad := np.flatnonzero(whole != labels)).size:
        issue = Issue(f"label {labels[bad[0]]}", f"row {bad[0]}", expected)
        raise SampleInvalidError(f"{where}: row {bad[0]} has label {labels[bad[0]]}.", [issue])
    return whole


def _class_names(path: Path, names: NDArray[Any] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = tuple(str(name) for name in np.atleast_1d(names).tolist())
    if names.ndim != 1 or names.dtype.kind not in "iuU" or len(set(found)) != len(found):
        where, what = f"{path}, array class_names", f"shape {names.shape}, {', '.join(found)[:80]}"
        expected = "distinct names, shape (classes,)"
        raise SampleInvalidError(f"{where}: {what}.", [Issue(what, where, expected)])
    return found


def required_labels(samples: Samples) -> NDArray[Any]:
    """The labels. Raises: SampleInvalidError if the file has none."""
    if samples.labels is None:
        issue = Issue("no labels", "array y", READABLE)
        raise SampleInvalidError("The samples have no labels.", [issue])
    return samples.labels


def to_slots(samples: Samples, known: tuple[str, ...]) -> tuple[Int64Array, tuple[str, ...]]:
    """Class slots of labels, and all class names: known ones first, then new ones.

    New integer labels must follow the known ones without a gap; new names come in the order in
    which they first appear, and new numbers that are names in ascending order.

    Example:
        >>> rows = Samples(np.zeros((3, 1), np.float32), np.array([0, 3, 2]))
        >>> to_slots(rows, ("cat", "dog"))
        (array([0, 3, 2]), ('cat', 'dog', '2', '3'))
        >>> to_slots(rows, ("2", "3"))
        (array([2, 1, 0]), ('2', '3', '0'))

    Raises: SampleInvalidError.
    """
    labels = required_labels(samples)
    if names_are_numbers(known) and labels.dtype.kind != "U":
        return _by_name(labels.astype(str), known, np.unique(labels).astype(str).tolist())
    if labels.dtype.kind == "U":
        return _by_name(labels, known, labels.tolist())
    slots = _positions(labels)
    fresh = sorted({int(s) for s in slots if s >= len(known)})
    expected = list(range(len(known), len(known) + len(fresh)))
    if fresh != expected:
        issue = Issue(
            f"new classes {fresh}",
            "labels",
            f"{len(known)} as the next new class, without a gap; or text, which may be any",
        )
        raise SampleInvalidError(
            f"The model knows classes 0 to {len(known) - 1}; the data bring {fresh}.",
            [issue],
        )
    return slots, (*known, *(_name(samples, slot, known) for slot in fresh))


def known_slots(samples: Samples, known: tuple[str, ...]) -> Int64Array:
    """Slots of labels, those of classes that the model does not know beyond its own.

    Raises: SampleInvalidError.
    """
    labels = required_labels(samples)
    if labels.dtype.kind == "U" or names_are_numbers(known):
        return to_slots(samples, known)[0]
    return _positions(labels)


def _by_name(
    labels: NDArray[Any], known: tuple[str, ...], mentioned: Iterable[str]
) -> tuple[Int64Array, tuple[str, ...]]:
    names = (*known, *(n for n in dict.fromkeys(mentioned) if n not in known))
    places = {name: slot for slot, name in enumerate(names)}
    return np.array([places[n] for n in labels.tolist()], np.int64), names


def _positions(labels: NDArray[Any]) -> Int64Array:
    slots = labels.astype(np.int64)
    if (slots < 0).any():
        row = int(np.argmax(slots < 0))
        issue = Issue(f"label {labels[row]}", f"array y, row {row}", "slots 0, 1, .., or names")
        raise SampleInvalidError(f"Row {row} has label {labels[row]}.", [issue])
    return slots


def _name(samples: Samples, slot: int, known: tuple[str, ...]) -> str:
    given = samples.class_names
    name = given[slot] if given is not None and slot < len(given) else str(slot)
    return name if name not in known else f"class {slot}"


def parse_classes(text: str | None) -> list[str] | None:
    """Classes of an option: "0-5,8" or names, as text.

    Example:
        >>> parse_classes("0-3,7"), parse_classes("cat,dog"), parse_classes(None)
        (['0', '1', '2', '3', '7'], ['cat', 'dog'], None)

    Raises: UsageError.
    """
    if text is None:
        return None
    found: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        low, dash, high = part.partition("-")
        if dash and low.isdigit() and high.isdigit():
            if int(high) - int(low) >= MAX_CLASSES:
                raise wrong(f"range {part}", "--classes", f"at most {MAX_CLASSES} classes")
            found += [str(n) for n in range(int(low), int(high) + 1)]
        else:
            found.append(part)
    if not found:
        raise wrong("no class", "--classes", "such as 0-5,8 or cat,dog")
    return found
