# SPDX-License-Identifier: Apache-2.0
"""Damaged files and packets on the host: each reader takes them or says what is wrong.

npz, JSON (trust files, learning logs, model files) and CBOR (packets), each damaged at random and
in ways that get behind check sums. HADAPT_FUZZ_ROUNDS multiplies the number of examples.
"""

import io
import json
import os
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.packet import PacketError, PayloadError, decode_payload, read_packet, verify_packet
from device.packet.learning_log import LearningLog, LearningLogError
from device.twin.model import IntModel
from server.commands.arrays import read_samples
from server.commands.model_file import ModelFile, load_model_file
from server.errors import HadaptError, InvalidInputError
from server.fleet import audit
from server.fleet.keys import generate_key
from server.fleet.trust import check_trust, first_trust, read_trust, signed
from server.learning.learner_data import LearnerData, LearnerFormatError
from server.services.npz import read_npz
from tests.faults.powercut.session import RELEASE, make_packet, public
from tests.fuzz.device_fuzz import fuzz_model, states, update

ROUNDS = int(os.environ.get("HADAPT_FUZZ_ROUNDS", "1"))
NOW, LIMIT_BYTES = 1.8e9, 1 << 20
NAMES = {"x": "number", "y": "label"}


@dataclass(frozen=True)
class Reader:
    """A reader of outside bytes, what it reads, and the errors that it may raise."""

    sound: bytes
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]


def _in_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_bytes(data)
            return read(path)

    return run


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.ones((3, 4), np.float32), y=np.array(["a", "b", "a"]))
    return out.getvalue()


def _packet(data: bytes) -> None:
    model, base = _states()
    packet = read_packet(data)
    verify_packet(packet, public(RELEASE))
    decode_payload(model, base, packet.payload)


@cache
def _states() -> tuple[IntModel, bytes]:
    return fuzz_model(), states(fuzz_model())[0]


def _log() -> bytes:
    records = b"\x04\0" + b"\x11\x0a\1\0" + bytes(8) + b"\x07\2\1\3" + b"\x07\0"
    records += b"\x05\x14" + struct.pack("<IIBBBB", 1, 2, 1, 1, 0, 0) + bytes(8)
    head = struct.pack(
        "<4sHH16s32s32sI", b"HADL", 1, 1, bytes(16), b"b" * 32, b"r" * 32, len(records)
    )
    return head + records


def _told(data: bytes) -> None:
    log = LearningLog.from_bytes(data)
    assert log.to_bytes() == data and all(record.told() for record in log.records)


def _audit() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        for subject in ("a", "b"):
            audit.append_line(path, "ann", "key.create", subject, size=1)
        return path.read_bytes()


def _checked_audit(path: Path) -> None:
    audit.check_chain(audit.read_lines(path))
    audit.append_line(path, "ann", "key.create", "c")
    assert audit.unfinished_bytes(path) == 0


def _trust() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        root = generate_key(Path(folder) / "root.pem")
        return signed(first_trust(root, NOW), root).to_bytes()


def _model_file() -> bytes:
    head = ("m", ("a", "b"), 4, 6, -1.0, 1.0, "00", b"model", b"learner", b"state")
    return ModelFile(*head, history=({"steps": 1},)).to_bytes()


@cache
def readers() -> dict[str, Reader]:
    """By name."""
    model, base = _states()
    packet = make_packet(model, *states(model), 1, [])
    payload = read_packet(update(model)).payload  # with an exemplar, Rice-coded
    learner = LearnerData(base, bytes(32), ()).to_bytes()
    npz_errors = (HadaptError,)
    return {
        "packet": Reader(packet, _packet, (PacketError, PayloadError)),
        "payload": Reader(payload, lambda d: decode_payload(model, base, d), (PayloadError,)),
        "learner": Reader(learner, LearnerData.from_bytes, (LearnerFormatError,)),
        "learning log": Reader(_log(), _told, (LearningLogError,)),
        "audit": Reader(_audit(), _in_file(_checked_audit), (HadaptError,)),
        "trust": Reader(_trust(), lambda d: check_trust(read_trust(d), NOW), (HadaptError,)),
        "model file": Reader(_model_file(), _in_file(load_model_file), npz_errors),
        "npz": Reader(
            _npz(),
            _in_file(lambda p: read_npz(p, NAMES, LIMIT_BYTES, InvalidInputError)),
            npz_errors,
        ),
        "samples": Reader(_npz(), _in_file(lambda p: read_samples(p, 4)), npz_errors),
    }


