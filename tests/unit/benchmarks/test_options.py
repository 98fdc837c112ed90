# SPDX-License-Identifier: Apache-2.0
"""The table of options: what is switched, against what it is compared."""

from pathlib import Path

import pytest

from benchmarks.accuracy.arguments import misfit
from benchmarks.accuracy.arms import TUNED_OPTIMISER, host_arithmetic
from benchmarks.accuracy.simulations import HDQT
from benchmarks.options import OPTIONS, as_markdown, chosen, main

DATA = "dsads_405 (held out)"


def test_every_option_is_one_that_its_arithmetic_takes() -> None:
    for option in OPTIONS:
        setting = option.setting(DATA, "replay")
        assert misfit(setting, 19) is None, option.name
        if option.arithmetic == "simulated-hdqt" and option.changes:
            simulation, optimiser = host_arithmetic(setting)
            changed = simulation != HDQT or optimiser.momentum or optimiser.weight_decay
            assert changed, option.name
    assert len({option.setting(DATA, "replay") for option in OPTIONS}) == len(OPTIONS)


def test_tuned_optimiser_is_that_of_its_arithmetic() -> None:
    (float32,) = [o for o in OPTIONS if o.arithmetic == "float32"]
    assert host_arithmetic(float32.setting(DATA, "replay"))[1].momentum == 0
    assert TUNED_OPTIMISER.momentum > 0


def test_differences_are_to_float32_and_to_the_own_default() -> None:
    values = {"float32": 80.0, "default: int16": 79.0, "order 4": 78.5, "default": 70.0}
    records = [
        {
            **option.setting(DATA, "replay").record(),
            "seed": seed,
            "average_incremental_balanced_accuracy": value + seed,
            "forgetting_chaudhry": 100 - value,
        }
        for option in OPTIONS
        for name, value in values.items()
        if option.name == name or option.name.startswith(name + ",")
        for seed in (0, 1)
    ]
    assert len(records) == 8
    table = as_markdown(records, "a command")
    assert f"## {DATA}, replay, 5 epochs" in table
    assert "| C | order 4 | 2 | 79.00 | -1.50 ± 0.00 | -0.50 ± 0.00 | +1.50 ± 0.00 |" in table
    assert "| reference | float32 | 2 | 80.50 |  |  |  |" in table
    assert "| simulation | default | 2 | 70.50 | -10.00 ± 0.00 |  | +10.00 ± 0.00 |" in table


def test_text_that_no_option_holds_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [o.name for o in chosen(["order 4"])] == ["order 4"]
    assert main(["--data", "digits", "--only", "none such", "--out", str(tmp_path / "o.json")]) == 1
    assert "no option's name holds that" in capsys.readouterr().err
