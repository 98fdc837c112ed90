# SPDX-License-Identifier: Apache-2.0
"""Held-out training samples, by which rates, ranges and weights are chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server.learning.datasets import Dataset, DatasetError
from server.learning.stream import stratified_split

FOLDS = 3  # by people
SHARE = 0.3  # where no people are named


def held_out(data: Dataset, folder: Path | None, seed: int) -> Dataset:
    """The training samples alone, split anew: what is held out takes the place of the test samples.

    Every third person of the training split, another third with the next seed; where the file
    names no people, a share of each class.

    Args:
        folder: of the file, which may hold `subject_train`, (N,).
    Raises: DatasetError if a class has one sample.
    """
    people = _people(data, folder)
    if people is None:
        try:
            _, rows = stratified_split(data.y_train, SHARE, seed % FOLDS)
        except ValueError as error:
            raise DatasetError(f"{data.name}: nothing can be held out: {error}") from error
        held = np.zeros(len(data.y_train), bool)
        held[rows] = True
    else:
        held = np.isin(people, np.unique(people)[seed % FOLDS :: FOLDS])
    return replace(
        data,
        name=f"{data.name} (held out)",
        x_train=data.x_train[~held],
        y_train=data.y_train[~held],
        x_test=data.x_train[held],
        y_test=data.y_train[held],
    )


def _people(data: Dataset, folder: Path | None) -> NDArray[np.int64] | None:
    path = folder / f"{data.name}.npz" if folder else None
    if path is None or not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["subject_train"]) if "subject_train" in arrays.files else None
