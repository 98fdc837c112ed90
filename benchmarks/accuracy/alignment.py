# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy.alignment: gradients of each arithmetic beside float32's.

    python -m benchmarks.accuracy.alignment --data dsads_405

A float32 network learns the tasks by replay. After every task the weight gradients of the next
batches of stored samples are taken in float32 and in every simulated arithmetic, from the same
weights: forward pass, loss and backward pass alike. Reported is the cosine of the two gradients of
a layer, mean over batches and seeds. Source: the analysis of Schiemer et al., arXiv 2310.03675.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy.learners import HostLearner, Schedule, softmax
from benchmarks.accuracy.networks import Network, Optimiser
from benchmarks.accuracy.quantisers import Float32Array
from benchmarks.accuracy.run import base_network
from benchmarks.accuracy.setting import Setting
from benchmarks.accuracy.simulations import HDQT, SIMULATIONS
from server.demo.html import Markup, join, tag, void
from server.learning.base_model import Normaliser
from server.learning.datasets import Dataset, DatasetError, data_folder, load
from server.learning.float_reference import Params
from server.learning.stream import make_stream

RESULTS = Path(__file__).parents[1] / "results"
ARITHMETICS = {
    **{name: how for name, how in SIMULATIONS.items() if name.startswith("simulated-")},
    "simulated-exact-sums": replace(HDQT, acc_bits=32),
    "float32": SIMULATIONS["float32"],
}
NAMES = tuple(name for name in ARITHMETICS if name != "float32")
BATCHES, BATCH = 20, 32
PANEL, HIGH, EDGE = 300, 200, 40  # of a layer's plot, and the room around it
COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#087f8c")
# cosines[name][task][layer]
Cosines = dict[str, list[list[float]]]


def cosines(data: Dataset, setting: Setting, seed: int) -> Cosines:
    """Cosine by arithmetic, task (the first after the base task) and layer."""
    classes = len(data.class_names)
    stream = make_stream(classes, setting.base_classes, setting.step_classes, seed)
    base = stream.rows(data.y_train, 0)
    x, y = data.x_train[base], stream.slots(data.y_train[base])
    params, normaliser = base_network(setting, x, y, seed)
    network = Network(params, normaliser, classes, SIMULATIONS["float32"], Optimiser(), seed)
    schedule = Schedule(setting.epochs, setting.batch, setting.learning_rate)
    learner = HostLearner(network, "replay", setting.exemplar_slots, schedule)
    learner.start(x, y)
    random, found = np.random.default_rng([seed, 5]), {name: list[list[float]]() for name in NAMES}
    for task in range(1, len(stream.tasks)):
        rows = stream.rows(data.y_train, task)
        slots = stream.slots(data.y_train[rows])
        learner.learn(data.x_train[rows], slots, stream.class_count(task), seed * 1000 + task)
        seen = stream.rows_seen(data.y_train, task)
        drawn = random.choice(seen, (BATCHES, BATCH))
        batches = [(data.x_train[r], stream.slots(data.y_train[r])) for r in drawn]
        for name, values in _of_batches(network.params(), normaliser, batches, seed).items():
            found[name].append(values)
    return found


def _of_batches(
    params: Params,
    normaliser: Normaliser,
    batches: Sequence[tuple[Float32Array, np.ndarray]],
    seed: int,
) -> dict[str, list[float]]:
    calibration = np.concatenate([x for x, _ in batches])
    exact = [gradients(params, normaliser, "float32", calibration, b, seed) for b in batches]
    found = {}
    for name in NAMES:
        pairs = [
            [_cosine(a, b) for a, b in zip(gradients(*args), wanted, strict=True)]
            for batch, wanted in zip(batches, exact, strict=True)
            for args in [(params, normaliser, name, calibration, batch, seed)]
        ]
        found[name] = np.mean(pairs, axis=0).tolist()
    return found


