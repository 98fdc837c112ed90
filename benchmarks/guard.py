# SPDX-License-Identifier: Apache-2.0
"""What the forgetting guard refuses and lets pass, on real data, beside the twin's verdict.

    HADAPT_DATA=.. python -m benchmarks.guard [--seeds 3]

DSADS, 405-128-128-19: a device (host build of the field firmware) that knows 18 classes learns
alone, well and badly, and commits. Reserved samples are training samples that it never learns from;
the limits were set before the first run. Results in benchmarks/results/guard.md.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.generate import generate, runtime_files, write_folder
from codegen.importer import import_onnx
from codegen.quantize import quantize
from device.harness.boards import BOARDS
from device.harness.build import build
from device.harness.devices import open_device
from device.harness.ed25519 import ed25519_files
from device.harness.errors import DeviceStatusError
from device.harness.field_client import FieldClient
from device.harness.toolchain import find_toolchain
from device.twin.exemplars import Sampling, pack_x0
from device.twin.guard import Limits, TwinGuard, Verdict
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import IntModel
from device.twin.scale import Scale
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import Dataset, data_folder, load
from server.learning.firmwares import cache_folder
from server.learning.float_reference import TrainOptions, train_base
from server.learning.quantizing import parse_options
from server.learning.stream import make_stream

RESULT = Path(__file__).parent / "results" / "guard.md"
BASE, CLASSES, RESERVED, NEW, EXEMPLARS, STEPS = 18, 19, 8, 40, 114, 150
LIMITS = Limits(class_drop=500, mean_drop=50, new_floor=300)
RATE = 0.05
STATUS_REFUSED = -9
DEFINES = (
    "HAD_FIELD=1",
    f"HAD_GUARD_SLOTS={RESERVED * CLASSES}U",
    "HAD_FLASH_BLOCKS=512U",
    "HAD_STAGING_SLOTS=800U",
)


@dataclass(frozen=True)
class Case:
    """How the device learns.

    Attributes:
        old: new samples a class of the old ones; new: of the new class; 0: none, and no class more.
        mixed: share of the labels that are drawn anew, over all classes.
        only: all samples are of this one class.
    """

    title: str
    should_pass: bool
    old: int = 0
    new: int = NEW
    mixed: float = 0.0
    rate: float = RATE
    only: int | None = None
    sampling: Sampling = "balanced"


CASES = (
    Case("a new class", True),
    Case("a new class, and new samples of the old ones", True, old=10),
    Case("new samples of the old classes", True, old=20, new=0),
    Case("poisoned: three labels of four drawn at random", False, old=20, mixed=0.75),
    Case("learning rate 40 times too high", False, rate=40 * RATE),
    Case("skewed stream: one old class alone", False, new=0, only=3, sampling="new_uniform"),
    Case("skewed stream: the new class alone", False, sampling="new_uniform"),
)


@dataclass(frozen=True)
class Outcome:
    """Verdicts of device and twin; accuracy on test samples before, and after without a guard."""

    device: tuple[int, int, int]
    twin: tuple[int, int, int]
    before: float
    after: float
    kept: bool


class Trial:
    """A base network of one seed, and its firmware."""

    def __init__(self, data: Dataset, seed: int, folder: Path) -> None:
        self.data, self.seed = data, seed
        self.stream = make_stream(CLASSES, BASE, 1, seed)
        self.slots = self.stream.slots(data.y_train)
        rng = np.random.default_rng(seed)
        picks = [
            rng.permutation(np.flatnonzero(self.slots == c))[:RESERVED] for c in range(CLASSES)
        ]
        self.reserved = np.concatenate(picks)
        self.free = np.setdiff1d(np.arange(len(self.slots)), self.reserved)
        self.model = _model(data, self.slots, self.free, seed)
        host = BOARDS["host"]
        check = ed25519_files(cache_folder() / "third_party")
        files = {**generate(self.model, host), **runtime_files(), **check}
        sources = write_folder(files, folder / f"sources-{seed}")
        out = folder / "builds"
        tools = find_toolchain(host)
        self.firmware = build(sources, host, tools, out, opt="-O3", defines=DEFINES, march="native")

    @contextmanager
    def device(self) -> Iterator[FieldClient]:
        """A device with its guard armed."""
        with open_device(self.firmware, BOARDS["host"], "host") as transport:
            client = FieldClient(transport)
            for label, packed in self.guard().reserved:
                client.guard_add(label, packed)
            client.guard_limits(LIMITS.class_drop, LIMITS.mean_drop, LIMITS.new_floor)
            yield client

    def guard(self) -> TwinGuard:
        """The twin's guard with the same samples."""
        x0 = TwinLearner(self.model).x0_of(
            raw_samples(self.model, self.data.x_train[self.reserved])
        )
        packed = [pack_x0(row.astype(np.int8)) for row in x0]
        labels = self.slots[self.reserved].tolist()
        return TwinGuard(LIMITS, list(zip(labels, packed, strict=True)))

    def run(self, case: Case) -> Outcome:
        """Learn as the case says, and commit on both."""
        x, y = self._samples(case)
        with self.device() as device:
            for _ in range(BASE, CLASSES if case.new else BASE):
                device.add_class()
            for raw, label in zip(raw_samples(self.model, x), y.tolist(), strict=True):
                device.learn(raw, label)
            schedule = [(0, Scale.from_real(case.rate))]
            device.train_begin(self.seed, STEPS, schedule, case.sampling)
            device.train(1 << 31)
            twin = TwinLearner(self.model)
            before = self._accuracy(twin)
            twin.import_state(device.export_state(working=True))
            verdict = self.guard().check(twin)
            twin.commit()
            passed = _commit(device)
            info = device.field_info()
            found = (info.reason, info.compared, info.drop)
            held = device.export_state() != TwinLearner(self.model).export_state()
        return Outcome(found, _facts(verdict), before, self._accuracy(twin), passed and held)

    def _samples(self, case: Case) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rng = np.random.default_rng(100 + self.seed)
        counts = dict.fromkeys(range(BASE), case.old) | {BASE: case.new}
        if case.only is not None:
            counts = {case.only: 10 * NEW}
        free = {c: self.free[self.slots[self.free] == c] for c in counts}
        rows = np.concatenate([rng.permutation(free[c])[:n] for c, n in counts.items()])
        y = self.slots[rows].astype(np.int64)
        wrong = rng.random(len(y)) < case.mixed
        y[wrong] = rng.integers(0, CLASSES, wrong.sum())
        return self.data.x_train[rows], y

    def _accuracy(self, twin: TwinLearner) -> float:
        """Of the old classes, on test samples, in percent."""
        slots = self.stream.slots(self.data.y_test)
        old = slots < BASE
        found, _ = twin.infer_many(raw_samples(self.model, self.data.x_test[old]))
        return float(100 * np.mean(found == slots[old]))


