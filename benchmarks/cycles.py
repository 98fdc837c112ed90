# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.cycles`: instructions by class, and a cycle model.

The classes are exact: executions of each address, disassembled by Capstone. The cycles are a
model, never measured on silicon: no wait states, no cache, and a conditional branch counts as
taken as often as the instruction behind it is executed less often than the branch.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import capstone

from benchmarks.executions import Execution
from benchmarks.measure import WARM_STEPS, m0_on_large_board, whole_steps
from benchmarks.models import ACTIVITY, SMALL_INT8, Subject, subject
from benchmarks.records import FOLDER
from device.harness.boards import BOARDS, Board
from device.harness.client import DeviceClient
from device.harness.devices import QemuTransport, open_device
from device.harness.elf import code_ranges
from server.learning.firmwares import cache_folder

Counts = dict[int, int]
CORES = ("M0", "M3", "M4")
CLASSES = ("load", "store", "multiply", "divide", "branch", "call", "other")
_MODES = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
_CONDITIONS = "eq ne hs lo mi pl vs vc hi ls ge lt gt le"
_CONDITIONAL = frozenset([*(f"b{c}" for c in _CONDITIONS.split(" ")), "cbz", "cbnz"])

INTRODUCTION = """\
# Instructions by class, and a model of cycles

Written by `python -m benchmarks.cycles`: GCC -O2, exact counts of executed instructions by class,
of one training step and one inference. **Cycles are a model**, from the manuals' tables and
without wait states: loads and stores 2 on M0; loads 2, or 1 right behind another, and stores 1 on
M3 and M4; several registers 1 + N; a taken branch 3, a call 4; division 7; multiply-accumulate 2
on M3 and 1 on M4, long ones 4 and 5 on M3. Nothing was measured on silicon.
"""


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


def board_of(core: str) -> Board:
    """A board with room for every model that runs the core's code."""
    if core == "M0":
        return m0_on_large_board()
    return BOARDS[{"M3": "mps2-an385", "M4": "mps2-an386"}[core]]


def executions_of(
    item: Subject, execution: Execution, cache: Path
) -> Iterator[tuple[str, Path, Counts]]:
    """A step's and an inference's executions by address, with the firmware's ELF."""
    firmware = execution.build(item, cache)
    with open_device(firmware, execution.board, "qemu", profile=True) as transport:
        assert isinstance(transport, QemuTransport)
        client = DeviceClient(transport)
        list(whole_steps(client, item, transport, WARM_STEPS + 1))
        yield "training step", firmware.elf, transport.executions()
        client.infer(item.raw[0])
        yield "inference", firmware.elf, transport.executions()


def table(name: str, cache: Path) -> list[str]:
    """Rows of a model: a core's step and inference."""
    names = ["core", "what", "instructions", *CLASSES, "cycles (model)"]
    lines = [f"## {name}", "", f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for core in CORES:
        execution = Execution("qemu", board_of(core), "gcc")
        for what, elf, counts in executions_of(subject(name), execution, cache):
            found, modelled = summarize(core, counts, disassemble(elf))
            total = sum(found.values())
            shares = [f"{100 * found[kind] / total:.1f} %" for kind in CLASSES]
            row = [core, what, f"{total:,}", *shares, f"{modelled:,}"]
            lines.append(f"| {' | '.join(row)} |")
    return [*lines, ""]


def disassemble(elf: Path) -> Iterator[capstone.CsInsn]:
    """Instructions of a program, in order of address."""
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, _MODES)
    for part in code_ranges(elf):
        yield from decoder.disasm(part.data, part.address)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycles", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER / "cycles.md", help="result, Markdown")
    options = parser.parse_args(arguments)
    lines = [INTRODUCTION]
    for model in (SMALL_INT8, ACTIVITY):
        lines += table(model, cache_folder())
    options.out.write_text("\n".join(lines).rstrip("\n") + "\n")
    print("\n".join(lines[1:]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
