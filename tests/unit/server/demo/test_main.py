# SPDX-License-Identifier: Apache-2.0
"""The demo as a process: its quick form on one board, and wrong calls."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[4]
BOARD = "mps2-an386"  # also the device in the field


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_demo_quick_run_proves_delivers_and_reports(tmp_path: Path) -> None:
    done = demo("--data", "digits", "--quick", "--boards", BOARD, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "demo.json").read_text())

    (board,) = found["boards"]
    assert board["bit_exact"] is True and board["state_hash"] == board["host_state_hash"]
    sizes = ("ram_bytes", "flash_bytes", "stack_bytes", "instructions_inference",
             "instructions_training_step")  # fmt: skip
    assert all(board[name] > 0 for name in sizes)

    assert [task["classes"] for task in found["tasks"]][1:] == [["6", "7"], ["8", "9"]]
    for task in found["tasks"]:
        assert task["device"]["hash_equals_update"] is True
        assert task["device"]["elf_sha256"] == board["elf_sha256"]
        assert abs(task["accuracy_seen"] - task["float32"]["accuracy_seen"]) < 0.06
    assert len({task["device"]["state_hash"] for task in found["tasks"]}) == 3

    (dataset,) = found["datasets"]
    assert dataset["network"] == [64, 32, 10]
    seen = [task["accuracy_seen"] for task in found["tasks"]]
    assert dataset["average_incremental_accuracy"] == pytest.approx(sum(seen) / 3)
    assert dataset["average_incremental_accuracy"] > 0.9
    rows = sum(sum(row) for row in dataset["confusion"])
    right = sum(row[i] for i, row in enumerate(dataset["confusion"]))
    assert right / rows == pytest.approx(seen[-1])

    page = (tmp_path / "report.html").read_text()
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert board["elf_sha256"] in page
    assert "average incremental accuracy" in done.stdout
    assert "training step" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--boards", "arduino"), ("arduino", "mps2-an386")),
        (("--data", "mnist"), ("mnist",)),
    ],
)
def test_demo_wrong_call_gives_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    done = demo(*arguments, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words)
