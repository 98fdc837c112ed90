# SPDX-License-Identifier: Apache-2.0
"""The learners that are compared, each started from the same float base network."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.setting import Setting
from codegen.importer import import_onnx
from codegen.quantize import quantize
from device.harness.client import DeviceClient
from device.twin.learner import raw_samples
from device.twin.model import IntModel
from server.demo.floats import FloatLearner, Recipe
from server.learning.base_model import Normaliser, to_onnx
from server.learning.firmwares import host_learner
from server.learning.float_reference import Params
from server.learning.quantizing import parse_options
from server.learning.sessions import TrainPlan, stage, train_some

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


class Arm(Protocol):
    """A class-incremental learner under test."""

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        """One task: samples (N, features), class slots (N,), classes known afterwards."""

    def predict(self, x: Float32Array) -> Int64Array:
        """Class slots, (N,)."""


def session_steps(setting: Setting, stored: int) -> int:
    """Steps of a session over `stored` samples."""
    return max(1, ceil(setting.epochs * stored / setting.batch))


class FloatArm:
    """float32 with the same stream, steps, rates and memory."""

    def __init__(
        self,
        setting: Setting,
        params: Params,
        normaliser: Normaliser,
        x: Float32Array,
        y: Int64Array,
    ) -> None:
        self._setting = setting
        self._learner = FloatLearner(params, normaliser)
        self._means = Means(setting.method == "ncm")
        self._learner.remember(x, y, setting.exemplar_slots)
        self._means.add(self._features(x), y)

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        setting = self._setting
        if setting.method == "ncm":
            self._means.add(self._features(x), y)
            return
        stored = len(x) + sum(len(kept) for kept in self._learner.memory.values())
        steps = session_steps(setting, stored)
        recipe = Recipe(steps, setting.batch, setting.learning_rate, setting.exemplar_slots, seed)
        self._learner.learn(x, y, recipe)

    def predict(self, x: Float32Array) -> Int64Array:
        if self._setting.method == "ncm":
            return self._means.nearest(self._features(x))
        return self._learner.predict(x)

    def _features(self, x: Float32Array) -> Float32Array:
        normal = self._learner.normaliser
        values = x if normal is None else normal.apply(x)
        for layer in self._learner.params[:-1]:
            values = np.maximum(values @ layer.weight.T + layer.bias, np.float32(0))
        return values


class Means:
    """Class means of float features."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._means: list[NDArray[np.floating]] = []

    def add(self, features: Float32Array, y: Int64Array) -> None:
        """Means of the classes in y, which follow those known."""
        if self._wanted:
            self._means += [features[y == label].mean(axis=0) for label in np.unique(y)]

    def nearest(self, features: Float32Array) -> Int64Array:
        """Class of the nearest mean."""
        means = np.stack(self._means)
        squares = np.square(means).sum(axis=1)
        nearest: Int64Array = np.argmin(squares - 2 * features @ means.T, axis=1).astype(np.int64)
        return nearest


class IntegerArm:
    """The host build of the generated C, as the service trains with."""

    def __init__(self, setting: Setting, model: IntModel, device: DeviceClient) -> None:
        self._setting, self._model, self._device = setting, model, device
        self._head = 1 if setting.method == "ncm" else 0

    def learn(self, x: Float32Array, y: Int64Array, class_count: int, seed: int) -> None:
        known = self._device.info().n_classes
        raw = raw_samples(self._model, x)
        ncm = self._setting.method == "ncm"
        stage(self._device, raw, y, known, class_count, prototype_only=ncm)
        if not ncm:
            steps = session_steps(self._setting, self._device.info().samples)
            plan = TrainPlan(steps, seed, self._setting.learning_rate)
            train_some(self._device, plan, 0, steps, lambda: None)
        self._device.commit()

    def predict(self, x: Float32Array) -> Int64Array:
        classes, _ = self._device.infer_many(raw_samples(self._model, x), self._head)
        return np.asarray(classes, np.int64)


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
) -> Iterator[Arm]:
    """The arm of a setting, holding the base network.

    Args:
        x, y: base samples and their class slots, which also calibrate the quantizer.
        largest_task: most samples of a later task.
    """
    if setting.arithmetic == "float32":
        yield FloatArm(setting, params, normaliser, x, y)
        return
    graph = import_onnx(to_onnx(params, normaliser).SerializeToString())
    model = quantize(graph, x, y, parse_options(setting.options(classes)))
    with host_learner(model, largest_task, cache) as device:
        yield IntegerArm(setting, model, device)
