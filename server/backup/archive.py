# SPDX-License-Identifier: Apache-2.0
"""The file of a backup: a gzipped tar whose last member has the digest of every other one.

    hadapt-backup.json      head: format, version, schema, time, rows a table, blobs
    blobs/<sha256>          every blob that a row names
    tables/<name>.jsonl     a line with the columns, then one a row
    digests.json            member to SHA-256; written last, so a file without it is cut

Digests find accidents, not forgers: whoever may write the file may write what he likes into it.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from server.errors import InvalidInputError, Issue

FORMAT = 1
HEAD, END = "hadapt-backup.json", "digests.json"
MEMBER = re.compile(
    r"(blobs/[0-9a-f]{64}|tables/[a-z_]{1,60}\.jsonl|hadapt-backup\.json|digests\.json)"
)
HEAD_MAX_BYTES = 1 << 20
END_MAX_BYTES = 1 << 30
PIECE_BYTES = 1 << 20
Json = dict[str, Any]


class BackupInvalidError(InvalidInputError):
    """The file is not a backup, or not a whole one, or not one for this version or place."""

    code, title = "backup-invalid", "The backup cannot be restored"


def refuse(what: str, where: str, expected: str) -> NoReturn:
    """Raises: BackupInvalidError."""
    issue = Issue(what, where, expected)
    raise BackupInvalidError(f"{where}: {what}; nothing was restored.", [issue])


class Writer:
    """Adds members to a new backup."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._digests: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """A member of some bytes."""
        self._add(name, io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest())

    def add_file(self, name: str, path: Path) -> None:
        """A member that is a file's content."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            self._add(name, file, path.stat().st_size, digest)

    def end(self) -> None:
        """The last member."""
        self.add(END, json.dumps(self._digests).encode())

    def _add(self, name: str, file: IO[bytes], size_bytes: int, digest: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size_bytes, 0o600
        self._tar.addfile(info, file)
        self._digests[name] = digest


@contextlib.contextmanager
def written(path: Path) -> Iterator[Writer]:
    """A backup that bears its name only once it is whole and on disk; only its owner reads it."""
    partial = path.with_name(path.name + ".partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            # Without a name in its head: there, a damaged byte would go unseen.
            with (
                gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as stream,
                tarfile.open(fileobj=stream, mode="w") as tar,
            ):
                writer = Writer(tar)
                yield writer
                writer.end()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_head(path: Path) -> Json:
    """What the backup says of itself, once every byte of it has been checked.

    Raises: BackupInvalidError if it is cut, damaged, of another kind or of a later format.
    """
    digests: dict[str, str] = {}
    documents: dict[str, Json] = {}
    with reading(path) as members:
        for name, file in members:
            if END in documents or name in digests:
                refuse(f"member {name} comes twice, or after the end", str(path), "a backup")
            digests[name] = _read(path, name, file, documents)
            if HEAD not in documents:
                refuse(f"{name} comes before {HEAD}", str(path), "a file of `hadapt backup`")
    digests.pop(END, None)
    head, end = documents.get(HEAD), documents.get(END)
    if end is None or head is None:
        refuse("the file is cut: its end is missing", str(path), "the whole file")
    _compare(path, digests, end)
    _check_head(path, head)
    return head


def _read(path: Path, name: str, file: IO[bytes], documents: dict[str, Json]) -> str:
    """A member's digest; head and end are also parsed."""
    if name in (HEAD, END):
        data = file.read((HEAD_MAX_BYTES if name == HEAD else END_MAX_BYTES) + 1)
        documents[name] = _document(path, name, data)
        return hashlib.sha256(data).hexdigest()
    found = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        found.update(piece)
    return found.hexdigest()


def _document(path: Path, name: str, data: bytes) -> Json:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        refuse(f"{name} is damaged", str(path), "a file of `hadapt backup`")
    return found


def _compare(path: Path, found: dict[str, str], told: Json) -> None:
    missing = sorted(set(told) - set(found))
    if missing:
        refuse(f"{missing[0]} is missing", str(path), f"{len(told)} members")
    for name, digest in found.items():
        if told.get(name) != digest:
            refuse(f"{name} is not what was backed up", str(path), "the digest in its end")


def _check_head(path: Path, head: Json) -> None:
    number = head.get("format")
    if not isinstance(number, int) or number < 1:
        refuse("its head names no format", str(path), f"format {FORMAT}")
    if number > FORMAT:
        version = str(head.get("version"))[:40]
        refuse(f"format {number}, made by version {version}", str(path), "that version, or later")
    tables = head.get("tables")
    good = isinstance(tables, dict) and all(type(n) is int and n >= 0 for n in tables.values())
    if not good or not isinstance(head.get("revision"), str):
        refuse("its head is damaged", str(path), "a file of `hadapt backup`")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Names and contents of the members in order; each is read before the next is asked for.

    Nothing is unpacked under a name of the archive's choosing. Errors of the file are named also
    where they come up while a content is read.
    Raises: BackupInvalidError.
    """
    try:
        yield _members(path)
    except (EOFError, zlib.error, tarfile.TarError) as error:
        _broken(path, error)
    except OSError as error:
        # gzip's own errors carry no number; those of the file system go to the caller.
        if error.errno is not None:
            raise
        _broken(path, error)


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is None or not MEMBER.fullmatch(info.name):
                    refuse(f"member {info.name[:80]!r}", str(path), "a file of `hadapt backup`")
                yield info.name, file
        # tar stops at its own end; gzip's check of the whole comes with the last byte.
        while rest := stream.read(PIECE_BYTES):
            if rest.strip(b"\0"):
                refuse("something follows its end", str(path), "a file of `hadapt backup`")


def _broken(path: Path, error: Exception) -> NoReturn:
    cut = isinstance(error, EOFError) or "end of" in str(error) or "truncated" in str(error)
    what = "the file is cut" if cut else f"not a backup, or damaged ({error})"
    issue = Issue(what, str(path), "a whole file of `hadapt backup`")
    raise BackupInvalidError(f"{path}: {what}; nothing was restored.", [issue]) from error
