# SPDX-License-Identifier: Apache-2.0
"""The planner: what it says is what is linked; what does not fit is refused with what does."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from codegen.generate import generate, plan_of, write_folder
from codegen.graph import Dense, FloatGraph
from codegen.importer import import_onnx
from codegen.quantize import QuantizeOptions, quantize
from device.harness.boards import Board
from device.harness.build import build
from device.harness.errors import FirmwareTooLargeError
from device.harness.stack import learner_stack
from device.harness.toolchain import find_toolchain
from device.twin.model import Arithmetic, IntModel
from server.errors import ModelDoesNotFitError
from server.learning import planning
from server.learning.firmwares import build_field
from server.learning.network_planning import plan_network
from server.learning.parts import custom_part, find_part
from server.learning.planning import Wanted, plan
from tests.suite.build import Net
from tests.suite.models import SUITE
from tests.suite.networks import NETWORKS


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds of this module."""
    return tmp_path_factory.mktemp("planning")


@pytest.fixture(scope="module")
def graph() -> FloatGraph:
    """The 1-D network of the suite."""
    return import_onnx(SUITE["cnn_1d"].build().SerializeToString())


def samples(graph: FloatGraph) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Calibration of other values than the planner's own."""
    x = SUITE["cnn_1d"].samples(60, 5).reshape(60, -1)
    return x, np.arange(60) % graph.n_classes


def test_bytes_of_a_plan_are_those_of_the_firmware(graph: FloatGraph, cache: Path) -> None:
    x, y = samples(graph)
    part = find_part("stm32f411ce")
    found = plan(graph, part, Wanted(10, 36, staging=16), cache, x, y).planned
    assert found is not None
    choice, board = found.choice, part.board()
    options = QuantizeOptions(
        Arithmetic(batch=choice.batch, master_bits=choice.master_bits),
        train_last=choice.train_last,
        max_classes=10,
        exemplar_slots=36,
        staging_slots=16,
    )
    folder = write_folder(generate(quantize(graph, x, y, options), board), cache / "own")
    firmware = build(folder, board, find_toolchain(board), cache / "own-builds")
    report = found.report()
    assert report["ram_bytes"] == firmware.ram_bytes <= part.ram_bytes
    assert report["flash_bytes"] == firmware.flash_bytes <= part.flash_bytes
    assert report["stack_bytes"] == learner_stack(firmware).worst_bytes
    assert sum(report["flash_parts"].values()) == firmware.flash_bytes
    assert report["flash_parts"]["front"] > 4000
    assert report["instructions"]["training_step"] > 0
    assert (
        report["inference_arena"]["bytes"] <= 1.1 * report["inference_arena"]["lower_bound_bytes"]
    )


def test_random_samples_stand_in_to_the_byte_of_ram(graph: FloatGraph, cache: Path) -> None:
    x, y = samples(graph)
    part, wanted = find_part("nrf52840"), Wanted(10, 36, train_last=1, batch=8)
    without = plan(graph, part, wanted, cache, count=False).planned
    with_data = plan(graph, part, wanted, cache, x, y, count=False).planned
    assert without is not None and with_data is not None
    assert without.firmware.ram_bytes == with_data.firmware.ram_bytes
    assert abs(without.firmware.flash_bytes - with_data.firmware.flash_bytes) < 64


def test_wish_that_does_not_fit_is_refused_with_the_nearest_plan(
    graph: FloatGraph, cache: Path
) -> None:
    part = custom_part(20_000, 100_000)
    answer = plan(graph, part, Wanted(10, 60, train_last=2), cache, count=False)
    assert answer.planned is None and "RAM" in answer.refused
    assert answer.nearest is not None
    assert answer.nearest.choice.train_last == 1 and answer.nearest.choice.exemplars == 60
    assert answer.nearest.firmware.ram_bytes <= part.ram_bytes


