# SPDX-License-Identifier: Apache-2.0
"""A board that is too small is refused with the smallest one that does, whatever the layout."""

from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from server.errors import ModelDoesNotFitError
from server.learning.firmwares import build_field
from tests.parity.models import ModelSpec, make_model


@pytest.mark.long  # two firmwares are compiled
def test_build_field_too_large_names_the_smallest_board(tmp_path: Path) -> None:
    model = make_model(ModelSpec("many", (8, 8, 4), exemplar_slots=4000))
    with pytest.raises(ModelDoesNotFitError, match="microbit has; board mps3-an547 fits"):
        build_field(model, BOARDS["microbit"], tmp_path)
