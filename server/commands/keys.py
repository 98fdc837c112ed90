# SPDX-License-Identifier: Apache-2.0
"""Commands of signing keys: init, release, rotate-root, revoke, renew, show, check, audit.

The folder of the root holds its private key and stays offline; `trust.json`, which is public, and
a release key go to the service (HADAPT_TRUST_FILE, HADAPT_SIGNER).
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from server.commands.console import (
    AsJson,
    command,
    print_facts,
    print_json,
    read_input,
    write_output,
    wrong,
)
from server.fleet import audit, image_keys
from server.fleet.keys import FileSigner, generate_key, key_id
from server.fleet.trust import (
    Trust,
    changed,
    check_trust,
    first_trust,
    follow,
    read_trust,
    signed,
)
from server.storage.fleet import AuditRecord

TRUST, AUDIT = "trust.json", "audit.jsonl"
Folder = Annotated[Path, typer.Option("--dir", "-d", help="Folder of the root; keep it offline.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until the trust file expires.")]

app = typer.Typer(no_args_is_help=True, help="Signing keys: offline root, online release keys.")


def _now() -> float:
    return time.time()


def _actor() -> str:
    return os.environ.get("USER", "unknown")[:200]


def _trust(folder: Path) -> Trust:
    data = read_input(folder / TRUST, "a folder made by `hadapt keys init`")
    return read_trust(data)


def _roots(folder: Path, trust: Trust) -> list[FileSigner]:
    """Root keys of this folder that the trust file lists."""
    found = [folder / f"root-{name}.pem" for name in trust.root]
    signers = [FileSigner(path) for path in found if path.exists()]
    if not signers:
        raise wrong("no root key", str(folder), f"root-{next(iter(trust.root))}.pem")
    return signers


def _new_key(folder: Path, kind: str) -> FileSigner:
    """A key in a file that bears its id."""
    # A process that was killed here leaves a draft that nobody lists; it is in nobody's way.
    draft = folder / f"{kind}-{os.getpid()}-{time.time_ns()}.new"
    signer = generate_key(draft)
    path = folder / f"{kind}-{key_id(signer.public_key)}.pem"
    draft.rename(path)
    return FileSigner(path)


def _store(folder: Path, trust: Trust, action: str, subject: str) -> AuditRecord:
    digest = {"version": trust.version, "trust": trust.signed_bytes().decode()}
    row = audit.append_line(folder / AUDIT, _actor(), action, subject, **digest)
    write_output(folder / TRUST, trust.to_bytes())
    return row


def _renewed(folder: Path, action: str, subject: str, change: Callable[[Trust], Trust]) -> Trust:
    """Change the trust file, sign it by every root at hand, and prove that it may follow."""
    old = _trust(folder)
    signers = _roots(folder, old)
    new = change(old)
    mine = [FileSigner(folder / f"root-{k}.pem") for k in new.root if k not in old.root]
    new = follow(old, signed(new, *signers, *mine), _now())
    _store(folder, new, action, subject)
    return new


def _show(trust: Trust, as_json: bool, **more: str) -> None:
    facts = {
        **more,
        "version": trust.version,
        "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(trust.expires_at)),
        "root keys": ", ".join(trust.root),
        "release keys": ", ".join(trust.release) or "none",
        "revoked": ", ".join(trust.revoked) or "none",
    }
    print_json(facts) if as_json else print_facts("trust", facts)


@app.command()
def init(folder: Folder, days: Days = 365, as_json: AsJson = False) -> None:
    """Make a root key, and a trust file that lists it.

    \b
    Examples:
      hadapt keys init --dir root/
    """
    with command(as_json):
        if (folder / TRUST).exists():
            raise wrong("is there already", str(folder / TRUST), "a folder without a trust file")
        root = _new_key(folder, "root")
        trust = check_trust(first_trust(root, _now(), days), _now())
        _store(folder, trust, "root.create", key_id(root.public_key))
        _show(trust, as_json, root_key=str(root.path))


@app.command()
def release(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new key.")],
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Make a release key, list it, and give key and trust file to a folder for the service.

    Rotation: make the next one, give it to the service, then revoke the one before.

    \b
    Examples:
      hadapt keys release --dir root/ -o online/
      HADAPT_TRUST_FILE=online/trust.json HADAPT_SIGNER=online/release-<id>.pem hadapt serve
    """
    with command(as_json):
        _roots(folder, _trust(folder))
        key = _new_key(output, "release")
        name = key_id(key.public_key)
        trust = _renewed(
            folder,
            "release.create",
            name,
            lambda old: changed(old, _now(), add_release=key.public_key, days=days),
        )
        write_output(output / TRUST, trust.to_bytes())
        _show(trust, as_json, release_key=str(key.path))


