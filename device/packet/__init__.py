# SPDX-License-Identifier: Apache-2.0
"""Signed update packets, host side (SPEC.md 11): coding, signing, reading, applying."""

from device.packet.envelope import (
    KeyManifest,
    Packet,
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
from device.packet.payload import (
    PayloadError,
    WireExemplar,
    decode_payload,
    encode_payload,
    state_digest,
)

__all__ = [
    "KeyManifest",
    "Packet",
    "PacketError",
    "PayloadError",
    "UpdateManifest",
    "WireExemplar",
    "build_key_packet",
    "build_update_packet",
    "class_id",
    "decode_payload",
    "encode_payload",
    "key_id",
    "read_packet",
    "state_digest",
    "vendor_id",
    "verify_packet",
]
