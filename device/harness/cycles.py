# SPDX-License-Identifier: Apache-2.0
"""A model of cycles from exact executions of each instruction; nothing was measured on silicon.

No wait states, no cache; a conditional branch counts as taken as often as the instruction behind it
is executed less often than the branch. The tables are those of the manuals of Cortex-M0, M3 and M4.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import capstone

from device.harness.elf import code_ranges

CORES = ("M0", "M3", "M4")
CLASSES = ("load", "store", "multiply", "divide", "branch", "call", "other")
_MODES = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
_CONDITIONS = "eq ne hs lo mi pl vs vc hi ls ge lt gt le"
_CONDITIONAL = frozenset([*(f"b{c}" for c in _CONDITIONS.split(" ")), "cbz", "cbnz"])


def instruction_class(mnemonic: str) -> str:
    """One of CLASSES for a Thumb mnemonic, widths and flags left out.

    Example: "ldrsb.w" is a load, "smlad" a multiply, "bne" a branch, "bl" a call.
    """
    name = mnemonic.split(".")[0]
    if name.startswith(("ldr", "ldm", "pop", "vldr")):
        return "load"
    if name.startswith(("str", "stm", "push", "vstr")):
        return "store"
    if name.startswith(("mul", "mla", "mls", "smul", "smla", "smlal", "umull", "umlal", "smlad")):
        return "multiply"
    if name in ("sdiv", "udiv"):
        return "divide"
    if name in ("bl", "blx"):
        return "call"
    return "branch" if name in _CONDITIONAL or name in ("b", "bx", "tbb", "tbh") else "other"


def cycles(core: str, name: str, registers: int, follows_load: bool) -> int:
    """Cycles of an instruction that does not branch, or of a taken branch, in the model.

    Args:
        core: of CORES. name: mnemonic without width. registers: of a load or store of several.
        follows_load: whether a load or store comes right before it.
    """
    kind = instruction_class(name)
    if kind in ("load", "store"):
        if name.startswith(("ldm", "stm", "push", "pop")):
            return 1 + registers
        if name == "ldrd":
            return 3
        if core == "M0":
            return 2
        return 1 if kind == "store" or follows_load else 2
    if kind == "multiply" and core == "M3":
        long = 4 if name.endswith("ull") else 5
        return (
            long if name in ("umull", "smull", "umlal", "smlal") else 1 + (name in ("mla", "mls"))
        )
    return {"divide": 7, "branch": 3, "call": 4}.get(kind, 1)


def summarize(
    core: str, counts: Mapping[int, int], code: Iterable[capstone.CsInsn]
) -> tuple[Counter[str], int]:
    """Executions by class, and the model's cycles.

    Args:
        counts: executions by address. code: the program's instructions, in order of address.
    """
    found: Counter[str] = Counter()
    total = 0
    before: capstone.CsInsn | None = None
    for insn in code:
        times = counts.get(insn.address, 0)
        name = insn.mnemonic.split(".")[0]
        memory = before is not None and instruction_class(before.mnemonic) in ("load", "store")
        registers = insn.op_str.count(",") + (0 if name.startswith(("ldm", "stm")) else 1)
        cost = cycles(core, name, registers, memory)
        if times:
            found[instruction_class(name)] += times
            total += times * cost
        if name in _CONDITIONAL and times:
            after = counts.get(insn.address + insn.size, 0)
            total -= min(times, after) * (cost - 1)  # not taken: one cycle
        before = insn
    return found, total


def disassemble(elf: Path) -> Iterator[capstone.CsInsn]:
    """Instructions of a program, in order of address."""
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, _MODES)
    for part in code_ranges(elf):
        yield from decoder.disasm(part.data, part.address)


def modelled_cycles(core: str, counts: Mapping[int, int], elf: Path) -> int:
    """Cycles of executions by address, in the model of one of CORES."""
    return summarize(core, counts, disassemble(elf))[1]
