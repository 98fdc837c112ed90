# SPDX-License-Identifier: Apache-2.0
"""Networks that only run (SPEC.md 17): onnxruntime, plain Python, twin, host and boards."""

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from codegen.generate import generate_network, write_folder
from codegen.importer import import_onnx
from codegen.quantize.inference import quantize_inference
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.errors import DeviceStatusError
from device.harness.network_client import NetworkClient
from device.harness.toolchain import find_toolchain
from device.harness.transport import Transport
from device.twin.inference import InferenceModel, run
from device.twin.learner import raw_samples
from device.twin.model import IntModel, ModelFormatError
from tests.suite.build import Net
from tests.suite.models import AUTOENCODER
from tests.suite.networks import NETWORKS, samples
from tests.suite.strangers import linear_regressor
from tests.vectors import arithmetic as a
from tests.vectors import front as reference

Start = Callable[..., Transport]
# Of the output's size: root mean square of integer minus float, eight bits a layer.
LARGEST_ERROR = 0.06


@cache
def network(name: str) -> InferenceModel:
    entry = NETWORKS[name]
    graph = import_onnx(entry.build().SerializeToString(), inference_only=True)
    return quantize_inference(graph, samples(entry, 300, 1))


def raw_of(name: str, count: int = 6) -> np.ndarray:
    return raw_samples(network(name), samples(NETWORKS[name], count, 2))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts firmware; it ends with the module."""
    work = tmp_path_factory.mktemp("networks")
    with ExitStack() as stack:

        def run_on(
            model: InferenceModel,
            board: str = "host",
            change: Callable[[dict[str, bytes]], dict[str, bytes]] = dict,
            **options: object,
        ) -> Transport:
            target = BOARDS[board]
            files = change(generate_network(model, target))
            folder = write_folder(files, work / f"{model.name}-{board}-{abs(hash(str(files)))}")
            options = {"opt": "-O1" if target.is_host else "-O2", **options}
            firmware = build(folder, target, find_toolchain(target), work / "b", **options)  # type: ignore[arg-type]
            backend = "host" if target.is_host else "qemu"
            return stack.enter_context(open_device(firmware, target, backend))  # type: ignore[arg-type]

        yield run_on


@pytest.mark.parametrize("name", NETWORKS)
def test_output_follows_onnxruntime(name: str) -> None:
    entry, model = NETWORKS[name], network(name)
    content = entry.build().SerializeToString()
    x = entry.samples(30, 2)
    (want,) = onnxruntime.InferenceSession(content).run(None, {"x": x})
    got = run(model, raw_samples(model, x.reshape(30, -1))) * model.output_scale.value
    order = import_onnx(content, inference_only=True).output_order
    got = got if order is None else got[:, order]
    error = np.sqrt(np.mean((got - want.reshape(30, -1)) ** 2) / np.mean(want**2))
    assert error < LARGEST_ERROR


@pytest.mark.parametrize("name", NETWORKS)
def test_twin_equals_plain_python(name: str) -> None:
    model, raw = network(name), raw_of(name, 2)
    twin = run(model, raw)
    for row, want in zip(raw.tolist(), twin.tolist(), strict=True):
        assert reference.run(model.front, _input_stage(model, row)) == want


def _input_stage(model: InferenceModel, raw: list[int]) -> list[int]:
    """SPEC.md 3 with an entry a channel (4.1)."""
    stage, channels = model.input, len(model.input.zero)
    out = []
    for i in range(len(raw)):
        p, c = divmod(i, channels)
        value = raw[c * stage.pixels + p if stage.planar else i]
        scaled = (value - int(stage.zero[c])) * int(stage.mult[c])
        v = a.sat(a.rhu(scaled, int(stage.shift[c])), 16)
        out.append(a.quant(v, stage.amax, 127, int(not stage.signed)))
    return out


@pytest.mark.parametrize("name", NETWORKS)
def test_host_equals_twin(name: str, start: Start) -> None:
    model, raw = network(name), raw_of(name)
    client = NetworkClient(start(model, sanitize=True))
    assert client.infer_many(raw).tolist() == run(model, raw).tolist()


@pytest.mark.parametrize(("name", "board"), [("image", "mps2-an386"), ("autoencoder", "microbit")])
def test_board_equals_twin(name: str, board: str, start: Start) -> None:
    model, raw = network(name), raw_of(name, 3)
    client = NetworkClient(start(model, board))
    assert client.infer_many(raw).tolist() == run(model, raw).tolist()


def test_autoencoder_of_the_suite_runs_on_a_board(start: Start) -> None:
    graph = import_onnx(AUTOENCODER.build().SerializeToString(), inference_only=True)
    model = quantize_inference(graph, samples(AUTOENCODER, 24, 1))
    raw = raw_samples(model, samples(AUTOENCODER, 2, 2))
    assert model.outputs == 640
    assert NetworkClient(start(model, "mps2-an386")).infer_many(raw).tolist() == (
        run(model, raw).tolist()
    )


def test_features_of_units_of_their_own_keep_their_resolution() -> None:
    """Regression: without a normaliser in the file all features shared one scale of eight bits."""
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(200, 4)) * [1, 10, 0.1, 5] + [0, 100, 0, 5]).astype(np.float32)
    sheet = linear_regressor()
    sheet.shape = (4,)
    sheet.nodes[0].attribute[0].floats[:] = [2, 0.3, 9, -0.5, 1, -0.2, 20, 0.1]
    content = sheet.file().SerializeToString()
    model = quantize_inference(import_onnx(content, inference_only=True), x)
    (want,) = onnxruntime.InferenceSession(content).run(None, {"x": x})
    got = run(model, raw_samples(model, x)) * model.output_scale.value
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_sigmoid_of_one_number_stays_one_probability() -> None:
    net = Net("probability", (6,), 3)
    onnx_file = net.file(net.node("Sigmoid", net.gemm("x", 6, 1)), 1)
    content = onnx_file.SerializeToString()
    x = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32)
    model = quantize_inference(import_onnx(content, inference_only=True), x)
    (want,) = onnxruntime.InferenceSession(content).run(None, {"x": x})
    got = run(model, raw_samples(model, x)) * model.output_scale.value
    assert got.shape == want.shape == (50, 1)
    assert np.abs(got - want).max() < 0.03


def test_info_says_what_the_output_stands_for(start: Start) -> None:
    model = network("labels")
    info = NetworkClient(start(model)).info()
    assert (info.model_id, info.inputs, info.outputs) == (model.model_id, 10, 4)
    scale = model.output_scale
    assert (info.output_scale, info.zero_point) == ((scale.mantissa, scale.exponent), 0)
    header = generate_network(model, BOARDS["host"])["hadapt_config.h"].decode()
    assert f"#define HAD_OUTPUT_SCALE_MANTISSA {model.output_scale.mantissa}U\n" in header


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (0x03, bytes(22), -7),  # LEARN
        (0x05, bytes(20), -7),  # TRAIN_BEGIN
        (0x02, bytes(21), -4),
        (0x01, b"\0", -4),
        (0x02, struct.pack("<BB", 1, 0) + bytes(20), -1),
    ],
)
def test_request_that_is_none_is_refused(
    command: int, payload: bytes, status: int, start: Start
) -> None:
    with pytest.raises(DeviceStatusError) as error:
        start(network("labels")).exchange(command, payload)
    assert error.value.status == status


def _edit(file: str, old: str, new: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(files: dict[str, bytes]) -> dict[str, bytes]:
        text = files[file].decode()
        assert old in text
        return {**files, file: text.replace(old, new, 1).encode()}

    return change


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("runtime/src/network/had_network.c", "req + INFER_HEAD", "req"),
        ("runtime/src/network/had_network.c", "(uint8_t)output[i]", "(uint8_t)output[i ^ 1U]"),
        ("runtime/src/front/had_conv.c", "y += node->bias[o]", "y += node->bias[0]"),
    ],
)
def test_planted_error_is_seen(file: str, old: str, new: str, start: Start) -> None:
    model, raw = network("labels"), raw_of("labels")
    client = NetworkClient(start(model, change=_edit(file, old, new)))
    assert client.infer_many(raw).tolist() != run(model, raw).tolist()


def test_folder_has_no_source_of_training() -> None:
    files = generate_network(network("image"), BOARDS["mps2-an386"])
    sources = {Path(name).name for name in files if name.startswith("runtime/src/")}
    assert not {"had_train.c", "had_wire.c", "had_exemplar.c", "had_mfcc.c"} & sources
    assert files == generate_network(network("image"), BOARDS["mps2-an386"])


def test_model_survives_its_bytes_and_is_no_model_that_learns() -> None:
    model = network("regressor")
    data = model.to_bytes()
    assert InferenceModel.from_bytes(data).to_bytes() == data
    with pytest.raises(ModelFormatError, match="inference-only"):
        IntModel.from_bytes(data)
    with pytest.raises(ModelFormatError):
        InferenceModel.from_bytes(data[:-1])
    with pytest.raises(ModelFormatError):
        InferenceModel.from_bytes(data.replace(b'"kind": "conv"', b'"kind": "max" ', 1))
