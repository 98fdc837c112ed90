# SPDX-License-Identifier: Apache-2.0
"""The change from one state to another as a packet's payload (SPEC.md 11.4).

States are given as exported bytes (SPEC.md 9), as devices and the service hold them.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.packet.bits import (
    ESCAPE_BITS,
    ESCAPE_ONES,
    MAX_K,
    BitReader,
    BitsEndedError,
    BitWriter,
)
from device.twin.model import IntModel
from device.twin.state import HEADER, TRAINED, StateFormatError, check_length, import_state

VERSION = 2
HEAD = struct.Struct("<BBHIHH")
UNCHANGED, DENSE, SPARSE, RAW = range(4)
# Of exemplars: 0 packed, else rice codes with k = coding - 1.
PACKED, MAX_CODING = 0, 4
SMALLEST_STAGED_RANK = 0x8000

Words = NDArray[np.int64]


class PayloadError(ValueError):
    """The payload is malformed, or does not fit the state or the model."""


@dataclass(frozen=True)
class WireExemplar:
    """An exemplar as it travels: label, rank below 0x8000, packed x0 (SPEC.md 8.1)."""

    label: int
    rank: int
    packed: bytes


@dataclass(frozen=True)
class _Field:
    """Rows of equal values: where they lie in the state's payload, and their shape."""

    at: int
    rows: int
    columns: int
    width: int  # bits
    is_prototypes: bool = False

    @property
    def end(self) -> int:
        return self.at + self.rows * self.columns * self.width // 8


def _fields(model: IntModel) -> list[_Field]:
    """The fields of SPEC.md 11.4; offsets count from the payload of section 9."""
    fields: list[_Field] = []

    def add(rows: int, columns: int, width: int, is_prototypes: bool = False) -> None:
        at = fields[-1].end if fields else 4
        fields.append(_Field(at, rows, columns, width, is_prototypes))

    for layer in model.layers:
        add(layer.outputs, layer.inputs, model.arithmetic.master_bits)
        add(1, layer.outputs, 32)
    if len(model.layers) > 1:
        add(1, len(model.layers) - 1, 32)
    if model.bias_correction:
        add(1, 4, 16)
    if model.keep_prototypes:
        add(model.max_classes, 1 + model.features, 16, True)
    return fields


def state_digest(state: bytes) -> bytes:
    """SHA-256 that names an exported state as a base or a result (SPEC.md 11.1).

    Raises: PayloadError if the bytes are no committed state.
    """
    if len(state) < HEADER.size + 32 or HEADER.unpack_from(state)[2] & TRAINED:
        raise PayloadError("the state is not the export of a committed state")
    return state[-32:]


def _checked(model: IntModel, state: bytes, what: str) -> bytes:
    """Payload of a committed state. Raises: PayloadError if it is none of this model."""
    try:
        check_length(model, state)
        _, trained = import_state(model, model.model_id, state)
    except StateFormatError as error:
        raise PayloadError(f"{what}: {error}") from error
    if trained:
        raise PayloadError(f"{what}: it was exported before its commit")
    return state[HEADER.size : -32]


def _values(field: _Field, payload: bytes) -> Words:
    """Rows of a field, int64, shape (rows, columns)."""
    kind = f"<i{field.width // 8}"
    flat = np.frombuffer(payload[field.at : field.end], kind)
    return flat.astype(np.int64).reshape(field.rows, field.columns)


def _expected(field: _Field, old: Words, count: int) -> Words:
    """What a row's differences are taken from, once its first value is known to be `count`."""
    if not field.is_prototypes or count == old[0] or not (0 < count < 256 and 0 < old[0] < 256):
        return old
    share = 65536 * count // int(old[0])
    return np.concatenate([old[:1], (old[1:] * share + 32768) >> 16])


def _zigzag(old: Words, new: Words) -> Words:
    d = (new - old) & 0xFFFFFFFF
    return ((d << 1) ^ -(d >> 31)) & 0xFFFFFFFF


def _best_k(values: Words) -> tuple[int, int]:
    """Smallest number of bits for Rice codes of the values, and the k that gives it."""
    best = (1 << 62, 0)
    for k in range(MAX_K + 1):
        quotient = values >> k
        short = quotient + 1 + k
        bits = np.where(quotient < ESCAPE_ONES, short, ESCAPE_ONES + ESCAPE_BITS)
        best = min(best, (int(bits.sum()), k))
    return best