def gradients(
    params: Params,
    normaliser: Normaliser,
    name: str,
    calibration: Float32Array,
    batch: tuple[Float32Array, np.ndarray],
    seed: int,
) -> list[Float32Array]:
    """Weight gradients (O, I) of a batch of raw samples and labels, in the arithmetic of a name.

    Masters are float32 here, so that the gradient is what one step at rate 1 subtracts.
    """
    how = replace(ARITHMETICS[name], master_bits=32)
    network = Network(params, normaliser, len(params[-1].weight), how, Optimiser(), seed)
    network.calibrate(calibration)
    x, y = batch
    error = softmax(network.forward(network.store(x)))
    error[np.arange(len(y)), y] -= 1
    network.backward(error, 1.0)
    after = network.params()
    return [a.weight - b.weight for a, b in zip(params, after, strict=True)]


def _cosine(a: Float32Array, b: Float32Array) -> float:
    size = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float((a * b).sum()) / size if size else 0.0


def as_markdown(data: str, seeds: int, found: Cosines) -> str:
    """Mean cosine over tasks, a row an arithmetic and a column a layer."""
    layers = len(next(iter(found.values()))[0])
    lines = [
        f"# Gradients beside float32's: {data}",
        "",
        f"Made by `python -m benchmarks.accuracy.alignment --data {data} --seeds {seeds}`:",
        "cosine of a layer's weight gradient to that of float32, from the same weights and",
        "batches; mean over tasks, batches and seeds. Curves over tasks: the plot beside this.",
        "",
        "| arithmetic | " + " | ".join(f"layer {n}" for n in range(layers)) + " |",
        "| --- " * (layers + 1) + "|",
    ]
    for name, values in found.items():
        cells = " | ".join(f"{v:.3f}" for v in np.mean(values, axis=0))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def plot_alignment(data: str, found: Cosines) -> Markup:
    """A panel a layer: cosine from 0 to 1 over the tasks, a curve an arithmetic."""
    layers = len(next(iter(found.values()))[0])
    panels = [_panel(layer, found) for layer in range(layers)]
    keys = [
        tag("text", name, x=EDGE + 10, y=HIGH + 74 + 16 * index, fill=colour)
        for index, (name, colour) in enumerate(zip(found, COLOURS, strict=True))
    ]
    text = f"{data}: cosine of a layer's weight gradient to float32's, after every task"
    title = tag("text", text, x=EDGE, y=18)
    size = {"width": layers * (PANEL + EDGE) + EDGE, "height": HIGH + 150}
    opening = {"xmlns": "http://www.w3.org/2000/svg", "font_family": "sans-serif", "font_size": 12}
    return tag("svg", title, *panels, *keys, **opening, **size)


def _panel(layer: int, found: Cosines) -> Markup:
    left, top = EDGE + layer * (PANEL + EDGE), 30
    parts = [tag("text", f"layer {layer}", x=left + 10, y=top + HIGH + 16)]
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + HIGH * (1 - level)
        parts.append(void("line", x1=left, x2=left + PANEL, y1=y, y2=y, stroke="#ddd"))
        parts.append(tag("text", f"{level:g}", x=left - 4, y=y + 4, text_anchor="end"))
    for (name, tasks), colour in zip(found.items(), COLOURS, strict=True):
        steps = PANEL / max(1, len(tasks) - 1)
        points = [
            f"{left + i * steps:.1f},{top + HIGH * (1 - max(0.0, task[layer])):.1f}"
            for i, task in enumerate(tasks)
        ]
        line = void("polyline", points=" ".join(points), fill="none", stroke=colour)
        parts.append(tag("g", tag("title", name), line))
    return join(*parts)


def main(arguments: list[str]) -> int:
    """Measure, write alignment_SET.json, .md and .svg."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.alignment", description=__doc__)
    p.add_argument("--data", default="dsads_405")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--out", type=Path, default=RESULTS)
    args = p.parse_args(arguments)
    try:
        data = load(args.data, data_folder())
    except DatasetError as error:
        print(error, file=sys.stderr)
        return 1
    setting = Setting(data.name, "replay", "float32", normaliser_floor=0.5)
    runs = [cosines(data, setting, seed) for seed in range(args.seeds)]
    found = {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in NAMES}
    stem = args.out / f"alignment_{data.name}"
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    stem.with_suffix(".md").write_text(as_markdown(data.name, args.seeds, found))
    stem.with_suffix(".svg").write_text(plot_alignment(data.name, found) + "\n")
    print(stem.with_suffix(".md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
