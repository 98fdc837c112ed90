# SPDX-License-Identifier: Apache-2.0
"""Labels in npz files as other tools write them, and what they mean for a model's class names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.commands.arrays import known_slots, read_samples, to_slots
from server.errors import SampleInvalidError

X = np.eye(3, 2, dtype=np.float32)


def saved(folder: Path, y: Any, **more: Any) -> Path:
    """An npz file of three rows."""
    path = folder / "d.npz"
    np.savez(path, x=X, y=y, **more)
    return path


FORMS = {
    "float": np.array([0.0, 2.0, 1.0]),
    "column": np.array([[0], [2], [1]], np.int16),
    "big endian": np.array([0, 2, 1], ">u4"),
}


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_of_any_type_are_slots(form: str, tmp_path: Path) -> None:
    samples = read_samples(saved(tmp_path, FORMS[form]), 2)
    slots, names = to_slots(samples, ("a", "b", "c"))
    assert (slots.tolist(), names) == ([0, 2, 1], ("a", "b", "c"))


NUMBERED = {  # names of the model, labels, slots, all names
    "from one": (("1", "2", "3"), [3, 1, 2], [2, 0, 1], ("1", "2", "3")),
    "negative": (("-1", "0", "1"), [0, -1, 1], [1, 0, 2], ("-1", "0", "1")),
    "new ones": (("5", "15"), [25, 7, 5], [3, 2, 0], ("5", "15", "7", "25")),
    "positions": (("0", "1"), [2, 1, 0], [2, 1, 0], ("0", "1", "2")),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_numbers_are_names_where_classes_are_named_so(case: str, tmp_path: Path) -> None:
    """Regression: labels 1 and 2 of a scikit-learn model were taken for its classes 2 and 3."""
    known, labels, slots, names = NUMBERED[case]
    samples = read_samples(saved(tmp_path, np.array(labels)), 2)
    found, all_names = to_slots(samples, known)
    assert (found.tolist(), all_names) == (slots, names)
    assert known_slots(samples, known).tolist() == slots


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "fraction": ({"y": np.array([0, 0.5, 1])}, "row 1 has label 0.5"),
    "one-hot": ({"y": np.eye(3)}, r"shape \(3, 3\)"),
    "objects": ({"y": np.array(["a", "b", "c"], object)}, r"array y .*y\.astype\(str\)"),
    "negative": ({"y": np.array([0, -1, 1])}, "Row 1 has label -1"),
    "names": ({"y": np.arange(3), "class_names": np.array(["a", "a"])}, "class_names: .*a, a"),
    "one name": ({"y": np.arange(3), "class_names": np.array("abc")}, "class_names: shape"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_labels_are_refused_by_place(case: str, tmp_path: Path) -> None:
    arrays, words = WRONG[case]
    with pytest.raises(SampleInvalidError, match=words):
        to_slots(read_samples(saved(tmp_path, **arrays), 2), ("a", "b"))


def test_other_arrays_of_a_file_are_named(tmp_path: Path) -> None:
    """Regression: a file with X and Y was said to hold nothing."""
    np.savez(tmp_path / "d.npz", X=X, Y=np.arange(3))
    with pytest.raises(SampleInvalidError, match=r"holds X, Y\. *"):
        read_samples(tmp_path / "d.npz", 2)
