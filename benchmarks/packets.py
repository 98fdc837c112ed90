# SPDX-License-Identifier: Apache-2.0
"""Sizes of update packets on real data beside the whole firmware.

    HADAPT_DATA=.. python -m benchmarks.packets [--keep folder]

DSADS, network 405-128-128-19: 18 classes at first (order by seed), the 19th comes with 40 samples.
The service's own path: sessions on the host build, packets signed as for devices. The image is the
same model's firmware for a Cortex-M4, field functions and signature check included. Results in
benchmarks/results/packets.md. A kept folder holds what was learned: a run that was ended goes on.
"""

import argparse
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from codegen.importer import import_onnx
from codegen.quantize import quantize
from device.harness.boards import BOARDS
from device.twin.learner import TwinLearner
from device.twin.model import IntModel
from server.fleet.keys import FileSigner, generate_key
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import Dataset, data_folder, load
from server.learning.engine import HadaptEngine
from server.learning.firmwares import build_field, cache_folder
from server.learning.float_reference import TrainOptions, train_base
from server.learning.learner_data import LearnerData, initial_exemplars
from server.learning.methods import Method
from server.learning.packets import make_packet
from server.learning.ports import LearnTask, PacketTask
from server.learning.quantizing import parse_options
from server.learning.stream import TaskStream, make_stream

RESULT = Path(__file__).parent / "results" / "packets.md"
BOARD = "mps2-an386"
BASE, CLASSES, NEW_SAMPLES, OLD_SAMPLES, EXEMPLARS = 18, 19, 40, 20, 114
STEPS, SEED = 300, 1


@dataclass(frozen=True)
class Case:
    """An update: what learns, by which method, from which classes' samples."""

    title: str
    train_last: int | None
    master_bits: int
    method: Method = "replay"
    prototypes: bool = False
    whole: bool = False


ONE, ALL = "one class added", "samples of all classes"
CASES = (
    Case(f"{ONE}, by its prototype", 1, 16, "ncm", prototypes=True),
    Case(f"{ONE}, the head trained", 1, 8),
    Case(f"{ONE}, the head trained", 1, 16),
    Case(f"{ONE}, the head trained", 1, 8, prototypes=True),
    Case(f"{ONE}, the head trained", 1, 16, prototypes=True),
    Case(f"{ALL}, the head trained", 1, 8, whole=True),
    Case(f"{ALL}, the head trained", 1, 16, whole=True),
    Case(f"{ONE}, two layers trained", 2, 8),
    Case(f"{ONE}, all layers trained", None, 8),
    Case(f"{ONE}, all layers trained", None, 16),
)


@cache
def base_onnx(data: Dataset) -> bytes:
    """The base network, trained in float on the first classes."""
    stream = make_stream(CLASSES, BASE, 1, SEED)
    rows = stream.rows(data.y_train, 0)
    normaliser = fit_normaliser(data.x_train[rows])
    options = TrainOptions(hidden=(128, 128), epochs=20, milestones=(14,), batch=32, lr=0.05)
    x, y = normaliser.apply(data.x_train[rows]), stream.slots(data.y_train[rows])
    return to_onnx(train_base(x, y, BASE, options, SEED), normaliser).SerializeToString()


def make_model(data: Dataset, stream: TaskStream, case: Case) -> IntModel:
    """The integer model that a case learns with."""
    rows = stream.rows(data.y_train, 0)
    chosen: dict[str, Any] = {
        "max_classes": CLASSES,
        "exemplar_slots": EXEMPLARS,
        "staging_slots": NEW_SAMPLES,
        "master_bits": case.master_bits,
        "train_last": case.train_last,
        "keep_prototypes": case.prototypes,
    }
    graph = import_onnx(base_onnx(data))
    return quantize(
        graph, data.x_train[rows], stream.slots(data.y_train[rows]), parse_options(chosen)
    )


def learn(
    engine: HadaptEngine, model: IntModel, data: Dataset, stream: TaskStream, case: Case
) -> tuple[LearnerData, LearnerData]:
    """The learner of a new device, and after the session of a case, as the service runs it."""
    twin = TwinLearner(model)
    start = LearnerData(twin.export_state(), twin.state_hash(), initial_exemplars(model))
    slots = stream.slots(data.y_train)
    rng = np.random.default_rng(SEED)
    counts = dict.fromkeys(range(BASE if case.whole else 0), OLD_SAMPLES)
    counts[BASE] = NEW_SAMPLES
    rows = [rng.permutation(np.flatnonzero(slots == c))[:n] for c, n in counts.items()]
    chosen = np.concatenate(rows)
    x = data.x_train[chosen].astype(np.float32)
    task = LearnTask(
        int_model=model.to_bytes(),
        learner=start.to_bytes(),
        method=case.method,
        x=x,
        y=slots[chosen],
        class_count=CLASSES,
        steps=STEPS,
        learning_rate=None,
        seed=SEED,
    )
    chunk = engine.start(task)
    while not chunk.done:
        chunk = engine.train(task, chunk.checkpoint, STEPS, Event())
    done = engine.finish(task, chunk.checkpoint)
    return start, LearnerData.from_bytes(done.data)


