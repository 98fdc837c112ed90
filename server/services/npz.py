# SPDX-License-Identifier: Apache-2.0
"""Reading npz files from outside: no pickle, no surprise in size, only the expected names."""

import errno
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from server.errors import InvalidInputError, Issue, PayloadTooLargeError

MAX_NAMES = 16
KINDS = {"number": "fiu", "label": "iuU"}


def read_npz(
    path: Path, names: Mapping[str, str], max_bytes: int, error: type[InvalidInputError]
) -> dict[str, NDArray[Any]]:
    """Arrays of an npz file.

    Args:
        path: the file.
        names: arrays that may be there, each "number" (float or integer) or "label" (integer or
            text); the first is required.
        max_bytes: of all arrays, unpacked.
        error: class of the error to raise.
    Raises: `error`, or PayloadTooLargeError if it unpacks to more than max_bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_directory(archive, names, max_bytes, error)
            return {
                info.filename.removesuffix(".npy"): _read_array(archive, info, names, error)
                for info in archive.infolist()
            }
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        RuntimeError,
        OSError,
    ) as cause:
        # EINVAL: the file's own offsets lead outside it. Others are the disk's.
        if isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL):
            raise
        raise _wrong(error, f"not a readable zip file ({cause})", "npz") from cause
    except (ValueError, SyntaxError, TypeError, MemoryError, OverflowError) as cause:
        raise _wrong(error, str(cause)[:200], "npz") from cause
    except Exception as cause:
        # zlib, lzma and bz2 each have an error class of their own.
        if isinstance(cause, InvalidInputError | PayloadTooLargeError):
            raise
        raise _wrong(error, f"cannot be unpacked ({cause})", "npz") from cause


def _wrong(error: type[InvalidInputError], what: str, where: str) -> InvalidInputError:
    expected = "a file written by numpy.savez, arrays of numbers or text"
    return error(f"The {where} is wrong: {what}.", [Issue(what, where, expected)])


def _check_directory(
    archive: zipfile.ZipFile,
    names: Mapping[str, str],
    limit: int,
    error: type[InvalidInputError],
) -> None:
    found = [info.filename for info in archive.infolist()][: MAX_NAMES + 1]
    allowed = [f"{name}.npy" for name in names]
    if len(set(found)) != len(found) or not set(found) <= set(allowed) or allowed[0] not in found:
        what = f"holds {', '.join(found)[:200] or 'nothing'}"
        issue = Issue(what, "npz", f"{allowed[0]} and nothing but {', '.join(allowed)}")
        raise error(f"The npz {what}.", [issue])
    if sum(info.file_size for info in archive.infolist()) > limit:
        raise PayloadTooLargeError(limit, "npz, unpacked,")


def _read_array(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    names: Mapping[str, str],
    error: type[InvalidInputError],
) -> NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as file:
        _check_header(file, info, names[name], error)
    with archive.open(info) as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))


def _check_header(
    file: IO[bytes], info: zipfile.ZipInfo, kind: str, error: type[InvalidInputError]
) -> None:
    """Refuse before anything is allocated: the header may promise more than the file holds."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.kind not in KINDS[kind]:
        raise _wrong(error, f"array of type {dtype}", info.filename)
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    if size > info.file_size:
        raise _wrong(error, f"header promises {size} bytes, file is shorter", info.filename)
