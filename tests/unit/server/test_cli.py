# SPDX-License-Identifier: Apache-2.0
"""The hadapt command on the small engine of the service's tests."""

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from server.cli import app
from server.commands.engine import engine
from server.commands.model_file import load_model_file
from tests.api.fake_engine import fake_onnx

ENGINE = "tests.api.fake_engine:FakeEngine"
CENTRES = np.eye(5, 4, dtype=np.float32) * 4 + np.eye(5, 4, -1, dtype=np.float32)
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Result:
    """What a call gave."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Call the command in an empty folder."""
    monkeypatch.setenv("HADAPT_ENGINE", ENGINE)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    engine.cache_clear()

    def call(*arguments: str) -> Result:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    yield call
    engine.cache_clear()


def samples(*labels: int, count: int = 10, seed: int = 0) -> dict[str, Any]:
    """Arrays x and y around the centres of classes."""
    y = np.repeat(labels, count).astype(np.int64)
    noise = np.random.default_rng(seed).normal(0, 0.2, (len(y), 4))
    return {"x": (CENTRES[y] + noise).astype(np.float32), "y": y}


@pytest.fixture
def model(run: Run) -> str:
    """A quantized model of three classes."""
    Path("m.onnx").write_bytes(fake_onnx())
    np.savez("calib.npz", **samples(0, 1, 2))
    assert run("quantize", "m.onnx", "--data", "calib.npz", "-o", "m.hadapt").code == 0
    return "m.hadapt"


def check_failure(result: Result, code: int, *words: str) -> None:
    """One clear line on stderr that holds the words, the exit code, nothing on stdout."""
    assert result.code == code
    lines = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in lines[0]


def test_import_onnx_file_shows_shape(run: Run) -> None:
    Path("m.onnx").write_bytes(fake_onnx(names=["a", "b", "c"]))
    assert "3 (a, b, c)" in run("import", "m.onnx").out
    found = run("import", "m.onnx", "--json").json()
    assert (found["features"], found["classes"]) == (4, 3)


def test_quantize_labelled_samples_writes_model_and_learner(run: Run, model: str) -> None:
    loaded = load_model_file(Path(model))
    assert loaded.class_names == ("0", "1", "2")
    assert loaded.feature_count == 4 and loaded.max_classes == 6
    assert len(loaded.state_hash) == 64


def test_quantize_same_input_gives_same_bytes(run: Run, model: str) -> None:
    assert run("quantize", "m.onnx", "--data", "calib.npz", "-o", "again.hadapt").code == 0
    assert Path("again.hadapt").read_bytes() == Path(model).read_bytes()


def test_learn_new_class_adds_it_and_keeps_history(run: Run, model: str) -> None:
    np.savez("new.npz", **samples(3))
    np.savez("test.npz", **samples(0, 1, 2, 3, seed=9))
    done = run("learn", model, "--data", "new.npz", "--test", "test.npz", "--steps", "200",
               "-o", "m2.hadapt", "--json")  # fmt: skip
    found = done.json()
    assert found["new_classes"] == ["3"]
    assert found["before"]["rows"] == 30 and found["after"]["rows"] == 40
    assert found["after"]["accuracy"] > 0.9
    loaded = load_model_file(Path("m2.hadapt"))
    assert loaded.class_names == ("0", "1", "2", "3")
    assert loaded.history[0]["steps"] == 200
    assert loaded.state_hash == found["state_hash"]


def test_learn_by_icarl_and_unknown_method(run: Run, model: str) -> None:
    np.savez("new.npz", **samples(3))
    done = run(
        "learn", model, "--data", "new.npz", "--method", "icarl", "-o", "m2.hadapt", "--json"
    )
    assert done.json()["new_classes"] == ["3"]
    assert load_model_file(Path("m2.hadapt")).history[0]["method"] == "icarl"
    wrong = run("learn", model, "--data", "new.npz", "--method", "der", "-o", "m3.hadapt")
    assert wrong.code != 0 and "ncm, finetune, replay, lwf, icarl, bic" in wrong.err


