# SPDX-License-Identifier: Apache-2.0
"""Gradients beside float32's: the float gradient itself, cosines, the plot."""

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.accuracy.alignment import NAMES, as_markdown, cosines, gradients, plot_alignment
from benchmarks.accuracy.setting import Setting
from server.learning.base_model import Normaliser
from server.learning.datasets import Dataset
from server.learning.float_reference import init_params, train_step

PLAIN = Normaliser(np.zeros(12, np.float32), np.ones(12, np.float32))


def test_gradient_of_float32_is_the_references_step() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(32, 12)).astype(np.float32), random.integers(0, 3, 32)
    params = init_params([12, 16, 8, 3], random)
    after, _ = train_step(params, x, y, 1.0, 3)
    found = gradients(params, PLAIN, "float32", x, (x, y), 0)
    for gradient, a, b in zip(found, params, after, strict=True):
        np.testing.assert_allclose(gradient, a.weight - b.weight, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_arithmetic_points_with_float32_but_is_not_float32(name: str) -> None:
    random = np.random.default_rng(3)
    y = np.arange(64) % 3
    x = random.normal(size=(64, 12)).astype(np.float32)
    x[np.arange(64), y] += 2
    params = init_params([12, 16, 8, 3], random)
    exact, found = (gradients(params, PLAIN, n, x, (x, y), 0) for n in ("float32", name))
    for a, b in zip(exact, found, strict=True):
        cosine = float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
        assert 0.5 < cosine < 0.9999


def test_every_task_and_layer_has_a_cosine_and_a_place_in_the_plot() -> None:
    random = np.random.default_rng(4)
    y = np.arange(60) % 6
    x = random.normal(size=(60, 12)).astype(np.float32)
    x[np.arange(60), y] += 4
    data = Dataset("drawn", x, y, x, y, tuple("abcdef"))
    setting = Setting("drawn", "replay", "float32", hidden=(8,), epochs=1, exemplar_slots=12)
    found = cosines(data, setting, 0)
    assert {name: np.shape(v) for name, v in found.items()} == dict.fromkeys(NAMES, (2, 2))
    root = ElementTree.fromstring(plot_alignment("drawn", found))
    assert len(root.findall(".//{*}polyline")) == 2 * len(NAMES)
    assert all(f"| {name} |" in as_markdown("drawn", 1, found) for name in NAMES)
