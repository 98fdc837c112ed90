# SPDX-License-Identifier: Apache-2.0
"""Timing of training loops on the host."""

from pathlib import Path

import pytest

from benchmarks import speed
from benchmarks.speed import Case, Speed, main, measure, page


def test_page_shows_both_ratios() -> None:
    text = page([Speed("net", 2.0, 4.0, 50.0)], "PyTorch")
    assert "| net | 2.00 | 4.00 | 0.50 | 50.00 | 25.00 |" in text


def test_measure_without_torch_times_the_generated_c_alone(tmp_path: Path) -> None:
    result = measure(Case((12, 8, 4), 8, 8), None, tmp_path, rounds=1, steps=2)
    assert result.generated_c_ms > 0
    assert (result.to_float, result.simulation_to_c) == (None, None)


def test_main_without_torch_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "load_torch", lambda: None)
    monkeypatch.setattr(speed, "CASES", ())
    assert main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "speed.json").is_file()
