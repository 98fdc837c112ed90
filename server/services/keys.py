# SPDX-License-Identifier: Apache-2.0
"""API keys: 256 random bits, shown once, stored as a digest.

A key reads `had_<prefix>_<secret>`. The prefix finds it and names it to people; the secret has 256
random bits, so a plain SHA-256 is enough to store it: there is nothing to guess.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from server.errors import NotFoundError
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.paging import Page, decode_cursor, make_page
from server.services.scopes import ALL, check_scopes
from server.storage.ports import Unit
from server.storage.records import ApiKeyRecord

TOKEN = re.compile(r"had_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
FIRST_NAME = "first key"


def digest(secret: str) -> str:
    """What is stored of a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def random_secret() -> str:
    """256 random bits as 43 characters."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def create_key(
    unit: Unit,
    name: str,
    scopes: Iterable[str],
    expires_days: int | None = None,
    own: Iterable[str] = (ALL,),
) -> tuple[ApiKeyRecord, str]:
    """Make a key. Returns: its record, and the key itself, which nobody can look up later.

    Args:
        own: scopes of who makes it.
    Raises: InvalidInputError for scopes that do not exist or that the maker does not hold.
    """
    granted = check_scopes(scopes, own)
    prefix = secrets.token_hex(4)
    token = f"had_{prefix}_{random_secret()}"
    expires = None
    if expires_days is not None:
        end = datetime.now(UTC) + timedelta(days=expires_days)
        expires = utc_text(end.timestamp)
    record = ApiKeyRecord(new_id(), name, prefix, digest(token), granted, utc_text(), expires)
    unit.api_keys.add(record)
    return record, token


def first_key(context: Context) -> str | None:
    """A key with every scope if there has never been a key; else None."""
    with context.database.write() as unit:
        if unit.api_keys.page(order="id", after=None, limit=1):
            return None
        return create_key(unit, FIRST_NAME, [ALL])[1]


def find_key(context: Context, token: str) -> ApiKeyRecord | None:
    """The valid key that this text is, or None."""
    match = TOKEN.fullmatch(token)
    if match is None:
        return None
    with context.database.read() as unit:
        record = unit.api_keys.find(prefix=match[1])
    if record is None or not hmac.compare_digest(record.sha256, digest(token)):
        return None
    return record if is_valid(record) else None


def is_valid(record: ApiKeyRecord) -> bool:
    """True unless the key is revoked or has expired."""
    return record.revoked_at is None and (
        record.expires_at is None or utc_text() < record.expires_at
    )


def revoke_key(unit: Unit, key_id: str) -> ApiKeyRecord:
    """Make a key invalid for good; doing so twice is no error. Raises: NotFoundError."""
    record = unit.api_keys.find(id=key_id)
    if record is None:
        raise NotFoundError(f"There is no key {key_id}.")
    if record.revoked_at is None:
        unit.api_keys.change({"id": key_id}, revoked_at=utc_text())
    return unit.api_keys.find(id=key_id) or record


def list_keys(context: Context, cursor: str | None, limit: int) -> Page[ApiKeyRecord]:
    """Keys, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.api_keys.page(order="id", after=after, limit=limit + 1, down=True)
    return make_page(found, limit, lambda key: key.id)