@pytest.mark.long  # three firmwares are compiled
def test_model_that_fits_as_a_field_device_alone_is_proposed_as_one(cache: Path) -> None:
    """The masters once in RAM, the committed ones in flash; bytes are those of that firmware."""
    net = Net("dense", (64,), 1)
    x = net.node("Relu", net.gemm("x", 64, 128))
    graph = import_onnx(net.file(net.gemm(x, 128, 4), 4).SerializeToString())
    wanted = Wanted(4, 8, 4, train_last=2, batch=4, master_bits=8)
    roomy = plan(graph, custom_part(64_000, 256_000), wanted, cache, count=False).planned
    assert roomy is not None and not roomy.choice.field
    masters = roomy.plan.master_count
    part = custom_part(roomy.firmware.ram_bytes - masters // 4, 256_000)
    found = plan(graph, part, wanted, cache).planned
    assert found is not None and found.choice.field
    report = found.report()
    own = build_field(found.model, part.board(), cache)
    assert report["ram_bytes"] == own.ram_bytes <= part.ram_bytes
    assert report["flash_bytes"] == own.flash_bytes
    assert report["store_bytes"] >= 2 * (2 * masters + 8 * 32) and report["layout"] == "field"
    assert report["flash_bytes"] + report["store_bytes"] <= part.flash_bytes


def test_nearest_plan_is_found_where_many_choices_do_not_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Regression: after three failed links of the wish "no plan fits" was said of every other."""
    rng, part = np.random.default_rng(0), custom_part(6000, 60_000)
    weights = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((24, 16), (3, 24))]
    layers = tuple(
        Dense(f"dense{i}", w, np.zeros(len(w), np.float32), None if i else "relu")
        for i, w in enumerate(weights)
    )
    links: list[int] = []

    def link(model: IntModel, board: Board, *_: object) -> SimpleNamespace:
        links.append(model.exemplar_slots)
        over = planning.least_ram(model, plan_of(model, board)) + 3000 - part.ram_bytes
        if over > 0:
            raise FirmwareTooLargeError(board.name, "ram", over)
        return SimpleNamespace(flash_bytes=0, ram_bytes=0)

    monkeypatch.setattr(planning._Search, "_sources", lambda self, model, *_: model)
    monkeypatch.setattr(planning, "build", link)
    monkeypatch.setattr(planning, "learner_stack", lambda _: SimpleNamespace(worst_bytes=0))
    graph = FloatGraph("g", (16,), layers)
    answer = plan(graph, part, Wanted(7, 200), tmp_path, count=False)
    assert answer.planned is None and "bytes of RAM are missing" in answer.refused
    assert answer.nearest is not None and answer.nearest.choice.exemplars < 200
    assert len(links) < 6, "what a failed link has shown spares the others"


def test_flash_that_is_too_small_is_refused_by_the_linker(graph: FloatGraph, cache: Path) -> None:
    answer = plan(graph, custom_part(64_000, 20_000), Wanted(10, 20), cache, count=False)
    assert answer.planned is None and answer.nearest is None
    assert "bytes of flash are missing" in answer.refused


def test_plan_with_features_counts_their_code_and_names_the_ram_of_audio(cache: Path) -> None:
    net = Net("kws", (1, 49, 10), 1)
    x = net.node("Flatten", net.node("GlobalAveragePool", net.conv("x", 4, (10, 4), (2, 2))))
    graph = import_onnx(net.file(net.gemm(x, 4, 3), 3).SerializeToString())
    wanted = Wanted(4, 8, 4, 1, 8, 8, features="mfcc:rate=8000,window=8000")
    part = find_part("microbit")
    answer = plan(graph, part, wanted, cache, count=False)
    assert answer.planned is None and answer.nearest is None
    assert "the raw signal alone takes 16000 bytes" in answer.refused
    roomy = plan(graph, find_part("mps2-an386"), wanted, cache, count=False).planned
    assert roomy is not None and roomy.model.signal is not None
    assert roomy.model.inputs == 8000


def test_plan_of_an_inference_only_model_is_the_linked_firmware(cache: Path) -> None:
    entry = NETWORKS["autoencoder"]
    graph = import_onnx(entry.build().SerializeToString(), inference_only=True)
    report = plan_network(graph, find_part("nrf52832"), cache)
    assert sum(report["flash_parts"].values()) == report["flash_bytes"] < 16_000
    assert report["inference_arena"]["bytes"] == report["inference_arena"]["lower_bound_bytes"]
    assert report["instructions"]["inference"] > 0
    with pytest.raises(ModelDoesNotFitError, match="fits"):
        plan_network(graph, find_part("microbit:flash=4K"), cache)