def _encode_row(out: BitWriter, z: Words, new: Words, width: int) -> None:
    """One row in its shortest form, the lowest mode on ties."""
    changed = np.flatnonzero(z)
    if not len(changed):
        out.put(UNCHANGED, 2)
        return
    gaps = np.diff(changed, prepend=-1) - 1
    dense, k = _best_k(z)
    gap_bits, kg = _best_k(gaps)
    value_bits, kv = _best_k(z[changed] - 1)
    costs = ((5 + dense, DENSE), (26 + gap_bits + value_bits, SPARSE), (width * len(z), RAW))
    mode = min(costs)[1]
    out.put(mode, 2)
    if mode == DENSE:
        out.put(k, 5)
        for value in z.tolist():
            out.rice(value, k)
    elif mode == SPARSE:
        out.put(kg, 5)
        out.put(kv, 5)
        out.put(len(changed), 16)
        for gap, value in zip(gaps.tolist(), z[changed].tolist(), strict=True):
            out.rice(gap, kg)
            out.rice(value - 1, kv)
    else:
        for value in new.tolist():
            out.put(value & ((1 << width) - 1), width)


def encode_payload(
    model: IntModel, base: bytes, result: bytes, exemplars: Sequence[WireExemplar] = ()
) -> bytes:
    """The payload that turns a committed state into another.

    Args:
        base, result: exported bytes of the two states of this model (SPEC.md 9).
        exemplars: staged on the device before its commit, in this order.
    Returns: bytes; the same for the same arguments.
    Raises: PayloadError if a state or an exemplar is not of this model.
    """
    old, new = _checked(model, base, "base"), _checked(model, result, "result")
    n_classes = HEADER.unpack_from(result)[5]
    step = int.from_bytes(new[:4], "little")
    out = BitWriter()
    for field in _fields(model):
        before, after = _values(field, old), _values(field, new)
        out.put(int(not np.array_equal(before, after)), 1)
        if not np.array_equal(before, after):
            for old_row, row in zip(before, after, strict=True):
                z = _zigzag(_expected(field, old_row, int(row[0])), row)
                _encode_row(out, z, row, field.width)
    for exemplar in exemplars:
        _check_exemplar(model, n_classes, exemplar)
    coding = _best_coding(model, exemplars)
    for exemplar in exemplars:
        out.put(exemplar.label, 8)
        out.put(exemplar.rank, 16)
        _encode_x0(out, model, exemplar.packed, coding)
    return HEAD.pack(VERSION, 0, n_classes, step, len(exemplars), coding) + out.to_bytes()


def _x0_codes(model: IntModel, packed: bytes) -> Words:
    """Values of a packed x0 as rice codes take them, shape (x0_size,)."""
    nibbles = np.frombuffer(packed, np.uint8)[:, None] >> np.array([0, 4]) & 15
    values: Words = nibbles.reshape(-1)[: model.x0_size].astype(np.int64)
    if not model.x0_signed:
        return values
    signed = np.where(values > 7, values - 16, values)
    codes: Words = np.where(signed < 0, -2 * signed - 1, 2 * signed)
    return codes


def _best_coding(model: IntModel, exemplars: Sequence[WireExemplar]) -> int:
    """The coding that takes the fewest bits, the lowest on ties."""
    if not exemplars:
        return PACKED
    v = np.concatenate([_x0_codes(model, e.packed) for e in exemplars])
    costs = [8 * len(e.packed) for e in exemplars]
    return min((sum(costs), PACKED), *((int(((v >> k) + 1 + k).sum()), k + 1) for k in range(4)))[1]


def _encode_x0(out: BitWriter, model: IntModel, packed: bytes, coding: int) -> None:
    if coding == PACKED:
        for byte in packed:
            out.put(byte, 8)
        return
    for value in _x0_codes(model, packed).tolist():
        out.rice(value, coding - 1)


def _decode_x0(reader: BitReader, model: IntModel, coding: int) -> bytes:
    size = (model.x0_size + 1) // 2
    if coding == PACKED:
        return bytes(reader.take(8) for _ in range(size))
    packed = bytearray(size)
    for i in range(model.x0_size):
        code = reader.rice(coding - 1)
        if code > 15:
            raise PayloadError(f"a value of x0 coded as {code}, more than 15")
        value = _unzigzag(code) if model.x0_signed else code
        packed[i >> 1] |= (value & 15) << (4 * (i & 1))
    return bytes(packed)