def test_learn_test_part_of_same_file_is_used(run: Run, model: str) -> None:
    new, test = samples(3), samples(0, 3, seed=5)
    arrays = {"x_train": new["x"], "y_train": new["y"], "x_test": test["x"], "y_test": test["y"]}
    np.savez("new.npz", **arrays, class_names=np.array(["a", "b", "c", "wave"]))
    done = run("learn", model, "--data", "new.npz", "-o", "m2.hadapt", "--json").json()
    assert done["measured_on"] == "test rows of new.npz"
    assert done["new_classes"] == ["wave"]


def test_learn_text_labels_name_classes(run: Run, model: str) -> None:
    new = samples(3)
    np.savez("new.npz", x=new["x"], y=np.array(["jump"] * 10))
    done = run("learn", model, "--data", "new.npz", "-o", "m2.hadapt")
    assert done.code == 0 and "jump" in done.out
    assert "training step" in done.err


def test_generate_zip_and_folder_hold_the_same(run: Run, model: str) -> None:
    assert run("generate", model, "--board", "good", "-o", "fw.zip").code == 0
    assert run("generate", model, "--board", "good", "-o", "fw").code == 0
    with zipfile.ZipFile("fw.zip") as archive:
        for name in archive.namelist():
            assert (Path("fw") / name).read_bytes() == archive.read(name)


def test_generate_folder_with_files_is_refused(run: Run, model: str) -> None:
    Path("fw").mkdir()
    Path("fw/mine.c").write_text("int x;")
    check_failure(run("generate", model, "--board", "good", "-o", "fw"), 2, "fw", "empty folder")


def test_emulate_equal_board_passes(run: Run, model: str) -> None:
    result = run("emulate", model, "--board", "good", "--data", "calib.npz", "--rows", "6")
    assert result.code == 0 and "yes" in result.out


def test_emulate_failing_board_exits_with_one(run: Run, model: str) -> None:
    result = run("emulate", model, "-b", "good", "-b", "hanging", "--data", "calib.npz", "--json")
    assert result.code == 1
    found = {entry["board"]: entry for entry in result.json()}
    assert found["good"]["bit_exact"] is True
    assert "hung" in found["hanging"]["error"]


def test_emulate_all_leaves_out_boards_without_tools(run: Run, model: str) -> None:
    result = run("emulate", model, "--board", "all", "--data", "calib.npz")
    assert "toolless is left out: riscv gcc" in result.err


def test_report_of_cost_lists_instructions_and_labels_cycles_as_a_model(
    run: Run, model: str
) -> None:
    (board,) = run("report", model, "-b", "good", "--cost", "--json").json()["boards"]
    assert board["cost"]["worst_slice"] == {"instructions": 3000, "cycles_model": 2000}
    shown = run("report", model, "-b", "good", "--cost").out
    assert "a model, not measured" in shown and "inference while training" in shown
    assert "cost" not in run("report", model, "-b", "good", "--json").json()["boards"][0]


def test_report_lists_boards_and_accuracy(run: Run, model: str) -> None:
    found = run("report", model, "--data", "calib.npz", "--board", "good", "--json").json()
    (board,) = found["boards"]
    figures = {name: board[name] for name in ("board", "ram_bytes", "stack_bytes")}
    assert figures == {"board": "good", "ram_bytes": 64, "stack_bytes": 32}
    assert board["flash_bytes"] > 0
    assert found["accuracy"]["rows"] == 30
    assert "does not fit" in run("report", model, "--board", "tiny").out


def test_export_forms_write_files(run: Run, model: str) -> None:
    assert run("export", model, "--form", "qdq", "-o", "q.onnx").code == 0
    assert json.loads(Path("q.onnx").read_bytes())["form"] == "qdq"
    check_failure(run("export", model, "--form", "float", "-o", "x.onnx"), 2, "exact or qdq")


def test_boards_json_lists_every_board(run: Run) -> None:
    names = [board["name"] for board in run("boards", "--json").json()]
    assert names == ["tiny", "good", "toolless", "hanging"]


def test_doctor_names_tools_and_remedies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    result = run("doctor", "--json")
    missing = {t["tool"]: t["remedy"] for t in result.json()["tools"] if t["found"] is None}
    assert missing["qemu-system-arm"] == "apt install qemu-system-arm"


