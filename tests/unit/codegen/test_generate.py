# SPDX-License-Identifier: Apache-2.0
"""The generated folder."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS
from device.harness.toolchain import available_toolchains
from tests.parity.models import SPECS, ModelSpec, make_model

HOST = BOARDS["host"]
FILES = ("hadapt_config.h", "hadapt_model.h", "hadapt_tables.c", "hadapt_plan.c", "README.md")


@pytest.mark.parametrize("board", BOARDS)
def test_generate_twice_gives_the_same_bytes(board: str) -> None:
    model = make_model(SPECS[0])
    assert generate(model, BOARDS[board]) == generate(model, BOARDS[board])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_generate_leaves_no_blank_at_a_line_end(spec: ModelSpec) -> None:
    for name, content in generate(make_model(spec), HOST).items():
        if name.startswith("hadapt_"):
            lines = content.decode("ascii").split("\n")
            assert all(line == line.rstrip() for line in lines), name
            assert lines[-1] == "" and lines[-2] != "", name


def test_generate_names_the_model_but_no_path_and_no_time() -> None:
    model = make_model(SPECS[0])
    files = generate(model, HOST)
    for name in FILES:
        assert str(Path.cwd()).encode() not in files[name]
    assert model.model_id.hex().encode() in files["hadapt_plan.c"]


def test_generate_of_a_hostile_name_stays_in_its_comment() -> None:
    model = make_model(SPECS[0])
    layers = (replace(model.layers[0], name='*/ #error "out" /*'), *model.layers[1:])
    named = replace(model, name="*/ int x; /*\n#error", layers=layers)
    for name in ("hadapt_tables.c", "hadapt_plan.c", "hadapt_model.h"):
        code = re.sub(r"/\*.*?\*/", "", generate(named, HOST)[name].decode(), flags=re.DOTALL)
        assert "#error" not in code and "int x" not in code


def test_generate_states_its_sizes_in_the_manifest() -> None:
    document = json.loads(generate(make_model(SPECS[0]), HOST)["manifest.json"])
    assert document["sizes"]["masters"] == 20 * 12 + 12 * 5
    assert document["sizes"]["arena_bytes"] >= document["sizes"]["arena_lower_bound_bytes"]


def test_generate_plan_has_one_call_for_each_operation() -> None:
    text = generate(make_model(SPECS[0]), HOST)["hadapt_plan.c"].decode()
    assert len(re.findall(r"^    case OP_", text, re.MULTILINE)) == 15
    assert len(re.findall(r"^        had_\w+\(ln, ", text, re.MULTILINE)) == 15


@pytest.mark.skipif(
    not any(t.kind == "gcc" and t.family == "host" for t in available_toolchains()),
    reason="the folder's Makefile calls cc",
)
def test_makefile_of_the_folder_builds_without_warnings(tmp_path: Path) -> None:
    folder = write_folder(generate(make_model(SPECS[0]), HOST), tmp_path / "firmware")
    done = subprocess.run(
        ["make", "OPT=-O0"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "firmware.elf").is_file()


def test_write_folder_refuses_nothing_and_returns_the_folder(tmp_path: Path) -> None:
    assert write_folder({"a/b.txt": b"x"}, tmp_path) == tmp_path
    assert (tmp_path / "a/b.txt").read_bytes() == b"x"
