# SPDX-License-Identifier: Apache-2.0
"""`python -m device.harness.overflow`: Frama-C's WP proves that integer kernels do not overflow.

The contracts stand in the kernels as ACSL comments; WP proves them, and adds a goal for every
signed overflow, narrowing conversion, shift and memory access.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from device.harness.errors import ToolchainMissingError

RUNTIME = Path(__file__).parents[1] / "runtime"
SHIFTS = Path(__file__).parent / "acsl" / "shifts.h"
PROVERS = ("z3", "cvc4")
GOAL_LIMIT_S = 10
LIMIT_S = 600
# Enough of a configuration for the kernels: tiles of 32 terms, 8-bit accumulators, plain loops.
CONFIG = {
    "TILE_K": "32U",
    "ACC_BITS": "8",
    "SATURATE_EVERY_ADD": "0",
    "LANES": "4U",
    "ROWS": "1U",
    "BATCH_STRIDE": "32U",
    "LAYERS": "2",
    "TILES": "1U",
    "MASTER_COUNT": "1U",
    "BIAS_COUNT": "1U",
    "OPERATIONS": "1U",
    "MASTER_BITS": "8",
    "ORDER": "16",
    "X0_SIGNED": "1U",
}
SOURCE = "src/kernels/had_dot_row.c"
CONV = "src/front/had_conv.c"
STATISTICS = "src/signal/had_window_stats.c"
SOURCES = (SOURCE, CONV, STATISTICS)
HEADER = "include/hadapt/quant.h"
# Functions proved; each carries its contract.
PROVED = (
    "had_rhu",
    "had_clamp",
    "had_saturate_s16",
    "had_widen",
    "had_abs",
    "had_quant_clip",
    "had_quant_nearest",
    "had_quant_positive",
    "had_quant_small",
    "had_saturate_acc",
    "tile",
    "output_of",
    "saturated",
    "scan",
)
_TOTAL = re.compile(r"Proved goals:\s+(\d+) / (\d+)")
_OPEN = re.compile(r"\[wp\] \[(?:Failed|Timeout|Unknown)[^\]]*\] Goal (\w+)")


@dataclass(frozen=True)
class Proof:
    """Goals proved, all goals, and the names of those that are open."""

    proved: int
    goals: int
    open_goals: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every goal is proved."""
        return self.proved == self.goals > 0


def missing() -> str | None:
    """What this machine lacks for proofs, in one line."""
    lacking = [name for name in ("frama-c", "why3", *PROVERS) if shutil.which(name) is None]
    if not lacking:
        return None
    return f"{', '.join(lacking)} missing: apt install frama-c-base why3 {' '.join(PROVERS)}"


def prove(functions: tuple[str, ...] = PROVED, change: tuple[str, str, str] | None = None) -> Proof:
    """Prove the contracts of functions.

    Args:
        change: file below the runtime, text in it, and what takes its place, to show what the proof
            depends on.
    Raises: ToolchainMissingError; ValueError if the text is not in the file.
    """
    lack = missing()
    if lack is not None:
        raise ToolchainMissingError(lack)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(RUNTIME, folder / "runtime")
        _write_config(folder)
        if change is not None:
            _replace(folder / "runtime" / change[0], *change[1:])
        return _parse(_run(folder, functions))


def _write_config(folder: Path) -> None:
    lines = [f"#define HAD_{name} {value}" for name, value in CONFIG.items()]
    (folder / "hadapt_config.h").write_text("\n".join(lines) + "\n")
    includes = ('#include "hadapt/quant.h"', *(f'#include "runtime/{path}"' for path in SOURCES))
    (folder / "kernels.c").write_text("\n".join(includes) + "\n")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if old not in text:
        raise ValueError(f"{path.name} has no {old!r}")
    path.write_text(text.replace(old, new, 1))


def _run(folder: Path, functions: tuple[str, ...]) -> str:
    environment = {**os.environ, "WHY3CONFIG": str(folder / "why3.conf")}
    subprocess.run(
        ["why3", "config", "detect"], env=environment, capture_output=True, timeout=LIMIT_S
    )
    includes = [".", "runtime/include", "runtime/src"]
    flags = " ".join(f"-I{folder / path}" for path in includes)
    command = ["frama-c", "-c11", "-machdep", "gcc_x86_64"]
    command += [f"-cpp-extra-args={flags} -include {SHIFTS}"]
    command += ["-wp", "-wp-rte", "-warn-signed-downcast", "-wp-prover", ",".join(PROVERS)]
    command += ["-wp-timeout", str(GOAL_LIMIT_S), "-wp-par", "2", "-wp-fct", ",".join(functions)]
    done = subprocess.run(
        [*command, str(folder / "kernels.c")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return done.stdout + done.stderr


def _parse(log: str) -> Proof:
    total = _TOTAL.search(log)
    if total is None:
        raise ValueError(f"Frama-C proved nothing: {log[-2000:]}")
    return Proof(int(total[1]), int(total[2]), tuple(sorted(set(_OPEN.findall(log)))))


def main() -> int:
    """Command line. Returns: 1 if a goal is open."""
    proof = prove()
    print(f"{proof.proved} of {proof.goals} goals proved for {len(PROVED)} functions")
    for goal in proof.open_goals:
        print(f"open: {goal}")
    return 0 if proof.holds else 1


if __name__ == "__main__":
    sys.exit(main())