def learned(
    engine: HadaptEngine, data: Dataset, stream: TaskStream, case: Case, folder: Path
) -> tuple[IntModel, LearnerData, LearnerData]:
    """Model and learners of a case, from the folder or made anew and kept there."""
    paths = [folder / f"{CASES.index(case)}.{what}" for what in ("model", "before", "after")]
    if not all(path.exists() for path in paths):
        model = make_model(data, stream, case)
        pair = learn(engine, model, data, stream, case)
        contents = (model.to_bytes(), *(learner.to_bytes() for learner in pair))
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
    made, before, after = (path.read_bytes() for path in paths)
    return (
        IntModel.from_bytes(made),
        LearnerData.from_bytes(before),
        LearnerData.from_bytes(after),
    )


def image_bytes(model: IntModel) -> int:
    """Flash of the firmware of layout `field` of a model on the board."""
    return build_field(model, BOARDS[BOARD], cache_folder()).flash_bytes


def accuracy(
    engine: HadaptEngine,
    model: IntModel,
    learner: LearnerData,
    data: Dataset,
    stream: TaskStream,
    method: Method,
) -> float:
    """Of the test samples of the classes that the learner knows, in percent."""
    slots = stream.slots(data.y_test)
    known = slots < learner.n_classes
    x = data.x_test[known].astype(np.float32)
    found = engine.predict(model.to_bytes(), learner.to_bytes(), method, x, Event())
    return float(100 * np.mean(found == slots[known]))


def row(engine: HadaptEngine, data: Dataset, signer: FileSigner, case: Case, folder: Path) -> str:
    """A line of the table."""
    stream = make_stream(CLASSES, BASE, 1, SEED)
    model, before, after = learned(engine, data, stream, case, folder)
    sizes = []
    for kept in (before.exemplars, after.exemplars):  # with none to send, and with the new ones
        result = LearnerData(after.state, after.state_hash, kept)
        task = PacketTask(
            model.to_bytes(), before.to_bytes(), result.to_bytes(), 1, "vendor.example"
        )
        packet = make_packet(task, signer)
        sizes.append((len(packet.envelope), packet.report["exemplars"]))
    image = image_bytes(model)
    share = 100 * sizes[0][0] / image
    figures = [accuracy(engine, model, s, data, stream, case.method) for s in (before, after)]
    cells = [
        case.title,
        str(case.master_bits),
        "yes" if case.prototypes else "no",
        f"{len(after.state):,}",
        f"{sizes[0][0]:,}",
        f"{sizes[1][0]:,} ({sizes[1][1]})",
        f"{image:,}",
        f"{share:.1f} %",
        f"{figures[0]:.1f} / {figures[1]:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


COLUMNS = (
    "update",
    "bits of a master",
    "prototypes",
    "state",
    "packet",
    "with exemplars (how many)",
    "image",
    "packet / image",
    "accuracy before / after",
)
HEAD = f"""# Sizes of update packets

`make bench-packets`: DSADS, network 405-128-128-19, {BASE} classes and then one more,
{NEW_SAMPLES} samples of it (and {OLD_SAMPLES} of each other class where all are named),
{STEPS} steps. Whole envelopes with signature, in bytes. Image: flash of the model's field
firmware on {BOARD}, signature check included. Accuracy in percent on the test samples of the
classes known before and after. A model that keeps prototypes takes all of them anew at a commit
after training; its packet carries them as differences from what the old sums lead to expect of so
many samples (SPEC.md 11.4). One seed: sizes are the point, accuracies only show that something was
learned.

| {" | ".join(COLUMNS)} |
|{" --- |" * len(COLUMNS)}
"""


def main() -> None:
    """Run all cases; print and write the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder of what was learned")
    kept = parser.parse_args().keep
    data = load("dsads_405", data_folder())
    engine = HadaptEngine()
    with tempfile.TemporaryDirectory() as folder:
        signer = generate_key(Path(folder) / "release.pem")
        keep = kept or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for case in CASES:
            lines.append(row(engine, data, signer, case, keep))
            print(lines[-1], flush=True)
            RESULT.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