@app.command("rotate-root")
def rotate_root(folder: Folder, days: Days = 365, as_json: AsJson = False) -> None:
    """Make a new root key; the old one signs it in and is revoked.

    \b
    Examples:
      hadapt keys rotate-root --dir root/
    """
    with command(as_json):
        old = _trust(folder)
        _roots(folder, old)
        root = _new_key(folder, "root")
        trust = _renewed(
            folder,
            "root.rotate",
            key_id(root.public_key),
            lambda trust: changed(
                trust, _now(), add_root=root.public_key, revoke=tuple(old.root), days=days
            ),
        )
        _show(trust, as_json, root_key=str(root.path))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id of a root or release key.")],
    folder: Folder,
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Revoke a key for ever; the service then signs no more with it.

    \b
    Examples:
      hadapt keys revoke 66687aadf862bd77 --dir root/
    """
    with command(as_json):
        trust = _renewed(
            folder, "key.revoke", key, lambda old: changed(old, _now(), revoke=(key,), days=days)
        )
        _show(trust, as_json)


@app.command()
def renew(folder: Folder, days: Days = 365, as_json: AsJson = False) -> None:
    """Sign the trust file again with a later expiry.

    \b
    Examples:
      hadapt keys renew --dir root/ --days 365
    """
    with command(as_json):
        trust = _renewed(
            folder, "trust.renew", "trust.json", lambda old: changed(old, _now(), days=days)
        )
        _show(trust, as_json)


@app.command()
def show(
    trust: Annotated[Path, typer.Argument(help="A trust file.")],
    before: Annotated[
        Path | None, typer.Option(help="The trust file it is to follow: checks that it may.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a trust file and list its keys.

    \b
    Examples:
      hadapt keys show online/trust.json --before old/trust.json
    """
    with command(as_json):
        new = read_trust(read_input(trust, "a trust file"))
        if before is not None:
            old = read_trust(read_input(before, "a trust file"))
            follow(old, new, _now())
        _show(check_trust(new, _now()), as_json)


@app.command("image-key")
def image_key(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for key and certificate.")],
    days: Days = 3650,
    as_json: AsJson = False,
) -> None:
    """Make the RSA key and certificate that swupdate images are signed with (CMS).

    \b
    Examples:
      hadapt keys image-key -o online/
    """
    with command(as_json):
        key, certificate = image_keys.generate(output, days, _now())
        facts = {"key": str(key), "certificate": str(certificate)}
        print_json(facts) if as_json else print_facts("image key", facts)


@app.command("audit")
def check_audit(
    file: Annotated[
        Path, typer.Argument(help="audit.jsonl, or what GET /api/v1/audit answers, as lines.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check an audit's chain: exit code 1 names the first row that was changed or is missing.

    \b
    Examples:
      hadapt keys audit root/audit.jsonl
    """
    with command(as_json):
        read_input(file, "an audit")
        rows = audit.read_lines(file)
        count = audit.check_chain(rows)
        last = rows[-1].row_sha256 if rows else audit.GENESIS
        facts = {"rows": count, "last": last, "unfinished_bytes": audit.unfinished_bytes(file)}
        print_json(facts) if as_json else print_facts("audit", facts)