def _check_exemplar(model: IntModel, n_classes: int, exemplar: WireExemplar) -> None:
    size = (model.x0_size + 1) // 2
    if len(exemplar.packed) != size:
        raise PayloadError(f"an exemplar of {len(exemplar.packed)} bytes; the model's have {size}")
    if not (0 <= exemplar.label < n_classes and 0 <= exemplar.rank < SMALLEST_STAGED_RANK):
        raise PayloadError(f"exemplar with label {exemplar.label}, rank {exemplar.rank}")


def decode_payload(
    model: IntModel, base: bytes, payload: bytes
) -> tuple[bytes, list[WireExemplar]]:
    """Apply a payload to a committed state.

    Returns: exported bytes of the resulting state, and the exemplars that come with it.
    Raises: PayloadError if the payload is malformed or the result is no state of this model.
    """
    old = _checked(model, base, "base")
    if len(payload) < HEAD.size:
        raise PayloadError("the payload is cut short")
    version, zero, n_classes, step, count, coding = HEAD.unpack_from(payload)
    if (version, zero) != (VERSION, 0) or coding > MAX_CODING:
        raise PayloadError(f"payload of version {version}, coding {coding}, not {VERSION}")
    reader = BitReader(payload[HEAD.size :])
    try:
        new = struct.pack("<I", step) + b"".join(
            _decode_field(reader, field, old) for field in _fields(model)
        )
        exemplars = list(_decode_exemplars(reader, model, n_classes, count, coding))
        finished = reader.is_finished()
    except BitsEndedError as error:
        raise PayloadError(str(error)) from error
    if not finished:
        raise PayloadError("bytes follow the payload's end")
    return _assemble(model, n_classes, base, new), exemplars


def _assemble(model: IntModel, n_classes: int, base: bytes, payload: bytes) -> bytes:
    head = list(HEADER.unpack_from(base))
    head[5] = n_classes
    body = HEADER.pack(*head) + payload
    result = body + hashlib.sha256(body).digest()
    _checked(model, result, "result")
    return result


def _decode_field(reader: BitReader, field: _Field, old: bytes) -> bytes:
    if not reader.take(1):
        return old[field.at : field.end]
    kind = f"<u{field.width // 8}"
    rows = [_decode_row(reader, field, row) for row in _values(field, old)]
    return np.array(rows, np.int64).astype(kind).tobytes()


def _decode_row(reader: BitReader, field: _Field, old: Words) -> list[int]:
    """Values of a row, modulo 2**width."""
    modulus = 1 << field.width
    mode = reader.take(2)
    if mode == DENSE:
        k = _take_k(reader)
        first = (int(old[0]) + _unzigzag(reader.rice(k))) % modulus
        rest = _expected(field, old, first)[1:].tolist()
        return [first, *((v + _unzigzag(reader.rice(k))) % modulus for v in rest)]
    if mode == SPARSE:
        return _decode_sparse(reader, field, old)
    if mode == RAW:
        return [reader.take(field.width) for _ in old]
    return [int(v) % modulus for v in old]


def _decode_sparse(reader: BitReader, field: _Field, old: Words) -> list[int]:
    modulus = 1 << field.width
    kg, k = _take_k(reader), _take_k(reader)
    count = reader.take(16)
    row = [int(v) % modulus for v in old]
    if not 1 <= count <= len(row):
        raise PayloadError(f"{count} changes in a row of {len(row)} values")
    at = -1
    for _ in range(count):
        at += reader.rice(kg) + 1
        z = (reader.rice(k) + 1) & 0xFFFFFFFF
        if at >= len(row):
            raise PayloadError("a change beyond the end of its row")
        row[at] = (row[at] + _unzigzag(z)) % modulus
        if at == 0:
            row[1:] = [int(v) % modulus for v in _expected(field, old, row[0])[1:]]
    return row


def _take_k(reader: BitReader) -> int:
    k = reader.take(5)
    if k > MAX_K:
        raise PayloadError(f"k is {k}, more than {MAX_K}")
    return k


def _unzigzag(z: int) -> int:
    return (z >> 1) ^ -(z & 1)


def _decode_exemplars(
    reader: BitReader, model: IntModel, n_classes: int, count: int, coding: int
) -> Iterator[WireExemplar]:
    for _ in range(count):
        label, rank = reader.take(8), reader.take(16)
        exemplar = WireExemplar(label, rank, _decode_x0(reader, model, coding))
        _check_exemplar(model, n_classes, exemplar)
        yield exemplar
