# SPDX-License-Identifier: Apache-2.0
"""The fixed integer models that are proved and measured, with the raw samples they are given.

Real data where they decide a result (scikit-learn's digits); drawn data where only sizes count.
Everything follows from the seeds here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from codegen.graph import Affine, Dense, FloatGraph
from codegen.quantize import QuantizeOptions, quantize
from device.harness.boards import Board
from device.twin.learner import raw_samples
from device.twin.model import Arithmetic, IntModel
from server.learning.base_model import fit_normaliser
from server.learning.datasets import DIGITS, load
from server.learning.float_reference import Params, TrainOptions, train_base

Float32Array = NDArray[np.float32]
RawArray = NDArray[np.int16]
Labels = NDArray[np.int64]

SEED = 7
BASE_CLASSES = 6  # of digits; 6 to 9 are learned on the device
SMALL_RAM_BYTES = 64 * 1024  # boards below take small models only

# 16 KiB of RAM hold the working and the committed weights, these slots, batch 16 and the stack.
EXEMPLAR_SLOTS = 40
STAGING_SLOTS = 20


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to run, and samples for it.

    Attributes:
        name: what the tables call it.
        model: the integer model.
        raw: int16, shape (N, inputs). labels: class slots, int64, shape (N,).
        defines: preprocessor definitions of its builds.
        small: it fits boards with little RAM.
    """

    name: str
    model: IntModel
    raw: RawArray
    labels: Labels
    defines: tuple[str, ...] = ()
    small: bool = False

    def fits(self, board: Board) -> bool:
        """Whether the board's RAM is meant to hold it."""
        return self.small or board.is_host or board.ram_bytes > SMALL_RAM_BYTES


@dataclass(frozen=True)
class DigitsSpec:
    """A network for digits.

    Attributes:
        hidden: widths of the hidden layers.
        train_last: trainable layers, None for all; those before are frozen int8 layers.
        arithmetic: see Arithmetic.
    """

    hidden: tuple[int, ...] = (32,)
    train_last: int | None = None
    arithmetic: Arithmetic = field(default_factory=lambda: Arithmetic(master_bits=8, batch=16))


def digits(name: str, spec: DigitsSpec, defines: tuple[str, ...] = ()) -> Subject:
    """A network trained on the first classes of digits, with rows reserved for all ten.

    Returns: a subject whose samples are digits' test samples, all ten classes.
    """
    data = load(DIGITS)
    base = data.y_train < BASE_CLASSES
    x, y = data.x_train[base], data.y_train[base]
    options = _options(spec.arithmetic, 10, spec.train_last)
    model = quantize(_digits_graph(spec.hidden), x, y, options)
    raw = raw_samples(model, data.x_test)
    return Subject(name, model, raw, data.y_test, defines, small=_is_small(model))


def _is_small(model: IntModel) -> bool:
    return not model.frozen and model.arithmetic.master_bits == 8


@cache
def _digits_graph(hidden: tuple[int, ...]) -> FloatGraph:
    """The float base network; trained once a process."""
    data = load(DIGITS)
    base = data.y_train < BASE_CLASSES
    x, y = data.x_train[base], data.y_train[base]
    normal = fit_normaliser(x)
    params = train_base(normal.apply(x), y, BASE_CLASSES, TrainOptions(hidden=hidden), SEED)
    return _graph("digits", params, Affine("normal", normal.mean, np.float32(1) / normal.scale))


def drawn(name: str, widths: tuple[int, ...], arithmetic: Arithmetic, samples: int) -> Subject:
    """A network of random weights on random samples, one cloud a class.

    Args:
        widths: features, hidden widths, classes.
        samples: how many; they calibrate the model too.
    """
    generator = np.random.default_rng(SEED)
    centres = generator.normal(0, 1, (widths[-1], widths[0]))
    labels = np.arange(samples) % widths[-1]
    x = (centres[labels] + generator.normal(0, 1, (samples, widths[0]))).astype(np.float32)
    options = _options(arithmetic, widths[-1])
    model = quantize(_drawn_graph(widths, generator), x, labels, options)
    return Subject(name, model, raw_samples(model, x), labels)


