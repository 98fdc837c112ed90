# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.cycles`: instructions by class, and a cycle model.

The classes are exact: executions of each address, disassembled by Capstone. The cycles are a
model (device.harness.cycles), never measured on silicon.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.executions import Execution
from benchmarks.measure import WARM_STEPS, m0_on_large_board, whole_steps
from benchmarks.models import ACTIVITY, SMALL_INT8, Subject, subject
from benchmarks.records import FOLDER
from device.harness.boards import BOARDS, Board
from device.harness.client import DeviceClient
from device.harness.cycles import CLASSES, CORES, disassemble, summarize
from device.harness.devices import QemuTransport, open_device
from server.learning.firmwares import cache_folder

Counts = dict[int, int]
INTRODUCTION = """\
# Instructions by class, and a model of cycles

Written by `python -m benchmarks.cycles`: GCC -O2, exact counts of executed instructions by class,
of one training step and one inference. **Cycles are a model**, from the manuals' tables and
without wait states: loads and stores 2 on M0; loads 2, or 1 right behind another, and stores 1 on
M3 and M4; several registers 1 + N; a taken branch 3, a call 4; division 7; multiply-accumulate 2
on M3 and 1 on M4, long ones 4 and 5 on M3. Nothing was measured on silicon.
"""


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
