# SPDX-License-Identifier: Apache-2.0
"""The port to the learning domain: what the service needs of an engine.

Rules for every implementation:

- Operations are deterministic: same arguments, same bytes. A job repeats the operation that a
  crash interrupted, and must get the same result.
- No operation keeps anything in memory between calls; each works from its arguments alone.
- `stop` is looked at several times a second in long operations; when it is set, the operation
  kills what it started and raises StoppedError.
- Subprocesses stay in the process group of the caller, so that they die with the worker.
- Wrong models and failing devices raise the classes of server.errors: ModelRejectedError,
  OperatorUnsupportedError, ModelDoesNotFitError, ToolMissingError, DeviceFailedError.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from server.errors import InvalidInputError, Issue
from server.learning.methods import Method
from server.settings import Settings

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]
Json = dict[str, Any]
OnnxForm = Literal["exact", "qdq"]


class StoppedError(Exception):
    """The operation was stopped on request; nothing of it counts."""


class StopSignal(Protocol):
    """Asks a long operation to end; threading.Event has this shape."""

    def is_set(self) -> bool:
        """True as soon as the operation has to end."""


@dataclass(frozen=True)
class BoardInfo:
    """A board that firmware can be made for.

    `available` is False if its compiler or emulator is missing; `missing` then says which.
    """

    name: str
    title: str
    cpu: str
    flash_bytes: int
    ram_bytes: int
    available: bool = True
    missing: str | None = None


@dataclass(frozen=True)
class ImportedModel:
    """What an ONNX file holds.

    feature_count: inputs of the model. class_count: outputs. class_names: from the file, or None.
    summary: layers and whatever else is worth showing, JSON.
    """

    feature_count: int
    class_count: int
    class_names: tuple[str, ...] | None
    summary: Json


@dataclass(frozen=True)
class Calibration:
    """Calibration samples: x float32 (N, features); y int64 (N,) class slots, or None."""

    x: Float32Array
    y: Int64Array | None


@dataclass(frozen=True)
class IntModelArtifact:
    """An integer model.

    data: the model's bytes. max_classes: class slots. feature_min, feature_max: inclusive range of
    a raw feature that the device's input can carry. report: JSON for people.
    """

    data: bytes
    max_classes: int
    feature_min: float
    feature_max: float
    report: Json


@dataclass(frozen=True)
class Learner:
    """A learner at rest (committed).

    data: everything it knows, exemplars included, in the engine's own form.
    state: what is delivered to a device (SPEC.md, state bytes). state_hash: lower-case hex.
    class_count: classes it knows. report: JSON, such as exemplars a class and saturation counters.
    """

    data: bytes
    state: bytes
    state_hash: str
    class_count: int
    report: Json = field(default_factory=dict)


@dataclass(frozen=True)
class LearnTask:
    """One training session.

    int_model, learner: where it starts (IntModelArtifact.data, Learner.data).
    x: float32 (N, features), in the units of the ONNX model's input. y: int64 (N,) class slots.
    class_count: classes after the session; the engine adds the missing ones before it learns.
    method: see server.learning.methods.
    steps: training steps; 0 for ncm. learning_rate, batch: the engine's default if None.
    options: distillation_weight in [0, 1) and temperature (1, 2, 4, 8), of methods that distil.
    """

    int_model: bytes
    learner: bytes
    method: Method
    x: Float32Array
    y: Int64Array
    class_count: int
    steps: int
    learning_rate: float | None
    seed: int
    batch: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """Where a session stands.

    checkpoint: bytes from which it goes on. steps_done: of the whole session.
    done: nothing is left to train. metrics: JSON, such as loss and training accuracy.
    """

    checkpoint: bytes
    steps_done: int
    done: bool
    metrics: Json = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceTask:
    """A test of one board against the host.

    The firmware boots, receives `learner` as state bytes while it runs, and predicts x; with
    train_steps > 0 it also trains that many steps on (x, y), as the host does from the same state.
    """

    int_model: bytes
    learner: bytes
    board: str
    x: Float32Array
    y: Int64Array
    train_steps: int
    seed: int
    timeout_s: float


@dataclass(frozen=True)
class DeviceReport:
    """The result of a board.

    bit_exact: state hash and every prediction equal the host's, after training too if asked for.
    state_hash: the device's final one. elf_sha256: of the firmware that ran.
    instructions: figure name to count, such as {"inference": .., "training_step": ..};
    empty where they cannot be counted. details: JSON.
    """

    board: str
    bit_exact: bool
    state_hash: str
    elf_sha256: str
    instructions: Mapping[str, int]
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    details: Json = field(default_factory=dict)


class PacketSigner(Protocol):
    """Signs packets: Ed25519."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""


@dataclass(frozen=True)
class PacketTask:
    """A packet to make: from one learner at rest to another, with its place in the order.

    int_model, base, result: as IntModelArtifact.data and Learner.data.
    sequence: number that a device compares with the last one it took.
    vendor_domain: names the vendor, whose devices alone take it.
    """

    int_model: bytes
    base: bytes
    result: bytes
    sequence: int
    vendor_domain: str


@dataclass(frozen=True)
class Packet:
    """A signed packet: envelope bytes (SPEC.md 11.2), state digests of base and result
    (SPEC.md 11.1, lower-case hex), and what is worth showing of it, JSON."""

    envelope: bytes
    base_digest: str
    result_digest: str
    report: Json = field(default_factory=dict)


RunParts = tuple[bytes, bytes, str]
"""Of a run that is compared: integer model, learner, and what executes it."""


