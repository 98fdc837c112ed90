# SPDX-License-Identifier: Apache-2.0
"""Commands for keys and people, on the service's own database: for who owns the machine."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from server.commands.console import AsJson, command, print_json, print_table, wrong
from server.services.scopes import ALL, SCOPES

keys_app = typer.Typer(no_args_is_help=True, help="Keys of machines: make, list, revoke.")
users_app = typer.Typer(no_args_is_help=True, help="People who may log in: make, list, disable.")
SCOPE_HELP = f"Repeatable; {ALL} is everything. One of: {', '.join(SCOPES)}."
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of database and blobs [HADAPT_DATA_DIR].")
]
Scope = Annotated[list[str], typer.Option("--scope", help=SCOPE_HELP)]


@contextmanager
def stored(data_dir: Path | None) -> Iterator[Any]:
    """The service's context over its stores, without its learning engine."""
    # Loaded only now: the local commands need none of it.
    from server.learning.ports import load_engine
    from server.services.context import open_context
    from server.settings import Settings

    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    if not settings.database_url and not settings.data_dir.is_dir():
        raise wrong("no such folder", str(settings.data_dir), "the folder of `hadapt serve`")
    context = open_context(settings, load_engine(settings))
    try:
        yield context
    finally:
        context.database.close()


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Scope,
    expires_days: Annotated[int | None, typer.Option(min=1, max=3650, help="Life in days.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once; the database keeps only its digest.

    \b
    Examples:
      hadapt api-keys create ci --scope models:read --scope samples:write --expires-days 90
      export HADAPT_API_KEY=$(hadapt api-keys create me --scope '*' --json | jq -r .key)
    """
    from server.services.keys import create_key as make

    with command(as_json), stored(data_dir) as context:
        with context.database.write() as unit:
            record, token = make(unit, name, scope, expires_days)
        if as_json:
            print_json({**_shown(record), "key": token})
        else:
            typer.echo(token)


@keys_app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List keys by their prefix, the newest first."""
    from server.services.keys import list_keys as find

    with command(as_json), stored(data_dir) as context:
        _show("keys", [_shown(r) for r in find(context, None, 1000).items], as_json)


@keys_app.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(help="The eight characters after had_.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key invalid at once and for good."""
    from server.services.keys import revoke_key as revoke

    with command(as_json), stored(data_dir) as context, context.database.write() as unit:
        found = unit.api_keys.find(prefix=prefix.removeprefix("had_")[:8])
        if found is None:
            raise wrong("no key has this prefix", prefix, "a prefix of `hadapt api-keys list`")
        _show("key", [_shown(revoke(unit, found.id))], as_json)


@users_app.command("create")
def create_user(
    name: str,
    scope: Scope,
    password: Annotated[
        str,
        typer.Option(
            prompt=True,
            hide_input=True,
            confirmation_prompt=True,
            envvar="HADAPT_PASSWORD",
            help="At least 12 characters; asked for if not given.",
        ),
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a person log in to the dashboard."""
    from server.services import people

    with command(as_json), stored(data_dir) as context:
        hashed = people.hash_password(password)
        with context.database.write() as unit:
            user = people.create_user(unit, name, hashed, scope)
        _show("user", [_shown(user)], as_json)


@users_app.command("list")
def list_users(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List people, the newest first."""
    from server.services import people

    with command(as_json), stored(data_dir) as context:
        found = people.list_users(context, None, 1000).items
        _show("users", [_shown(user) for user in found], as_json)


@users_app.command("disable")
def disable_user(name: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """End a person's access and sessions at once."""
    from server.services import people

    with command(as_json), stored(data_dir) as context, context.database.write() as unit:
        found = unit.users.find(name=name)
        if found is None:
            raise wrong("nobody has this name", name, "a name of `hadapt users list`")
        _show("user", [_shown(people.disable_user(unit, found.id))], as_json)


def _shown(record: Any) -> dict[str, Any]:
    hidden = ("sha256", "password_hash")
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in hidden}


def _show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({title: rows})
        return
    heads = [name for name in (rows[0] if rows else {"name": ""}) if name != "id"]
    texts = [[_text(row[head]) for head in heads] for row in rows]
    print_table(title, heads, texts)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "")
