# SPDX-License-Identifier: Apache-2.0
"""A folder holds the sources that its firmware needs; those left out would add nothing to it."""

import subprocess
from pathlib import Path

import pytest

from codegen.generate import generate, runtime_files, write_folder
from codegen.sources import (
    DEVICE_LAYOUTS,
    FIELD,
    FRONT,
    INFERENCE,
    NETWORK,
    NETWORK_HEADER,
    TRAINED_CONVOLUTIONS,
)
from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain
from tests.parity.convs import CONV_SPECS, make_conv_model
from tests.parity.models import SPECS, make_model

DENSE = make_model(SPECS[0])


def sources(*folders: str) -> set[str]:
    starts = tuple(f"runtime/src/{folder}/" for folder in folders)
    return {n for n in runtime_files() if n.startswith(starts) and n.endswith(".c")}


def test_every_folder_that_may_be_left_out_is_there() -> None:
    for folder in (FRONT, TRAINED_CONVOLUTIONS, DEVICE_LAYOUTS, FIELD, NETWORK):
        assert sources(folder)
    for name in INFERENCE:
        assert any(path.startswith(f"runtime/{name}") for path in runtime_files())


@pytest.mark.parametrize("board", ["host", "mps2-an386"])
def test_folder_lacks_what_the_model_and_the_board_do_without(board: str) -> None:
    lacking = set(runtime_files()) - set(generate(DENSE, BOARDS[board]))
    expected = sources(FRONT, TRAINED_CONVOLUTIONS, NETWORK) | {NETWORK_HEADER}
    assert lacking == expected | (sources(DEVICE_LAYOUTS, FIELD) if board == "host" else set())


def test_folder_of_trained_convolutions_has_their_kernels() -> None:
    files = generate(make_conv_model(CONV_SPECS[0]), BOARDS["mps2-an386"])
    assert set(runtime_files()) - sources(NETWORK) - {NETWORK_HEADER} <= set(files)


def test_sources_left_out_would_compile_to_nothing(tmp_path: Path) -> None:
    files = generate(DENSE, BOARDS["host"])
    lacking = set(runtime_files()) - set(files) - sources(FRONT, NETWORK)
    listed = sorted(lacking - {NETWORK_HEADER})
    write_folder({**files, **runtime_files()}, tmp_path)
    command = [*find_toolchain(BOARDS["host"]).command, "-std=c11", "-O0", "-g0", "-r", "-nostdlib"]
    command += ["-I.", "-Iruntime/include", *listed, "-o", "all.o"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100)
    found = subprocess.run(
        ["nm", "all.o"], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert listed and found.stdout == ""
