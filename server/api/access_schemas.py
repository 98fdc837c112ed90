# SPDX-License-Identifier: Apache-2.0
"""Bodies of keys, people and sessions."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from server.services.scopes import ALL, SCOPES

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Scopes = Annotated[
    list[Annotated[str, Field(max_length=60, json_schema_extra={"enum": [ALL, *SCOPES]})]],
    Field(min_length=1, max_length=60, examples=[["models:read", "samples:write"]]),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyCreate(_Body):
    """A key to be made."""

    name: Name
    scopes: Scopes
    expires_days: int | None = Field(default=None, ge=1, le=3650)


class KeyRead(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class KeyMade(KeyRead):
    """A new key; `key` is shown this once."""

    key: str


class UserCreate(_Body):
    """A person who may log in."""

    name: Name
    password: str = Field(min_length=12, max_length=200)
    scopes: Scopes


class UserRead(BaseModel):
    """A person."""

    id: str
    name: str
    scopes: list[str]
    created_at: str
    disabled_at: str | None


class SessionCreate(_Body):
    """A login."""

    name: Name = Field(examples=["ada"])
    password: str = Field(min_length=1, max_length=200, examples=["correct horse battery staple"])


class SessionRead(BaseModel):
    """Who asks. `csrf_token` goes into X-CSRF-Token of every change by session."""

    name: str
    scopes: list[str]
    expires_at: str | None
    csrf_token: str | None