def damaged(data: bytes, seed: int) -> bytes:
    """One to four changes: a byte, a cut, a repeated or moved piece, a number of extreme size."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(out) + 1) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 1:
            del out[at : min(end, at + rng.randint(1, 64))]
        elif kind == 2:
            out[at:at] = out[at : at + 64] * rng.choice((1, 2, 50))
        elif kind == 3:
            out[at:at] = rng.choice((b"\xff" * 8, b"\0" * 8, b"[" * 5000, b"1e999", b"-1", b"{"))
        elif kind == 4:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
        else:
            del out[at:]
    return bytes(out)


def within_zip(data: bytes, seed: int) -> bytes:
    """A zip whose check sums are right, one member damaged, stored or deflated."""
    rng = random.Random(seed)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = old.read(name)
            content = damaged(content, seed) if name == chosen else content
            new.writestr(name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return out.getvalue()


def take_or_refuse(reader: Reader, data: bytes) -> None:
    """Anything but the reader's own errors fails the test."""
    try:
        reader.read(data)
    except reader.errors as error:
        assert str(error), "an error without words"


EXAMPLES = settings(
    max_examples=120 * ROUNDS,
    deadline=None,
    derandomize=ROUNDS == 1,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", readers())
def test_sound_bytes_are_read(name: str) -> None:
    reader = readers()[name]
    reader.read(reader.sound)


@pytest.mark.parametrize("name", readers())
@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_bytes_are_taken_or_refused(name: str, seed: int) -> None:
    reader = readers()[name]
    data = damaged(reader.sound, seed)
    if reader.sound[:2] == b"PK" and seed % 2:
        data = within_zip(reader.sound, seed)
    take_or_refuse(reader, data)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@EXAMPLES
@given(value=TREES, tag=st.sampled_from((18, 107, 1, 2**40)), key=st.sampled_from((2, 3, "#w")))
def test_other_cbor_is_no_packet(value: Any, tag: int, key: Any) -> None:
    for tree in (
        value,
        cbor2.CBORTag(tag, value),
        cbor2.CBORTag(107, {2: b"", 3: b"", key: value}),
    ):
        with pytest.raises(PacketError):
            read_packet(cbor2.dumps(tree))


@EXAMPLES
@given(value=TREES, name=st.sampled_from(("version", "expires_at", "root", "release", "revoked")))
def test_other_json_is_no_trust_file(value: Any, name: str) -> None:
    reader = readers()["trust"]
    file = json.loads(reader.sound)
    file["signed"][name] = value
    for tree in (value, file, {"signed": value, "signatures": value}):
        take_or_refuse(reader, json.dumps(tree, default=repr).encode())


def _zip(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return out.getvalue()


FOUND: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a member that is no npy array": ("samples", lambda d: _zip(x_npy=_x_npy(), y_npy=b"{9'")),
    "a header that is no Python": ("samples", lambda d: _zip(x_npy=_x_npy()[:10] + b"(" * 118)),
    "an infinite number": ("trust", lambda d: d.replace(b'"version": 1', b'"version": 1e999')),
    "a row that is no number": ("audit", lambda d: d.replace(b'"size":1', b'"size":NaN', 1)),
    "a row without end": ("audit", lambda d: b'{"action":' * 100_000 + b"\n" + d),
    "a list where the head belongs": ("model file", lambda d: _zip(hadapt_json=b"[1]")),
    "a number where a name belongs": ("model file", lambda d: _named_100(d)),
}


def _named_100(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name.replace(".", "_"): archive.read(name) for name in archive.namelist()}
    members["hadapt_json"] = members["hadapt_json"].replace(b'"m"', b"100")
    return _zip(**members)


def _x_npy() -> bytes:
    return zipfile.ZipFile(io.BytesIO(_npz())).read("x.npy")


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_is_refused(what: str) -> None:
    """Each once ended in an error of another kind, which a user saw as a fault of the program."""
    name, change = FOUND[what]
    reader = readers()[name]
    data = change(reader.sound)
    assert data != reader.sound
    with pytest.raises(reader.errors):
        reader.read(data)


def test_deep_nesting_is_refused() -> None:
    deep = 100_000
    for name, data in (
        ("trust", b"[" * deep),
        ("packet", b"\x81" * deep),
        ("packet", b"\xc1" * deep),
    ):
        reader = readers()[name]
        with pytest.raises(reader.errors):
            reader.read(data)
