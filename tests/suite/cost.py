# SPDX-License-Identifier: Apache-2.0
"""Costs of the model suite on every board: benchmarks/results/suite.md.

python -m tests.suite.cost > benchmarks/results/suite.md
"""

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import m0_on_large_board
from codegen.generate import generate, write_folder
from device.harness.boards import BOARDS, Board
from device.harness.build import build
from device.harness.client import DeviceClient
from device.harness.devices import open_device
from device.harness.errors import FirmwareTooLargeError
from device.harness.stack import learner_stack
from device.harness.toolchain import find_toolchain
from device.twin.model import IntModel
from device.twin.scale import Scale

HEAD = """# Cost of the model suite

Made by `make bench-suite` (`python -m tests.suite.cost`): networks of the sizes of MLPerf Tiny, the
head alone trained, batch 8, 12 exemplars, gcc -O2. Flash, RAM and stack are those of the linked
firmware; instructions are executed guest instructions, counted in QEMU. The M0's code runs on a
larger emulated board, for only the smallest fits a micro:bit. Where a model does not fit, the table
says by how many bytes of what."""


@dataclass(frozen=True)
class Cost:
    """Figures on one board, None where it does not fit; `lack` says then what lacks."""

    core: str
    macs: int
    flash: int | None = None
    ram: int | None = None
    stack: int | None = None
    inference: int | None = None
    step: int | None = None
    lack: str = ""


def products(model: IntModel) -> int:
    """Multiply-accumulates of an inference, padding included."""
    taps = [node.weight[0].size if node.kind == "conv" else 0 for node in model.front]
    count = sum(node.outputs * n for node, n in zip(model.front, taps, strict=True))
    count += sum(layer.weight.size for layer in model.frozen)
    pixels = [layer.conv.pixels if layer.conv else 1 for layer in model.layers]
    return count + sum(p * layer.master.size for p, layer in zip(pixels, model.layers, strict=True))


def boards() -> list[Board]:
    """Each core once."""
    found = [m0_on_large_board()]
    return found + [b for b in BOARDS.values() if not b.is_host and b.name != "microbit"]


def cost_of(name: str, model: IntModel, board: Board, folder: Path) -> Cost:
    """Build, run an inference and a step, and look at the firmware."""
    macs = products(model)
    sources = write_folder(generate(model, board), folder / f"{name}-{board.core}")
    try:
        firmware = build(sources, board, find_toolchain(board), folder / "builds")
    except FirmwareTooLargeError as error:
        return Cost(board.core, macs, lack=f"{error.memory} by {error.overflow_bytes:,}")
    with ExitStack() as stack:
        transport = stack.enter_context(open_device(firmware, board))
        device = DeviceClient(transport)
        device.infer(np.zeros(model.inputs, np.int16))
        inference = transport.instructions()
        device.train_begin(1, 1, [(0, Scale.from_real(0.05))], "balanced")
        device.train(1 << 30)
        step = transport.instructions()
    worst = learner_stack(firmware).worst_bytes
    sizes = (firmware.flash_bytes, firmware.ram_bytes, worst)
    return Cost(board.core, macs, *sizes, inference, step)


def rows(costs: list[Cost]) -> list[str]:
    """Lines of the table."""
    lines = []
    for c in costs:
        if c.lack:
            lines.append(f"| {c.core} | too large: {c.lack} | | | | | |")
            continue
        numbers = (c.flash, c.ram, c.stack, c.inference, c.step)
        cells = [f"{n:,}" if n is not None else "" for n in numbers]
        per = f"{c.inference / c.macs:.2f}" if c.inference else ""
        lines.append(f"| {c.core} | {' | '.join(cells)} | {per} |")
    return lines


def main() -> int:
    """Command line."""
    from tests.parity.test_suite import integer_model
    from tests.suite.models import SUITE

    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for name in SUITE:
            model = integer_model(name)
            print(f"\n## {name}: {products(model):,} products an inference\n")
            print("| core | flash | RAM | stack | inference | training step | a product |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for board in boards():
                print(f"{name} {board.core}", file=sys.stderr, flush=True)
                for line in rows([cost_of(name, model, board, Path(folder))]):
                    print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
