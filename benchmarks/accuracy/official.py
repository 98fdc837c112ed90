# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy.official SET FOLDER OUT.npz: publishers' files into one npz file.

Activity sets that come as recordings (DSADS, PAMAP2, WISDM) are cut into windows of five numbers a
channel (`window_features`), which are not the features of any paper. Tested on made-up files only.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
DSADS_SHAPE = (125, 45)
DSADS_TEST_SUBJECTS = (7, 8)
PAMAP2_HZ, PAMAP2_COLUMNS = 100, 54
PAMAP2_TEST_SUBJECTS = (105, 106)
PAMAP2_ACTIVITIES = (1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 17, 24)
WISDM_WINDOW, WISDM_TEST_USERS = 200, range(28, 37)
CIFAR_BYTES = 32 * 32 * 3


class OfficialFileError(Exception):
    """A file is not as its publisher ships it; the message says which and what was expected."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """The layout that server.learning.datasets reads."""

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]


def window_features(window: Float32Array) -> Float32Array:
    """Mean, deviation, least, largest and mean absolute difference of every channel.

    Args:
        window: float32 (samples, channels). Returns: float32 (5 channels,).
    """
    change = np.abs(np.diff(window, axis=0)).mean(axis=0)
    parts = (window.mean(axis=0), window.std(axis=0), window.min(axis=0), window.max(axis=0))
    return np.concatenate([*parts, change]).astype(np.float32)


def hapt(folder: Path) -> Arrays:
    """HAPT, UCI 341: Train/X_train.txt, Train/y_train.txt, Test/.., activity_labels.txt."""
    return _har_tables(folder, "Train", "Test", 561)


def uci_har(folder: Path) -> Arrays:
    """UCI HAR, UCI 240: train/X_train.txt, train/y_train.txt, test/.., activity_labels.txt."""
    return _har_tables(folder, "train", "test", 561)


def dsads(folder: Path) -> Arrays:
    """DSADS, UCI 256: data/aAA/pP/sSS.txt of 125 x 45 numbers; subjects 7 and 8 are the test's."""
    rows = []
    for path in _found(folder, "data/a*/p*/s*.txt"):
        window = _numbers(path, DSADS_SHAPE[1], ",")
        if window.shape != DSADS_SHAPE:
            raise OfficialFileError(f"{path}: shape {window.shape}, expected {DSADS_SHAPE}")
        subject = int(path.parent.name[1:])
        label = int(path.parent.parent.name[1:]) - 1
        rows.append((window_features(window), label, subject in DSADS_TEST_SUBJECTS))
    return _split(rows, tuple(f"a{c + 1:02d}" for c in range(1 + max(row[1] for row in rows))))


def pamap2(folder: Path) -> Arrays:
    """PAMAP2, UCI 231: Protocol/subject10N.dat of 54 columns; subjects 105 and 106 are the test's.

    Windows of 5.12 s, half overlapping, of one activity; the heart rate is left out, as it is
    missing nine times in ten, and gaps hold their last value.
    """
    rows = []
    for path in _found(folder, "Protocol/subject*.dat"):
        table = _numbers(path, PAMAP2_COLUMNS, None)
        test = int(path.stem.removeprefix("subject")) in PAMAP2_TEST_SUBJECTS
        for window, activity in _pieces(table[:, 3:], table[:, 1], 512, 256):
            if activity in PAMAP2_ACTIVITIES:
                label = PAMAP2_ACTIVITIES.index(int(activity))
                rows.append((window_features(_held(window)), label, test))
    return _split(rows, tuple(str(activity) for activity in PAMAP2_ACTIVITIES))


