# SPDX-License-Identifier: Apache-2.0
"""The accuracy command: what is run, resumed, written."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.accuracy.__main__ import main, parse, settings
from benchmarks.accuracy.campaign import key_of
from benchmarks.accuracy.plots import write_plots
from benchmarks.accuracy.run import base_network, run
from benchmarks.accuracy.setting import METHODS, Arithmetic, Setting
from server.learning.datasets import load_file
from server.learning.firmwares import cache_folder
from server.learning.float_reference import init_params


def made_up(path: Path) -> Path:
    random = np.random.default_rng(0)
    y = np.arange(120) % 4
    x = random.normal(size=(120, 3, 2)).astype(np.float32)
    x[np.arange(120), y % 3, y // 3] += 5
    np.savez(path, x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    return path


def command(folder: Path) -> list[str]:
    return [
        *("--npz", str(made_up(folder / "made_up.npz")), "--out", str(folder / "out.json")),
        *("--method", "replay", "--method", "icarl", "--arithmetic", "float32"),
        *("--seeds", "2", "--hidden", "8", "--slots", "8", "--epochs", "2", "--jobs", "1"),
    ]


def test_command_writes_records_and_table_and_repeats_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path)) == 0
    records = json.loads((tmp_path / "out.json").read_text())
    assert {(r["method"], r["seed"], r["head"]) for r in records} == {
        *(("replay", 0, "linear"), ("replay", 1, "linear")),
        *(("icarl", 0, "nearest_mean"), ("icarl", 1, "nearest_mean")),
    }
    for record in records:
        after = record["accuracy_after_task"]
        assert record["average_incremental_accuracy"] == pytest.approx(np.mean(after))
        assert [len(row) for row in record["matrix"]] == [1, 2]
        assert after[0] == record["matrix"][0][0]
        assert {"dataset", "network", "last_accuracy", "forgetting_chaudhry"} <= set(record)
    page = (tmp_path / "out.md").read_text()
    assert "8, 2 + 2 classes a task, 8 exemplars, 2 epochs of batch 32" in page
    assert "| icarl | float32 | 2 |" in page
    capsys.readouterr()
    assert main(command(tmp_path)) == 0
    assert capsys.readouterr().err == ""
    assert json.loads((tmp_path / "out.json").read_text()) == records


def test_data_that_is_not_there_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.npz"
    assert main(["--npz", str(missing), "--out", str(tmp_path / "out.json")]) == 1
    assert str(missing) in capsys.readouterr().err


def test_class_of_one_sample_cannot_be_held_out_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = np.eye(5, dtype=np.float32), np.array([0, 0, 1, 1, 4])
    np.savez(tmp_path / "few.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    files = ["--npz", str(tmp_path / "few.npz"), "--out", str(tmp_path / "out.json")]
    assert main([*files, "--held-out", "--arithmetic", "float32"]) == 1
    error = capsys.readouterr().err
    assert (
        error
        == "few: nothing can be held out: class 2 has one sample: it cannot be in both parts\n"
    )


def test_options_of_the_quantizer_are_those_of_integers_only() -> None:
    found = settings(parse(["--core", "--option", "acc_bits=12"]), "digits")
    arms = {(s.arithmetic, s.quantizer) for s in found if s.method == "replay"}
    wide = (("acc_bits", 12),)
    floats = {("float32", ()), ("float32-tuned", ())}
    assert arms == floats | {("hdqt-int8", wide), ("hdqt-int16", wide)}


def test_base_in_integers_is_asked_of_integers_only() -> None:
    found = settings(parse(["--core", "--base", "integers"]), "digits")
    bases = {(s.arithmetic, s.base) for s in found if s.method == "replay"}
    floats = {("float32", "float32"), ("float32-tuned", "float32")}
    assert bases == floats | {("hdqt-int8", "integers"), ("hdqt-int16", "integers")}


def test_network_that_grows_has_no_base_in_integers() -> None:
    assert not Setting("digits", "memo", "hdqt-int8", base="integers").is_possible
    assert Setting("digits", "icarl", "hdqt-int8", base="integers").is_possible


def of_integers() -> Setting:
    setting = Setting("made_up", "replay", "hdqt-int8", (8,), epochs=4, base="integers")
    return replace(setting, exemplar_slots=8, base_epochs=60, learning_rate=0.1)


def test_base_in_integers_starts_from_drawn_weights(tmp_path: Path) -> None:
    data = load_file(made_up(tmp_path / "made_up.npz"))
    drawn = base_network(of_integers(), data.x_train[:4], data.y_train[:4], 3)[0]
    again = init_params((6, 8, 2), np.random.default_rng(3))
    assert all((a.weight == b.weight).all() for a, b in zip(drawn, again, strict=True))


@pytest.mark.long
def test_integers_learn_the_base_task_from_drawn_weights(tmp_path: Path) -> None:
    setting, data = of_integers(), load_file(made_up(tmp_path / "made_up.npz"))
    record = run(setting, data, 3, cache_folder())
    assert record["base"] == "integers"
    assert record["accuracy_after_task"][0] > 90  # chance: 50


def test_bias_correction_is_held_by_the_models_of_bic_alone() -> None:
    held = {m: Setting("digits", m, "hdqt-int8").options(10)["bias_correction"] for m in METHODS}
    assert [method for method in METHODS if held[method]] == ["bic"]


def test_joint_training_has_no_integer_arm() -> None:
    assert not Setting("digits", "joint", "hdqt-int8").is_possible
    assert Setting("digits", "joint", "float32").is_possible


def test_record_without_a_newer_setting_counts_as_run_with_its_default() -> None:
    record = {**Setting("digits", "ncm", "float32").record(), "seed": 0}
    older = {k: v for k, v in record.items() if k != "normaliser_floor"}
    assert key_of(older) == key_of(record)
    assert key_of({**record, "normaliser_floor": 0.5}) != key_of(record)


def test_plot_is_svg_with_a_curve_an_arithmetic(tmp_path: Path) -> None:
    arms: tuple[tuple[Arithmetic, tuple[tuple[str, int], ...]], ...] = (
        ("float32", ()),
        ("hdqt-int8", ()),
        ("hdqt-int16", (("acc_bits", 12),)),
        ("float32-tuned", ()),
    )
    records = [
        {
            **Setting(
                "made_up", "replay", arithmetic, normaliser_floor=0.5, quantizer=quantizer
            ).record(),
            "seed": seed,
            "accuracy_after_task": [100.0, 90.0 - seed],
        }
        for arithmetic, quantizer in arms
        for seed in (0, 1)
    ]
    (path,) = write_plots(records, tmp_path)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}polyline")) == 2
    assert "89.5 %" in path.read_text()  # the mean of both seeds


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--hidden", "128-128"], "'128-128' is no list of widths from 1 to 65535 with commas"),
        (["--hidden", "128,0"], "'128,0' is no list of widths"),
        (["--seeds", "0"], "argument --seeds: '0' is no integer of at least 1"),
        (["--jobs", "two"], "argument --jobs: 'two' is no integer"),
        (["--step-classes", "-1"], "argument --step-classes"),
        (["--learning-rate", "nan"], "'nan' is not a number above 0"),
        (["--normaliser-floor", "2"], "'2' is not a number from 0 to 1"),
        (["--distillation", "1"], "'1' is not a number from 0, less than 1"),
        (["--option", "acc_bits"], "'acc_bits' is not of the form NAME=VALUE, as acc_bits=12"),
        (["--option", "acc_bits=9"], "acc_bits must be 8, 12, 16 or 32"),
        (["--option", "accbits=9"], "Option accbits: unknown option"),
    ],
)
def test_argument_that_cannot_be_is_named_with_what_would_be_right(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--data", "digits", *arguments])
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--base-classes", "5"], "--base-classes 5: made_up has 4 classes"),
        (["--slots", "3"], "--slots 3: expected at least 4, one a class of made_up"),
        (["--batch", "513", "--arithmetic", "hdqt-int8"], "batch must be 1 to 512"),
        (["--method", "joint", "--arithmetic", "hdqt-int8"], "no run is left: joint needs"),
    ],
)
def test_argument_that_does_not_fit_the_data_is_said_in_one_line(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--npz", str(made_up(tmp_path / "made_up.npz")), "--out", str(tmp_path / "out.json")]
    assert main([*data, *arguments]) == 1
    said = capsys.readouterr().err
    assert text in said and said.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_file_of_other_content_is_not_taken_for_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.json").write_text('{"results": 1}')
    assert main(command(tmp_path)) == 1
    assert "no results of this command" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == '{"results": 1}'
