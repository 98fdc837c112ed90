# SPDX-License-Identifier: Apache-2.0
"""A firmware as a signed MCUboot image that names vendor, board and model; written and read.

The protected (signed) TLVs of our own: 0xA0 SHA-256 of the binary, 0xA1 vendor and class, UUIDs of
16 bytes each, 0xA2 the model_id. The class is UUIDv5(vendor, "hadapt/firmware/<board>/<layout>").
The security counter is the packet's sequence, so bootloaders refuse older images.
"""

import hashlib
import struct
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device.packet import vendor_id
from server.errors import InvalidInputError, Issue
from server.fleet.artifacts import RESULT_TLV, ImageForm, signed_image
from server.fleet.keys import Signer

CLASS_TLV, MODEL_TLV = 0xA1, 0xA2
COUNTER_TLV = 0x50
# SHA-256, hash of the key, Ed25519 signature: what follows the signed part, and nothing else.
PROOF_TLVS = [0x10, 0x01, 0x24]
MAGIC = 0x96F3B83D
INFO_MAGIC, PROTECTED_MAGIC = 0x6907, 0x6908
# Vector tables must lie on a multiple of their size, rounded up to a power of two.
HEADER_BYTES = 512
SLOT_BYTES = 1 << 24
_HEADER = struct.Struct("<IIHHII")


@dataclass(frozen=True)
class Identity:
    """What a firmware is for. vendor, klass: 16 bytes each; model_id: 16 bytes."""

    vendor: bytes
    klass: bytes
    model_id: bytes


@dataclass(frozen=True)
class FirmwareImage:
    """A firmware whose signature was checked."""

    binary: bytes
    sequence: int
    identity: Identity

    @property
    def digest(self) -> str:
        """SHA-256 of the binary, as hex."""
        return hashlib.sha256(self.binary).hexdigest()


def identity_of(vendor_domain: str, board: str, layout: str, model_id: bytes) -> Identity:
    """What a firmware of a board and layout is for."""
    vendor = vendor_id(vendor_domain)
    name = f"hadapt/firmware/{board}/{layout}"
    return Identity(vendor, uuid.uuid5(uuid.UUID(bytes=vendor), name).bytes, model_id)


def is_image(data: bytes) -> bool:
    """True for what begins like an MCUboot image."""
    return data[:4] == struct.pack("<I", MAGIC)


def make_image(binary: bytes, sequence: int, identity: Identity, signer: Signer) -> bytes:
    """Sign a firmware; same arguments, same bytes.

    Raises: InvalidInputError if the key is not a file: imgtool signs only with files.
    """
    tlvs = {
        RESULT_TLV: hashlib.sha256(binary).digest(),
        CLASS_TLV: identity.vendor + identity.klass,
        MODEL_TLV: identity.model_id,
    }
    form = ImageForm(HEADER_BYTES, SLOT_BYTES, bootable=True)
    return signed_image(binary, sequence, tlvs, form, signer)


def read_image(data: bytes, keys: list[bytes]) -> FirmwareImage:
    """A firmware that one of the keys has signed.

    Args:
        keys: 32 bytes each.
    Raises: InvalidInputError that says what is wrong.
    """
    try:
        magic, _, header, protected, size, _ = _HEADER.unpack_from(data)
        end = header + size + protected
        tlvs = dict(_tlvs(data, header + size, end, PROTECTED_MAGIC))
        proof = list(_tlvs(data, end, len(data), INFO_MAGIC))
        whole = magic == MAGIC and [kind for kind, _ in proof] == PROOF_TLVS
        signers = [key for key in keys if hashlib.sha256(_spki(key)).digest() == proof[1][1]]
        if not whole or not any(_is_signed(data, key) for key in signers):
            raise _wrong("a damaged image, or a key that is not trusted")
        binary = data[header : header + size]
        found = FirmwareImage(
            binary,
            int.from_bytes(tlvs[COUNTER_TLV], "little"),
            Identity(tlvs[CLASS_TLV][:16], tlvs[CLASS_TLV][16:], tlvs[MODEL_TLV]),
        )
    except (struct.error, KeyError, IndexError) as error:
        raise _wrong("not a firmware image of this service") from error
    if hashlib.sha256(binary).digest() != tlvs.get(RESULT_TLV):
        raise _wrong("the binary is not the one that was signed")
    return found


def _tlvs(data: bytes, at: int, end: int, magic: int) -> Iterator[tuple[int, bytes]]:
    """Types and values of the area from `at` to `end`, which begins with its magic and size."""
    if struct.unpack_from("<HH", data, at) != (magic, end - at):
        raise _wrong("a damaged image")
    at += 4
    while at < end:
        kind, length = struct.unpack_from("<HH", data, at)
        at += 4 + length
        if at > min(end, len(data)):
            raise _wrong("a damaged image")
        yield kind, data[at - length : at]


def _spki(key: bytes) -> bytes:
    """An Ed25519 key as MCUboot hashes it."""
    public = Ed25519PublicKey.from_public_bytes(key)
    der = serialization.Encoding.DER
    return public.public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)


def _is_signed(data: bytes, key: bytes) -> bool:
    from imgtool import image, keys  # slow to import

    public = Ed25519PublicKey.from_public_bytes(key).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.TemporaryDirectory() as folder:
        pem, file = Path(folder) / "key.pem", Path(folder) / "image.bin"
        pem.write_bytes(public)
        file.write_bytes(data)
        try:
            result = image.Image.verify(str(file), keys.load(str(pem)))[0]
        # What imgtool meets in a damaged image it does not foresee.
        except (struct.error, TypeError, ValueError, IndexError, KeyError):
            return False
        return bool(result == image.VerifyResult.OK)


def _wrong(what: str) -> InvalidInputError:
    issue = Issue(what, "image", "a firmware image signed by a trusted release key")
    return InvalidInputError(f"Firmware refused: {what}.", [issue])
