# SPDX-License-Identifier: Apache-2.0
"""The learner's state, its bytes and its hash (SPEC.md 8, 8.7 and 9)."""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from device.twin.correction import ALPHA_MAX, NO_CORRECTION, Correction
from device.twin.exemplars import ExemplarMemory, Prototypes, pack_x0
from device.twin.layers import LayerWeights
from device.twin.model import IntModel
from device.twin.scale import rhu

MAGIC = b"HADS"
VERSION = 1
HEADER = struct.Struct("<4sHH16sIHH")
MASTERS_16_BIT, HAS_PROTOTYPES, TRAINED, HAS_CORRECTION = 1, 2, 4, 8
CORRECTION = struct.Struct("<HHhh")


class StateFormatError(Exception):
    """State bytes were refused; `status` is the wire's status (SPEC.md 10)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class LearnerState:
    """Everything that learning changes, but for the exemplars (SPEC.md 8)."""

    n_classes: int
    step: int
    weights: list[LayerWeights]
    tracked: list[int]
    prototypes: Prototypes
    correction: Correction = NO_CORRECTION

    def copy(self) -> "LearnerState":
        """An independent copy."""
        return LearnerState(
            self.n_classes,
            self.step,
            [w.copy() for w in self.weights],
            list(self.tracked),
            self.prototypes.copy(),
            self.correction,
        )

    @property
    def frozen_ranges(self) -> list[int]:
        """Inference ranges of the inputs of layers 1.. (SPEC.md 5.3)."""
        return [max(1, rhu(t, 8)) for t in self.tracked]


def initial_state(model: IntModel) -> LearnerState:
    """The state of a device that has learned nothing yet (SPEC.md 10, rules)."""
    weights = [
        LayerWeights(layer.master.astype(np.int64), layer.bias.astype(np.int64))
        for layer in model.layers
    ]
    if model.keep_prototypes:
        count, total = model.prototype_count, model.prototype_sum
    else:
        count = np.zeros(model.max_classes, np.uint16)
        total = np.zeros((model.max_classes, model.features), np.int16)
    prototypes = Prototypes(count.astype(np.int64), total.astype(np.int64))
    tracked = [layer.in_amax << 8 for layer in model.layers[1:]]
    return LearnerState(model.n_classes, 0, weights, tracked, prototypes)


def _weights_bytes(model: IntModel, state: LearnerState) -> bytes:
    width = "<i1" if model.arithmetic.master_bits == 8 else "<i2"
    out = b""
    for weights in state.weights:
        out += weights.master.astype(width).tobytes() + weights.bias.astype("<i4").tobytes()
    return out + np.array(state.tracked, "<i4").tobytes() + _correction_bytes(model, state)


def _correction_bytes(model: IntModel, state: LearnerState) -> bytes:
    c = state.correction
    return CORRECTION.pack(c.first, c.last, c.alpha, c.beta) if model.bias_correction else b""


def _prototype_bytes(model: IntModel, prototypes: Prototypes) -> bytes:
    if not model.keep_prototypes:
        return b""
    return b"".join(
        struct.pack("<H", int(n)) + s.astype("<i2").tobytes()
        for n, s in zip(prototypes.count, prototypes.total, strict=True)
    )


def state_hash(
    model: IntModel, model_id: bytes, state: LearnerState, memory: ExemplarMemory
) -> bytes:
    """SHA-256 over the fields of SPEC.md 8.7."""
    digest = hashlib.sha256(b"HADSTATE" + struct.pack("<H", VERSION) + model_id)
    digest.update(struct.pack("<HI", state.n_classes, state.step))
    digest.update(_weights_bytes(model, state) + _prototype_bytes(model, state.prototypes))
    digest.update(struct.pack("<H", len(memory.samples)))
    for stored in memory.samples:
        exemplar = stored.exemplar
        digest.update(struct.pack("<BH", exemplar.label, exemplar.rank) + pack_x0(exemplar.x0))
    return digest.digest()


def _flags(model: IntModel) -> int:
    wide = MASTERS_16_BIT if model.arithmetic.master_bits == 16 else 0
    corrected = HAS_CORRECTION if model.bias_correction else 0
    return wide | corrected | (HAS_PROTOTYPES if model.keep_prototypes else 0)


def export_state(model: IntModel, model_id: bytes, state: LearnerState, trained: bool) -> bytes:
    """The model part of a state; `trained`: steps since the last commit (SPEC.md 9)."""
    payload = struct.pack("<I", state.step) + _weights_bytes(model, state)
    payload += _prototype_bytes(model, state.prototypes)
    flags = _flags(model) | (TRAINED if trained else 0)
    header = HEADER.pack(MAGIC, VERSION, flags, model_id, len(payload), state.n_classes, 0)
    return header + payload + hashlib.sha256(header + payload).digest()


def import_state(model: IntModel, model_id: bytes, data: bytes) -> tuple[LearnerState, bool]:
    """Read what `export_state` wrote.

    Returns: the state, and whether steps were trained since its last commit.

    Raises: StateFormatError, status -4 for form, model or length, -5 for the digest.
    """
    check_length(model, data)
    magic, version, flags, owner, length, n_classes, zero = HEADER.unpack_from(data)
    body, digest = data[:-32], data[-32:]
    form = (magic, version, flags & ~TRAINED, zero) == (MAGIC, VERSION, _flags(model), 0)
    if not form or owner != model_id or length != len(body) - HEADER.size:
        raise StateFormatError(-4, "not state bytes of this model")
    if not 1 <= n_classes <= model.max_classes:
        raise StateFormatError(-4, "wrong number of classes")
    if hashlib.sha256(body).digest() != digest:
        raise StateFormatError(-5, "the digest is wrong")
    reader = _Reader(body, HEADER.size)
    step = int(reader.take("<u4", 1)[0])
    width = "<i1" if model.arithmetic.master_bits == 8 else "<i2"
    weights = []
    for layer in model.layers:
        master = reader.take(width, layer.master.size).reshape(layer.master.shape)
        _require(bool((np.abs(master) <= model.arithmetic.master_max).all()), "a master")
        weights.append(LayerWeights(master, reader.take("<i4", layer.outputs)))
    tracked = [int(t) for t in reader.take("<i4", len(model.layers) - 1)]
    _require(all(0 <= t <= 32767 << 8 for t in tracked), "a tracked range")
    correction = _read_correction(model, reader)
    prototypes = _read_prototypes(model, reader)
    state = LearnerState(n_classes, step, weights, tracked, prototypes, correction)
    return state, bool(flags & TRAINED)


def check_length(model: IntModel, data: bytes) -> None:
    """Raises: StateFormatError if state bytes of this model have another length."""
    if len(data) != HEADER.size + payload_size(model) + 32:
        raise StateFormatError(-4, "wrong length")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise StateFormatError(-4, f"{what} is out of range")


def payload_size(model: IntModel) -> int:
    """Bytes of the payload of SPEC.md 9."""
    width = model.arithmetic.master_bits // 8
    size = 4 + 4 * (len(model.layers) - 1)
    size += sum(layer.master.size * width + 4 * layer.outputs for layer in model.layers)
    size += CORRECTION.size if model.bias_correction else 0
    return size + (model.max_classes * (2 + 2 * model.features) if model.keep_prototypes else 0)


def _read_correction(model: IntModel, reader: "_Reader") -> Correction:
    if not model.bias_correction:
        return NO_CORRECTION
    found = Correction(*(int(v) for v in (*reader.take("<u2", 2), *reader.take("<i2", 2))))
    in_range = found.first <= found.last <= model.max_classes and 0 <= found.alpha <= ALPHA_MAX
    _require(in_range, "the correction")
    return found


def _read_prototypes(model: IntModel, reader: "_Reader") -> Prototypes:
    prototypes = Prototypes(
        np.zeros(model.max_classes, np.int64),
        np.zeros((model.max_classes, model.features), np.int64),
    )
    if model.keep_prototypes:
        for label in range(model.max_classes):
            prototypes.count[label] = reader.take("<u2", 1)[0]
            prototypes.total[label] = reader.take("<i2", model.features)
        limit = 15 * prototypes.count[:, None]
        in_range = (prototypes.count <= 255).all() and (np.abs(prototypes.total) <= limit).all()
        _require(bool(in_range), "a prototype")
    return prototypes


class _Reader:
    """A position in bytes whose total length has been checked."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, dtype: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values.astype(np.int64)
