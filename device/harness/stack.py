# SPDX-License-Identifier: Apache-2.0
"""Worst-case stack of a firmware: frames summed along the call graph."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device.harness.callgraph import FunctionCode, read_functions
from device.harness.errors import StackError
from device.harness.firmware import Firmware

ROOT = "Reset_Handler"
ANY_CALLER = "*"


@dataclass(frozen=True, slots=True)
class StackReport:
    """Worst-case stack.

    Attributes:
        worst_bytes: from the root down the deepest path. No interrupt is used, and faults are
            reported on a fresh stack, so nothing is to be added.
        path: functions of the deepest path, the root first.
        frames: bytes of every reachable function.
        from_compiler: how many of these frames GCC stated; the others, all of them for zig, are
            read from the instructions and may be a little too large.
    """

    worst_bytes: int
    path: tuple[str, ...]
    frames: dict[str, int]
    from_compiler: int


def worst_stack(
    firmware: Firmware,
    indirect: Mapping[str, Sequence[str]] | None = None,
    root: str = ROOT,
) -> StackReport:
    """Worst-case stack of a device firmware.

    Args:
        firmware: built for a device, not the host.
        indirect: for each function that calls through a pointer, the functions it may reach; the
            key "*" stands for every such function not named.
        root: where to start.
    Returns: the report.
    Raises: StackError on recursion, a dynamic frame, a call through a pointer that `indirect` does
        not name, or a firmware of the host.
    """
    if firmware.board == "host":
        raise StackError("the host's stack is not analysed")
    return _Walk(firmware, indirect or {}).report(root)


def learner_stack(firmware: Firmware) -> StackReport:
    """Worst-case stack of a generated firmware: its one pointer call reaches the wire's handlers.

    Raises: StackError as worst_stack.
    """
    handlers = sorted(
        s.name for s in firmware.symbols if s.is_function and s.name.startswith("handle_")
    )
    return worst_stack(firmware, {"had_wire_handle": handlers})


class _Walk:
    """Depth first over the call graph; each function once."""

    def __init__(self, firmware: Firmware, indirect: Mapping[str, Sequence[str]]) -> None:
        self._functions = read_functions(firmware.elf)
        self._starts = sorted(self._functions)
        self._by_name = {s.name: s.address for s in firmware.symbols if s.is_function}
        self._stated = _stated_frames(firmware)
        self._indirect = indirect
        self._worst: dict[int, int] = {}
        self._next: dict[int, int | None] = {}
        self._frames: dict[str, int] = {}
        self._from_compiler = 0

    def report(self, root: str) -> StackReport:
        start = self._address(root)
        worst = self._visit(start, ())
        path: list[str] = []
        at: int | None = start
        while at is not None:
            path.append(self._functions[at].symbol.name)
            at = self._next[at]
        return StackReport(worst, tuple(path), self._frames, self._from_compiler)

    def _visit(self, address: int, above: tuple[int, ...]) -> int:
        if address in above:
            loop = [*above[above.index(address) :], address]
            names = " -> ".join(self._functions[a].symbol.name for a in loop)
            raise StackError(f"recursion: {names}")
        if address not in self._worst:
            function = self._functions[address]
            below = {a: self._visit(a, (*above, address)) for a in self._callees(function)}
            deepest = max(below, key=lambda a: (below[a], -a), default=None)
            self._next[address] = deepest
            under = below[deepest] if deepest is not None else 0
            self._worst[address] = self._frame(function) + under
        return self._worst[address]

    def _callees(self, function: FunctionCode) -> list[int]:
        name = function.symbol.name
        callees = {self._start_of(address, name) for address in function.calls}
        if function.calls_unknown:
            targets = self._indirect.get(_base(name), self._indirect.get(ANY_CALLER))
            if targets is None:
                raise StackError(f"{name} calls through a pointer: name its targets in `indirect`")
            callees |= {self._address(target) for target in targets}
        return sorted(callees)

    def _start_of(self, address: int, caller: str) -> int:
        """The function at an address; hand-written helpers jump into each other's middle."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._functions[self._starts[index]].end:
            raise StackError(f"{caller} calls 0x{address:08x}, which is no function")
        return self._starts[index]

    def _address(self, name: str) -> int:
        if name not in self._by_name:
            raise StackError(f"no function {name} in the firmware")
        return self._by_name[name]

    def _frame(self, function: FunctionCode) -> int:
        name = function.symbol.name
        stated = self._stated.get(_base(name))
        if stated is None and function.unbounded:
            raise StackError(f"{name} moves the stack pointer by a computed amount")
        is_clone = _base(name) != name
        size = function.pushed_bytes if stated is None else stated
        if is_clone and not function.unbounded:
            size = max(size, function.pushed_bytes)
        self._frames[name] = size
        self._from_compiler += stated is not None
        return size


def _stated_frames(firmware: Firmware) -> dict[str, int]:
    """Frames by function name; of equal names (static functions) the largest.

    Raises: StackError on a dynamic frame.
    """
    stated: dict[str, int] = {}
    for frame in firmware.frames:
        if frame.kind.startswith("dynamic") and "bounded" not in frame.kind:
            raise StackError(f"{frame.source}: {frame.function} has a dynamic frame")
        name = _base(frame.function)
        stated[name] = max(stated.get(name, 0), frame.bytes)
    return stated


def _base(name: str) -> str:
    """Name without the suffix of a clone (.constprop.0, .part.0, .isra.0)."""
    return name.split(".", 1)[0]
