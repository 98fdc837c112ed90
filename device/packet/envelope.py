# SPDX-License-Identifier: Apache-2.0
"""The SUIT envelope of a packet and its COSE_Sign1 (SPEC.md 11.2).

The private key stays with the caller: it gives a function that signs bytes.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ENVELOPE_TAG, SIGN1_TAG = 107, 18
SHA256_ID, ED25519_ID, EDDSA_ID = -16, -19, -8
PAYLOAD_NAME = "#w"
WEIGHTS, KEYS = b"w", b"k"
MAX_SEQUENCE = 2**32 - 1
MAX_HEAD_BYTES = 512
DIGEST_BYTES, KEY_BYTES, KID_BYTES = 32, 32, 8

Signer = Callable[[bytes], bytes]


class PacketError(ValueError):
    """A packet is malformed, or its signature or a digest is wrong."""


@dataclass(frozen=True)
class UpdateManifest:
    """What a weight packet says of itself.

    Attributes:
        sequence: 1 to 2**32 - 1; a device takes only larger ones than its last.
        vendor, klass: UUIDs of 16 bytes.
        base, result: state digests, 32 bytes (SPEC.md 11.1).
        size: bytes of the result without its digest.
        payload_digest: SHA-256 of the payload.
    """

    sequence: int
    vendor: bytes
    klass: bytes
    base: bytes
    result: bytes
    size: int
    payload_digest: bytes


@dataclass(frozen=True)
class KeyManifest:
    """What a key packet says: the release key to trust from now on."""

    sequence: int
    vendor: bytes
    klass: bytes
    release_key: bytes


@dataclass(frozen=True)
class Packet:
    """A packet that was read, but whose signature was not yet checked.

    Attributes:
        kid: names the signing key.
        signed: the bytes that are signed.
        payload: empty in a key packet.
    """

    manifest: UpdateManifest | KeyManifest
    kid: bytes
    signature: bytes
    signed: bytes
    payload: bytes


def vendor_id(domain: str) -> bytes:
    """UUID of a vendor by its domain."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, domain).bytes


def class_id(vendor: bytes, model_id: bytes) -> bytes:
    """UUID of the devices of a vendor that run a model."""
    return uuid.uuid5(uuid.UUID(bytes=vendor), f"hadapt/{model_id.hex()}").bytes


def key_id(public_key: bytes) -> bytes:
    """Name of a raw Ed25519 public key of 32 bytes: the kid."""
    return hashlib.sha256(public_key).digest()[:KID_BYTES]


def _dump(value: Any) -> bytes:
    return cbor2.dumps(value)


def _digest(data: bytes) -> bytes:
    return _digest_of(hashlib.sha256(data).digest())


def _digest_of(sha256: bytes) -> bytes:
    return _dump([SHA256_ID, sha256])


def _common(component: bytes, parameters: dict[int, Any]) -> bytes:
    shared = _dump([20, parameters, 1, 15, 2, 15])
    return _dump({2: [[component]], 4: shared})


def _update_bytes(m: UpdateManifest) -> bytes:
    common = _common(
        WEIGHTS,
        {
            1: m.vendor,
            2: m.klass,
            3: _digest_of(m.result),
            14: m.size,
            -1: _digest_of(m.base),
            -2: _digest_of(m.payload_digest),
        },
    )
    install = _dump([20, {21: PAYLOAD_NAME}, 21, 15, 3, 15])
    return _dump({1: 1, 2: m.sequence, 3: common, 7: _dump([3, 15]), 20: install})


def _key_bytes(m: KeyManifest) -> bytes:
    common = _common(KEYS, {1: m.vendor, 2: m.klass, -3: m.release_key})
    return _dump({1: 1, 2: m.sequence, 3: common})


def _check_sequence(sequence: int) -> None:
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise PacketError(f"sequence {sequence} is not in 1 to {MAX_SEQUENCE}")


def _protected(kid: bytes, algorithm: int = ED25519_ID) -> bytes:
    return _dump({1: algorithm, 4: kid})


def _signed_bytes(protected: bytes, manifest: bytes) -> bytes:
    return _dump(["Signature1", protected, b"", _digest(manifest)])


def _auth(manifest: bytes, sign: Signer, kid: bytes) -> bytes:
    protected = _protected(kid)
    signature = sign(_signed_bytes(protected, manifest))
    block = _dump(cbor2.CBORTag(SIGN1_TAG, [protected, {}, None, signature]))
    return _dump([_digest(manifest), block])


def build_update_packet(
    manifest: UpdateManifest, payload: bytes, sign: Signer, kid: bytes
) -> bytes:
    """A signed update packet; the same arguments give the same bytes.

    Args:
        sign: Ed25519 of the release key over the bytes given; 64 bytes.
        kid: key_id of the release key.
    Raises: PacketError if the manifest does not fit the payload or a field is out of range.
    """
    _check_sequence(manifest.sequence)
    if hashlib.sha256(payload).digest() != manifest.payload_digest:
        raise PacketError("payload_digest is not the digest of the payload")
    body = _update_bytes(manifest)
    parts = {2: _auth(body, sign, kid), 3: body, PAYLOAD_NAME: payload}
    return _dump(cbor2.CBORTag(ENVELOPE_TAG, parts))


def build_key_packet(manifest: KeyManifest, sign: Signer, kid: bytes) -> bytes:
    """A packet that replaces the release key; `sign` and `kid` are the root key's."""
    _check_sequence(manifest.sequence)
    if len(manifest.release_key) != KEY_BYTES:
        raise PacketError(f"a public key of {len(manifest.release_key)} bytes, not {KEY_BYTES}")
    body = _key_bytes(manifest)
    return _dump(cbor2.CBORTag(ENVELOPE_TAG, {2: _auth(body, sign, kid), 3: body}))


