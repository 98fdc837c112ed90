# SPDX-License-Identifier: Apache-2.0
"""The results page: verdicts of the targets, what stands where, records that are not mixed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy.setting import Arithmetic, Setting
from benchmarks.accuracy.table import write_table

# Three differences of mean m and deviation 0.1 have their 95 % bound 2.92 * 0.1 / sqrt(3) from m.
SPREAD = (-0.1, 0.0, 0.1)
MARGIN = 0.17


def records(arithmetic: Arithmetic, level: float, **changes: Any) -> list[dict[str, Any]]:
    """Three seeds of replay about an accuracy and as much forgetting."""
    named: dict[str, Any] = {"dataset": "dsads_405", "normaliser_floor": 0.5, **changes}
    setting = Setting(method="replay", arithmetic=arithmetic, **named).record()
    found = []
    for seed, more in enumerate(SPREAD):
        value = level + (more if arithmetic.startswith("hdqt") else 0.0)
        names = ("average_incremental_accuracy", "average_incremental_balanced_accuracy")
        values = dict.fromkeys((*names, "last_accuracy", "forgetting_chaudhry"), value)
        found.append({**setting, "seed": seed, **values})
    return found


def page(tmp_path: Path, *parts: list[dict[str, Any]]) -> str:
    write_table([r for part in parts for r in part], tmp_path / "page.md")
    return (tmp_path / "page.md").read_text()


@pytest.mark.parametrize(
    ("arithmetic", "gap", "verdict"),
    [
        ("hdqt-int16", -0.02, "**met**"),
        ("hdqt-int16", -0.19, "*met*"),
        ("hdqt-int16", -0.45, "missed by 0.25"),
        ("hdqt-int8", -0.45, "*met*"),
        ("hdqt-int8", -0.90, "missed by 0.40"),
    ],
)
def test_targets_say_by_how_much_they_are_missed(
    arithmetic: Arithmetic, gap: float, verdict: str, tmp_path: Path
) -> None:
    text = page(tmp_path, records("float32", 80.0), records(arithmetic, 80 + gap))
    bound = f"(≥ {gap - MARGIN:.2f})"
    assert f"| replay | {arithmetic} | {gap:+.2f} {bound} {verdict} (3 seeds) |" in text


def test_more_forgetting_is_worse(tmp_path: Path) -> None:
    text = page(tmp_path, records("float32", 8.0), records("hdqt-int8", 8.9))
    assert f"| replay | hdqt-int8 | +0.90 (≤ {0.9 + MARGIN:.2f}) missed by 0.40 (3 seeds) |" in text


def test_base_and_options_are_rows_of_their_own_against_one_reference(tmp_path: Path) -> None:
    parts = (
        records("float32", 80.0),
        records("hdqt-int8", 79.0),
        records("hdqt-int8", 78.0, base="integers"),
        records("hdqt-int8", 77.0, quantizer=(("tile_k", 16),)),
    )
    text = page(tmp_path, *parts)
    assert "| replay | hdqt-int8 | 3 | 79.00 ± 0.10 |" in text
    assert "| replay | hdqt-int8 (base learned in integers) | 3 | 78.00 ± 0.10 |" in text
    assert "| replay | hdqt-int8 (tile_k=16) | 3 | 77.00 ± 0.10 |" in text
    assert "-2.00 (≥ -2.17)" in text and "-3.00 (≥ -3.17)" in text


def test_older_settings_stand_at_the_end_and_in_no_verdict(tmp_path: Path) -> None:
    parts = (
        records("float32", 80.0),
        records("hdqt-int8", 79.9),
        records("hdqt-int8", 70.0, quantizer=(("acc_bits", 12),)),
        records("float32", 60.0, normaliser_floor=0.1),
    )
    first, last = page(tmp_path, *parts).split("# Older settings")
    assert "70.00" not in first and "60.00" not in first and "-10" not in first
    assert "| hdqt-int8 (acc_bits=12) | 3 | 70.00 ± 0.10 |" in last
    assert "normaliser floor 0.1" in last and "60.00" in last


def test_tuned_loop_is_the_reference_of_every_length_of_session(tmp_path: Path) -> None:
    parts = (
        records("float32-tuned", 81.0),
        records("float32", 80.0, epochs=25),
        records("hdqt-int8", 79.5, epochs=25),
    )
    text = page(tmp_path, *parts)
    assert "25 epochs" in text
    assert (
        "| hdqt-int8 | 3 | 79.50 ± 0.10 | 79.50 ± 0.10 | 79.50 ± 0.10 | -0.50 (≥ -0.67) | " in text
    )
    verdict = "| replay, 25 epochs | hdqt-int8 | -1.50 (≥ -1.67) missed by 0.50 (3 seeds) |"
    assert verdict in text


def test_other_sets_are_judged_by_no_target(tmp_path: Path) -> None:
    parts = (
        records("float32", 80.0, dataset="digits"),
        records("hdqt-int8", 70.0, dataset="digits"),
    )
    text = page(tmp_path, *parts)
    assert "missed" not in text and "## digits" in text
