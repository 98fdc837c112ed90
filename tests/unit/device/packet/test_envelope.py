# SPDX-License-Identifier: Apache-2.0
"""Envelopes: known bytes, an independent check of the signature, and every damage refused."""

import hashlib
import uuid
from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device.packet import (
    KeyManifest,
    PacketError,
    UpdateManifest,
    build_key_packet,
    build_update_packet,
    class_id,
    key_id,
    read_packet,
    vendor_id,
    verify_packet,
)

RELEASE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = RELEASE.public_key().public_bytes_raw()
PAYLOAD = b"any payload"
VENDOR = vendor_id("vendor.example")
MANIFEST = UpdateManifest(
    sequence=7,
    vendor=VENDOR,
    klass=class_id(VENDOR, bytes(16)),
    base=bytes([1]) * 32,
    result=bytes([2]) * 32,
    size=1000,
    payload_digest=hashlib.sha256(PAYLOAD).digest(),
)


def packet(manifest: UpdateManifest = MANIFEST) -> bytes:
    """A sound packet."""
    return build_update_packet(manifest, PAYLOAD, RELEASE.sign, key_id(PUBLIC))


def refused(data: bytes) -> bool:
    """Whether reading and verifying refuse the bytes."""
    try:
        verify_packet(read_packet(data), PUBLIC)
    except PacketError:
        return True
    return False


def test_packet_there_and_back() -> None:
    read = read_packet(packet())
    assert (read.manifest, read.payload) == (MANIFEST, PAYLOAD)
    verify_packet(read, PUBLIC)
    assert packet() == packet()


def test_packet_is_the_envelope_of_the_draft() -> None:
    """Read with nothing but cbor2 and hashlib, by the tag values of the draft."""
    envelope = cbor2.loads(packet())
    assert envelope.tag == 107
    auth, manifest = (cbor2.loads(envelope.value[key]) for key in (2, 3))
    assert cbor2.loads(auth[0]) == [-16, hashlib.sha256(envelope.value[3]).digest()]
    protected, unprotected, payload, signature = cbor2.loads(auth[1]).value
    assert (unprotected, payload) == ({}, None)
    structure = cbor2.dumps(["Signature1", protected, b"", auth[0]])
    RELEASE.public_key().verify(signature, structure)
    assert cbor2.loads(protected) == {1: -19, 4: hashlib.sha256(PUBLIC).digest()[:8]}
    common = cbor2.loads(manifest[3])
    assert (manifest[1], manifest[2], common[2]) == (1, 7, [[b"w"]])
    commands = cbor2.loads(common[4])
    assert commands[0::2] == [20, 1, 2]  # override-parameters, vendor, class
    assert cbor2.loads(manifest[20])[0::2] == [20, 21, 3]  # override, fetch, image-match
    assert envelope.value["#w"] == PAYLOAD


def test_ids_are_name_based_uuids() -> None:
    assert uuid.UUID(bytes=VENDOR) == uuid.uuid5(uuid.NAMESPACE_DNS, "vendor.example")
    assert uuid.UUID(bytes=class_id(VENDOR, b"\xab" * 16)).version == 5


def test_overhead_of_a_packet() -> None:
    """What is not payload."""
    assert len(packet()) - len(PAYLOAD) == 337


def test_every_flipped_bit_is_refused() -> None:
    good = packet()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        assert refused(bytes(bad)), f"bit {bit}"


def test_every_truncation_and_extension_is_refused() -> None:
    good = packet()
    assert all(refused(good[:end]) for end in range(len(good)))
    assert refused(good + b"\0") and not refused(good)


def test_wrong_key_is_named() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    with pytest.raises(PacketError, match=f"not {key_id(other).hex()}"):
        verify_packet(read_packet(packet()), other)


def test_longer_form_of_a_number_is_refused() -> None:
    good = packet()
    assert good[:3] == bytes.fromhex("d86ba3")
    with pytest.raises(PacketError, match="deterministic"):
        read_packet(bytes.fromhex("d9006ba3") + good[3:])


def test_key_packet_there_and_back() -> None:
    manifest = KeyManifest(8, VENDOR, MANIFEST.klass, b"\5" * 32)
    read = read_packet(build_key_packet(manifest, RELEASE.sign, key_id(PUBLIC)))
    assert (read.manifest, read.payload) == (manifest, b"")
    verify_packet(read, PUBLIC)


@pytest.mark.parametrize("sequence", [0, -1, 2**32])
def test_sequence_out_of_range_is_refused(sequence: int) -> None:
    with pytest.raises(PacketError, match="sequence"):
        packet(replace(MANIFEST, sequence=sequence))


def test_manifest_of_another_payload_is_refused() -> None:
    with pytest.raises(PacketError, match="digest of the payload"):
        packet(replace(MANIFEST, payload_digest=bytes(32)))