def _load(data: Any, what: str) -> Any:
    """Deterministic CBOR. Raises: PacketError for anything else."""
    if not isinstance(data, bytes):
        raise PacketError(f"{what} is not a byte string")
    try:
        value = cbor2.loads(data)
        same = cbor2.dumps(value) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PacketError(f"{what} is not CBOR: {error}") from error
    if not same:
        raise PacketError(f"{what} is not in the deterministic form, or bytes follow it")
    return _plain(value)


def _plain(value: Any) -> Any:
    """The library's immutable containers, which it puts into tags, as dict and list."""
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, _plain(value.value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _take(value: Any, shape: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, shape) or isinstance(value, bool):
        raise PacketError(f"{what} has the wrong type")
    return value


def _bytes(value: Any, size: int, what: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise PacketError(f"{what} is not a byte string of {size}")
    return value


def _read_digest(value: Any, what: str) -> bytes:
    pair = _take(_load(value, what), list, what)
    if len(pair) != 2 or pair[0] != SHA256_ID:
        raise PacketError(f"{what} is not a SHA-256 digest")
    return _bytes(pair[1], DIGEST_BYTES, what)


def read_packet(data: bytes) -> Packet:
    """Read a packet strictly as SPEC.md 11.2 has it; the signature is not checked.

    Raises: PacketError with what is wrong.
    """
    envelope = _load(data, "the packet")
    if not isinstance(envelope, cbor2.CBORTag) or envelope.tag != ENVELOPE_TAG:
        raise PacketError(f"the packet is not a SUIT envelope (tag {ENVELOPE_TAG})")
    parts = _take(envelope.value, dict, "the envelope")
    if list(parts) not in ([2, 3, PAYLOAD_NAME], [2, 3]):
        raise PacketError(f"the envelope has the parts {list(parts)}")
    auth, body = _take(parts[2], bytes, "auth"), _take(parts[3], bytes, "the manifest")
    if len(auth) + len(body) > MAX_HEAD_BYTES:
        raise PacketError(f"auth and manifest exceed {MAX_HEAD_BYTES} bytes")
    kid, signature, signed = _read_auth(auth, body)
    manifest = _read_manifest(body)
    payload = parts.get(PAYLOAD_NAME, b"")
    if isinstance(manifest, UpdateManifest) != (PAYLOAD_NAME in parts):
        raise PacketError("a payload where none belongs, or none where one is announced")
    if isinstance(manifest, UpdateManifest):
        actual = hashlib.sha256(_take(payload, bytes, "the payload")).digest()
        if actual != manifest.payload_digest:
            raise PacketError("the digest of the payload is wrong")
    return Packet(manifest, kid, signature, signed, payload)


def _read_auth(auth: Any, manifest: bytes) -> tuple[bytes, bytes, bytes]:
    """kid, signature and the bytes it signs."""
    items = _take(_load(auth, "auth"), list, "auth")
    if len(items) != 2 or items[0] != _digest(manifest):
        raise PacketError("the digest of the manifest is wrong")
    block = _load(items[1], "COSE_Sign1")
    if not isinstance(block, cbor2.CBORTag) or block.tag != SIGN1_TAG:
        raise PacketError("auth holds no COSE_Sign1")
    fields = _take(block.value, list, "COSE_Sign1")
    if len(fields) != 4 or fields[1] != {} or fields[2] is not None:
        raise PacketError("COSE_Sign1 is not [protected, {}, nil, signature]")
    header = _take(_load(fields[0], "the protected header"), dict, "the protected header")
    if list(header) != [1, 4] or header[1] not in (ED25519_ID, EDDSA_ID):
        raise PacketError(f"the protected header is {header}")
    kid = _bytes(header[4], KID_BYTES, "kid")
    signature = _bytes(fields[3], 64, "the signature")
    return kid, signature, _signed_bytes(fields[0], manifest)


def _read_manifest(data: bytes) -> UpdateManifest | KeyManifest:
    manifest = _take(_load(data, "the manifest"), dict, "the manifest")
    sequence = _take(manifest.get(2), int, "the sequence number")
    _check_sequence(sequence)
    common = _take(_load(manifest.get(3), "common"), dict, "common")
    shared = _take(_load(common.get(4), "shared"), list, "shared")
    p = _take(shared[1] if len(shared) > 1 else None, dict, "the parameters")
    vendor, klass = _bytes(p.get(1), 16, "vendor"), _bytes(p.get(2), 16, "class")
    result: UpdateManifest | KeyManifest
    if common.get(2) == [[KEYS]]:
        result = KeyManifest(sequence, vendor, klass, _bytes(p.get(-3), KEY_BYTES, "the key"))
        expected = _key_bytes(result)
    else:
        result = UpdateManifest(
            sequence,
            vendor,
            klass,
            base=_read_digest(p.get(-1), "the base digest"),
            result=_read_digest(p.get(3), "the result digest"),
            size=_take(p.get(14), int, "the size"),
            payload_digest=_read_digest(p.get(-2), "the payload digest"),
        )
        expected = _update_bytes(result)
    if expected != data:
        raise PacketError("the manifest is not of the one form that is known")
    return result


def verify_packet(packet: Packet, public_key: bytes) -> None:
    """Check the signature.

    Args:
        public_key: raw Ed25519, 32 bytes: the release key, for a key packet the root key.
    Raises: PacketError if the packet is not signed by this key.
    """
    if packet.kid != key_id(public_key):
        raise PacketError(f"signed by key {packet.kid.hex()}, not {key_id(public_key).hex()}")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(packet.signature, packet.signed)
    except InvalidSignature:
        raise PacketError("the signature is wrong") from None
