# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.speed`: training speed of the generated C on this host.

One thread each, in turns, the best of several rounds: the host build of the generated C, a float32
PyTorch loop, and the method simulated in PyTorch, on networks of the same widths and batch.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.float_loops import float_step, load_torch, simulated_step
from benchmarks.models import drawn
from benchmarks.records import FOLDER
from device.harness.boards import BOARDS
from device.harness.toolchain import find_toolchain
from device.twin.model import Arithmetic
from server.learning.firmwares import cache_folder, host_learner
from server.learning.sessions import TrainPlan

SAMPLES = 256
WHOLE = 2**31
COMMAND = "python -m benchmarks.speed"
MISSING = (
    "PyTorch is not installed: the loops beside the generated C are left out (pip install torch)"
)


@dataclass(frozen=True)
class Case:
    """A network and how it is trained."""

    widths: tuple[int, ...]
    batch: int
    master_bits: int

    @property
    def name(self) -> str:
        """Widths, batch and masters as text."""
        widths = "-".join(map(str, self.widths))
        return f"{widths} b{self.batch} int{self.master_bits}"


CASES = (
    Case((405, 405, 405, 19), 128, 16),
    Case((405, 405, 405, 19), 128, 8),
    Case((405, 128, 128, 19), 64, 16),
)


@dataclass(frozen=True)
class Speed:
    """Milliseconds a training step; None without PyTorch."""

    network: str
    generated_c_ms: float
    float32_ms: float | None
    simulated_ms: float | None

    @property
    def to_float(self) -> float | None:
        """Time of the generated C by that of float32; at most 1 is no slower."""
        return self.generated_c_ms / self.float32_ms if self.float32_ms else None

    @property
    def simulation_to_c(self) -> float | None:
        """How many times as fast as the simulation the generated C is."""
        return self.simulated_ms / self.generated_c_ms if self.simulated_ms else None


@contextmanager
def trained_in_c(case: Case, cache: Path) -> Iterator[Callable[[int], None]]:
    """Trains so many more steps on the host build, in one session that does not end."""
    arithmetic = Arithmetic(master_bits=case.master_bits, batch=case.batch)
    subject = drawn(case.name, case.widths, arithmetic, SAMPLES)
    with host_learner(subject.model, SAMPLES, cache) as device:
        for raw, label in zip(subject.raw, subject.labels.tolist(), strict=True):
            device.learn(raw, label)
        plan = TrainPlan(10**6, seed=3, learning_rate=0.02)
        device.train_begin(plan.seed, plan.steps, plan.schedule_from(0), "balanced")
        units = device.info().units_per_step

        def train(steps: int) -> None:
            for _ in range(steps):
                device.train(units)

        yield train


def measure(case: Case, torch: Any, cache: Path, rounds: int, steps: int) -> Speed:
    """Best time of each loop over `rounds` rounds of about `steps` steps."""
    with trained_in_c(case, cache) as train:
        loops: list[tuple[Callable[[int], None], int]] = [(train, steps)]
        if torch is not None:
            for make, count in ((float_step, steps), (simulated_step, max(1, steps // 10))):
                step = make(torch, case.widths, case.batch, SAMPLES)
                loops.append((_repeated(step), count))
        best = [float("inf")] * len(loops)
        for loop, count in loops:
            loop(max(1, count // 10))
        for _ in range(rounds):
            best = [min(b, _milliseconds(*loop)) for b, loop in zip(best, loops, strict=True)]
    if torch is None:
        return Speed(case.name, best[0], None, None)
    return Speed(case.name, *best)


def _repeated(step: Callable[[], None]) -> Callable[[int], None]:
    def run(steps: int) -> None:
        for _ in range(steps):
            step()

    return run


def _milliseconds(loop: Callable[[int], None], steps: int) -> float:
    begun = time.perf_counter()
    loop(steps)
    return (time.perf_counter() - begun) / steps * 1000


def page(speeds: Sequence[Speed], torch_version: str) -> str:
    """The results as Markdown."""
    lines = [
        "# Training speed on the host",
        "",
        f"Made by `{COMMAND}`; one thread each, milliseconds a step, the best of several",
        f"rounds taken in turns. Processor: {_processor()}; {torch_version};",
        f"{find_toolchain(BOARDS['host']).version}, -O3 -march=native.",
        "",
        "| network | generated C | float32 | C / float32 | simulation | simulation / C |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for s in speeds:
        cells = (s.generated_c_ms, s.float32_ms, s.to_float, s.simulated_ms, s.simulation_to_c)
        lines.append(f"| {s.network} | " + " | ".join(map(_number, cells)) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the results")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, the best counts")
    parser.add_argument("--steps", type=int, default=50, help="steps a round")
    options = parser.parse_args(arguments)
    torch = load_torch()
    if torch is None:
        print(MISSING, file=sys.stderr)
    version = "no PyTorch" if torch is None else f"PyTorch {torch.__version__}"
    speeds = [measure(c, torch, cache_folder(), options.rounds, options.steps) for c in CASES]
    text = page(speeds, version)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.md").write_text(text)
    records = [
        {**asdict(s), "c_to_float32": s.to_float, "simulation_to_c": s.simulation_to_c}
        for s in speeds
    ]
    made = {"command": COMMAND, "processor": _processor(), "torch": version, "speeds": records}
    (options.out / "speed.json").write_text(json.dumps(made, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
