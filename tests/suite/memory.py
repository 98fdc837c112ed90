# SPDX-License-Identifier: Apache-2.0
"""Inference arenas of the model suite beside their lower bounds: benchmarks/results/memory.md.

python -m tests.suite.memory > benchmarks/results/memory.md
"""

from collections.abc import Mapping

from codegen.arena import Arena
from codegen.lower import lower
from device.twin.model import IntModel

HEAD = """# Memory of the model suite

Bytes of the inference arenas that the generator lays out, beside the lower bound: the bytes live at
once at the busiest call, below which no layout is possible. "unshared" is the sum of all buffers.
Made by `python -m tests.suite.memory`; the tests hold it to the code, and every arena, that of the
training step too, to 1.1 times its bound.

| model | arena | lower bound | unshared |
| --- | --- | --- | --- |"""


def memory_table(models: Mapping[str, IntModel]) -> str:
    """The page for these models."""
    lines = [HEAD]
    for name, model in models.items():
        cells = _cells(lower(model).infer_arena)
        lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in cells)} |")
    return "\n".join(lines) + "\n"


def _cells(arena: Arena) -> tuple[int, int, int]:
    total = sum(place.buffer.bytes for place in arena.placements)
    return arena.bytes, arena.lower_bound, total


if __name__ == "__main__":
    from tests.parity.test_suite import integer_model
    from tests.suite.models import SUITE

    print(memory_table({name: integer_model(name) for name in SUITE}), end="")