def test_help_of_every_command_shows_an_example(run: Run) -> None:
    names = ["import", "quantize", "generate", "emulate", "learn", "report", "export", "boards",
             "doctor", "serve"]  # fmt: skip
    for name in names:
        text = run(name, "--help").out
        assert f"hadapt {name}" in text.split("Examples:")[1]
        assert "Exit codes" in text


# Wrong input: one line, no traceback.


def bad_npz(**arrays: Any) -> Callable[[], None]:
    """Writes bad.npz."""
    return lambda: np.savez("bad.npz", **arrays)


NAN = samples(3)["x"].copy()
NAN[3, 2] = np.nan
BAD_DATA: dict[str, tuple[Callable[[], Any], int, tuple[str, ...]]] = {
    "missing": (lambda: None, 2, ("bad.npz", "no such file")),
    "text": (lambda: Path("bad.npz").write_text("x,y\n1,2\n"), 1, ("not a readable npz",)),
    "keys": (bad_npz(features=np.zeros((2, 4))), 1, ("holds", "x or x_train")),
    "width": (bad_npz(x=np.zeros((2, 5)), y=np.zeros(2, np.int64)), 1, ("(2, 5)", "(N, 4)")),
    "nan": (bad_npz(x=NAN, y=np.full(10, 3)), 1, ("row 3", "column 2", "nan")),
    "labels": (bad_npz(x=np.zeros((3, 4)), y=np.zeros(2, np.int64)), 1, ("array y", "(3,)")),
    "unlabelled": (bad_npz(x=np.zeros((3, 4))), 1, ("no labels",)),
    "negative": (bad_npz(x=np.zeros((1, 4)), y=np.array([-1])), 1, ("row 0", "-1")),
    "gap": (bad_npz(x=np.zeros((1, 4)), y=np.array([5])), 1, ("0 to 2", "5")),
    "objects": (bad_npz(x=np.array([{}])), 1, ("not a readable npz",)),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_learn_wrong_data_gives_one_line(run: Run, model: str, name: str) -> None:
    make, code, words = BAD_DATA[name]
    make()
    result = run("learn", model, "--data", "bad.npz", "-o", "m2.hadapt")
    check_failure(result, code, *words)
    assert not Path("m2.hadapt").exists()


def test_learn_too_many_classes_says_how_many_are_left(run: Run, model: str) -> None:
    new = samples(3)
    np.savez("new.npz", x=new["x"][:4], y=np.arange(3, 7))
    check_failure(run("learn", model, "--data", "new.npz", "-o", "o.hadapt"), 1, "3 of 6")


def test_quantize_labels_beyond_model_are_refused(run: Run) -> None:
    Path("m.onnx").write_bytes(fake_onnx())
    np.savez("calib.npz", **samples(0, 1, 2, 3))
    check_failure(run("quantize", "m.onnx", "--data", "calib.npz"), 1, "--classes")
    assert run("quantize", "m.onnx", "--data", "calib.npz", "--classes", "0-2").code == 0


def test_quantize_unknown_option_is_refused(run: Run) -> None:
    Path("m.onnx").write_bytes(fake_onnx())
    np.savez("calib.npz", **samples(0))
    arguments = ("quantize", "m.onnx", "--data", "calib.npz", "--option")
    check_failure(run(*arguments, "speed=9"), 1, "speed")
    check_failure(run(*arguments, "speed"), 2, "name=value")


def test_import_file_that_is_no_model_gives_one_line(run: Run) -> None:
    Path("m.onnx").write_bytes(b"\x00\x01not a model")
    check_failure(run("import", "m.onnx"), 1, "not ONNX")
    check_failure(run("import", "none.onnx"), 2, "none.onnx", "no such file")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"HADMODEL", b'{"features": 4}'])
def test_report_file_that_is_no_model_gives_one_line(run: Run, content: bytes) -> None:
    Path("x.hadapt").write_bytes(content)
    check_failure(run("report", "x.hadapt"), 1, "hadapt quantize")


