# SPDX-License-Identifier: Apache-2.0
"""Typed commands of a device: SPEC.md 10 over any transport.

The method names, arguments and results are those of the twin (`device.twin.learner.TwinLearner`).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from device.harness.errors import DeviceStatusError
from device.harness.transport import Transport
from device.twin.scale import Scale

Sampling = Literal["uniform", "balanced", "new_uniform", "new_balanced"]

COMMAND_SECONDS = 600.0
CHUNK_BYTES = 1024  # first try; halved while the device calls it too long
SMALLEST_CHUNK_BYTES = 64
STATUS_TOO_LONG = -8
SAMPLING_CODES: dict[str, int] = {"uniform": 0, "balanced": 1, "new_uniform": 2, "new_balanced": 3}

_INFO = struct.Struct("<16s10H4I")
_TRAIN = struct.Struct("<5I")


@dataclass(frozen=True)
class DeviceInfo:
    """Answer of INFO.

    Attributes:
        inputs, features, x0_size: values in a raw sample, a feature vector, x0.
        x0_bytes: bytes of a packed x0.
        n_classes: active classes of the working state; max_classes are reserved.
        samples, staged: stored samples, and how many of them are staged.
        step: completed training steps; steps_left: of the session.
        state_bytes: bytes of an exported state.
        units_per_step: work units of one training step (SPEC.md 8.6).
    """

    model_id: bytes
    inputs: int
    features: int
    x0_size: int
    x0_bytes: int
    n_classes: int
    max_classes: int
    exemplar_slots: int
    staging_slots: int
    samples: int
    staged: int
    step: int
    steps_left: int
    state_bytes: int
    units_per_step: int


@dataclass(frozen=True)
class TrainProgress:
    """Answer of TRAIN: work done by the call; the rest counts since `train_begin`.

    Attributes:
        units: work units used.
        steps_left: of the session.
        seen, correct: samples forwarded, and classified right before their update.
        probability: sum of p[label] >> 8, p in 2**-15.
    """

    units: int
    steps_left: int
    seen: int
    correct: int
    probability: int


class DeviceClient:
    """Commands of one device. Errors are those of the transport.

    Args:
        transport: a running device.
        timeout_s: limit of one command.
    """

    def __init__(self, transport: Transport, timeout_s: float = COMMAND_SECONDS) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._chunk_bytes = CHUNK_BYTES

    def info(self) -> DeviceInfo:
        """Sizes and position of the device."""
        return DeviceInfo(*_INFO.unpack(self._ask(0x01)))

    def infer(self, raw: NDArray[np.int16], head: int = 0) -> tuple[int, NDArray[np.int64]]:
        """Class and logits of one raw sample.

        Args:
            raw: int16, shape (inputs,).
            head: 0 linear, 1 nearest mean (no logits).
        """
        reply = self._ask(0x02, struct.pack("<BB", head, 0) + _raw_bytes(raw))
        label, _ = struct.unpack_from("<HH", reply)
        return int(label), np.frombuffer(reply, "<i2", offset=4).astype(np.int64)

    def infer_many(
        self, raw: NDArray[np.int16], head: int = 0
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Classes (N,) and the logits of each of N raw samples (N, inputs)."""
        answers = [self.infer(sample, head) for sample in raw]
        labels = np.array([label for label, _ in answers], np.int64)
        return labels, [logits for _, logits in answers]

    def learn(self, raw: NDArray[np.int16], label: int, prototype_only: bool = False) -> int:
        """Store a raw sample. Returns: free slots."""
        request = struct.pack("<BB", label, int(prototype_only)) + _raw_bytes(raw)
        return _u16(self._ask(0x03, request))

    def learn_x0(
        self, x0: NDArray[np.integer[Any]], label: int, prototype_only: bool = False
    ) -> int:
        """Store a sample given as x0, shape (x0_size,). Returns: free slots."""
        request = struct.pack("<BB", label, int(prototype_only)) + _pack(x0)
        return _u16(self._ask(0x11, request))

    def add_class(self) -> int:
        """Make a reserved class active. Returns: its label."""
        return _u16(self._ask(0x04))

    def train_begin(
        self,
        seed: int,
        steps: int,
        schedule: Sequence[tuple[int, Scale]],
        sampling: Sampling = "balanced",
        distill: int = 0,
        soften: int = 0,
        hold: int = 0,
        expand: bool = False,
    ) -> None:
        """Open a training session (SPEC.md 7, 8.3).

        Args:
            distill: weight of distillation in 1/256, 0 to 255; soften: log2 of its temperature, 0
                to 3 (SPEC.md 6.6). hold: hold-out of bias correction, 0 to 7 (8.8).
            expand: train a fresh block of rows and the head alone (16).
        """
        options = (SAMPLING_CODES[sampling] + 4 * expand, len(schedule))
        request = struct.pack("<IIBBBB", seed, steps, *options, distill, soften | hold << 4)
        for start, scale in schedule:
            request += struct.pack("<IHh", start, scale.mantissa, scale.exponent)
        self._ask(0x05, request)

    def train(self, budget: int) -> TrainProgress:
        """Work for at least `budget` units, or to the end of the session."""
        return TrainProgress(*_TRAIN.unpack(self._ask(0x06, struct.pack("<I", budget))))

    def commit(self, hold: int = 0, steps: int = 0) -> bytes:
        """Make the working state current; with steps, fit the correction (SPEC.md 8.8).

        Returns: state hash.
        """
        return self._ask(0x07, struct.pack("<BB", hold, steps) if hold or steps else b"")

    def rollback(self) -> bytes:
        """Go back to the committed state. Returns: state hash."""
        return self._ask(0x08)

    def state_hash(self) -> bytes:
        """SHA-256 of the working state, at a step end (SPEC.md 8.7)."""
        return self._ask(0x09)

    def export_state(self, working: bool = False) -> bytes:
        """State bytes of the committed, or the working, copy (SPEC.md 9)."""
        total, data = self.info().state_bytes, b""
        while len(data) < total:
            data += self._export_chunk(len(data), total, working)
        return data

    def import_state(self, data: bytes) -> bytes:
        """Replace the working state by exported bytes. Returns: state hash."""
        self._ask(0x0B, struct.pack("<I", len(data)))
        at = 0
        while at < len(data):
            at += self._import_chunk(data, at)
        return self._ask(0x0D)

    def put_exemplar(self, label: int, rank: int, packed: bytes) -> int:
        """Stage an exemplar of a given rank. Returns: free slots."""
        return _u16(self._ask(0x0E, struct.pack("<BBH", label, 0, rank) + packed))

    def get_exemplar(self, index: int) -> tuple[int, int, bytes]:
        """Label, rank and packed x0 of a sample by canonical index."""
        reply = self._ask(0x0F, struct.pack("<H", index))
        label, _, rank = struct.unpack_from("<BBH", reply)
        return int(label), int(rank), reply[4:]

    def counters(self, reset: bool = False) -> list[int]:
        """Counters in the order of SPEC.md 6.5; empty if they are not compiled in."""
        reply = self._ask(0x10, struct.pack("<B", int(reset)))
        return [int(n) for n in np.frombuffer(reply, "<u4")]

    def instructions(self) -> int | None:
        """Instructions of the last command, where the transport counts them."""
        return self._transport.instructions()

    def _ask(self, command: int, payload: bytes = b"") -> bytes:
        return self._transport.exchange(command, payload, self._timeout_s)

    def _export_chunk(self, offset: int, total: int, working: bool) -> bytes:
        """A piece of the export, as long as the device allows."""
        while True:
            length = min(self._chunk_bytes, total - offset)
            try:
                return self._ask(0x0A, struct.pack("<IHBB", offset, length, int(working), 0))
            except DeviceStatusError as error:
                self._shrink(error)

    def _import_chunk(self, data: bytes, at: int) -> int:
        """Send a piece of an import. Returns: its length."""
        while True:
            chunk = data[at : at + self._chunk_bytes]
            try:
                self._ask(0x0C, chunk)
                return len(chunk)
            except DeviceStatusError as error:
                self._shrink(error)

    def _shrink(self, error: DeviceStatusError) -> None:
        """Halve the chunk if the device called it too long; else pass the error on."""
        if error.status != STATUS_TOO_LONG or self._chunk_bytes <= SMALLEST_CHUNK_BYTES:
            raise error
        self._chunk_bytes //= 2


def _raw_bytes(raw: NDArray[np.int16]) -> bytes:
    return np.ascontiguousarray(raw, "<i2").tobytes()


def _pack(x0: NDArray[np.integer[Any]]) -> bytes:
    """Two 4-bit values a byte, the first in the low nibble (SPEC.md 8.1)."""
    nibbles = np.asarray(x0).astype(np.int64) & 0xF
    padded = np.append(nibbles, np.zeros(len(nibbles) % 2, np.int64))
    return bytes((padded[0::2] | padded[1::2] << 4).astype(np.uint8))


def _u16(reply: bytes) -> int:
    return int.from_bytes(reply, "little")
