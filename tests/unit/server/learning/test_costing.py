# SPDX-License-Identifier: Apache-2.0
"""Costs of a firmware, against a second counter that knows nothing of QEMU."""

from pathlib import Path

import pytest

from device.harness.boards import BOARDS
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.twin.work import units_per_step
from server.errors import InvalidInputError
from server.learning.costing import begin, costs_of
from server.learning.firmwares import build_firmware
from tests.parity.models import ModelSpec, make_model

MODEL = make_model(ModelSpec("small", (20, 12, 5), arithmetic={"order": 4, "batch": 8}))


def test_costs_equal_those_that_unicorn_counts(tmp_path: Path) -> None:
    board = BOARDS["microbit"]
    found = costs_of(MODEL, board, tmp_path)
    firmware = build_firmware(MODEL, board, tmp_path)
    with open_device(firmware, board, "unicorn") as transport:
        client = DeviceClient(transport)
        raw = begin(MODEL, client)
        for _ in range(2):
            client.train(units_per_step(MODEL))
        assert transport.instructions() == found["step"]["instructions"]
        client.infer(raw)
        assert transport.instructions() == found["inference"]["instructions"]
        client.train(1)
        first_slice = transport.instructions()
    assert first_slice is not None
    worst = found["worst_slice"]["instructions"]
    assert first_slice <= worst < found["step"]["instructions"]
    wait = worst + found["inference"]["instructions"]
    assert found["inference_while_training"]["instructions"] == wait
    assert found["step"]["cycles_model"] > found["step"]["instructions"]


def test_costs_on_the_host_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        costs_of(MODEL, BOARDS["host"], tmp_path)
    assert "QEMU" in str(caught.value.errors)