class Engine(Protocol):
    """The learning domain, as jobs and routes use it."""

    def boards(self) -> Sequence[BoardInfo]:
        """Every board, the smallest first."""

    def parts(self) -> Sequence[BoardInfo]:
        """Common microcontrollers; a board of the same core stands for each in the emulator."""

    def board(self, name: str) -> BoardInfo:
        """A board, a part, or either with less memory: `NAME:ram=BYTES,flash=BYTES`.

        Raises: InvalidInputError that lists what there is.
        """

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises: InvalidInputError for an option of quantize that is unknown or wrong."""

    def import_model(self, onnx: bytes, options: Mapping[str, Any] | None = None) -> ImportedModel:
        """Check an ONNX file. Quick: it is called within the request.

        options: of quantize; with `features` the samples are raw signals, and feature_count is
            the number of their values. Options that this network cannot have are refused.
        """

    def quantize(
        self, onnx: bytes, calibration: Calibration, options: Mapping[str, Any]
    ) -> IntModelArtifact:
        """Make the integer model. Unknown or wrong options raise InvalidInputError."""

    def first_learner(self, int_model: bytes, calibration: Calibration) -> Learner:
        """The learner as shipped, its memory filled from labelled calibration samples."""

    def check_update(
        self, int_model: bytes, method: Method, batch: int | None, options: Mapping[str, Any]
    ) -> None:
        """Quick. Raises: InvalidInputError for what an update of this model cannot take."""

    def start(self, task: LearnTask) -> Chunk:
        """Begin a session: add classes, learn the samples; no training step yet."""

    def train(self, task: LearnTask, checkpoint: bytes, steps: int, stop: StopSignal) -> Chunk:
        """Train at most `steps` more steps from the checkpoint."""

    def finish(self, task: LearnTask, checkpoint: bytes) -> Learner:
        """Commit the session."""

    def predict(
        self,
        int_model: bytes,
        learner: bytes,
        method: Method,
        x: Float32Array,
        stop: StopSignal,
    ) -> Int64Array:
        """Class slots, int64 (N,), as the device would predict: by the head of the method."""

    def export_onnx(
        self, int_model: bytes, learner: bytes, form: OnnxForm, class_names: Sequence[str]
    ) -> bytes:
        """The integer model with the learner's weights as ONNX, IR 10, opset 21. Quick.

        class_names: one a class that the learner knows.
        """

    def explain(
        self,
        int_model: bytes,
        learner: bytes,
        onnx: bytes | None,
        x: Float32Array,
        board: str | None = None,
    ) -> list[Json]:
        """A row a layer: shape, ranges, clipped and saturated shares, error against float, cost.

        onnx: the float model; None leaves out what needs it. x: float32 (N, features).
        board: count instructions there; without it the call is quick.
        Raises: InvalidInputError if the float model is another's or the board cannot count.
        """

    def diff_layers(
        self, a: RunParts, b: RunParts, x: Float32Array
    ) -> tuple[list[Json], Json | None]:
        """Layers of two runs compared in order, and the first difference.

        a, b: integer model, learner, and twin, host or a board.
        """

    def diff_training(
        self,
        a: RunParts,
        b: RunParts,
        samples: tuple[Float32Array, Int64Array],
        steps: int,
        seed: int,
    ) -> Json | None:
        """The first training step after which two executions of one model differ, and where."""

    def diff_states(self, int_model: bytes, a: bytes, b: bytes) -> Json | None:
        """The first field in which two exported states differ. Raises: InvalidInputError."""

    def generate(
        self,
        int_model: bytes,
        learner: bytes,
        board: str,
        layout: str,
        class_names: Sequence[str] = (),
    ) -> bytes:
        """A zip of C sources; same arguments, same bytes.

        class_names: one a class that the learner knows; those of the model if empty.
        Raises: ModelDoesNotFitError; InvalidInputError for an unknown layout.
        """

    def model_id(self, int_model: bytes) -> bytes:
        """16 bytes that learned state and firmware are bound to."""

    def image(self, int_model: bytes, board: str) -> bytes:
        """The binary of a field firmware as it is flashed; for `host` the executable.

        Raises: ModelDoesNotFitError, ToolMissingError.
        """

    def resources(self, int_model: bytes, board: str, stop: StopSignal) -> Json:
        """Flash, RAM and stack bytes, arena map, instructions if counted.

        Raises: ModelDoesNotFitError, ToolMissingError.
        """

    def costs(self, int_model: bytes, board: str) -> Json:
        """Exact instructions in QEMU and modelled cycles of a step, an inference and a slice.

        Raises: InvalidInputError, ModelDoesNotFitError, ToolMissingError, DeviceFailedError.
        """

    def device_test(self, task: DeviceTask, stop: StopSignal) -> DeviceReport:
        """Build the firmware, run it in the board's emulator, compare with the host."""

    def packet(self, task: PacketTask, signer: PacketSigner) -> Packet:
        """Make and sign a packet; same arguments, same bytes. Quick."""


def load_engine(settings: Settings) -> Engine:
    """The engine named by `settings.engine`, as module:callable."""
    module, _, name = settings.engine.partition(":")
    try:
        factory = cast(Callable[[Settings], Engine], getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError) as error:
        issue = Issue(f"{settings.engine!r}: {error}", "HADAPT_ENGINE", "module:callable")
        raise InvalidInputError("The engine cannot be loaded.", [issue]) from error
    return factory(settings)