def _options(
    arithmetic: Arithmetic, max_classes: int, train_last: int | None = None
) -> QuantizeOptions:
    return QuantizeOptions(
        arithmetic=arithmetic,
        train_last=train_last,
        max_classes=max_classes,
        exemplar_slots=EXEMPLAR_SLOTS,
        staging_slots=STAGING_SLOTS,
    )


def _drawn_graph(widths: tuple[int, ...], generator: np.random.Generator) -> FloatGraph:
    layers = []
    for at, (inputs, outputs) in enumerate(pairwise(widths)):
        weight = generator.normal(0, np.sqrt(2 / inputs), (outputs, inputs)).astype(np.float32)
        relu = at + 2 < len(widths)
        bias = np.zeros(outputs, np.float32)
        layers.append(Dense(f"fc{at}", weight, bias, "relu" if relu else None))
    return FloatGraph("drawn", (widths[0],), tuple(layers))


def _graph(name: str, params: Params, normal: Affine) -> FloatGraph:
    dense = [
        Dense(f"fc{at}", layer.weight, layer.bias, "relu" if at + 1 < len(params) else None)
        for at, layer in enumerate(params)
    ]
    return FloatGraph(name, (normal.inputs,), (normal, *dense))


SMALL_INT8 = "64-32-10 b16 int8"
SMALL_INT16 = "64-32-10 b16 int16"
ACTIVITY = "405-128-128-19 b32 int8"
SQUARE = "405-405-405-4 b32 int8"
# Larger, and each with other arithmetic: wide masters, a frozen front, all saturation variants.
VARIANTS = {
    "64-48f-32-10 b24 int16 tile12": Arithmetic(
        order=32, tile_k=16, acc_bits=12, master_bits=16, batch=24
    ),
    "64-48f-32-10 b32 int16 every8": Arithmetic(
        order=16, tile_k=32, acc_bits=8, saturation="every_add", master_bits=16, batch=32
    ),
    "64-48f-32-10 b20 int8 tile8": Arithmetic(order=8, tile_k=24, master_bits=8, batch=20),
    "64-48f-32-10 b16 int16 exact": Arithmetic(
        order=64, tile_k=64, acc_bits=32, master_bits=16, batch=16
    ),
    "64-48f-32-10 b16 int16 off": Arithmetic(
        order=1, tile_k=20, acc_bits=16, saturation="every_add", master_bits=16, batch=16
    ),
}


def _variant(name: str, arithmetic: Arithmetic) -> Subject:
    """A frozen layer, two trainable ones, and a build that counts."""
    return digits(name, DigitsSpec((48, 32), 2, arithmetic), ("HAD_COUNTERS",))


# Models by name, made when they are asked for.
SUBJECTS: dict[str, Callable[[], Subject]] = {
    SMALL_INT8: lambda: digits(SMALL_INT8, DigitsSpec()),
    SMALL_INT16: lambda: digits(
        SMALL_INT16, DigitsSpec(arithmetic=Arithmetic(master_bits=16, batch=16))
    ),
    ACTIVITY: lambda: drawn(
        ACTIVITY, (405, 128, 128, 19), Arithmetic(order=32, master_bits=8, batch=32), 76
    ),
    SQUARE: lambda: drawn(SQUARE, (405, 405, 405, 4), Arithmetic(master_bits=8, batch=32), 32),
    **{name: partial(_variant, name, arithmetic) for name, arithmetic in VARIANTS.items()},
}


@cache
def subject(name: str) -> Subject:
    """A fixed model; made once a process.

    Raises: KeyError for an unknown name.
    """
    return SUBJECTS[name]()
