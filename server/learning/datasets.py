# SPDX-License-Identifier: Apache-2.0
"""Datasets for demos and benchmarks; the only module of this package that reads files.

`digits` comes with scikit-learn. Any other name is a file NAME.npz in the folder that the
environment variable HADAPT_DATA names, with arrays

    x_train, x_test   numbers, shape (N, ...); flattened to float32 (N, features)
    y_train, y_test   labels, whole numbers or text, shape (N,) or (N, 1): any values; classes
                      are those of y_train in ascending order
    class_names       text, shape (classes,), or one for each number from 0; optional

Other arrays of the file are left alone.
"""

import importlib.util
import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.learning.stream import stratified_split

DATA_VARIABLE = "HADAPT_DATA"
DIGITS = "digits"
DIGITS_SPLIT_SEED = 0
DIGITS_TEST_SHARE = 0.25
MAX_BYTES = 2 * 1024**3

# All that zipfile, zlib and NumPy raise on bytes that are no npz file: RuntimeError for encrypted
# entries and unknown compression, MemoryError for a header that claims more than there can be.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


class DatasetError(Exception):
    """A dataset cannot be had; the message says which, why, and what would be right."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples.

    Attributes:
        name: as it was asked for.
        x_train, x_test: float32 (N, features), finite.
        y_train, y_test: labels, int64 (N,), in [0, classes); every class has training samples.
        class_names: one a class.
    """

    name: str
    x_train: Float32Array
    y_train: Int64Array
    x_test: Float32Array
    y_test: Int64Array
    class_names: tuple[str, ...]

    @property
    def features(self) -> int:
        """Numbers in a sample."""
        return int(self.x_train.shape[1])


def data_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that HADAPT_DATA names; None if it names none.

    Raises: DatasetError if there is no such folder.
    """
    text = environment.get(DATA_VARIABLE)
    if not text:
        return None
    folder = Path(text)
    if not folder.is_dir():
        raise DatasetError(f"{DATA_VARIABLE}={text}: there is no such folder")
    return folder


def available(folder: Path | None) -> tuple[str, ...]:
    """Names that `load` takes here: digits, then the files of the folder, sorted."""
    digits = (DIGITS,) if importlib.util.find_spec("sklearn") else ()
    files = sorted(path.stem for path in folder.glob("*.npz")) if folder else []
    return (*digits, *files)


def load(name: str, folder: Path | None = None) -> Dataset:
    """A dataset by name.

    Args:
        folder: of npz files, usually `data_folder()`.
    Raises: DatasetError.
    """
    if name == DIGITS:
        return _load_digits()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise DatasetError(f"{name!r} is no name of a dataset")
    if folder is None:
        raise DatasetError(f"{name}: set {DATA_VARIABLE} to the folder that holds {name}.npz")
    path = folder / f"{name}.npz"
    if not path.is_file():
        known = ", ".join(available(folder)) or "none"
        raise DatasetError(f"{path} does not exist; there are: {known}")
    return load_file(path)


def load_file(path: Path) -> Dataset:
    """The dataset of an npz file, named by the file without its ending.

    Raises: DatasetError.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file")
    return _from_arrays(path.stem, path, _read(path))


def _load_digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError("digits: scikit-learn is missing; pip install hadapt[demo]") from error
    x, y = load_digits(return_X_y=True)
    train, test = stratified_split(y, DIGITS_TEST_SHARE, DIGITS_SPLIT_SEED)
    rows, labels = x.astype(np.float32), y.astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    return Dataset(DIGITS, rows[train], labels[train], rows[test], labels[test], names)