def _model(data: Dataset, slots: NDArray[np.int64], free: NDArray[np.int64], seed: int) -> IntModel:
    rows = free[slots[free] < BASE]
    x, y = data.x_train[rows], slots[rows]
    normaliser = fit_normaliser(x)
    options = TrainOptions(hidden=(128, 128), epochs=20, milestones=(14,), batch=32, lr=0.05)
    params = train_base(normaliser.apply(x), y, BASE, options, seed)
    chosen = {"max_classes": CLASSES, "exemplar_slots": EXEMPLARS, "distillation": True}
    graph = import_onnx(to_onnx(params, normaliser).SerializeToString())
    return quantize(graph, x, y, parse_options(chosen))


def _commit(device: FieldClient) -> bool:
    try:
        device.commit()
    except DeviceStatusError as error:
        if error.status != STATUS_REFUSED:
            raise
        return False
    return True


def _facts(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.reason, verdict.compared, verdict.drop


REASON_WORDS = {0: "passes", 16: "a class fell", 17: "the mean fell", 18: "new class below floor"}


def row(case: Case, outcomes: list[Outcome]) -> str:
    """A line of the table."""
    verdicts = ", ".join(REASON_WORDS[o.device[0]] for o in outcomes)
    same = "yes" if all(o.device == o.twin for o in outcomes) else "NO"
    drops = ", ".join(f"{o.device[2] / max(1, o.device[1]) / 10:.1f}" for o in outcomes)
    before, after = (np.mean([getattr(o, n) for o in outcomes]) for n in ("before", "after"))
    wanted = "pass" if case.should_pass else "refuse"
    right = sum((o.device[0] == 0) == case.should_pass for o in outcomes)
    cells = [case.title, wanted, verdicts, f"{right} of {len(outcomes)}", drops, same]
    return f"| {' | '.join([*cells, f'{before:.1f}', f'{after:.1f}'])} |"


COLUMNS = (
    "what the device did",
    "should",
    "verdict, a seed each",
    "right",
    "mean drop of reserved samples, points",
    "twin's verdict the same",
    "test accuracy of the old classes before",
    "after, had it been committed",
)
HEAD = f"""# What the forgetting guard refuses

`make bench-guard`: DSADS, network 405-128-128-19, {BASE} classes known, {EXEMPLARS} exemplars,
{STEPS} steps of learning on the device, {RESERVED} reserved samples a class out of the training
people, limits {LIMITS.class_drop / 10:g} points a class, {LIMITS.mean_drop / 10:g} points of the
mean, {LIMITS.new_floor / 10:g} % of a new class, set before the first run. After a refusal the
device holds its old state to the byte (checked in every run). Test samples judge the guard; they
set nothing.

| {" | ".join(COLUMNS)} |
|{" --- |" * len(COLUMNS)}
"""


def main() -> None:
    """Run all cases, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    data = load("dsads_405", data_folder())
    with tempfile.TemporaryDirectory() as folder:
        trials = [Trial(data, seed, Path(folder)) for seed in range(1, seeds + 1)]
        lines = []
        for case in CASES:
            outcomes = [trial.run(case) for trial in trials]
            if any(o.kept != (o.device[0] == 0) for o in outcomes):
                raise RuntimeError(f"{case.title}: what the device holds contradicts its verdict")
            lines.append(row(case, outcomes))
            print(lines[-1], flush=True)
    RESULT.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
