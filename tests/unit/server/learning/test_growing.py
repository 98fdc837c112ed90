# SPDX-License-Identifier: Apache-2.0
"""Methods whose network grows, through the engine, on digits."""

from threading import Event

import numpy as np
import pytest

from codegen.importer import import_onnx
from codegen.quantize import quantize
from codegen.quantize.expansion import widened
from codegen.quantize.options import QuantizeOptions
from device.twin.learner import TwinLearner, raw_samples
from device.twin.model import Arithmetic, IntModel
from server.errors import HadaptError, InvalidInputError
from server.learning.base_model import fit_normaliser, to_onnx
from server.learning.datasets import load
from server.learning.engine import HadaptEngine
from server.learning.float_reference import TrainOptions, train_base
from server.learning.methods import Method
from server.learning.ports import Calibration, Learner, LearnTask
from server.learning.quantizing import check_choices, parse_options
from server.settings import Settings

OLD, STEPS = 4, 200


@pytest.fixture(scope="module")
def base() -> tuple[bytes, Calibration]:
    """A float network that knows the digits 0 to 3, and their samples."""
    data = load("digits")
    rows = data.y_train < OLD
    x, y = data.x_train[rows], data.y_train[rows]
    normaliser = fit_normaliser(x)
    options = TrainOptions(hidden=(20, 16), epochs=12, milestones=(8,), batch=16, lr=0.05)
    params = train_base(normaliser.apply(x), y, OLD, options, 1)
    return to_onnx(params, normaliser).SerializeToString(), Calibration(x, y)


def task_of(int_model: bytes, learner: Learner, method: Method, classes: int) -> LearnTask:
    """The next digit."""
    data = load("digits")
    rows = np.flatnonzero(data.y_train == classes - 1)[:60]
    return LearnTask(
        int_model, learner.data, method, data.x_train[rows], data.y_train[rows], classes,
        STEPS, 0.1, seed=3,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["memo", "der_expandable"])
def test_each_task_takes_a_block_and_the_last_is_refused(
    method: Method, base: tuple[bytes, Calibration], tmp_path_factory: pytest.TempPathFactory
) -> None:
    onnx, calibration = base
    engine = HadaptEngine(Settings(data_dir=tmp_path_factory.mktemp("engine")))
    chosen = {"max_classes": 8, "exemplar_slots": 40, "staging_slots": 100, "batch": 16}
    grown = {"expansion": method, "expansion_blocks": 1, "expansion_rows": 12}
    artifact = engine.quantize(onnx, calibration, {**chosen, **grown})
    learner = engine.first_learner(artifact.data, calibration)
    task = task_of(artifact.data, learner, method, OLD + 1)
    states = []
    for chunk in (STEPS, 77):  # a session in pieces finds its block drawn, and ends alike
        state = engine.start(task)
        while not state.done:
            state = engine.train(task, state.checkpoint, chunk, Event())
        states.append(engine.finish(task, state.checkpoint))
    assert states[0].state_hash == states[1].state_hash
    data = load("digits")
    rows = np.flatnonzero(data.y_test <= OLD)[:150]
    found = engine.predict(artifact.data, states[0].data, method, data.x_test[rows], Event())
    new = data.y_test[rows] == OLD
    assert np.mean(found[new] == OLD) > 0.8
    assert np.mean(found[~new] == data.y_test[rows][~new]) > 0.85
    with pytest.raises(InvalidInputError, match="All 1 blocks of this model have been learned"):
        engine.start(task_of(artifact.data, states[0], method, OLD + 2))
    plain = engine.quantize(onnx, calibration, chosen).data
    with pytest.raises(InvalidInputError, match="reserves no rows"):
        engine.start(task_of(plain, engine.first_learner(plain, calibration), method, OLD + 1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("expansion", ["memo", "der_expandable"])
def test_model_with_blocks_computes_what_it_does_without(
    expansion: str, bits: int, base: tuple[bytes, Calibration]
) -> None:
    graph, samples = import_onnx(base[0]), base[1]
    arithmetic = Arithmetic(master_bits=bits)
    models = [
        quantize(graph, samples.x, samples.y, QuantizeOptions(arithmetic, expansion=e))
        for e in (None, expansion)
    ]
    raw = [raw_samples(model, samples.x[:40]) for model in models]
    logits = [TwinLearner(m).infer_many(r)[1] for m, r in zip(models, raw, strict=True)]
    np.testing.assert_array_equal(logits[0], logits[1])
    grown = models[1]
    assert IntModel.from_bytes(grown.to_bytes()).to_bytes() == grown.to_bytes()
    assert grown.expansion is not None
    assert grown.expansion.first == (1 if expansion == "memo" else 0)
    assert [layer.outputs for layer in grown.layers[:-1]] == (
        [20, 16 + 64] if expansion == "memo" else [20 + 64, 16 + 64]
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"expansion": "wider"}, "memo or der_expandable"),
        ({"expansion": "memo", "expansion_rows": 0}, "expansion_rows is 0"),
        ({"expansion": "memo", "train_last": 1}, "no hidden layer is trained"),
        ({"expansion": "memo", "train_last": 9}, "train_last of at most 3"),
        ({"expansion": "memo", "expansion_rows": 65535}, "too wide"),
    ],
)
def test_expansion_that_cannot_be_is_refused(
    changes: dict[str, object], text: str, base: tuple[bytes, Calibration]
) -> None:
    from codegen.errors import QuantizeError

    with pytest.raises((HadaptError, QuantizeError)) as caught:
        widened(import_onnx(base[0]), parse_options(changes))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"expansion_blocks": 2}, "expansion beside it"),
        ({"expansion_rows": 8, "expansion": None}, "expansion beside it"),
        ({"expansion": "memo", "train_last": 1}, "no hidden layer is trained"),
        ({"expansion": "memo", "expansion_rows": 65535}, "too wide"),
    ],
)
def test_expansion_that_cannot_be_is_refused_with_the_upload(
    changes: dict[str, object], text: str, base: tuple[bytes, Calibration]
) -> None:
    with pytest.raises(InvalidInputError, match=text):
        check_choices(import_onnx(base[0]), changes)
