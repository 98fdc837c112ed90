# SPDX-License-Identifier: Apache-2.0
"""hadapt api-keys and hadapt users, on the database of a service."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from server.cli import app

PASSWORD = {"HADAPT_PASSWORD": "correct horse battery"}


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Any:
    command = [*arguments, "--data-dir", str(folder), "--json"]
    result = CliRunner().invoke(app, command, env=env)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    made = run(tmp_path, "api-keys", "create", "ci", "--scope", "jobs:read", "--expires-days", "1")
    assert made["key"].startswith(f"had_{made['prefix']}_")
    (listed,) = run(tmp_path, "api-keys", "list")["keys"]
    assert listed["scopes"] == ["jobs:read"] and "sha256" not in listed and "key" not in listed
    (revoked,) = run(tmp_path, "api-keys", "revoke", made["prefix"])["key"]
    assert revoked["revoked_at"]


def test_users_are_made_listed_and_disabled(tmp_path: Path) -> None:
    (made,) = run(tmp_path, "users", "create", "ada", "--scope", "*", env=PASSWORD)["user"]
    assert made["scopes"] == ["*"] and "password_hash" not in made
    assert run(tmp_path, "users", "list")["users"] == [made]
    (disabled,) = run(tmp_path, "users", "disable", "ada")["user"]
    assert disabled["disabled_at"]


def test_wrong_calls_say_what_would_be_right(tmp_path: Path) -> None:
    for arguments, text in (
        (["api-keys", "create", "x", "--scope", "odd"], "jobs:read"),
        (["api-keys", "revoke", "00000000"], "hadapt api-keys list"),
        (["users", "disable", "x"], "hadapt users list"),
    ):
        result = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path)])
        assert result.exit_code in (1, 2)
        assert text in result.output
    missing = CliRunner().invoke(app, ["api-keys", "list", "--data-dir", str(tmp_path / "no")])
    assert missing.exit_code == 2 and "hadapt serve" in missing.output
