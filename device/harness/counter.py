# SPDX-License-Identifier: Apache-2.0
"""Exact instruction counts from QEMU: builds the plugin, reads what it counts."""

import bisect
import fcntl
import hashlib
import mmap
import os
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from device.harness.boards import BOARDS
from device.harness.build import WARNINGS
from device.harness.elf import Symbol
from device.harness.errors import BuildError
from device.harness.process import FIRST_FREE_DESCRIPTOR
from device.harness.run import run_limited
from device.harness.toolchain import Toolchain, find_toolchain

PLUGIN_SOURCE = Path(__file__).parent / "plugin" / "count.c"
PLUGIN_NAME = "libcount.so"
PLUGIN_LIMIT_S = 120.0

# Layout of the shared file: see results and slot in count.c.
_HEAD = struct.Struct("<QQQQ")
_SLOT = struct.Struct("<QQQ")
_SLOTS = 65536
_USED = 0x1_0000_0000
RESULT_BYTES = _HEAD.size + _SLOTS * _SLOT.size


def build_plugin(cache: Path) -> Path:
    """The counting plugin as a shared library in a cache folder, compiled if it is not there.

    Raises: ToolchainMissingError without a host compiler; BuildError.
    """
    toolchain = find_toolchain(BOARDS["host"])
    digest = hashlib.sha256(PLUGIN_SOURCE.read_bytes() + toolchain.version.encode())
    folder = cache / f"plugin-{digest.hexdigest()[:16]}"
    if not (folder / PLUGIN_NAME).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".plugin-") as name:
            made = _compile(toolchain, Path(name))
            made.replace(folder / PLUGIN_NAME)
    return folder / PLUGIN_NAME


def _compile(toolchain: Toolchain, folder: Path) -> Path:
    target = folder / PLUGIN_NAME
    command = [*toolchain.command, "-std=gnu11", "-O2", "-shared", "-fPIC", *WARNINGS]
    command += [PLUGIN_SOURCE.name, "-o", str(target)]
    try:
        done = run_limited(command, cwd=PLUGIN_SOURCE.parent, timeout_s=PLUGIN_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise BuildError("compiling the count plugin did not end") from error
    if done.returncode != 0:
        raise BuildError("compiling the count plugin failed", done.stdout)
    return target


class CountFile:
    """The memory that the plugin shares with this process: a file without a name."""

    def __init__(self, profile: bool = False) -> None:
        """Make an empty one; `profile`: ask for counts per address as well."""
        low = os.memfd_create("hadapt-count")
        self.descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)
        os.close(low)
        self._profile = profile
        os.truncate(self.descriptor, RESULT_BYTES)
        self._map = mmap.mmap(self.descriptor, RESULT_BYTES, prot=mmap.PROT_READ)

    def plugin_argument(self, plugin: Path) -> str:
        """QEMU's `-plugin` value; QEMU must inherit `descriptor`."""
        return f"{plugin},out=/proc/self/fd/{self.descriptor}" + (
            ",profile=on" if self._profile else ""
        )

    def regions(self) -> int:
        """How many marked regions have ended."""
        return int(_HEAD.unpack_from(self._map)[0])

    def last(self) -> int:
        """Instructions of the last region."""
        return int(_HEAD.unpack_from(self._map)[1])

    def by_address(self) -> dict[int, int]:
        """Executions per instruction address in the last region; needs profile.

        Raises: ValueError if profiling is off or the program has too many instructions.
        """
        if not self._profile:
            raise ValueError("start the transport with profile=True")
        if _HEAD.unpack_from(self._map)[3]:
            raise ValueError(f"more than {_SLOTS} instruction addresses")
        slots = _SLOT.iter_unpack(self._map[_HEAD.size : RESULT_BYTES])
        return {pc - _USED: frozen for pc, _, frozen in slots if pc and frozen}

    def close(self) -> None:
        """Release the memory; safe to call twice."""
        if not self._map.closed:
            self._map.close()
            os.close(self.descriptor)


def by_function(counts: Mapping[int, int], symbols: Sequence[Symbol]) -> dict[str, int]:
    """Instructions per function, most first.

    Args:
        counts: executions per address.
        symbols: of the same ELF, by address.
    Returns: function name to executed instructions; "?" for addresses in no function.
    """
    functions = [s for s in symbols if s.is_function]
    starts = [s.address for s in functions]
    totals: dict[str, int] = {}
    for address, count in counts.items():
        index = bisect.bisect_right(starts, address) - 1
        inside = index >= 0 and address < starts[index] + max(functions[index].size_bytes, 1)
        name = functions[index].name if inside else "?"
        totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
