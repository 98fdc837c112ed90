# SPDX-License-Identifier: Apache-2.0
"""A small honest engine for tests of the service: an integer perceptron.

Models are JSON instead of ONNX: {"features": F, "classes": C}. Everything is deterministic and
restartable as server.learning.ports demands. Options of an update make it slow or make it fail.
"""

import hashlib
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from server.errors import (
    DeviceFailedError,
    InvalidInputError,
    Issue,
    ModelDoesNotFitError,
    ModelRejectedError,
    OperatorUnsupportedError,
    ToolMissingError,
)
from server.learning import ports
from server.learning.ports import StoppedError
from server.settings import Settings

SCALE = 256
BOARDS = (
    ports.BoardInfo("tiny", "Too small for anything", "Cortex-M0", 16, 16),
    ports.BoardInfo("good", "Works", "Cortex-M4", 1 << 20, 1 << 18),
    ports.BoardInfo("toolless", "No compiler", "RV32", 1 << 20, 1 << 18, False, "riscv gcc"),
    ports.BoardInfo("hanging", "Firmware hangs", "Cortex-M7", 1 << 20, 1 << 18),
)


def fake_onnx(features: int = 4, classes: int = 3, **more: Any) -> bytes:
    """Bytes that FakeEngine takes for an ONNX model."""
    return json.dumps({"features": features, "classes": classes, **more}).encode()


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class FakeEngine:
    """See server.learning.ports.Engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def boards(self) -> Sequence[ports.BoardInfo]:
        return BOARDS

    def parts(self) -> Sequence[ports.BoardInfo]:
        return BOARDS[:1]

    def board(self, name: str) -> ports.BoardInfo:
        found = next((board for board in BOARDS if board.name == name), None)
        if found is None:
            expected = "one of " + ", ".join(board.name for board in BOARDS)
            issue = Issue(f"unknown board {name!r}", "board", expected)
            raise InvalidInputError(f"Unknown board; expected {expected}.", [issue])
        return found

    def import_model(
        self, onnx: bytes, options: Mapping[str, Any] | None = None
    ) -> ports.ImportedModel:
        try:
            model = json.loads(onnx)
        except ValueError as error:
            issue = Issue("not ONNX", "file", "an ONNX model")
            raise ModelRejectedError("The file is not ONNX.", [issue]) from error
        if "operator" in model:
            issue = Issue(f"operator {model['operator']}", "node n1", "one of Gemm, Relu")
            raise OperatorUnsupportedError("node n1: operator not supported", [issue])
        names = tuple(model["names"]) if "names" in model else None
        return ports.ImportedModel(model["features"], model["classes"], names, {"layers": ["Gemm"]})

    def check_options(self, options: Mapping[str, Any]) -> None:
        for name in set(options) - {"max_classes"}:
            raise InvalidInputError("options", [Issue(f"option {name}", "options", "max_classes")])

    def quantize(
        self, onnx: bytes, calibration: ports.Calibration, options: Mapping[str, Any]
    ) -> ports.IntModelArtifact:
        unknown = set(options) - {"max_classes"}
        if unknown:
            issue = Issue(f"option {min(unknown)}", "options", "max_classes")
            raise InvalidInputError("Unknown option.", [issue])
        model = {**json.loads(onnx), "max_classes": options.get("max_classes", 6)}
        return ports.IntModelArtifact(
            _dump(model),
            model["max_classes"],
            -100.0,
            100.0,
            {"calibrated": len(calibration.x)},
        )

    def first_learner(self, int_model: bytes, calibration: ports.Calibration) -> ports.Learner:
        model = json.loads(int_model)
        weights = np.zeros((model["classes"], model["features"] + 1), dtype=np.int64)
        memory: list[tuple[int, list[int]]] = []
        if calibration.y is not None:
            rows = _rows(calibration.x)
            memory = [(int(c), r.tolist()) for c, r in zip(calibration.y, rows, strict=True)]
        for label, row in memory * 20:
            _learn(weights, np.array(row), label)
        return _learner(weights, memory)

    def check_update(
        self,
        int_model: bytes,
        method: ports.Method,
        batch: int | None,
        options: Mapping[str, Any],
    ) -> None:
        if batch == 512:
            raise InvalidInputError("Batch.", [Issue("batch 512", "batch", "16")])

    def start(self, task: ports.LearnTask) -> ports.Chunk:
        learner = json.loads(task.learner)
        weights = np.array(learner["weights"], dtype=np.int64)
        grown = np.zeros((task.class_count, weights.shape[1]), dtype=np.int64)
        grown[: len(weights)] = weights
        state = {"weights": grown.tolist(), "steps": 0}
        return ports.Chunk(_dump(state), 0, task.steps == 0)

    def train(
        self,
        task: ports.LearnTask,
        checkpoint: bytes,
        steps: int,
        stop: ports.StopSignal,
    ) -> ports.Chunk:
        _maybe_fail(task.options)
        state = json.loads(checkpoint)
        weights = np.array(state["weights"], dtype=np.int64)
        memory = _memory(task)
        done, errors = state["steps"], 0
        for step in range(done, min(done + steps, task.steps)):
            if stop.is_set():
                raise StoppedError
            if task.options.get("step_ms"):
                _child(task.options["step_ms"] / 1000)
            pick = _digest(f"{task.seed}:{step}".encode())
            label, row = memory[int(pick[:8], 16) % len(memory)]
            errors += _learn(weights, np.array(row), label)
            done = step + 1
        chunk = _dump({"weights": weights.tolist(), "steps": done})
        metrics = {"errors": errors, **_saturation(weights)}
        return ports.Chunk(chunk, done, done >= task.steps, metrics)

    def finish(self, task: ports.LearnTask, checkpoint: bytes) -> ports.Learner:
        weights = np.array(json.loads(checkpoint)["weights"], dtype=np.int64)
        if task.method == "ncm":
            for label, row in _memory(task) * 20:
                _learn(weights, np.array(row), label)
        return _learner(weights, _memory(task))

    def predict(
        self,
        int_model: bytes,
        learner: bytes,
        method: ports.Method,
        x: ports.Float32Array,
        stop: ports.StopSignal,
    ) -> ports.Int64Array:
        weights = np.array(json.loads(learner)["weights"], dtype=np.int64)
        return np.asarray(np.argmax(_rows(x) @ weights.T, axis=1), dtype=np.int64)

    def export_onnx(
        self,
        int_model: bytes,
        learner: bytes,
        form: ports.OnnxForm,
        class_names: Sequence[str],
    ) -> bytes:
        names = list(class_names)
        return _dump({"form": form, "learner": json.loads(learner), "class_names": names})

    def explain(
        self,
        int_model: bytes,
        learner: bytes,
        onnx: bytes | None,
        x: ports.Float32Array,
        board: str | None = None,
    ) -> list[ports.Json]:
        classes, features = np.array(json.loads(learner)["weights"]).shape
        return [
            {
                "name": "head",
                "kind": "head",
                "shape": [classes],
                "bits": 16,
                "macs": classes * features,
                "weight_bytes": 8 * classes * features,
                "step": 1 / SCALE,
                "range": None,
                "clipped": 0.0,
                "saturated": 0.0,
                "zeros": 1 / len(x),
                "tiles_saturated": None,
                "error": None,
            }
        ]

    def diff_layers(
        self, a: ports.RunParts, b: ports.RunParts, x: ports.Float32Array
    ) -> tuple[list[ports.Json], ports.Json | None]:
        found = None if a == b else {"layer": 0, "reason": "values differ"}
        row = {"layer": 0, "name": "head", "kind": "head", "equal": a == b, "values": len(x)}
        return [row], found

    def diff_training(
        self,
        a: ports.RunParts,
        b: ports.RunParts,
        samples: tuple[ports.Float32Array, ports.Int64Array],
        steps: int,
        seed: int,
    ) -> ports.Json | None:
        return None

    def diff_states(self, int_model: bytes, a: bytes, b: bytes) -> ports.Json | None:
        return None if a == b else {"field": "masters of head"}

    def generate(
        self,
        int_model: bytes,
        learner: bytes,
        board: str,
        layout: str,
        class_names: Sequence[str] = (),
    ) -> bytes:
        if board != "host":
            _check_board(board)
        if layout not in ("plain", "field"):
            raise InvalidInputError("layout", [Issue(layout, "layout", "plain")])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("model.c"), f"/* {_digest(int_model)} */\n")
            archive.writestr(zipfile.ZipInfo("state.bin"), learner)
            archive.writestr(zipfile.ZipInfo("names.json"), json.dumps(list(class_names)))
        return buffer.getvalue()

    def model_id(self, int_model: bytes) -> bytes:
        return hashlib.sha256(int_model).digest()[:16]

    def image(self, int_model: bytes, board: str) -> bytes:
        return f"firmware of {_digest(int_model)} for {board}".encode()

    def resources(self, int_model: bytes, board: str, stop: ports.StopSignal) -> ports.Json:
        _check_board(board)
        sizes = {"arena_bytes": 10, "arena_lower_bound_bytes": 10, "inference_bytes": 4}
        return {
            "flash_bytes": len(int_model),
            "flash_available_bytes": 1 << 20,
            "ram_bytes": 64,
            "ram_available_bytes": 1 << 18,
            "stack_bytes": 32,
            "manifest": {"sizes": {**sizes, "state_payload_bytes": 6}},
        }

    def costs(self, int_model: bytes, board: str) -> ports.Json:
        _check_board(board)
        names = ("step", "inference", "worst_slice", "inference_while_training")
        return {
            n: {"instructions": 1000 * (i + 1), "cycles_model": 2000} for i, n in enumerate(names)
        }

    def device_test(self, task: ports.DeviceTask, stop: ports.StopSignal) -> ports.DeviceReport:
        _check_board(task.board)
        if task.board == "hanging":
            issue = Issue("no answer", "board hanging", f"an answer within {task.timeout_s} s")
            raise DeviceFailedError("The firmware hung; last output: 'boot'.", [issue])
        return ports.DeviceReport(
            board=task.board,
            bit_exact=True,
            state_hash=_digest(task.learner),
            elf_sha256=_digest(task.int_model + task.board.encode()),
            instructions={"inference": 100 * len(task.x)},
            flash_bytes=len(task.int_model),
            ram_bytes=64,
            stack_bytes=32,
        )

    def packet(self, task: ports.PacketTask, signer: ports.PacketSigner) -> ports.Packet:
        learner = json.loads(task.result)
        change = _dump({"sequence": task.sequence, "weights": learner["weights"]})
        ends = _digest(task.base), _digest(task.result)
        return ports.Packet(signer.sign(change) + change, *ends, {"payload_bytes": len(change)})


def _check_board(board: str) -> None:
    if board == "tiny":
        issue = Issue("needs 84 bytes of flash more", "board tiny", "board good")
        raise ModelDoesNotFitError("The model does not fit.", [issue])
    if board == "toolless":
        raise ToolMissingError("No compiler.", [Issue("riscv gcc missing", "PATH", "riscv gcc")])


def _rows(x: ports.Float32Array) -> ports.Int64Array:
    """Integer features with a constant one appended."""
    raw = np.round(x.astype(np.float64) * SCALE).astype(np.int64)
    return np.concatenate([raw, np.full((len(raw), 1), SCALE)], axis=1)


def _learn(weights: ports.Int64Array, row: ports.Int64Array, label: int) -> int:
    """One perceptron step; 1 if the prediction was wrong."""
    guess = int(np.argmax(weights @ row))
    if guess != label:
        weights[label] += row
        weights[guess] -= row
    return int(guess != label)


def _saturation(weights: ports.Int64Array) -> ports.Json:
    """Weights beyond 11 bits, as if they were stored in so many."""
    beyond = np.abs(weights) > 1 << 10
    row = {"saturated_forward": float(beyond.mean()), "masters_saturated": int(beyond.sum())}
    return {**row, "layers": [{"name": "head", "clipped": None, **row}]}


def _memory(task: ports.LearnTask) -> list[tuple[int, list[int]]]:
    new = [(int(c), r.tolist()) for c, r in zip(task.y, _rows(task.x), strict=True)]
    return [*(tuple(entry) for entry in json.loads(task.learner)["memory"]), *new]


def _learner(weights: ports.Int64Array, memory: list[tuple[int, list[int]]]) -> ports.Learner:
    state = _dump({"weights": weights.tolist()})
    data = _dump({"weights": weights.tolist(), "memory": memory})
    return ports.Learner(data, state, _digest(state), len(weights), {"exemplars": len(memory)})


def _child(seconds: float) -> None:
    """Wait in a subprocess, as the real engine does its work in one."""
    subprocess.run(["sleep", str(seconds)], check=True)


def _maybe_fail(options: Mapping[str, Any]) -> None:
    if options.get("bug"):
        raise ZeroDivisionError("planted")
    if options.get("kill_worker"):
        os.kill(os.getpid(), signal.SIGKILL)
    if options.get("fill_disk"):
        raise OSError(28, "No space left on device")
    if options.get("wait_for"):
        while not Path(options["wait_for"]).exists():
            time.sleep(0.01)
