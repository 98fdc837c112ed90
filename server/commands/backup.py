# SPDX-License-Identifier: Apache-2.0
"""Commands that put all that a service has stored into one file, and make a service of it again."""

from pathlib import Path
from typing import Annotated, Any

import typer

from server.commands.access import DataDir
from server.commands.console import AsJson, command, number, print_facts, print_json, wrong
from server.settings import Settings

Input = Annotated[Path, typer.Argument(help="File that `hadapt backup` wrote.")]


def backup(
    output: Annotated[Path, typer.Argument(help="File to write, not there yet; gzipped tar.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write all that a service has stored into one file; the service may be running.

    Database (SQLite or PostgreSQL) and blobs (folder or S3) as of one moment. The file holds
    digests of keys and passwords, samples and models: only its owner may read it. Not in it: trust
    file and signing keys, which lie elsewhere, and logins. Jobs that have not ended begin again
    when restored, and come to the same bits.

    \b
    Examples:
      hadapt backup /backups/hadapt-$(date +%F).tar.gz --data-dir /var/lib/hadapt
      HADAPT_DATABASE_URL=.. HADAPT_BLOB_URL=.. hadapt backup all.tar.gz
    """
    with command(as_json):
        from server.backup.make import back_up

        if output.exists():
            raise wrong("it is there already", str(output), "a name not taken")
        if not output.absolute().parent.is_dir():
            raise wrong("no such folder", str(output.parent), "a folder that is there")
        made = back_up(_settings(data_dir), output.absolute())
        _show("backed up", output, made, as_json)


def restore(
    backup_file: Input,
    data_dir: DataDir = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the file and compare its digests.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill empty stores from a backup, and compare what they then hold with it.

    The stores are those of --data-dir and HADAPT_ variables; they need not be of the kind that was
    backed up: this also moves a service from SQLite to PostgreSQL. A backup of an older version is
    upgraded. Nothing is changed if the file is cut or damaged, or the stores are not empty.

    \b
    Examples:
      hadapt restore all.tar.gz --data-dir /var/lib/hadapt-new
      hadapt restore all.tar.gz --check
    """
    with command(as_json):
        from server.backup.restore import check_backup
        from server.backup.restore import restore as run

        if not backup_file.is_file():
            raise wrong("no such file", str(backup_file), "a file of `hadapt backup`")
        settings = _settings(data_dir)
        if settings.data_dir.exists() and not settings.data_dir.is_dir():
            raise wrong("it is a file", str(settings.data_dir), "a folder, or a name not taken")
        found = check_backup(backup_file) if check else run(settings, backup_file)
        _show("whole" if check else "restored", backup_file, found, as_json)


def _settings(data_dir: Path | None) -> Settings:
    return Settings() if data_dir is None else Settings(data_dir=data_dir)


def _show(title: str, path: Path, contents: Any, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path), "outcome": title, **vars(contents)})
        return
    facts = {
        "file": path,
        "made": f"{contents.created_at}, version {contents.version}, schema {contents.revision}",
        "rows": number(contents.rows),
        "samples": number(contents.tables.get("samples", 0)),
        "blobs": number(contents.blobs),
    }
    print_facts(title, facts)
