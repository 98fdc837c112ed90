# SPDX-License-Identifier: Apache-2.0
"""The session whose power is cut: three tasks and a signed update; its end is the twin's."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device.packet import (
    UpdateManifest,
    WireExemplar,
    build_update_packet,
    class_id,
    encode_payload,
    key_id,
    read_packet,
    state_digest,
    vendor_id,
)
from device.twin.exemplars import pack_x0
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from device.twin.scale import Scale
from tests.parity.models import ModelSpec, make_model

RATE = Scale.from_real(0.05)
SAMPLES_A_CLASS = 4
RELEASE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ROOT = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
VENDOR = vendor_id("vendor.example")
SPEC = ModelSpec(
    "powercut",
    (6, 5, 6),
    n_classes=2,
    exemplar_slots=10,
    staging_slots=8,
    exemplars=1,
    arithmetic={"order": 4, "batch": 4, "tile_k": 8},
)


def public(key: Ed25519PrivateKey) -> bytes:
    """Raw public key."""
    return key.public_key().public_bytes_raw()


def identity(model: IntModel) -> bytes:
    """Payload of PROVISION."""
    return VENDOR + class_id(VENDOR, model.model_id) + public(ROOT) + public(RELEASE)


@dataclass
class Session:
    """Operations for the device, and the twin that has done them all.

    Attributes:
        operations: kind (a letter, see powercut.c) and argument.
        samples: label and packed x0.
    """

    model: IntModel
    twin: TwinLearner
    steps: int
    operations: list[tuple[str, int]] = field(default_factory=list)
    samples: list[tuple[int, bytes]] = field(default_factory=list)
    packet: bytes = b""

    def sample(self, rng: np.random.Generator, label: int) -> int:
        """A new sample near a point of its class; its number."""
        centre = np.random.default_rng(label).integers(0, 16, self.model.x0_size)
        x0 = np.clip(centre + rng.integers(-2, 3, len(centre)), 0, 15).astype(np.int8)
        self.samples.append((label, pack_x0(x0)))
        return len(self.samples) - 1

    def x0(self, number: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        """x0 of a sample."""
        packed = np.frombuffer(self.samples[number][1], np.uint8)
        return np.stack([packed & 15, packed >> 4], 1).reshape(-1).astype(np.int8)


def make_session(tasks: int = 3, steps: int = 3) -> Session:
    """Provisioning, guard, `tasks` classes learned in turn, an update, one more sample."""
    model = make_model(SPEC)
    s = Session(model, TwinLearner(model), steps)
    rng = np.random.default_rng(5)
    s.operations += [("v", 0), ("g", s.sample(rng, 0)), ("g", s.sample(rng, 1)), ("m", 0)]
    for task in range(tasks):
        _learn_class(s, rng, seed=task + 1)
        if task == 1:
            _update(s, sequence=3)
        if task == 0:
            _rolled_back(s, rng)
    last = s.sample(rng, 0)
    s.operations.append(("l", last))
    s.twin.learn_x0(s.x0(last), 0)
    return s


def _learn_class(s: Session, rng: np.random.Generator, seed: int) -> None:
    label = s.twin.add_class()
    s.operations.append(("a", 0))
    for _ in range(SAMPLES_A_CLASS):
        number = s.sample(rng, label)
        s.operations.append(("l", number))
        s.twin.learn_x0(s.x0(number), label)
    s.operations += [("b", seed)] + [("t", 0)] * s.steps + [("c", 0)]
    s.twin.train_begin(seed, s.steps, [(0, RATE)], "balanced")
    s.twin.train(1 << 30)
    s.twin.commit()


def _rolled_back(s: Session, rng: np.random.Generator) -> None:
    number = s.sample(rng, 0)
    s.operations += [("l", number), ("r", 0)]
    s.twin.learn_x0(s.x0(number), 0)
    s.twin.rollback()


def _update(s: Session, sequence: int) -> None:
    """A packet with another head and an exemplar, made from the twin's committed state."""
    base = s.twin.export_state()
    changed = TwinLearner(s.model)
    changed.import_state(base)
    head = changed.working.weights[-1]
    head.master[:2, ::2] += 5
    head.bias[0] -= 1000
    changed.working.step += 10
    changed.commit()
    result = changed.export_state()
    exemplar = WireExemplar(0, 0, pack_x0(np.arange(s.model.x0_size, dtype=np.int8)))
    s.packet = make_packet(s.model, base, result, sequence, [exemplar])
    s.operations.append(("u", 0))
    s.twin.import_state(result)
    s.twin.put_exemplar(exemplar.label, exemplar.rank, exemplar.packed)
    s.twin.commit()


def make_packet(
    model: IntModel, base: bytes, result: bytes, sequence: int, exemplars: list[WireExemplar]
) -> bytes:
    """A packet signed by the release key."""
    payload = encode_payload(model, base, result, exemplars)
    manifest = UpdateManifest(
        sequence=sequence,
        vendor=VENDOR,
        klass=class_id(VENDOR, model.model_id),
        base=state_digest(base),
        result=state_digest(result),
        size=len(result) - 32,
        payload_digest=hashlib.sha256(payload).digest(),
    )
    return build_update_packet(manifest, payload, RELEASE.sign, key_id(public(RELEASE)))


def session_header(s: Session) -> str:
    """powercut_session.h."""
    lines = [
        "#include <stdint.h>",
        f"#define OPERATIONS {len(s.operations)}U",
        f"#define STEPS {s.steps}U",
        f"#define RATE_MANTISSA {RATE.mantissa}",
        f"#define RATE_EXPONENT ({RATE.exponent})",
        "static const struct { char kind; uint32_t argument; } session[OPERATIONS] = {",
        *(f"    {{'{kind}', {argument}U}}," for kind, argument in s.operations),
        "};",
        f"static const uint8_t samples[{len(s.samples)}][{1 + len(s.samples[0][1])}] = {{",
        *(f"    {{{_bytes(bytes([label]) + packed)}}}," for label, packed in s.samples),
        "};",
        _array("identity_bytes", identity(s.model)),
        _array("update_packet", s.packet),
        _array("update_signature", read_packet(s.packet).signature),
        _array("final_hash", s.twin.state_hash()),
    ]
    return "\n".join(lines) + "\n"


def _bytes(data: bytes) -> str:
    return ", ".join(f"0x{b:02X}" for b in data)


def _array(name: str, data: bytes) -> str:
    return f"static const uint8_t {name}[{len(data)}] = {{{_bytes(data)}}};"
