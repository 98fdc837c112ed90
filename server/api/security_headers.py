# SPDX-License-Identifier: Apache-2.0
"""Headers that keep browsers from doing more with an answer than was meant."""

from collections.abc import Iterable

from starlette.types import Scope

Headers = list[tuple[bytes, bytes]]

# Nothing may be loaded or run from an answer of the API, nor may it be framed.
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# A page of ours: scripts, styles and requests of this origin alone, none inline.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_DEFAULTS = {
    b"content-security-policy": NOTHING.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), serial=(), usb=()",
    b"cache-control": b"no-store",
}
_HTTPS = (b"strict-transport-security", b"max-age=31536000")


def with_security_headers(scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The response's headers, and ours where it has none of that name."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    given += [(name, value) for name, value in _DEFAULTS.items() if name not in names]
    if scope.get("scheme") == "https":
        given.append(_HTTPS)
    return given
