# SPDX-License-Identifier: Apache-2.0
"""The trust file: which keys may sign packets, said by the root (ideas of The Update Framework).

    {"signed": {"version": n, "expires_at": t, "root": {id: key}, "release": {id: key},
                "revoked": [ids]},
     "signatures": {root id: signature}}

Keys and signatures are lower-case hex, the signed bytes are canonical JSON. Rules:

- a file is valid if one of its own root keys has signed it, and it has not expired;
- it may follow another if its version is higher, and one of the other's roots, not revoked, has
  signed it too: so a new root comes in by the old one, and a stolen root is revoked by another;
- a revoked id stays revoked, and may stand in neither list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from server.errors import WRONG_JSON, Issue
from server.fleet.errors import TrustError
from server.fleet.keys import Signer, key_id, verify


@dataclass(frozen=True)
class Trust:
    """Content of a trust file; keys by id; expires_at in seconds since 1970."""

    version: int
    expires_at: int
    root: Mapping[str, bytes]
    release: Mapping[str, bytes]
    revoked: tuple[str, ...] = ()
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    def signed_bytes(self) -> bytes:
        """What the root signs."""
        return canonical_json(
            {
                "version": self.version,
                "expires_at": self.expires_at,
                "root": {k: v.hex() for k, v in self.root.items()},
                "release": {k: v.hex() for k, v in self.release.items()},
                "revoked": sorted(self.revoked),
            }
        )

    def to_bytes(self) -> bytes:
        """The file; same content, same bytes."""
        signed = json.loads(self.signed_bytes())
        signatures = {k: v.hex() for k, v in self.signatures.items()}
        text = json.dumps({"signed": signed, "signatures": signatures}, indent=1, sort_keys=True)
        return text.encode() + b"\n"


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8.

    Example:
        >>> canonical_json({"b": 1, "a": [True]})
        b'{"a":[true],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def read_trust(data: bytes) -> Trust:
    """Parse a trust file; nothing is verified. Raises: TrustError."""
    try:
        file = json.loads(data)
        signed = file["signed"]
        trust = Trust(
            version=int(signed["version"]),
            expires_at=int(signed["expires_at"]),
            root=_keys(signed["root"]),
            release=_keys(signed["release"]),
            revoked=tuple(str(k) for k in signed["revoked"]),
            signatures={str(k): bytes.fromhex(v) for k, v in file["signatures"].items()},
        )
    except WRONG_JSON as error:
        raise _refused("not a trust file", "a file made by `hadapt keys`") from error
    return trust


def _keys(entries: Mapping[str, str]) -> dict[str, bytes]:
    keys = {str(k): bytes.fromhex(v) for k, v in entries.items()}
    for name, key in keys.items():
        if len(key) != 32 or key_id(key) != name:
            raise ValueError(f"key {name} does not have this id")
    return keys


def check_trust(trust: Trust, now: float) -> Trust:
    """The same file, if it stands by itself. Raises: TrustError."""
    if now >= trust.expires_at:
        raise _refused("expired", "a file renewed by `hadapt keys renew`")
    if not _signed_by(trust, trust.root, trust.revoked):
        raise _refused("no signature of its root", "a file that its root key has signed")
    both = set(trust.revoked) & (set(trust.root) | set(trust.release))
    if both:
        raise _refused(f"key {sorted(both)[0]} is listed and revoked", "one or the other")
    return trust


def follow(old: Trust, new: Trust, now: float) -> Trust:
    """The new file, if it may replace the old one. Raises: TrustError."""
    check_trust(new, now)
    if new.version <= old.version:
        raise _refused(f"version {new.version}", f"a version above {old.version}")
    # A root that the new file revokes may sign it: leaving by one's own hand is allowed.
    if not _signed_by(new, old.root, old.revoked):
        raise _refused("no signature of the root before", "the root before has signed it too")
    missing = set(old.revoked) - set(new.revoked)
    if missing:
        raise _refused(f"key {sorted(missing)[0]} is no longer revoked", "it stays revoked")
    return new


def _signed_by(trust: Trust, keys: Mapping[str, bytes], revoked: tuple[str, ...]) -> bool:
    message = trust.signed_bytes()
    return any(
        name in keys and name not in revoked and verify(keys[name], signature, message)
        for name, signature in trust.signatures.items()
    )


def _refused(what: str, expected: str) -> TrustError:
    return TrustError(f"Trust file: {what}.", [Issue(what, "trust file", expected)])


def first_trust(root: Signer, now: float, days: int = 365) -> Trust:
    """Version 1: one root, no release key yet."""
    name = key_id(root.public_key)
    trust = Trust(1, int(now) + days * 86400, {name: root.public_key}, {})
    return signed(trust, root)


def signed(trust: Trust, *roots: Signer) -> Trust:
    """The file with the roots' signatures instead of any that it had."""
    message = trust.signed_bytes()
    return replace(trust, signatures={key_id(r.public_key): r.sign(message) for r in roots})


def changed(
    trust: Trust,
    now: float,
    *,
    add_root: bytes | None = None,
    add_release: bytes | None = None,
    revoke: tuple[str, ...] = (),
    days: int = 365,
) -> Trust:
    """The next version, unsigned. Raises: TrustError for a revoked or an unknown key."""
    for key in (add_root, add_release):
        if key is not None and key_id(key) in trust.revoked:
            raise _refused(f"key {key_id(key)} is revoked", "another key")
    for name in revoke:
        if name not in trust.root and name not in trust.release:
            known = ", ".join([*trust.root, *trust.release])
            raise _refused(f"no key {name}", f"one of {known}")
    root = {**trust.root, **({key_id(add_root): add_root} if add_root else {})}
    release = {**trust.release, **({key_id(add_release): add_release} if add_release else {})}
    left = {k: v for k, v in root.items() if k not in revoke}
    if not left:
        raise _refused("no root key is left", "a new root first: `hadapt keys rotate root`")
    return Trust(
        version=trust.version + 1,
        expires_at=int(now) + days * 86400,
        root=left,
        release={k: v for k, v in release.items() if k not in revoke},
        revoked=tuple(sorted({*trust.revoked, *revoke})),
    )


def require_release(trust: Trust, signer: Signer, now: float) -> str:
    """Id of the signer's key, if it may sign packets now. Raises: TrustError."""
    check_trust(trust, now)
    name = key_id(signer.public_key)
    if name in trust.revoked:
        raise _refused(f"key {name} is revoked", f"one of {', '.join(trust.release) or 'none'}")
    if trust.release.get(name) != signer.public_key:
        raise _refused(f"key {name} is no release key", f"one of {', '.join(trust.release)}")
    return name
