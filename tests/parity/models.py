# SPDX-License-Identifier: Apache-2.0
"""Small random integer models for the parity tests, built directly, without a quantizer.

Every constant is drawn so that the interesting cases occur: saturating tiles, clipped inputs, rows
of zeros, row and range factors, biases of both signs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device.twin.model import (
    Arithmetic,
    Exemplar,
    FrozenLayer,
    InputStage,
    IntModel,
    TrainableLayer,
)
from device.twin.scale import Scale


@dataclass(frozen=True)
class ModelSpec:
    """What a random model should look like.

    Attributes:
        widths: inputs, hidden widths, classes (max_classes) of the trainable layers.
        frozen: widths before them: raw inputs, frozen outputs; the last is widths[0].
        signed: x0 signed.
        steep: all weights of the largest magnitude, so that sums of a tile reach their bounds.
        arithmetic: fields of Arithmetic.
    """

    name: str
    widths: tuple[int, ...]
    frozen: tuple[int, ...] = ()
    signed: bool = False
    n_classes: int = 3
    exemplar_slots: int = 12
    staging_slots: int = 10
    per_class_limit: int = 0
    keep_prototypes: bool = True
    distillation: bool = False
    bias_correction: bool = False
    factors: bool = False
    steep: bool = False
    exemplars: int = 2
    arithmetic: dict[str, Any] = field(default_factory=dict)


SPECS: tuple[ModelSpec, ...] = (
    ModelSpec("plain", (20, 12, 5), arithmetic={"order": 4, "batch": 8, "tile_k": 8}),
    ModelSpec(
        "odd",
        (45, 13, 7),
        factors=True,
        arithmetic={"order": 16, "batch": 13, "master_bits": 8, "tile_k": 16},
    ),
    ModelSpec(
        "off",
        (9, 7, 5, 5),
        signed=True,
        arithmetic={"order": 1, "batch": 6, "acc_bits": 12, "tile_k": 5},
    ),
    ModelSpec(
        "every_add",
        (33, 10, 6),
        keep_prototypes=False,
        arithmetic={"order": 8, "batch": 10, "saturation": "every_add"},
    ),
    ModelSpec(
        "every_add_wide",
        (17, 6, 4),
        arithmetic={
            "order": 32,
            "batch": 5,
            "saturation": "every_add",
            "acc_bits": 16,
            "tile_k": 400,
        },
    ),
    ModelSpec("head", (16, 6), signed=True, arithmetic={"order": 16, "batch": 16}),
    ModelSpec("head_odd", (7, 6), factors=True, arithmetic={"order": 4, "batch": 3}),
    ModelSpec(
        "frozen",
        (24, 10, 6),
        frozen=(18, 30, 24),
        factors=True,
        per_class_limit=3,
        arithmetic={"order": 64, "batch": 7, "acc_bits": 16, "master_bits": 8},
    ),
    ModelSpec(
        "frozen_signed",
        (14, 9, 5),
        frozen=(11, 14),
        signed=True,
        arithmetic={"order": 16, "batch": 12, "acc_bits": 32, "tile_k": 1},
    ),
    ModelSpec(
        "wide",
        (330, 8, 5),
        factors=True,
        arithmetic={"order": 16, "batch": 5, "acc_bits": 16, "tile_k": 64},
    ),
    ModelSpec(
        "tall",
        (4, 6, 680, 4),
        arithmetic={"order": 8, "batch": 4, "acc_bits": 32, "tile_k": 64},
    ),
    ModelSpec(
        "deep",
        (19, 17, 16, 11, 6),
        factors=True,
        arithmetic={"order": 16, "batch": 9, "master_bits": 16, "tile_k": 64},
    ),
    # More than one block of columns, chunk of draws, and part of sums of the vector kernels.
    ModelSpec("blocks", (530, 9, 5), arithmetic={"order": 8, "batch": 70, "tile_k": 2}),
)

# Models whose firmware distils, for run_method_session.
METHOD_SPECS: tuple[ModelSpec, ...] = (
    ModelSpec(
        "distil",
        (21, 14, 7),
        distillation=True,
        exemplar_slots=14,
        staging_slots=14,
        arithmetic={"order": 8, "batch": 11, "master_bits": 8, "tile_k": 16},
    ),
    ModelSpec(
        "bic",
        (18, 12, 7),
        distillation=True,
        bias_correction=True,
        exemplars=3,
        exemplar_slots=15,
        staging_slots=15,
        arithmetic={"order": 8, "batch": 9, "tile_k": 16},
    ),
    ModelSpec(
        "distil_head",
        (16, 6),
        signed=True,
        distillation=True,
        keep_prototypes=False,
        arithmetic={"order": 4, "batch": 8},
    ),
)


def make_model(spec: ModelSpec, seed: int = 1) -> IntModel:
    """A random model; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    arithmetic = Arithmetic(**spec.arithmetic)
    layers = _layers(rng, spec, arithmetic)
    base = IntModel(
        name=spec.name,
        arithmetic=arithmetic,
        input=_input_stage(rng, spec),
        frozen=_frozen(rng, spec),
        layers=layers,
        n_classes=spec.n_classes,
        max_classes=spec.widths[-1],
        class_names=tuple(f"class {c}" for c in range(spec.n_classes)),
        exemplar_slots=spec.exemplar_slots,
        staging_slots=spec.staging_slots,
        per_class_limit=spec.per_class_limit,
        distillation=spec.distillation,
        bias_correction=spec.bias_correction,
    )
    return _with_memory(rng, spec, base)


