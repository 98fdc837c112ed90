# SPDX-License-Identifier: Apache-2.0
"""Small integer models for the twin's tests, and the same models for the reference learner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.twin.model import (
    Arithmetic,
    Exemplar,
    FrozenLayer,
    InputStage,
    IntModel,
    TrainableLayer,
)
from device.twin.scale import Scale
from tests.vectors import learner as reference
from tests.vectors import network

RATE = Scale(1 << 14, -16)
SMALL = Arithmetic(order=4, tile_k=4, batch=5)


@dataclass(frozen=True)
class Shape:
    """Sizes and options of a small random model.

    Attributes:
        frozen: outputs of the frozen layers.
        hidden: outputs of the trainable layers below the head.
        zero_row: leave the first row of every trainable layer zero.
    """

    inputs: int = 6
    frozen: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (5,)
    n_classes: int = 3
    max_classes: int = 5
    signed: bool = True
    relu_before: bool = True
    exemplar_slots: int = 9
    staging_slots: int = 8
    per_class_limit: int = 0
    keep_prototypes: bool = True
    distillation: bool = False
    bias_correction: bool = False
    zero_row: bool = False
    arithmetic: Arithmetic = SMALL


def random_model(shape: Shape, seed: int) -> IntModel:
    """A model of random constants whose activations and gradients are alive."""
    rng = np.random.default_rng(seed)
    frozen: list[FrozenLayer] = []
    width = shape.inputs
    for number, outputs in enumerate(shape.frozen):
        last = number + 1 == len(shape.frozen)
        frozen.append(_frozen_layer(rng, outputs, width, shape.relu_before or not last))
        width = outputs
    layers: list[TrainableLayer] = []
    for outputs in (*shape.hidden, shape.max_classes):
        head = len(layers) == len(shape.hidden)
        rows = shape.n_classes if head else outputs
        layers.append(_trainable_layer(rng, shape, len(layers), outputs, width, rows))
        width = outputs
    model = IntModel(
        name=f"random {seed}",
        arithmetic=shape.arithmetic,
        input=_input_stage(rng, shape),
        frozen=tuple(frozen),
        layers=tuple(layers),
        n_classes=shape.n_classes,
        max_classes=shape.max_classes,
        class_names=tuple(f"class {c}" for c in range(shape.n_classes)),
        exemplar_slots=shape.exemplar_slots,
        staging_slots=shape.staging_slots,
        per_class_limit=shape.per_class_limit,
        keep_prototypes=shape.keep_prototypes,
        distillation=shape.distillation,
        bias_correction=shape.bias_correction,
    )
    return _with_memory(model, rng)


def random_raw(model: IntModel, seed: int, count: int) -> NDArray[np.int16]:
    """Raw samples (count, I)."""
    rng = np.random.default_rng(seed)
    return rng.integers(-9000, 9001, (count, model.inputs)).astype(np.int16)


def _input_stage(rng: np.random.Generator, shape: Shape) -> InputStage:
    count = shape.inputs
    return InputStage(
        raw_frac_bits=np.full(count, 12, np.int16),
        zero=rng.integers(-500, 501, count).astype(np.int16),
        mult=rng.integers(-(2**14) + 1, 2**14, count).astype(np.int16),
        shift=rng.integers(13, 16, count).astype(np.uint8),
        amax=int(rng.integers(3000, 9000)),
        signed=shape.signed,
        scale=Scale(int(rng.integers(2**14, 2**15)), -17),
    )


def _frozen_layer(rng: np.random.Generator, outputs: int, inputs: int, relu: bool) -> FrozenLayer:
    return FrozenLayer(
        name=f"frozen{outputs}",
        weight=rng.integers(-127, 128, (outputs, inputs)).astype(np.int8),
        bias=rng.integers(-3000, 3001, outputs).astype(np.int32),
        mult=rng.integers(2**14, 2**15, outputs).astype(np.int16),
        shift=rng.integers(14, 17, outputs).astype(np.uint8),
        relu=relu,
        out_amax=int(rng.integers(4000, 20000)),
    )


def _trainable_layer(
    rng: np.random.Generator, shape: Shape, index: int, outputs: int, inputs: int, rows: int
) -> TrainableLayer:
    wide = shape.arithmetic.master_bits == 16
    limit = 12000 if wide else 90
    master = np.zeros((outputs, inputs), np.int16)
    master[:rows] = rng.integers(-limit, limit + 1, (rows, inputs))
    bias = np.zeros(outputs, np.int32)
    bias[:rows] = rng.integers(-(2**24), 2**24, rows)
    if shape.zero_row:
        master[0] = 0
    factor = np.ones(outputs) if wide else rng.integers(60, 256, outputs)
    return TrainableLayer(
        name=f"layer{index}",
        master=master,
        bias=bias,
        row_factor=factor.astype(np.uint8),
        scale=Scale(int(rng.integers(2**14, 2**15)), -28 if wide else -29),
        out_frac_bits=int(rng.integers(8, 12)),
        relu=index < len(shape.hidden),
        in_amax=int(rng.integers(500, 3000)) if index else 0,
        x_range=int(rng.integers(16, 40)),
        w_range=int(rng.integers(16, 40)),
    )


def _with_memory(model: IntModel, rng: np.random.Generator) -> IntModel:
    """The model with two random exemplars a class, and random prototypes."""
    low, high = (-7, 7) if model.x0_signed else (0, 15)
    exemplars = tuple(
        Exemplar(label, rank, rng.integers(low, high + 1, model.x0_size).astype(np.int8))
        for label in range(model.n_classes)
        for rank in range(2)
    )
    count = np.zeros(model.max_classes, np.uint16)
    total = np.zeros((model.max_classes, model.features), np.int16)
    count[: model.n_classes] = rng.integers(253, 256, model.n_classes)
    limit = 7 if model.x0_signed and len(model.layers) == 1 else 15
    low = -limit if limit == 7 else 0
    total[: model.n_classes] = rng.integers(low, limit + 1, (model.n_classes, model.features))
    total *= count[:, None].astype(np.int16)
    keep = model.keep_prototypes
    return IntModel(
        **{
            **{name: getattr(model, name) for name in model.__dataclass_fields__},
            "exemplars": exemplars,
            "prototype_count": count if keep else np.zeros(0, np.uint16),
            "prototype_sum": total if keep else np.zeros((0, 0), np.int16),
        }
    )


def reference_of(model: IntModel) -> reference.ReferenceLearner:
    """A reference learner of the same model."""
    samples = [
        reference.Sample(e.label, e.rank, False, [int(v) for v in e.x0]) for e in model.exemplars
    ]
    memory = reference.Memory(
        model.exemplar_slots,
        model.per_class_limit,
        model.keep_prototypes,
        model.bias_correction,
    )
    return reference.ReferenceLearner(
        model.model_id, network_of(model), memory, _state_of(model), samples
    )


def _pair(scale: Scale) -> tuple[int, int]:
    return scale.mantissa, scale.exponent


def network_of(model: IntModel) -> network.Network:
    """The model's constants as the reference takes them."""
    a, stage = model.arithmetic, model.input
    return network.Network(
        n=a.order,
        tile_k=a.tile_k,
        acc_bits=a.acc_bits,
        mode=a.saturation,
        master_bits=a.master_bits,
        batch=a.batch,
        zero=stage.zero.tolist(),
        mult=stage.mult.tolist(),
        shift=stage.shift.tolist(),
        amax=stage.amax,
        signed=stage.signed,
        x0_scale=_pair(stage.scale),
        x0_signed=model.x0_signed,
        frozen=[
            network.Frozen(
                f.weight.tolist(),
                f.bias.tolist(),
                f.mult.tolist(),
                f.shift.tolist(),
                f.relu,
                f.out_amax,
            )
            for f in model.frozen
        ],
        layers=[
            network.Layer(
                layer.row_factor.tolist(),
                _pair(layer.scale),
                layer.out_frac_bits,
                layer.x_range,
                layer.w_range,
            )
            for layer in model.layers
        ],
    )


def _state_of(model: IntModel) -> reference.State:
    prototypes = [reference.Prototype(0, [0] * model.features) for _ in range(model.max_classes)]
    if model.keep_prototypes:
        pairs = zip(model.prototype_count.tolist(), model.prototype_sum.tolist(), strict=True)
        prototypes = [reference.Prototype(n, s) for n, s in pairs]
    weights = [network.Weights(w.master.tolist(), w.bias.tolist()) for w in model.layers]
    tracked = [layer.in_amax * 256 for layer in model.layers[1:]]
    return reference.State(model.n_classes, 0, weights, tracked, prototypes)
