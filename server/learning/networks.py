# SPDX-License-Identifier: Apache-2.0
"""Inference-only models (SPEC.md 17) behind the engine: quantized, explained, built, tested."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import CodegenError
from codegen.generate import generate_network
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.inference import network_plan
from codegen.layouts import PLAIN, arrange
from codegen.quantize import QuantizeOptions
from codegen.quantize.inference import quantize_inference
from codegen.quantize.signal import features_of
from codegen.scales import device_form, network_scales
from device.harness.boards import BOARDS, Board
from device.harness.call_counts import inference_calls
from device.harness.devices import open_device
from device.harness.network_client import NetworkClient
from device.harness.stack import learner_stack
from device.twin.inference import InferenceModel, is_inference_only, run
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from device.twin.trace import trace_network
from server.errors import InvalidInputError, Issue
from server.learning.explaining import (
    against_float,
    calls_a_layer,
    few,
    float_layers,
    layer_costs,
    layer_row,
    with_instructions,
)
from server.learning.firmwares import backend_for, build_firmware, get_board, service_errors
from server.learning.ports import (
    Calibration,
    DeviceReport,
    DeviceTask,
    Float32Array,
    IntModelArtifact,
    Json,
    Learner,
    StopSignal,
)
from server.learning.quantizing import as_invalid
from server.learning.ranges import raw_ranges
from server.learning.stopping import check_stop

KIND = "inference-only"
_REPORT_ROWS = 512


def learning_model(int_model: bytes, what: str) -> IntModel:
    """The model, if it can learn.

    Raises: InvalidInputError that names `what` was asked of an inference-only model.
    """
    if is_inference_only(int_model):
        issue = Issue(f"{what} of an inference-only model", "model", "one quantized to learn")
        raise InvalidInputError(
            f"This model is inference-only: nothing in it learns, so there is no {what}.", [issue]
        )
    return IntModel.from_bytes(int_model)


def check_network_options(options: Mapping[str, Any]) -> None:
    """Raises: InvalidInputError if an option says how to learn."""
    for name in sorted(set(options) - {"inference_only", "features"}):
        issue = Issue(f"{name} beside inference_only", f"options.{name}", "features alone, or none")
        raise InvalidInputError(f"Option {name}: an inference-only model does not learn.", [issue])


def quantize_network(
    onnx: bytes, calibration: Calibration, options: QuantizeOptions
) -> IntModelArtifact:
    """See Engine.quantize."""
    graph = import_onnx(onnx, inference_only=True)
    try:
        model = quantize_inference(graph, calibration.x, options)
    except CodegenError as error:
        raise as_invalid(error) from error
    low, high = raw_ranges(model)
    return IntModelArtifact(
        data=model.to_bytes(),
        max_classes=0,
        feature_min=float(low.min()),
        feature_max=float(high.max()),
        report=_report(graph, model, calibration.x[:_REPORT_ROWS]),
    )


def _report(graph: FloatGraph, model: InferenceModel, x: Float32Array) -> Json:
    """What a person wants to know; errors are on calibration samples."""
    got = run(model, raw_samples(model, x)) * model.output_scale.value
    want = graph.forward(x if model.signal is None else features_of(model.signal, x))
    size = float(np.sqrt(np.mean(np.square(want, dtype=np.float64))))
    return {
        "kind": KIND,
        "output": _what(graph),
        "model_id": model.model_id.hex(),
        "front": [{"name": n.name, "shape": list(n.out_shape)} for n in model.front],
        "output_shape": list(model.output_shape),
        "output_scale": model.output_scale.value,
        "output_zero_point": 0,
        "output_range": 127 * model.output_scale.value,
        "output_error": float(np.sqrt(np.mean(np.square(got - want)))) / size if size else None,
    }


def _what(graph: FloatGraph) -> str:
    if graph.is_decision and graph.outputs > 1:
        return "logits: the decision or softmax behind them is left out"
    return "as in the file"


def no_learner(int_model: bytes) -> Learner:
    """What stands for the learner of such a model: nothing; its hash is that of the model."""
    return Learner(b"", b"", hashlib.sha256(int_model).hexdigest(), 0, {})


def network_files(
    model: InferenceModel, board: Board, layout: str, cache: Path
) -> dict[str, bytes]:
    """Files of the firmware. Raises: InvalidInputError, ModelDoesNotFitError, ToolMissingError."""
    if layout != PLAIN:
        issue = Issue(f"layout {layout!r}", "layout", PLAIN)
        raise InvalidInputError(f"Inference-only models have one layout, {PLAIN}.", [issue])
    build_firmware(model, board, cache)
    return arrange(generate_network(model, board), layout, model, board.name)


def run_network_test(task: DeviceTask, cache: Path, stop: StopSignal) -> DeviceReport:
    """See Engine.device_test: outputs on the board against those of the host, value by value."""
    if task.train_steps:
        learning_model(task.int_model, "training")
    model = InferenceModel.from_bytes(task.int_model)
    board = get_board(task.board)
    firmware = build_firmware(model, board, cache)
    host = build_firmware(model, BOARDS["host"], cache)
    raw = raw_samples(model, task.x)
    with service_errors(), open_device(host, BOARDS["host"], "host") as transport:
        expected = NetworkClient(transport).infer_many(raw)
    got = []
    with service_errors(), open_device(firmware, board, backend_for(board)) as transport:
        client = NetworkClient(transport)
        for sample in raw:
            check_stop(stop)
            got.append(client.infer(sample))
        executed = transport.instructions()
    return DeviceReport(
        board=board.name,
        bit_exact=bool(np.array_equal(np.stack(got), expected)),
        state_hash=hashlib.sha256(task.int_model).hexdigest(),
        elf_sha256=firmware.sha256,
        instructions={} if executed is None else {"inference": executed},
        flash_bytes=firmware.flash_bytes,
        ram_bytes=firmware.ram_bytes,
        stack_bytes=learner_stack(firmware).worst_bytes,
        details={
            "kind": KIND,
            "outputs_sha256": hashlib.sha256(np.stack(got).tobytes()).hexdigest(),
            "samples": len(raw),
            "train_steps": 0,
            "accuracy": None,
            "compiler": firmware.toolchain,
        },
    )


def explain_network(model: InferenceModel, x: Float32Array, graph: FloatGraph | None) -> list[Json]:
    """See explain_layers; the last row is the output."""
    x = few(model, x)
    traces = list(trace_network(model, raw_samples(model, x)))
    costs = layer_costs(model)
    rows = [layer_row(t, *cost) for t, cost in zip(traces, costs, strict=True)]
    if graph is not None:
        graph = device_form(graph, model)
        first = 0
        if model.signal is not None:
            x, first = features_of(model.signal, x), 1
        steps = network_scales(graph, model)
        floats = float_layers(graph, x, len(traces) - first)
        pairs = zip(rows[first:], traces[first:], steps, floats, strict=True)
        for row, made, step, real in pairs:
            row |= against_float(made, step, real)
    return rows


def network_instructions(
    model: InferenceModel, board: Board, cache: Path, x: Float32Array, rows: list[Json]
) -> list[Json]:
    """Rows with the instructions of each layer, counted in Unicorn."""
    firmware = build_firmware(model, board, cache)
    kernels = [call.kernel for call in network_plan(model).calls]
    raw: NDArray[np.int16] = raw_samples(model, x[:1])[0]
    with service_errors():
        counts = iter(inference_calls(firmware, board, kernels, raw))
    return with_instructions(
        rows, [sum(next(counts) for _ in range(n)) for n in calls_a_layer(model)]
    )
