# SPDX-License-Identifier: Apache-2.0
"""Whole sessions run on two learners at once, compared after every command."""

from collections.abc import Callable
from typing import Any

import numpy as np

from device.harness.client import DeviceClient
from device.harness.errors import DeviceStatusError
from device.twin.distillation import NONE, Distillation
from device.twin.learner import LearnerError, TwinLearner
from device.twin.model import IntModel
from device.twin.scale import Scale
from tests.parity.models import random_raw


class Pair:
    """A twin and a device that get the same commands.

    Every command's answer, or its refusal, must be equal; between steps the state hashes too.
    """

    def __init__(self, model: IntModel, twin: TwinLearner, device: DeviceClient) -> None:
        self.model = model
        self.twin = twin
        self.device = device
        self.log: list[str] = []

    def both(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Run a command on both; returns the common answer, or the common status if refused."""
        self.log.append(f"{name}{arguments}"[:120])
        expected = _answer(lambda: getattr(self.twin, name)(*arguments, **options))
        got = _answer(lambda: getattr(self.device, name)(*arguments, **options))
        assert got == expected, self.report(f"{name}: device {got}, twin {expected}")
        return expected

    def compare_states(self) -> None:
        """State hashes; where they differ, say what differs first."""
        expected, got = self.twin.state_hash(), self.device.state_hash()
        if got != expected:
            raise AssertionError(self.report(self.first_difference()))

    def first_difference(self) -> str:
        """The first field of the working states that differs."""
        expected = self.twin.export_state(working=True)
        got = self.device.export_state(working=True)
        at = next((i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b), None)
        return "samples differ" if at is None else f"state byte {at}: {field_at(self.model, at)}"

    def report(self, what: str) -> str:
        """What went wrong, and after which commands."""
        return f"{self.model.name}: {what}; after {self.log[-6:]}"


def _answer(command: Callable[[], Any]) -> Any:
    try:
        return plain(command())
    except (LearnerError, DeviceStatusError) as error:
        return ("refused", error.status)
    except Exception as error:
        if hasattr(error, "status"):
            return ("refused", error.status)
        raise


def plain(value: Any) -> Any:
    """Answers in a form that compares: arrays as lists, dataclasses as their values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return tuple(getattr(value, name) for name in value.__dataclass_fields__)
    return value


def field_at(model: IntModel, at: int) -> str:
    """Name of the field that holds byte `at` of an exported state (SPEC.md 9)."""
    width = model.arithmetic.master_bits // 8
    parts = [("header", 32), ("step", 4)]
    for n, layer in enumerate(model.layers):
        parts += [(f"layer {n} masters", layer.master.size * width)]
        parts += [(f"layer {n} biases", 4 * layer.outputs)]
    parts += [("tracked ranges", 4 * (len(model.layers) - 1))]
    for name, size in parts:
        if at < size:
            return f"{name}, byte {at}"
        at -= size
    return f"correction, prototypes or digest, byte {at}"


SCHEDULE = [(0, Scale.from_real(0.15)), (2, Scale.from_real(0.02))]


def run_session(pair: Pair, seed: int, steps: int = 3) -> None:
    """Learn, add a class, train in odd slices with inferences between, roll back and commit."""
    raw = random_raw(pair.model, 40, seed)
    labels = np.random.default_rng(seed).integers(0, pair.model.n_classes, 40)
    _probe(pair, raw[:4])
    for sample, label in zip(raw[:5], labels[:5], strict=True):
        pair.both("learn", sample, int(label))
    pair.compare_states()
    new = pair.both("add_class")
    for sample in raw[5:8]:
        pair.both("learn", sample, new)
    _train(pair, seed, steps, "balanced", raw)
    pair.both("rollback")
    pair.both("learn", raw[8], 0, True)
    again = pair.both("add_class")
    for sample, label in zip(raw[9:24], labels[9:24], strict=True):
        pair.both("learn", sample, int(label) if label else again)
    _train(pair, seed + 1, steps, "uniform", raw)
    pair.both("commit")
    _probe(pair, raw[24:30])
    pair.both("export_state")
    _read_samples(pair)


def run_method_session(pair: Pair, seed: int, steps: int = 3) -> None:
    """Tasks with distillation and from new samples alone; bad options are refused alike."""
    raw = random_raw(pair.model, 40, seed)
    pair.both("train_begin", 1, 2, SCHEDULE, "new_uniform")
    new = pair.both("add_class")
    for at, sample in enumerate(raw[:8]):
        pair.both("learn", sample, new if at % 3 else at % pair.model.n_classes)
    for how in (Distillation(0, 1), Distillation(9, 4)):
        pair.both("train_begin", 1, 2, SCHEDULE, "uniform", how.weight, how.soften)
    _train(pair, seed, steps, "new_balanced", raw, Distillation(128, 1))
    pair.both("commit")
    _probe(pair, raw[:4])
    new = pair.both("add_class")
    for sample in raw[8:14]:
        pair.both("learn", sample, new)
    _train(pair, seed + 1, steps, "new_uniform", raw)
    _train(pair, seed + 2, steps, "uniform", raw, Distillation(170, 2))
    pair.both("commit")
    _train(pair, seed + 3, steps, "balanced", raw, Distillation(255, 3))
    pair.both("commit")
    _probe(pair, raw[14:20])
    _read_samples(pair)


def run_correction_session(pair: Pair, seed: int, steps: int = 3) -> None:
    """Two tasks with hold-out and bias correction, a checkpoint between; bad options alike."""
    raw = random_raw(pair.model, 60, seed)
    for hold, count in ((0, 3), (8, 3), (2, 0)):
        pair.both("commit", hold, count)
    pair.both("train_begin", 1, 2, SCHEDULE, "uniform", 0, 0, 8)
    for task in range(2):
        new = pair.both("add_class")
        for at, sample in enumerate(raw[8 * task : 8 * task + 8]):
            pair.both("learn", sample, new if at % 4 else at % pair.model.n_classes)
        pair.both("train_begin", 1, 2, SCHEDULE, "new_uniform", 0, 0, 2)
        _train(pair, seed, steps, "uniform", raw, Distillation(150, 1), 2)
        pair.both("import_state", pair.both("export_state", True))
        _train(pair, seed + 1, steps, "balanced", raw, Distillation(150, 1), 1)
        pair.both("commit", 1 + task, 40)
        pair.both("export_state")
        _probe(pair, raw[20:40])
    pair.both("commit")
    _probe(pair, raw[40:44])
    _train(pair, seed, 1, "balanced", raw)
    pair.both("commit")
    pair.both("commit", 3, 5)
    _probe(pair, raw[44:50])
    pair.both("export_state")
    _read_samples(pair)


def _train(
    pair: Pair,
    seed: int,
    steps: int,
    sampling: str,
    raw: np.ndarray[Any, Any],
    how: Distillation = NONE,
    hold: int = 0,
) -> None:
    """Slices of odd sizes; refusals while the session is under way are compared too."""
    pair.both("train_begin", seed, steps, SCHEDULE, sampling, how.weight, how.soften, hold)
    largest = max(60, pair.device.info().units_per_step // 12)
    budgets = np.random.default_rng(seed).integers(1, largest, 4000)
    for at, budget in enumerate(budgets):
        progress = pair.both("train", int(budget))
        if at % 7 == 0:
            pair.both("infer", raw[at % len(raw)])
        if at == 3:
            pair.both("learn", raw[0], 0)
            pair.both("add_class")
            pair.both("commit")
            pair.both("state_hash")
            pair.both("export_state", True)
        if progress[1] == 0:
            break
    pair.compare_states()
    pair.both("train", 10)


def _probe(pair: Pair, raw: np.ndarray[Any, Any]) -> None:
    for sample in raw:
        pair.both("infer", sample)
        if pair.model.keep_prototypes:
            pair.both("infer", sample, 1)


def _read_samples(pair: Pair) -> None:
    index = 0
    while pair.both("get_exemplar", index)[0] != "refused":
        index += 1


def run_small_session(pair: Pair) -> None:
    """Two steps on the first exemplars, and inference before and after."""
    raw = random_raw(pair.model, 4, 3)
    pair.both("infer", raw[0])
    pair.both("train_begin", 3, 2, SCHEDULE, "balanced")
    pair.both("train", 1 << 30)
    pair.compare_states()
    pair.both("commit")
    pair.both("infer", raw[1])
