# SPDX-License-Identifier: Apache-2.0
"""Errors of the fleet; problem documents as those of server.errors.

HadaptError
├── KeyFileError             500  a private key cannot be used
├── TrustError               409  the trust file forbids it
├── DeviceUnknownError       401  no or a wrong device token
├── GoneError                410  the action is closed
├── PreconditionError        412  If-Match names other bytes
└── RangeError               416  Range lies outside the artifact
"""

from server.errors import HadaptError


class KeyFileError(HadaptError):
    """A private key cannot be used: missing, unreadable, or readable by others."""

    code, title = "key-file", "A private key cannot be used"


class TrustError(HadaptError):
    """The trust file is damaged, expired, unsigned, or does not know the key."""

    status, code, title = 409, "trust", "The trust file forbids this"


class GoneError(HadaptError):
    """The action is closed: nothing more can be reported on it."""

    status, code, title = 410, "gone", "The action is closed"


class PreconditionError(HadaptError):
    """If-Match names other bytes."""

    status, code, title = 412, "precondition-failed", "The artifact is another one"


class RangeError(HadaptError):
    """The range lies outside the artifact."""

    status, code, title = 416, "range", "The range lies outside the artifact"

    def __init__(self, detail: str, size_bytes: int) -> None:
        super().__init__(detail)
        self.headers = {"Content-Range": f"bytes */{size_bytes}"}
