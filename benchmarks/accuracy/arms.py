# SPDX-License-Identifier: Apache-2.0
"""The learners that are compared, each started from the same network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.learners import HostLearner, Schedule
from benchmarks.accuracy.networks import Network, Optimiser
from benchmarks.accuracy.quantisers import Float32Array
from benchmarks.accuracy.setting import JOINT, Setting
from benchmarks.accuracy.simulations import SIMULATIONS, Simulation
from codegen.importer import import_onnx
from codegen.quantize import quantize
from codegen.quantize.options import DER, EXPANSIONS
from device.harness.client import DeviceClient
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from server.learning.base_model import Normaliser, to_onnx
from server.learning.firmwares import host_learner
from server.learning.float_reference import Params
from server.learning.methods import RECIPES, Method, distillation_of
from server.learning.quantizing import parse_options
from server.learning.sessions import TrainPlan, stage, train_some

Int64Array = NDArray[np.int64]

EVERY_SAMPLE = 1 << 30
# The tuned float loop: momentum, decay, twice the batch, five times the epochs, two cuts.
TUNED = Schedule(50, 64, 0.01, ((0.5, 0.1), (0.8, 0.01)))
TUNED_OPTIMISER = Optimiser(momentum=0.9, weight_decay=5e-4)


class Arm(Protocol):
    """A class-incremental learner under test."""

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        """One task: samples (N, features), class slots (N,), classes known afterwards."""

    def predict(self, x: Float32Array, head: int) -> Int64Array:
        """Class slots, (N,), by the linear (0) or the nearest-mean head (1)."""


class IntegerArm:
    """The host build of the generated C, as the service trains with."""

    def __init__(self, setting: Setting, model: IntModel, device: DeviceClient) -> None:
        self._setting, self._model, self._device = setting, model, device
        self._method = cast(Method, setting.method)

    def learn_base(self, x: Float32Array, y: Int64Array, seed: int) -> None:
        """The base task from drawn weights, as one session of `base_epochs` by replay."""
        known = self._device.info().n_classes
        stage(self._device, raw_samples(self._model, x), y, known, known)
        schedule = replace(schedule_of(self._setting), epochs=self._setting.base_epochs)
        steps = schedule.steps(len(x))
        train_some(
            self._device, TrainPlan(steps, seed, schedule.learning_rate), 0, steps, lambda: None
        )
        self._device.commit()

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        """One session: stage the samples, train by the setting's method, commit."""
        known, recipe = self._device.info().n_classes, RECIPES[self._method]
        raw = raw_samples(self._model, x)
        stage(self._device, raw, y, known, class_count, prototype_only=not recipe.trains)
        if recipe.trains:
            steps = schedule_of(self._setting).steps(self._device.info().samples)
            how = distillation_of(self._method, known, class_count, self._setting.distillation)
            rest = (recipe.sampling, how, recipe.hold, recipe.expansion is not None)
            plan = TrainPlan(steps, seed, self._setting.learning_rate, *rest)
            train_some(self._device, plan, 0, steps, lambda: None)
        self._device.commit(*recipe.correction)

    def predict(self, x: Float32Array, head: int) -> Int64Array:
        """Classes of the samples by a head."""
        classes, _ = self._device.infer_many(raw_samples(self._model, x), head)
        return np.asarray(classes, np.int64)


def schedule_of(setting: Setting) -> Schedule:
    """Length and rates of a setting's sessions."""
    if setting.arithmetic == "float32-tuned":
        return TUNED
    return Schedule(setting.epochs, setting.batch, setting.learning_rate)


@contextmanager
def open_arm(
    setting: Setting,
    params: Params,
    normaliser: Normaliser,
    x: Float32Array,
    y: Int64Array,
    classes: int,
    largest_task: int,
    cache: Path,
    seed: int,
) -> Iterator[Arm]:
    """The arm of a setting, holding the base network.

    Args:
        x, y: base samples and their class slots, which also calibrate the quantizer.
        largest_task: most samples of a later task.
    """
    if setting.arithmetic in SIMULATIONS:
        yield _host_arm(setting, params, normaliser, x, y, classes, seed)
        return
    graph = import_onnx(to_onnx(params, normaliser).SerializeToString())
    untrained = setting.base == "integers"
    options = parse_options(setting.options(classes))
    model = quantize(graph, x, None if untrained else y, options)
    most = max(largest_task, len(x)) if untrained else largest_task
    with host_learner(model, most, cache) as device:
        arm = IntegerArm(setting, model, device)
        if untrained:
            arm.learn_base(x, y, seed * 1000)
        yield arm


def _host_arm(
    setting: Setting,
    params: Params,
    normaliser: Normaliser,
    x: Float32Array,
    y: Int64Array,
    classes: int,
    seed: int,
) -> HostLearner:
    simulation, optimiser = host_arithmetic(setting)
    network = Network(params, normaliser, classes, simulation, optimiser, seed)
    network.calibrate(x, setting.batch)
    if setting.method in EXPANSIONS:
        hidden = len(setting.hidden)
        network.reserve(0 if setting.method == DER else hidden - 1, setting.block_rows)
    joint = setting.method == JOINT
    method = cast(Method, "replay" if joint else setting.method)
    slots = EVERY_SAMPLE if joint else setting.exemplar_slots
    weight = setting.distillation
    learner = HostLearner(network, method, slots, schedule_of(setting), weight)
    learner.start(x, y)
    return learner


def host_arithmetic(setting: Setting) -> tuple[Simulation, Optimiser]:
    """How a network of this machine computes and descends by a setting."""
    optimiser = TUNED_OPTIMISER if setting.arithmetic == "float32-tuned" else Optimiser()
    changed = dict(setting.quantizer)
    descent = {f.name: changed.pop(f.name) for f in fields(Optimiser) if f.name in changed}
    return replace(SIMULATIONS[setting.arithmetic], **changed), replace(optimiser, **descent)
