# SPDX-License-Identifier: Apache-2.0
"""Publishers' formats, on made-up files of each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.official import LOADERS, OfficialFileError, main, window_features
from server.learning.datasets import load


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def table(rows: list[list[float]], separator: str = " ") -> str:
    return "".join(separator.join(f"{v:g}" for v in row) + "\n" for row in rows)


def har(folder: Path, names: tuple[str, str]) -> None:
    write(folder / "activity_labels.txt", "1 WALKING\n2 SITTING\n")
    for offset, part in enumerate(names):
        low = part.lower()
        rows = [[offset + i] * 561 for i in range(4)]
        write(folder / part / f"X_{low}.txt", table(rows))
        write(folder / part / f"y_{low}.txt", "1\n2\n1\n2\n")


def dsads(folder: Path) -> None:
    for activity in (1, 2):
        for subject in (1, 7):
            rows = [[10 * activity + subject + t / 125] * 45 for t in range(125)]
            path = folder / f"data/a{activity:02d}/p{subject}/s01.txt"
            write(path, table(rows, ","))


def pamap2(folder: Path) -> None:
    for subject in (101, 105):
        rows = []
        for t in range(1100):
            activity = 4 if t < 550 else (0 if t < 560 else 24)
            gap = float("nan") if t % 3 else 1.0
            rows.append([t / 100, activity, float("nan"), gap, *[activity] * 50])
        write(folder / f"Protocol/subject{subject}.dat", table(rows))


def wisdm(folder: Path) -> None:
    lines = ["33,Jogging,1,,;", ""]  # broken, as some of the published ones
    for user in (1, 30):
        for name in ("Jogging", "Sitting"):
            lines += [f"{user},{name},{t},{t % 2},2,3;" for t in range(200)]
    write(folder / "WISDM_ar_v1.1_raw.txt", "\n".join(lines))


def cifar(folder: Path, label_bytes: int) -> bytes:
    record = np.zeros((2, label_bytes + 3072), np.uint8)
    record[:, label_bytes - 1] = (0, 1)
    record[1, label_bytes : label_bytes + 1024] = 200  # the red plane
    return record.tobytes()


def cifar10(folder: Path) -> None:
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        write(folder / f"{name}.bin", cifar(folder, 1))
    write(folder / "batches.meta.txt", "airplane\nautomobile\n")


def cifar100(folder: Path) -> None:
    for name in ("train", "test"):
        write(folder / f"{name}.bin", cifar(folder, 2))
    write(folder / "fine_label_names.txt", "apple\naquarium_fish\n")


MAKERS: dict[str, Callable[[Path], None]] = {
    "dsads": dsads,
    "hapt": lambda folder: har(folder, ("Train", "Test")),
    "uci_har": lambda folder: har(folder, ("train", "test")),
    "pamap2": pamap2,
    "wisdm": wisdm,
    "cifar10": cifar10,
    "cifar100": cifar100,
}


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(OfficialFileError, match=str(tmp_path)):
        LOADERS[name](tmp_path)


@pytest.mark.parametrize("name", sorted(set(LOADERS) - {"pamap2"}))
def test_set_becomes_a_file_that_the_benchmark_reads(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / "official")
    assert main([name, str(tmp_path / "official"), str(tmp_path / f"{name}.npz")]) == 0
    data = load(name, tmp_path)
    assert sorted(set(data.y_train.tolist())) == sorted(set(data.y_test.tolist())) == [0, 1]
    assert len(data.class_names) == 2


def test_dsads_subjects_and_labels_come_from_the_folders(tmp_path: Path) -> None:
    dsads(tmp_path)
    arrays = LOADERS["dsads"](tmp_path)
    assert arrays.y_train.tolist() == [0, 1]
    assert arrays.x_train.shape == (2, 225)
    np.testing.assert_allclose(arrays.x_train[:, 90], [11, 21])  # least value of channel 0
    np.testing.assert_allclose(arrays.x_test[:, 90], [17, 27])


def test_pamap2_windows_hold_one_activity_and_fill_gaps(tmp_path: Path) -> None:
    pamap2(tmp_path)
    arrays = LOADERS["pamap2"](tmp_path)
    assert arrays.y_train.tolist() == arrays.y_test.tolist() == [3, 11]  # 4 and 24; 0 left out
    assert arrays.x_train.shape == (2, 5 * 51)
    assert arrays.x_train[:, 1].tolist() == [4, 24]
    assert np.isfinite(arrays.x_train).all()
    assert arrays.x_train[0, 0] == pytest.approx(1.0, abs=0.01)


def test_cifar_planes_become_pixels_and_the_fine_label_counts(tmp_path: Path) -> None:
    cifar100(tmp_path)
    arrays = LOADERS["cifar100"](tmp_path)
    assert arrays.x_train.shape == (2, 32, 32, 3)
    assert arrays.x_train[1, 5, 7].tolist() == [200, 0, 0]
    assert arrays.y_train.tolist() == [0, 1]


def test_damaged_files_are_named_with_the_line(tmp_path: Path) -> None:
    dsads(tmp_path)
    path = tmp_path / "data/a01/p1/s01.txt"
    path.write_text("1,2,x\n")
    with pytest.raises(OfficialFileError, match=r"s01\.txt, line 1"):
        LOADERS["dsads"](tmp_path)
    path.write_text("1,2\n")
    with pytest.raises(OfficialFileError, match="2 numbers, not 45"):
        LOADERS["dsads"](tmp_path)
    cifar100(tmp_path)
    (tmp_path / "train.bin").write_bytes(b"123")
    with pytest.raises(OfficialFileError, match="multiple of 3074"):
        LOADERS["cifar100"](tmp_path)


def test_features_of_a_window_by_hand() -> None:
    window = np.array([[0, 1], [2, 1], [4, 1]], np.float32)
    found = window_features(window)
    deviation = np.sqrt(8 / 3)
    np.testing.assert_allclose(found, [2, 1, deviation, 0, 0, 1, 4, 1, 2, 0], rtol=1e-6)