def load_arrays(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    """The wanted arrays of an npz file, where it has them. Raises: UNREADABLE."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: _array(file, name) for name in file.files if name in wanted}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what it does not know
            raise ValueError(f"{name} is no npy array")
    return arrays


def _array(file: Mapping[str, Any], name: str) -> Any:
    try:
        return file[name]
    except ValueError as error:
        if "Object arrays" in str(error):
            kind = "float" if name.startswith("x") else "str"
            raise ValueError(
                f"array {name} holds Python objects; save {name}.astype({kind})"
            ) from error
        raise


def _read(path: Path) -> dict[str, NDArray[Any]]:
    wanted = {"x_train", "y_train", "x_test", "y_test", "class_names"}
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise DatasetError(f"{path}: {size} bytes unpacked; at most {MAX_BYTES} are read")
        return load_arrays(path, wanted)
    except UNREADABLE as error:
        raise DatasetError(f"{path}: not a readable npz file: {error}") from error


def _from_arrays(name: str, path: Path, arrays: Mapping[str, NDArray[Any]]) -> Dataset:
    missing = sorted({"x_train", "y_train", "x_test", "y_test"} - set(arrays))
    if missing:
        raise DatasetError(f"{path}: no array {', '.join(missing)}")
    x_train = _features(path, "x_train", arrays["x_train"])
    x_test = _features(path, "x_test", arrays["x_test"])
    if x_train.shape[1] != x_test.shape[1]:
        raise DatasetError(
            f"{path}: {x_train.shape[1]} features in x_train, {x_test.shape[1]} in x_test"
        )
    labels = _labels(path, "y_train", arrays["y_train"], len(x_train))
    others = _labels(path, "y_test", arrays["y_test"], len(x_test))
    if labels.dtype.kind != others.dtype.kind:
        raise DatasetError(f"{path}: y_train is {labels.dtype}, y_test {others.dtype}")
    classes, y_train = np.unique(labels, return_inverse=True)
    absent = np.setdiff1d(others, classes)
    if len(absent):
        raise DatasetError(f"{path}, y_test: class {absent[0]} has no samples in y_train")
    y_test = np.searchsorted(classes, others)
    names = _names(path, arrays, classes)
    return Dataset(name, x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), names)


def _features(path: Path, key: str, values: NDArray[Any]) -> Float32Array:
    if values.dtype.kind not in "fiub" or values.ndim < 2 or values.size == 0:
        raise DatasetError(
            f"{path}, {key}: shape {values.shape}, type {values.dtype}; expected numbers (N, ...)"
        )
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is refused
        rows = values.reshape(len(values), -1).astype(np.float32)
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        raise DatasetError(f"{path}, {key}: row {bad[0][0]}, column {bad[0][1]} is not finite")
    return rows


def _labels(path: Path, key: str, values: NDArray[Any], count: int) -> NDArray[Any]:
    """Labels (N,) as they are in the file, int64 or text."""
    if values.dtype.kind not in "iubfU" or values.shape not in ((count,), (count, 1)):
        raise DatasetError(
            f"{path}, {key}: shape {values.shape}, {values.dtype}; expected whole numbers or "
            f"text ({count},)"
        )
    labels = values.reshape(count)
    if labels.dtype.kind == "U":
        return labels
    with np.errstate(invalid="ignore"):  # what is beyond int64 differs from what it becomes
        whole = labels.astype(np.int64)
    if (bad := np.flatnonzero(whole != labels)).size:
        raise DatasetError(f"{path}, {key}: row {bad[0]} is {labels[bad[0]]}, no whole number")
    return whole


def _names(
    path: Path, arrays: Mapping[str, NDArray[Any]], classes: NDArray[Any]
) -> tuple[str, ...]:
    names = arrays.get("class_names")
    if names is None:
        return tuple(map(str, classes.tolist()))
    if names.shape == (len(classes),):
        return tuple(map(str, names.tolist()))
    numbers = classes.dtype.kind == "i" and classes[0] >= 0
    if not (numbers and names.ndim == 1 and classes[-1] < len(names)):
        raise DatasetError(f"{path}: {names.size} class names for {len(classes)} classes")
    return tuple(str(names[label]) for label in classes.tolist())
