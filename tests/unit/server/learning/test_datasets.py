# SPDX-License-Identifier: Apache-2.0
"""Datasets: the digits, npz files, and every way a file can be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.learning.datasets import DatasetError, available, data_folder, load, load_file


def good_arrays() -> dict[str, Any]:
    """A small dataset of images and two classes."""
    x = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    y = np.array([0, 1, 0, 1], np.int16)
    return {"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]}


def write(folder: Path, **changes: Any) -> None:
    """A file set.npz of the good arrays with changes; None leaves an array out."""
    arrays = good_arrays() | changes
    np.savez(folder / "set.npz", **{k: v for k, v in arrays.items() if v is not None})


def test_load_digits_split_is_stratified_and_always_the_same() -> None:
    digits = load("digits")
    assert digits.x_train.shape == (1347, 64)
    assert digits.x_test.shape == (450, 64)
    assert digits.x_train.dtype == np.float32
    assert digits.y_test.dtype == np.int64
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 16)
    shares = np.bincount(digits.y_test) / np.bincount(np.append(digits.y_train, digits.y_test))
    np.testing.assert_allclose(shares, 0.25, atol=0.005)
    assert (load("digits").y_test == digits.y_test).all()


def test_load_npz_flattens_to_float32_and_names_the_classes(tmp_path: Path) -> None:
    write(tmp_path)
    found = load("set", tmp_path)
    assert found.x_train.dtype == np.float32
    assert found.x_train[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert found.y_train.dtype == np.int64
    assert found.features == 6
    assert found.class_names == ("0", "1")
    write(tmp_path, class_names=np.array(["walk", "run"]))
    assert load("set", tmp_path).class_names == ("walk", "run")
    assert available(tmp_path)[-1] == "set"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, "no array x_test, y_test"),
        ({"x_train": np.zeros(4)}, "x_train: shape .* expected numbers"),
        ({"x_train": np.array([["a"]] * 4)}, "x_train: .* expected numbers"),
        ({"x_train": np.full((4, 6), np.nan)}, "row 0, column 0 is not finite"),
        ({"x_train": np.full((4, 6), 1e300)}, "row 0, column 0 is not finite"),
        ({"x_train": np.zeros((4, 5))}, "5 features in x_train, 6 in x_test"),
        ({"y_train": np.array([0, 1, 0])}, "y_train: .* expected whole numbers or text"),
        ({"y_train": np.eye(4)}, "y_train: .* expected whole numbers or text"),
        ({"y_train": np.array([0.0, 1, 0.5, 1])}, "y_train: row 2 is 0.5, no whole number"),
        ({"y_train": np.array([0.0, np.nan, 0, 1])}, "y_train: row 1 is nan, no whole number"),
        ({"y_train": np.array([0, 2**64 - 1] * 2, np.uint64)}, "row 1 is 18446744073709551615"),
        ({"y_train": np.array(["a", "b"] * 2)}, "y_train is <U1, y_test int64"),
        ({"y_train": np.array([0, 2, 0, 2])}, "y_test: class 1 has no samples in y_train"),
        ({"y_test": np.array([0, 2])}, "y_test: class 2 has no samples in y_train"),
        ({"class_names": np.array(["one"])}, "1 class names for 2 classes"),
        ({"x_train": np.array([{}] * 4, dtype=object)}, "not a readable npz file"),
    ],
)
def test_load_wrong_array_says_which_and_why(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path, **changes)
    with pytest.raises(DatasetError, match=message):
        load("set", tmp_path)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        ([7, -3, 7, 40], ("-3", "7", "40")),
        (["run", "lie", "run", "walk"], ("lie", "run", "walk")),
        ([1.0, 0.0, 1.0, 2.0], ("0", "1", "2")),
        ([[5], [4], [5], [6]], ("4", "5", "6")),
    ],
)
def test_load_labels_of_any_values_are_numbered_in_order(
    tmp_path: Path, y: list[Any], names: tuple[str, ...]
) -> None:
    labels = np.array(y)
    write(tmp_path, y_train=labels, y_test=labels[:2])
    found = load("set", tmp_path)
    assert found.y_train.tolist() == [1, 0, 1, 2]
    assert found.y_test.tolist() == [1, 0]
    assert found.class_names == names


def test_load_class_names_belong_to_labels_where_classes_are_missing(tmp_path: Path) -> None:
    y = np.array([2, 0, 2, 0])
    write(tmp_path, y_train=y, y_test=y[:2], class_names=np.array(["lie", "run", "walk"]))
    assert load("set", tmp_path).class_names == ("lie", "walk")


def test_load_file_takes_any_name(tmp_path: Path) -> None:
    write(tmp_path)
    path = (tmp_path / "set.npz").rename(tmp_path / "my data (1).npz")
    assert load_file(path).name == "my data (1)"
    with pytest.raises(DatasetError, match="there is no such file"):
        load_file(tmp_path / "set.npz")


def test_load_corrupt_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / "set.npz").read_bytes()
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "set.npz").write_bytes(whole[:kept])
        with pytest.raises(DatasetError, match="not a readable npz file"):
            load("set", tmp_path)


def test_load_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    write(tmp_path)
    whole = bytearray((tmp_path / "set.npz").read_bytes())
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        (tmp_path / "set.npz").write_bytes(broken)
        try:
            load("set", tmp_path)
        except DatasetError:
            continue


@pytest.mark.parametrize("name", ["../set", "/etc/passwd", "", "a/b", ".hidden"])
def test_load_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="is no name of a dataset"):
        load(name, tmp_path)


def test_load_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DatasetError, match=r"other.npz does not exist; there are: digits, set"):
        load("other", tmp_path)
    with pytest.raises(DatasetError, match="set HADAPT_DATA"):
        load("other")


def test_data_folder_follows_the_variable(tmp_path: Path) -> None:
    assert data_folder({}) is None
    assert data_folder({"HADAPT_DATA": str(tmp_path)}) == tmp_path
    with pytest.raises(DatasetError, match="no such folder"):
        data_folder({"HADAPT_DATA": str(tmp_path / "absent")})


@pytest.mark.parametrize("name", available(data_folder()))
def test_load_every_dataset_at_hand_is_whole(name: str) -> None:
    found = load(name, data_folder())
    assert found.x_train.shape == (len(found.y_train), found.features)
    assert found.x_test.shape == (len(found.y_test), found.features)
    assert sorted(set(found.y_train.tolist())) == list(range(len(found.class_names)))
    assert set(found.y_test.tolist()) <= set(found.y_train.tolist())
