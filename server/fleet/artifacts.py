# SPDX-License-Identifier: Apache-2.0
"""A packet in the forms that clients demand. Same packet, same bytes: no dates, no random parts.

suit      the envelope itself: our gateway, and RAUC's client for what it asks of DDI
mcuboot   MCUboot image around it, Ed25519, not bootable: Zephyr's client
swu       cpio archive with a CMS-signed description: swupdate

A packet that brings firmware is an MCUboot image already (server.fleet.firmware_image): `suit` and
`mcuboot` are that image, swu an archive around it.
"""

import contextlib
import hashlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import InvalidInputError, Issue
from server.fleet.image_keys import cms_sign
from server.fleet.keys import FileSigner, Signer
from server.settings import Settings

FORMS = ("suit", "mcuboot", "swu")
# A TLV of ours in MCUboot's range for vendors: the state digest that the packet leads to.
RESULT_TLV = 0xA0
SLOT_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """What an artifact is made of; result_digest: 32 bytes.

    firmware: the envelope is a firmware's MCUboot image.
    """

    envelope: bytes
    sequence: int
    result_digest: bytes
    firmware: bool = False


@dataclass(frozen=True)
class ImageForm:
    """Sizes of an MCUboot image, and whether a bootloader starts it."""

    header_bytes: int = 32
    slot_bytes: int = SLOT_BYTES
    bootable: bool = False


@dataclass(frozen=True)
class Digests:
    """Hashes as hawkBit lists them, lower-case hex."""

    md5: str
    sha1: str
    sha256: str


def digests(data: bytes) -> Digests:
    """All three; only sha256 guards against anybody, the others are what old clients compare."""
    return Digests(
        hashlib.md5(data, usedforsecurity=False).hexdigest(),
        hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        hashlib.sha256(data).hexdigest(),
    )


def possible_forms(settings: Settings, signer: Signer) -> list[str]:
    """Forms that can be made with the keys there are."""
    images = settings.image_key_file is not None and settings.image_certificate_file is not None
    able = {"suit": True, "mcuboot": isinstance(signer, FileSigner), "swu": images}
    return [form for form in FORMS if able[form]]


def make(form: str, content: Content, settings: Settings, signer: Signer) -> bytes:
    """The bytes of an artifact. Raises: KeyFileError, InvalidInputError."""
    if form == "suit" or (form == "mcuboot" and content.firmware):
        return content.envelope
    if form == "mcuboot":
        tlvs = {RESULT_TLV: content.result_digest}
        return signed_image(content.envelope, content.sequence, tlvs, ImageForm(), signer)
    if form == "swu":
        return swu_image(content, settings)
    expected = f"one of {', '.join(FORMS)}"
    raise InvalidInputError(f"There is no form {form!r}.", [Issue(form[:40], "form", expected)])


def signed_image(
    data: bytes, sequence: int, tlvs: dict[int, bytes], form: ImageForm, signer: Signer
) -> bytes:
    """MCUboot image, signed by imgtool with the release key; tlvs: of our own, signed too.

    Raises: InvalidInputError if the key is not a file: imgtool signs only with files.
    """
    if not isinstance(signer, FileSigner):
        issue = Issue("key of a hardware module", "signer", "a key file")
        raise InvalidInputError("MCUboot images need the release key as a file.", [issue])
    # imgtool is slow to import, and only this form needs it.
    from imgtool import image, keys
    from imgtool.version import decode_version

    # imgtool tells its steps on stdout.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        source, target = Path(folder) / "packet.bin", Path(folder) / "image.bin"
        source.write_bytes(data)
        made: Any = image.Image(
            version=decode_version(f"0.0.{sequence}"),
            header_size=form.header_bytes,
            pad_header=True,
            pad=False,
            slot_size=form.slot_bytes,
            align=4,
            non_bootable=not form.bootable,
            security_counter=sequence,
        )
        made.load(str(source))
        made.create(keys.load(str(signer.path)), "hash", None, custom_tlvs=tlvs)
        made.save(str(target))
        return target.read_bytes()


SCRIPT = """#!/bin/sh
# Hands the packet that was installed to the device; its refusal fails the installation.
[ "$1" = postinst ] || exit 0
exec {command} {path}
"""
DESCRIPTION = """software =
{{
    version = "{sequence}";
    description = "Hadapt packet {sha256}";
    hardware-compatibility: [ "#RE:.*" ];
    files: (
        {{
            filename = "packet.suit";
            path = "{path}";
            sha256 = "{sha256}";
        }}
    );
    scripts: (
        {{
            filename = "apply.sh";
            type = "shellscript";
            sha256 = "{script_sha256}";
        }}
    );
}}
"""


def swu_image(content: Content, settings: Settings) -> bytes:
    """swupdate's archive: description first, then its CMS signature, then packet and script.

    Raises: KeyFileError.
    """
    script = SCRIPT.format(
        command=settings.image_apply_command, path=settings.image_install_path
    ).encode()
    description = DESCRIPTION.format(
        sequence=content.sequence,
        path=settings.image_install_path,
        sha256=hashlib.sha256(content.envelope).hexdigest(),
        script_sha256=hashlib.sha256(script).hexdigest(),
    ).encode()
    if settings.image_key_file is None or settings.image_certificate_file is None:
        issue = Issue("no image key", "HADAPT_IMAGE_KEY_FILE", "`hadapt keys image-key`")
        raise InvalidInputError("swupdate images need an image key.", [issue])
    signature = cms_sign(description, settings.image_key_file, settings.image_certificate_file)
    return cpio(
        {
            "sw-description": description,
            "sw-description.sig": signature,
            "packet.suit": content.envelope,
            "apply.sh": script,
        }
    )


def cpio(files: dict[str, bytes]) -> bytes:
    """A cpio archive in the new CRC form (magic 070702), in the order given, without dates."""
    out = io.BytesIO()
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        mode, links = (0o100644, 1) if data else (0, 1)
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, sum(data))
        out.write(b"070702" + b"".join(b"%08X" % (f & 0xFFFFFFFF) for f in fields))
        out.write(name.encode() + b"\0")
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))
    out.write(b"\0" * (-out.tell() % 512))
    return out.getvalue()
