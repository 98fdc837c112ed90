# SPDX-License-Identifier: Apache-2.0
"""People and their sessions: Argon2id passwords, a random cookie stored as a digest.

A session's CSRF token is an HMAC under its cookie: it needs no storage, and who does not have the
cookie cannot make it.
"""

import hashlib
import hmac
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from server.errors import ConflictError, InvalidInputError, Issue, NotFoundError, UnauthorizedError
from server.ids import new_id, utc_text
from server.services.context import Context
from server.services.keys import digest, random_secret
from server.services.paging import Page, decode_cursor, make_page
from server.services.scopes import ALL, check_scopes
from server.storage.ports import Unit
from server.storage.records import SessionRecord, UserRecord

PASSWORD_MIN_CHARS, PASSWORD_MAX_CHARS = 12, 200
_hasher = PasswordHasher()
# Each hash takes 64 MiB: more than two at once would be an attack on the memory.
_hashing = threading.Semaphore(2)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43


def hash_password(password: str) -> str:
    """Argon2id text of a password. Raises: InvalidInputError if it is too short or long."""
    if not PASSWORD_MIN_CHARS <= len(password) <= PASSWORD_MAX_CHARS:
        expected = f"{PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters"
        issue = Issue(f"{len(password)} characters", "password", expected)
        raise InvalidInputError(f"The password must have {expected}.", [issue])
    with _hashing:
        return _hasher.hash(password)


def _matches(password_hash: str, password: str) -> bool:
    with _hashing:
        try:
            return _hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


def create_user(
    unit: Unit, name: str, password_hash: str, scopes: Iterable[str], own: Iterable[str] = (ALL,)
) -> UserRecord:
    """Raises: InvalidInputError, ConflictError if the name is taken."""
    granted = check_scopes(scopes, own)
    if unit.users.find(name=name) is not None:
        issue = Issue("taken", "name", "a name that nobody has")
        raise ConflictError(f"There is a user {name!r} already.", [issue])
    user = UserRecord(new_id(), name, password_hash, granted, utc_text())
    unit.users.add(user)
    return user


def disable_user(unit: Unit, user_id: str) -> UserRecord:
    """End a person's access and sessions; doing so twice is no error. Raises: NotFoundError."""
    user = unit.users.find(id=user_id)
    if user is None:
        raise NotFoundError(f"There is no user {user_id}.")
    if user.disabled_at is None:
        unit.users.change({"id": user_id}, disabled_at=utc_text())
    unit.sessions.delete(user_id=user_id)
    return unit.users.find(id=user_id) or user


def list_users(context: Context, cursor: str | None, limit: int) -> Page[UserRecord]:
    """People, the newest first."""
    after = decode_cursor(cursor, str)
    with context.database.read() as unit:
        found = unit.users.page(order="id", after=after, limit=limit + 1, down=True)
    return make_page(found, limit, lambda user: user.id)


def log_in(context: Context, name: str, password: str) -> tuple[UserRecord, SessionRecord, str]:
    """Check a password and open a session. Returns: the person, the session, its cookie.

    An unknown name takes as long as a wrong password, and is answered alike.
    Raises: UnauthorizedError.
    """
    with context.database.read() as unit:
        user = unit.users.find(name=name)
    good = _matches(user.password_hash if user else _NOBODY, password)
    if user is None or not good or user.disabled_at is not None:
        raise UnauthorizedError("Name or password is wrong.")
    cookie = random_secret()
    end = datetime.now(UTC) + timedelta(hours=context.settings.session_hours)
    session = SessionRecord(digest(cookie), user.id, utc_text(), utc_text(end.timestamp))
    with context.database.write() as unit:
        unit.sessions.remove(before={"expires_at": utc_text()})  # so that they do not pile up
        unit.sessions.add(session)
    return user, session, cookie


def find_session(context: Context, cookie: str) -> tuple[UserRecord, SessionRecord] | None:
    """Person and session of a cookie that is still valid, or None."""
    with context.database.read() as unit:
        session = unit.sessions.find(sha256=digest(cookie))
        user = unit.users.find(id=session.user_id) if session else None
    if session is None or user is None or user.disabled_at is not None:
        return None
    return (user, session) if utc_text() < session.expires_at else None


def log_out(context: Context, cookie: str) -> None:
    """End a session; that there is none is no error."""
    with context.database.write() as unit:
        unit.sessions.delete(sha256=digest(cookie))


def csrf_token(cookie: str) -> str:
    """What a page must send with every change, as X-CSRF-Token."""
    return hmac.new(cookie.encode(), b"hadapt csrf", hashlib.sha256).hexdigest()
