# SPDX-License-Identifier: Apache-2.0
"""Content-addressed blobs over obstore: a local folder, memory, or an S3-compatible store."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.exceptions import NotFoundError as NoSuchObjectError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from server.errors import InternalError, NotFoundError, storage_error
from server.settings import Settings

PIECE_BYTES = 256 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(sha256: str) -> str:
    """The object key of a digest."""
    return f"sha256/{sha256}"


class ObstoreBlobs:
    """Blobs in any store that obstore knows.

    Args:
        store: the object store.
        folder: its folder if it is local: files are then forced to disk before a put returns.
    """

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Store bytes; see BlobStore.put."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._put(sha256, data)
        return sha256

    def put_file(self, path: Path, sha256: str) -> None:
        """Store a file; see BlobStore.put_file."""
        self._put(sha256, path)

    def get(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises: InternalError if they are not what was stored."""
        data = b"".join(self.stream(sha256))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InternalError(f"Blob {sha256} is damaged: restore it from a backup.")
        return data

    def stream(self, sha256: str) -> Iterator[bytes]:
        """The blob in pieces."""
        try:
            result = obstore.get(self._store, key_of(sha256))
        except (NoSuchObjectError, FileNotFoundError) as error:
            raise NotFoundError(f"There is no blob {sha256}.") from error
        return (bytes(piece) for piece in result.stream(min_chunk_size=PIECE_BYTES))

    def size_bytes(self, sha256: str) -> int:
        """Size of a blob."""
        try:
            return int(obstore.head(self._store, key_of(sha256))["size"])
        except (NoSuchObjectError, FileNotFoundError) as error:
            raise NotFoundError(f"There is no blob {sha256}.") from error

    def digests(self) -> set[str]:
        """Every blob there is."""
        found: set[str] = set()
        for page in obstore.list(self._store, prefix="sha256"):
            names = (str(entry["path"]).rpartition("/")[2] for entry in page)
            found.update(name for name in names if DIGEST.fullmatch(name))
        return found

    def check(self) -> None:
        """Write and read one small blob."""
        self.get(self.put(b"hadapt"))

    def _put(self, sha256: str, data: bytes | Path) -> None:
        try:
            obstore.put(self._store, key_of(sha256), data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            # Same digest, same bytes: unless a power cut left a file that was not yet on disk.
            self._mend(sha256, data)
        except Exception as error:
            if disk := storage_error(error):
                raise disk from error
            raise
        if self._folder is not None:
            self._force_to_disk(self._folder / key_of(sha256))

    def _mend(self, sha256: str, data: bytes | Path) -> None:
        wanted = data.stat().st_size if isinstance(data, Path) else len(data)
        if self.size_bytes(sha256) != wanted:
            obstore.put(self._store, key_of(sha256), data, mode="overwrite", use_multipart=False)

    def _force_to_disk(self, path: Path) -> None:
        try:
            _sync(path)
            _sync(path.parent)
        except OSError as error:
            if disk := storage_error(error):
                raise disk from error
            raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_blobs(settings: Settings) -> ObstoreBlobs:
    """The store that the settings name."""
    if settings.blob_url == "memory://":
        return ObstoreBlobs(MemoryStore())
    if settings.blob_url:
        return ObstoreBlobs(from_url(settings.blob_url))
    (settings.blob_dir / "sha256").mkdir(parents=True, exist_ok=True)
    return ObstoreBlobs(LocalStore(settings.blob_dir), settings.blob_dir)
