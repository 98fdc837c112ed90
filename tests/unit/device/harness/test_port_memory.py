# SPDX-License-Identifier: Apache-2.0
"""The port's memcpy, memmove, memset and memcmp against Python's bytes."""

import ctypes
import random
import subprocess

import pytest

from device.harness.boards import BOARDS
from device.harness.port import PORT_DIR
from device.harness.toolchain import find_toolchain

SIZE = 64
CASES = 400


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """mem.c under other names, so that it does not take the place of the process's own."""
    target = tmp_path_factory.mktemp("mem") / "mem.so"
    names = [f"-D{name}=port_{name}" for name in ("memcpy", "memmove", "memset", "memcmp")]
    command = [*find_toolchain(BOARDS["host"], "gcc").command, "-O2", "-shared", "-fPIC", *names]
    subprocess.run([*command, str(PORT_DIR / "mem.c"), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def test_memcpy_and_memmove_any_alignment_equal_slices(library: ctypes.CDLL) -> None:
    draw = random.Random(1)
    for case in range(CASES):
        before = draw.randbytes(SIZE)
        area = ctypes.create_string_buffer(before, SIZE)
        n = draw.randrange(SIZE // 2)
        to, source = draw.randrange(SIZE - n), draw.randrange(SIZE - n)
        overlap = abs(to - source) < n
        name = "port_memmove" if overlap else "port_memcpy"
        base = ctypes.addressof(area)
        getattr(library, name)(
            ctypes.c_void_p(base + to), ctypes.c_void_p(base + source), ctypes.c_size_t(n)
        )
        want = bytearray(before)
        want[to : to + n] = before[source : source + n]
        assert area.raw == bytes(want), f"seed 1, case {case}: {name}"


def test_memset_any_alignment_equals_slices(library: ctypes.CDLL) -> None:
    draw = random.Random(2)
    for case in range(CASES):
        before = draw.randbytes(SIZE)
        area = ctypes.create_string_buffer(before, SIZE)
        n, value = draw.randrange(SIZE // 2), draw.randrange(-128, 256)
        at = draw.randrange(SIZE - n)
        library.port_memset(ctypes.c_void_p(ctypes.addressof(area) + at), value, ctypes.c_size_t(n))
        want = bytearray(before)
        want[at : at + n] = bytes([value & 0xFF]) * n
        assert area.raw == bytes(want), f"seed 2, case {case}"


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [(b"", b"", 0), (b"abc", b"abc", 0), (b"abd", b"abc", 1), (b"\x01", b"\xff", -1)],
)
def test_memcmp_sign_is_that_of_the_first_difference(
    a: bytes, b: bytes, sign: int, library: ctypes.CDLL
) -> None:
    found = library.port_memcmp(a, b, ctypes.c_size_t(len(a)))
    assert (found > 0) - (found < 0) == sign
