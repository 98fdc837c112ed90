# SPDX-License-Identifier: Apache-2.0
"""The table of levers and the made-up sets."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.arguments import misfit
from benchmarks.accuracy.arms import host_arithmetic
from benchmarks.accuracy.campaign import save
from benchmarks.accuracy.networks import Network, Optimiser
from benchmarks.accuracy.quantisers import Operand, rests_product, with_rest
from benchmarks.accuracy.simulations import HDQT, INFERENCES
from benchmarks.levers import EPOCHS, LEVERS, as_markdown, main, of_widths, parse
from benchmarks.made_up import MADE_UP, gaussian
from server.learning.base_model import fit_normaliser
from server.learning.float_reference import init_params

DATA = "unequal (held out)"


def test_every_lever_is_a_setting_of_its_own_that_its_arithmetic_takes() -> None:
    settings = [lever.setting(DATA, "replay", EPOCHS) for lever in LEVERS]
    assert all(misfit(setting, 8) is None for setting in settings)
    assert len(set(settings)) == len(LEVERS)
    assert [s.arithmetic for s in settings[:2]] == ["float32", "simulated-hdqt"]
    assert all(host_arithmetic(s) for s in settings if s.arithmetic == "simulated-hdqt")


@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_set_is_drawn_alike_and_holds_every_class(name: str) -> None:
    data, again = MADE_UP[name](), MADE_UP[name]()
    assert data.name == name and np.array_equal(data.x_train, again.x_train)
    assert len(np.unique(data.y_train)) == len(np.unique(data.y_test)) == len(data.class_names)


def test_made_up_classes_have_the_samples_asked_for() -> None:
    data = gaussian("g", (3, 90), features=7, dimensions=2)
    assert np.bincount(data.y_train).tolist() == [3, 90]
    assert np.bincount(data.y_test).tolist() == [20, 30]
    assert np.linalg.matrix_rank(data.x_train) == 2


def test_predictions_of_another_arithmetic_leave_the_network_alone() -> None:
    x = gaussian("g", (20, 20), features=12).x_train
    params = init_params([12, 9, 2], np.random.default_rng(3))
    logits = {}
    for name in INFERENCES:
        how = host_arithmetic(LEVERS[1].setting(DATA, "replay"))[0]
        how = type(how)(**{**vars(how), "inference": name})
        network = Network(params, fit_normaliser(x), 2, how, Optimiser(), 1)
        network.calibrate(x)
        logits[name] = network.judge(x)[1]
        assert np.array_equal(network.infer(network.store(x))[1], logits["own"])
    exact = np.abs(logits["float32"])
    wide = np.abs(logits["8-bit weights, activations and x0"] - logits["float32"])
    own = np.abs(logits["own"] - logits["float32"])
    assert wide.mean() < own.mean() / 3 < exact.mean()
    assert HDQT.of_inference() == HDQT


def test_values_with_rests_keep_the_whole_number_and_sixteenths() -> None:
    values = np.array([[0.0, 0.55, -0.3, 9.0, 3.49]], np.float32)
    kept = with_rest(values, np.float32(1), -7, 7)
    np.testing.assert_allclose(kept, [[0, 1 - 7 / 16, -5 / 16, 7, 3 + 7 / 16]])
    w = Operand(np.array([[1, 2, 3, 4, 5]], np.float32), np.ones((1, 1), np.float32))
    exact = (kept @ w.q.T).astype(np.float32)
    np.testing.assert_allclose(rests_product(kept, np.float32(1), w, 5, 16), exact)
    saturated = rests_product(kept, np.float32(1), w, 5, 4)  # 45, and 6 sixteenths
    np.testing.assert_allclose(saturated, [[7 + 6 / 16]])


def test_table_compares_by_seed_and_network(tmp_path: Path) -> None:
    values = {"float32": 90.0, "default": 89.0, "tiles of 16": 89.5, "int8": 88.0}
    records = [
        {
            **of_widths(lever, (32,)).setting(DATA, "replay", EPOCHS).record(),
            "seed": seed,
            "average_incremental_accuracy": values[lever.name] + seed,
        }
        for lever in LEVERS
        if lever.name in values and lever.group != "masters" and not lever.fields
        for seed in (0, 1)
    ]
    table = as_markdown(records, "plain", "a command")
    assert "## 32\n\n| group | lever | unequal |" in table
    assert "| reference | float32 | 90.50 (2) |" in table
    assert "| simulation | default | -1.00 ± 0.00 (2) |" in table
    assert "| forward | tiles of 16 | +0.50 ± 0.00 (2) |" in table
    assert "| C | int8 | -2.00 ± 0.00 (2) |" in table


@pytest.mark.parametrize("text", ["0", "-1", "two"])
def test_number_of_seeds_is_checked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--seeds", text])
    assert "is no integer of at least 1" in capsys.readouterr().err


def test_what_cannot_be_run_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HADAPT_DATA", str(tmp_path))
    out = tmp_path / "l.json"
    assert main(["--only", "none such", "--out", str(out)]) == 1
    assert "no lever's name holds that" in capsys.readouterr().err
    assert main(["--set", "absent", "--out", str(out)]) == 1
    assert "absent" in capsys.readouterr().err
    out.write_text("{}]")
    assert main(["--set", "unequal", "--out", str(out)]) == 1
    assert "no results of this command" in capsys.readouterr().err


def test_small_campaign_writes_results_and_table(tmp_path: Path) -> None:
    out = tmp_path / "l.json"
    save(out, [])
    arguments = ["--set", "few samples", "--seeds", "1", "--hidden", "8", "--only", "8-bit x0"]
    assert main([*arguments, "--out", str(out)]) == 0
    table = out.with_suffix(".md").read_text()
    assert "| inference | 8-bit x0 |" in table and "(1) |" in table
    assert "matrix" not in out.read_text()
