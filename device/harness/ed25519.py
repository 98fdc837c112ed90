# SPDX-License-Identifier: Apache-2.0
"""Ed25519 for firmware: libsodium's portable code, fetched when it is first built, never committed.

It lies inside the source distribution of the Python package PyNaCl, pinned here by version and
SHA-256 and fetched by pip. On a real platform the hook `had_port_verify` calls what is there.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from device.harness.errors import ToolchainMissingError
from device.harness.port import PORT_DIR

PACKAGE, VERSION = "PyNaCl", "1.6.2"
ARCHIVE = f"pynacl-{VERSION}.tar.gz"
SHA256 = "018494d6d696ae03c7e656e5e74cdfd8ea1326962cc401bcf018f1ed8436811c"
FETCH_LIMIT_S = 300.0
# For bills of materials.
THIRD_PARTY = {
    "name": "libsodium",
    "version": f"as in {PACKAGE} {VERSION}",
    "licence": "ISC",
    "purl": f"pkg:pypi/pynacl@{VERSION}",
}
ROOT = f"pynacl-{VERSION}/src/libsodium/src/libsodium/"
LICENSE = f"pynacl-{VERSION}/src/libsodium/LICENSE"
# Compiled, then what they include, by the place it is looked for.
UNITS = {
    "open": "crypto_sign/ed25519/ref10/open.c",
    "sign": "crypto_sign/ed25519/ref10/sign.c",
    "curve": "crypto_core/ed25519/ref10/ed25519_ref10.c",
    "sha512": "crypto_hash/sha512/cp/hash_sha512_cp.c",
    "verify": "crypto_verify/verify.c",
}
HEADERS = {
    "sign_ed25519_ref10.h": "crypto_sign/ed25519/ref10/sign_ed25519_ref10.h",
    **{
        f"fe_25_5/{name}.h": f"crypto_core/ed25519/ref10/fe_25_5/{name}.h"
        for name in ("base", "base2", "constants", "fe")
    },
    **{
        f"{name}.h": f"include/sodium/{name}.h"
        for name in (
            "crypto_hash_sha512",
            "crypto_sign_ed25519",
            "crypto_verify_16",
            "crypto_verify_32",
            "crypto_verify_64",
            "export",
            "randombytes",
            "utils",
        )
    },
    **{
        f"private/{name}.h": f"include/sodium/private/{name}.h"
        for name in ("common", "ed25519_ref10", "ed25519_ref10_fe_25_5")
    },
}
# Standard headers that it includes and a compiler without a C library has not.
FREESTANDING = ("stdlib.h", "sys/types.h")
# Its warnings are its own affair, and it is not configured by its own build.
_QUIET = b"#pragma GCC system_header\n#define CONFIGURED 1\n#define SODIUM_STATIC 1\n"


def ed25519_files(cache: Path) -> dict[str, bytes]:
    """Sources that give a firmware `had_port_verify`, to be written into its folder.

    Args:
        cache: folder that keeps the fetched archive.
    Returns: relative path to content.
    Raises: ToolchainMissingError if the package index does not give the pinned archive.
    """
    with tarfile.open(_archive(cache)) as tar:
        files = {}
        for name, member in UNITS.items():
            files[f"include/sodium_{name}.h"] = _QUIET + _member(tar, ROOT + member)
            files[f"sodium/{name}.c"] = f'#include "sodium_{name}.h"\n'.encode()
        for name, member in HEADERS.items():
            files[f"include/{name}"] = b"#pragma GCC system_header\n" + _member(tar, ROOT + member)
        files["sodium/LICENSE"] = _member(tar, LICENSE)
    for name in FREESTANDING:
        files[f"port/freestanding/{name}"] = (PORT_DIR / "freestanding" / name).read_bytes()
    files["sodium/hook.c"] = (PORT_DIR / "verify_ed25519.c").read_bytes()
    return files


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise ToolchainMissingError(f"{ARCHIVE} holds no {name}")
    return stream.read()


def _archive(cache: Path) -> Path:
    path = cache / ARCHIVE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        cache.mkdir(parents=True, exist_ok=True)
        _fetch(cache)
    return path


def _fetch(cache: Path) -> None:
    """Let pip download and check the archive, then move it into place at once."""
    with tempfile.TemporaryDirectory(dir=cache) as name:
        pins = Path(name) / "pins.txt"
        pins.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", PACKAGE, "--require-hashes", "-r", str(pins), "-d", name]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolchainMissingError(f"cannot fetch {ARCHIVE}: {error}") from error
        fetched = Path(name) / ARCHIVE
        if done.returncode != 0 or not fetched.is_file():
            raise ToolchainMissingError(f"cannot fetch {ARCHIVE} with pip: {done.stderr[-500:]}")
        fetched.rename(cache / ARCHIVE)