def wisdm(folder: Path) -> Arrays:
    """WISDM 1.1: WISDM_ar_v1.1_raw.txt, lines `user,activity,time,x,y,z;`; users from 28 test."""
    path = folder / "WISDM_ar_v1.1_raw.txt"
    users, names, values = [], [], []
    for line in _read(path).replace(";", "\n").split("\n"):
        fields = [field.strip() for field in line.strip().rstrip(",").split(",")]
        if len(fields) != 6 or not all(fields):
            continue  # the published file has a few broken lines
        users.append(int(fields[0]))
        names.append(fields[1])
        values.append([float(field) for field in fields[3:]])
    if not values:
        raise OfficialFileError(f"{path}: no line `user,activity,time,x,y,z;`")
    classes = sorted(set(names))
    keys = np.array(
        [user * len(classes) + classes.index(n) for user, n in zip(users, names, strict=True)]
    )
    pieces = _pieces(np.array(values, np.float32), keys, WISDM_WINDOW, WISDM_WINDOW // 2)
    rows = [
        (window_features(w), int(k) % len(classes), int(k) // len(classes) in WISDM_TEST_USERS)
        for w, k in pieces
    ]
    return _split(rows, tuple(classes))


def cifar10(folder: Path) -> Arrays:
    """CIFAR-10, binary version: data_batch_1..5.bin, test_batch.bin, batches.meta.txt."""
    train = [folder / f"data_batch_{n}.bin" for n in range(1, 6)]
    names = _read(folder / "batches.meta.txt").split()
    return _cifar(train, folder / "test_batch.bin", 1, names)


def cifar100(folder: Path) -> Arrays:
    """CIFAR-100, binary version: train.bin, test.bin, fine_label_names.txt; fine labels."""
    names = _read(folder / "fine_label_names.txt").split()
    return _cifar([folder / "train.bin"], folder / "test.bin", 2, names)


LOADERS: dict[str, Callable[[Path], Arrays]] = {
    "dsads": dsads,
    "hapt": hapt,
    "uci_har": uci_har,
    "pamap2": pamap2,
    "wisdm": wisdm,
    "cifar10": cifar10,
    "cifar100": cifar100,
}


def _har_tables(folder: Path, train: str, test: str, features: int) -> Arrays:
    lines = _read(folder / "activity_labels.txt").strip().splitlines()
    names = tuple(line.split()[1] for line in lines)
    x, y = _har_part(folder / train, features)
    return Arrays(x, y, *_har_part(folder / test, features), names)


def _har_part(folder: Path, features: int) -> tuple[Float32Array, NDArray[np.int64]]:
    part = folder.name.lower()
    x = _numbers(folder / f"X_{part}.txt", features, None)
    y = _numbers(folder / f"y_{part}.txt", 1, None)[:, 0].astype(np.int64) - 1
    if len(x) != len(y):
        raise OfficialFileError(f"{folder}: {len(x)} rows of X, {len(y)} labels")
    return x, y


def _cifar(train: list[Path], test: Path, label_bytes: int, names: list[str]) -> Arrays:
    parts = [_cifar_file(path, label_bytes) for path in train]
    x_test, y_test = _cifar_file(test, label_bytes)
    x, y = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    return Arrays(x, y, x_test, y_test, tuple(names))


def _cifar_file(path: Path, label_bytes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and the last label byte of every record."""
    raw = np.frombuffer(_bytes(path), np.uint8)
    size = label_bytes + CIFAR_BYTES
    if raw.size == 0 or raw.size % size:
        raise OfficialFileError(f"{path}: {raw.size} bytes, expected a multiple of {size}")
    records = raw.reshape(-1, size)
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1).copy(), records[:, label_bytes - 1].astype(np.int64)


def _pieces(
    values: Float32Array, keys: NDArray[Any], size: int, stride: int
) -> Iterator[tuple[Float32Array, Any]]:
    """Windows that lie wholly within a run of equal keys, and their key."""
    ends = [*(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    start = 0
    for end in ends:
        for first in range(start, end - size + 1, stride):
            yield values[first : first + size], keys[start]
        start = end


def _held(window: Float32Array) -> Float32Array:
    """The window with each gap filled by the value before it; before the first value, zero."""
    known = np.isfinite(window)
    last = np.maximum.accumulate(np.where(known, np.arange(len(window))[:, None], -1), axis=0)
    filled = np.take_along_axis(window, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, filled, np.float32(0))


def _split(rows: list[tuple[Float32Array, int, bool]], names: tuple[str, ...]) -> Arrays:
    if not any(row[2] for row in rows) or all(row[2] for row in rows):
        raise OfficialFileError("no windows of training people, or none of test people")
    x = np.stack([features for features, _, _ in rows])
    y = np.array([label for _, label, _ in rows], np.int64)
    test = np.array([is_test for _, _, is_test in rows])
    return Arrays(x[~test], y[~test], x[test], y[test], names)


def _found(folder: Path, pattern: str) -> list[Path]:
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise OfficialFileError(f"{folder}: no file {pattern}")
    return paths


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OfficialFileError(f"{path}: {error.strerror}") from error


def _read(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _numbers(path: Path, columns: int, separator: str | None) -> Float32Array:
    """Rows of a text table; NaN is a number here.

    Raises: OfficialFileError that names the file and the first wrong line.
    """
    rows = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        fields = line.split(separator)
        try:
            values = [float(field) for field in fields]
        except ValueError as error:
            raise OfficialFileError(f"{path}, line {number}: {error}") from error
        if len(values) != columns:
            raise OfficialFileError(f"{path}, line {number}: {len(values)} numbers, not {columns}")
        rows.append(values)
    return np.array(rows, np.float32).reshape(-1, columns)


def main(arguments: list[str]) -> int:
    """Convert one set."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.official", description=__doc__)
    p.add_argument("set", choices=sorted(LOADERS))
    p.add_argument("folder", type=Path)
    p.add_argument("out", type=Path)
    args = p.parse_args(arguments)
    try:
        arrays = LOADERS[args.set](args.folder)
    except OfficialFileError as error:
        print(error, file=sys.stderr)
        return 1
    np.savez_compressed(args.out, **{**vars(arrays), "class_names": np.array(arrays.class_names)})
    print(f"{args.out}: {len(arrays.y_train)} training and {len(arrays.y_test)} test samples")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