@pytest.mark.parametrize("drop", ["hadapt.json", "model.bin", "learner.bin"])
def test_report_model_file_without_a_part_gives_one_line(run: Run, model: str, drop: str) -> None:
    with zipfile.ZipFile(model) as old, zipfile.ZipFile("cut.hadapt", "w") as new:
        for name in old.namelist():
            if name != drop:
                new.writestr(name, old.read(name))
    check_failure(run("report", "cut.hadapt"), 1, "hadapt quantize")


def test_unknown_board_names_the_boards(run: Run, model: str) -> None:
    np.savez("t.npz", **samples(0))
    for arguments in (("report", model), ("emulate", model, "--data", "t.npz"),
                      ("generate", model, "-o", "fw.zip")):  # fmt: skip
        check_failure(run(*arguments, "--board", "arduino"), 2, "arduino", "tiny, good")


def test_error_with_json_is_a_problem_document(run: Run) -> None:
    result = run("import", "none.onnx", "--json")
    assert result.code == 2
    assert result.json()["type"] == "urn:hadapt:problem:usage"


def test_unknown_command_exits_with_two(run: Run) -> None:
    assert run("explode").code == 2


def test_command_as_process_keeps_stdout_clean(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(fake_onnx())
    np.savez(tmp_path / "calib.npz", **samples(0, 1, 2))
    environment = {**os.environ, "HADAPT_ENGINE": ENGINE, "PYTHONPATH": str(ROOT),
                   "FORCE_COLOR": "1", "NO_COLOR": "1"}  # fmt: skip
    command = [sys.executable, "-m", "server.cli", "quantize", "m.onnx", "--data", "calib.npz"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, text=True,
                          capture_output=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == 3
    assert "quantizing m.onnx" in done.stderr
    assert "\x1b[3" not in done.stderr


def test_error_line_says_nothing_twice(run: Run, model: str) -> None:
    Path("bad.npz").write_bytes(b"no zip")
    result = run("learn", model, "--data", "bad.npz", "-o", "m2.hadapt")
    assert result.err.count("not a readable npz") == 1
    assert "expected" in result.err


def test_serve_on_a_port_in_use_names_the_port(tmp_path: Path) -> None:
    # A process of its own: the service takes over signals and logging.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "server.cli", "serve", "--data-dir", str(tmp_path)]
        environment = {**os.environ, "HADAPT_ENGINE": ENGINE, "COLUMNS": "200"}
        done = subprocess.run(
            [*command, "--port", port], cwd=ROOT, env=environment, text=True,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    error = next(line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert port in error and "in use" in error
    assert "Traceback" not in done.stderr


def test_serve_with_a_file_as_data_folder_is_refused(run: Run) -> None:
    Path("data").write_text("")
    check_failure(run("serve", "--data-dir", "data", "--port", "0"), 2, "data is a file", "folder")


def test_explain_shows_layers_on_the_samples_that_quantize_kept(run: Run, model: str) -> None:
    found = run("explain", model, "--json").json()
    assert (found["name"], found["samples"]) == ("m", 30)
    assert [layer["name"] for layer in found["layers"]] == ["head"]
    np.savez("few.npz", x=samples(0, 1, count=3)["x"])
    assert run("explain", model, "--data", "few.npz", "--json").json()["samples"] == 6
    check_failure(run("explain", model, "--board", "none"), 2, "unknown board", "good")


def test_diff_gives_exit_code_1_and_the_first_difference(run: Run, model: str) -> None:
    assert run("diff", model, model).code == 0
    found = run("diff", model, f"{model}@host", "--json")
    assert (found.code, found.json()["difference"]["reason"]) == (1, "values differ")
    check_failure(run("diff", model, f"{model}@nowhere"), 2, "nowhere", "twin, host")
    check_failure(run("diff", model, model, "--train-steps", "2"), 2, "--data")


def test_diff_of_state_files_needs_their_model(run: Run, model: str) -> None:
    Path("a.bin").write_bytes(b"HADS1")
    Path("b.bin").write_bytes(b"HADS2")
    check_failure(run("diff", "a.bin", "b.bin"), 2, "--model")
    found = run("diff", "a.bin", "b.bin", "--model", model, "--json")
    assert (found.code, found.json()["difference"]["field"]) == (1, "masters of head")
