# SPDX-License-Identifier: Apache-2.0
"""Signing keys: Ed25519 (RFC 8032) in files of mode 0600, and the hook for other holders.

A key's id is the first 16 hex digits of SHA-256 over its 32 public bytes.
"""

import hashlib
import importlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.errors import Issue
from server.fleet.errors import KeyFileError

MODE = 0o600
LARGEST_BYTES = 65536


class Signer(Protocol):
    """Holds a private key: a file, or a hardware module behind a few lines of glue."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""


class FileSigner:
    """A private key in a PEM file (PKCS 8, unencrypted) of mode 0600.

    Raises: KeyFileError if it is missing, is no Ed25519 key, or others may touch it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = _load(path)

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes; the same message gives the same bytes."""
        return self._key.sign(message)


def key_id(public_key: bytes) -> str:
    """Id of a public key.

    Example:
        >>> key_id(bytes(32))
        '66687aadf862bd77'
    """
    return hashlib.sha256(public_key).hexdigest()[:16]


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """True if the signature is the key's own."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def generate_key(path: Path) -> FileSigner:
    """A new private key in a new file. Raises: KeyFileError if the file exists."""
    key = Ed25519PrivateKey.generate()
    write_private(path, _pem(key))
    return FileSigner(path)


def write_private(path: Path, data: bytes) -> None:
    """Write a secret to a new file of mode 0600. Raises: KeyFileError if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError as error:
        issue = Issue("is there already", str(path), "a name not taken")
        raise KeyFileError(f"{path} is there already.", [issue]) from error
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, MODE)
        file.write(data)
        file.flush()
        os.fsync(handle)


def read_private(path: Path) -> bytes:
    """Content of a secret's file; a link is followed, and judged by the file that it leads to.

    Opened once, and judged as it is open: nobody can put another file in its place between. A pipe
    or a device does not block, nor fill memory.
    Raises: KeyFileError if it is missing, no regular file, or anyone but its owner may touch it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        issue = Issue(str(error.strerror), str(path), "a private key")
        raise KeyFileError(f"{path}: {error.strerror}.", [issue]) from error
    try:
        _check_private(path, os.fstat(handle))
        return os.read(handle, LARGEST_BYTES)
    finally:
        os.close(handle)


def _check_private(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is no regular file"
        raise KeyFileError(f"{path} {what}.", [Issue(what, str(path), "the file of a private key")])
    if mode & 0o077:
        issue = Issue(f"mode {mode:04o}", str(path), f"mode {MODE:04o}: chmod 600 {path}")
        raise KeyFileError(f"{path} has mode {mode:04o}: others may touch the key.", [issue])


def open_signer(spec: str) -> Signer:
    """The signer that a setting names: a file's path, or module:callable for other holders.

    Raises: KeyFileError.
    """
    module, colon, name = spec.partition(":")
    if colon and "/" not in module:
        try:
            factory = cast(Callable[[], Signer], getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError, ValueError) as error:
            wanted = "a key file, or module:callable that can be imported"
            issue = Issue(str(error), spec[:200], wanted)
            raise KeyFileError(f"Signer {spec[:200]!r}: {error}.", [issue]) from error
        return factory()
    return FileSigner(Path(spec))


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load(path: Path) -> Ed25519PrivateKey:
    data = read_private(path)
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        what = "not an unencrypted private key" if data else "empty"
        issue = Issue(what, str(path), "a file made by `hadapt keys`")
        raise KeyFileError(f"{path} is no unencrypted private key.", [issue]) from error
    if not isinstance(key, Ed25519PrivateKey):
        issue = Issue(type(key).__name__, str(path), "an Ed25519 key")
        raise KeyFileError(f"{path} holds another kind of key.", [issue])
    return key
