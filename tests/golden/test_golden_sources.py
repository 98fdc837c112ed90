# SPDX-License-Identifier: Apache-2.0
"""Approved generated C of two tiny models: a change of the generator shows in the diff.

`pytest tests/golden --update-golden` rewrites the approved files; read the diff before committing.
"""

from pathlib import Path

import pytest

from codegen.generate import generate
from device.harness.boards import BOARDS
from tests.parity.models import ModelSpec, make_model

FOLDER = Path(__file__).parent
CASES = {
    "dense_microbit": (
        ModelSpec("dense", (6, 5, 3), n_classes=2, arithmetic={"order": 4, "batch": 4}),
        "microbit",
    ),
    "frozen_host": (
        ModelSpec(
            "frozen",
            (5, 4),
            frozen=(3, 5),
            signed=True,
            factors=True,
            keep_prototypes=False,
            exemplars=1,
            arithmetic={"order": 1, "batch": 3, "master_bits": 8, "saturation": "every_add"},
        ),
        "host",
    ),
}


def generated(case: str) -> dict[str, bytes]:
    """What the generator makes of this model; runtime and port are sources, not products."""
    spec, board = CASES[case]
    files = generate(make_model(spec), BOARDS[board])
    return {n: content for n, content in files.items() if "/" not in n}


@pytest.mark.parametrize("case", CASES)
def test_generated_sources_of_a_tiny_model_are_the_approved_ones(
    case: str, request: pytest.FixtureRequest
) -> None:
    folder = FOLDER / case
    files = generated(case)
    if request.config.getoption("--update-golden"):
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    approved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(approved) == sorted(files)
    for name, content in files.items():
        assert approved[name] == content, f"{case}/{name} changed; see this file's first lines"