def random_raw(model: IntModel, count: int, seed: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Raw samples (count, inputs), some of them far outside the usual range."""
    rng = np.random.default_rng(seed)
    spread = rng.choice([60, 300, 20000], size=(count, 1), p=[0.6, 0.3, 0.1])
    raw = rng.normal(0, 1, (count, model.inputs)) * spread
    inside: np.ndarray[Any, np.dtype[np.int16]]
    inside = np.clip(np.round(raw), -32768, 32767).astype(np.int16)
    return inside


def _input_stage(rng: np.random.Generator, spec: ModelSpec) -> InputStage:
    inputs = spec.frozen[0] if spec.frozen else spec.widths[0]
    signed = bool(rng.integers(2)) if spec.frozen else spec.signed
    return InputStage(
        raw_frac_bits=np.full(inputs, 8, np.int16),
        zero=rng.integers(-100, 100, inputs).astype(np.int16),
        mult=(rng.integers(2000, 16384, inputs) * rng.choice([-1, 1, 1], inputs)).astype(np.int16),
        shift=rng.integers(10, 16, inputs).astype(np.uint8),
        amax=int(rng.integers(30, 90)),
        signed=signed,
        scale=Scale.from_real(0.07),
    )


def _frozen(rng: np.random.Generator, spec: ModelSpec) -> tuple[FrozenLayer, ...]:
    layers = []
    for at, (inputs, outputs) in enumerate(zip(spec.frozen[:-1], spec.frozen[1:], strict=True)):
        last = at == len(spec.frozen) - 2
        layers.append(
            FrozenLayer(
                name=f"frozen {at}",
                weight=rng.integers(-127, 128, (outputs, inputs)).astype(np.int8),
                bias=rng.integers(-300, 300, outputs).astype(np.int32),
                mult=rng.integers(16384, 32768, outputs).astype(np.int16),
                shift=rng.integers(14, 18, outputs).astype(np.uint8),
                relu=not (last and spec.signed),
                out_amax=int(rng.integers(500, 4000)),
            )
        )
    return tuple(layers)


def _layers(
    rng: np.random.Generator, spec: ModelSpec, arithmetic: Arithmetic
) -> tuple[TrainableLayer, ...]:
    pairs = list(zip(spec.widths[:-1], spec.widths[1:], strict=True))
    return tuple(
        _layer(rng, spec, arithmetic, at, pair, at == len(pairs) - 1)
        for at, pair in enumerate(pairs)
    )


def _layer(
    rng: np.random.Generator,
    spec: ModelSpec,
    arithmetic: Arithmetic,
    at: int,
    size: tuple[int, int],
    head: bool,
) -> TrainableLayer:
    inputs, outputs = size
    top = arithmetic.master_max
    master = np.clip(np.round(rng.normal(0, top / 3, (outputs, inputs))), -top, top)
    if spec.steep:
        low = np.arange(outputs) % 2 > 0
        master = np.where(low[:, None] & head, -top, top) + 0 * master
    bias = rng.integers(-(2**19), 2**19, outputs)
    if head:
        master[spec.n_classes :] = 0
        bias[spec.n_classes :] = 0
    return TrainableLayer(
        name=f"dense {at}",
        master=master.astype(np.int16),
        bias=bias.astype(np.int32),
        row_factor=(rng.integers(1, 9, outputs) if spec.factors else np.ones(outputs)).astype(
            np.uint8
        ),
        scale=Scale.from_real(0.5 / top / (2 if spec.factors else 1)),
        out_frac_bits=int(rng.integers(6, 11)),
        relu=not head,
        in_amax=0 if at == 0 else int(rng.integers(100, 900)),
        x_range=int(rng.integers(16, 40)) if spec.factors else 16,
        w_range=int(rng.integers(16, 40)) if spec.factors else 16,
    )


def _with_memory(rng: np.random.Generator, spec: ModelSpec, base: IntModel) -> IntModel:
    changes: dict[str, Any] = {"exemplars": tuple(_exemplars(rng, spec))}
    if spec.keep_prototypes:
        features = spec.widths[-2]
        count = np.zeros(spec.widths[-1], np.uint16)
        sums = np.zeros((spec.widths[-1], features), np.int16)
        count[: spec.n_classes] = rng.integers(1, 256, spec.n_classes)
        count[0] = 255
        for c in range(spec.n_classes):
            sums[c] = rng.integers(0, 10, features) * int(count[c])
        changes |= {"keep_prototypes": True, "prototype_count": count, "prototype_sum": sums}
    values = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return IntModel(**{**values, **changes})


def _exemplars(rng: np.random.Generator, spec: ModelSpec) -> Sequence[Exemplar]:
    low, high = (-7, 8) if spec.signed else (0, 16)
    return [
        Exemplar(label, rank, rng.integers(low, high, spec.widths[0]).astype(np.int8))
        for label in range(spec.n_classes)
        for rank in range(spec.exemplars)
    ]
