# SPDX-License-Identifier: Apache-2.0
"""Random models with trainable convolutions (SPEC.md 14), built directly, without a quantizer."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from device.twin.conv_shape import ConvShape, Pool, Shape3, Size
from device.twin.model import IntModel, TrainableLayer
from device.twin.scale import Scale
from tests.parity.fronts import make_front_model
from tests.parity.models import ModelSpec, make_model


@dataclass(frozen=True)
class Conv:
    """A convolution: output channels and windows; sizes follow from the input.

    Attributes:
        side, adds: of a residual block (SPEC.md 14.6).
    """

    outputs: int
    kernel: Size
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    pad: Size = (0, 0)
    pool: Pool = "none"
    pool_size: Size = (1, 1)
    groups: int = 1
    top: int = 0
    side: bool = False
    adds: int | None = None

    def shape(self, given: Shape3) -> ConvShape:
        """The geometry on an input (H, W, C), as much output as fits."""
        out = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                given[:2], self.pad, self.dilation, self.kernel, self.stride, strict=True
            )
        ]
        size = self.pool_size if self.pool_size != (0, 0) else (out[0], out[1])
        return ConvShape(
            given,
            (out[0], out[1]),
            self.kernel,
            self.stride,
            self.dilation,
            self.pad,
            self.pool,
            size,
            self.groups,
            self.top,
        )


@dataclass(frozen=True)
class ConvSpec:
    """Convolutions on x0 of shape `given`, then dense layers of `widths` (classes last).

    Attributes:
        finer: bits more for the output grid of convolutions than make_model gives.
        front: seed of a frozen front that makes x0, instead of the input stage; `given` is its own.
    """

    name: str
    given: Shape3
    convs: tuple[Conv, ...]
    widths: tuple[int, ...] = (5,)
    signed: bool = False
    front: int | None = None
    factors: bool = False
    finer: int = 0
    arithmetic: dict[str, Any] = field(default_factory=dict)


GLOBAL: Size = (0, 0)
CONV_SPECS: tuple[ConvSpec, ...] = (
    ConvSpec(
        "conv1d",
        (1, 20, 3),
        (Conv(8, (1, 5), pool="average", pool_size=GLOBAL),),
        signed=True,
        arithmetic={"order": 4, "batch": 8, "tile_k": 8},
    ),
    ConvSpec(
        "conv2d",
        (6, 7, 3),
        (
            Conv(6, (3, 3), pad=(1, 1), pool="average", pool_size=(2, 1)),
            Conv(
                9, (3, 2), stride=(2, 1), dilation=(1, 2), pad=(1, 0), pool="max", pool_size=(1, 2)
            ),
            Conv(5, (2, 1)),
        ),
        (7, 6),
        factors=True,
        arithmetic={"order": 16, "batch": 5, "master_bits": 8, "tile_k": 16},
    ),
    ConvSpec(
        "pointwise",
        (3, 4, 5),
        (Conv(6, (1, 1)), Conv(5, (1, 1), stride=(2, 2), pool="average", pool_size=(2, 1))),
        signed=True,
        arithmetic={"order": 8, "batch": 13, "tile_k": 4, "acc_bits": 12},
    ),
    ConvSpec(
        "every",
        (4, 5, 2),
        (Conv(3, (2, 2), pool="max", pool_size=(2, 2)), Conv(4, (1, 2))),
        arithmetic={"order": 4, "batch": 6, "saturation": "every_add"},
    ),
    ConvSpec(
        "off",
        (2, 6, 3),
        (Conv(5, (2, 3), pad=(1, 1)), Conv(3, (2, 2), stride=(1, 2))),
        arithmetic={"order": 1, "batch": 7, "acc_bits": 16},
    ),
    ConvSpec(
        "depthwise",
        (4, 3, 3),
        (
            Conv(5, (1, 1), top=600),
            Conv(5, (3, 3), pad=(1, 1), groups=5, top=300),
            Conv(5, (1, 1), pool="average", pool_size=GLOBAL),
        ),
        finer=5,
        arithmetic={"order": 8, "batch": 6, "tile_k": 8, "acc_bits": 8},
    ),
    ConvSpec(
        "groups",
        (4, 5, 6),
        (
            Conv(4, (2, 2), groups=2, top=12000, pool="average", pool_size=(1, 2)),
            Conv(12, (2, 2), dilation=(2, 1), pad=(1, 0), groups=2),
            Conv(12, (1, 1), groups=4, pool="max", pool_size=(2, 1), top=30),
        ),
        factors=True,
        finer=5,
        arithmetic={"order": 4, "batch": 9},
    ),
    ConvSpec(
        "groups_off",
        (3, 4, 4),
        (Conv(4, (1, 2), groups=4), Conv(8, (2, 2), stride=(1, 2), groups=2, top=10)),
        signed=True,
        finer=5,
        arithmetic={"order": 1, "batch": 5, "saturation": "every_add"},
    ),
    ConvSpec(
        "behind",
        (0, 0, 0),
        (Conv(10, (1, 2), pad=(0, 1), pool="average", pool_size=GLOBAL),),
        front=3,
        arithmetic={"order": 16, "batch": 9, "acc_bits": 16},
    ),
)
RESIDUAL_SPECS: tuple[ConvSpec, ...] = (
    ConvSpec(
        "residual",  # a projection, then an identity with a pool behind it
        (5, 4, 3),
        (
            Conv(4, (2, 2)),
            Conv(6, (3, 3), stride=(2, 1), pad=(1, 1)),
            Conv(5, (1, 1), stride=(2, 1), side=True),
            Conv(5, (3, 3), pad=(1, 1), adds=1, top=9000),
            Conv(5, (3, 3), pad=(1, 1)),
            Conv(5, (1, 1), adds=4, pool="average", pool_size=GLOBAL),
        ),
        (6,),
        factors=True,
        finer=3,
        arithmetic={"order": 8, "batch": 6, "tile_k": 8},
    ),
    ConvSpec(
        "residual_first",  # blocks on signed x0: a projection of groups, an identity of one layer
        (3, 4, 4),
        (
            Conv(6, (3, 3), pad=(1, 1), groups=2),
            Conv(4, (1, 1), groups=2, side=True),
            Conv(6, (3, 3), pad=(1, 1), groups=6),
            Conv(4, (1, 1), adds=0, pool="max", pool_size=(1, 2)),
            Conv(4, (3, 1), pad=(1, 0), adds=4),
        ),
        (6, 5),
        signed=True,
        finer=3,
        arithmetic={"order": 4, "batch": 5, "acc_bits": 12},
    ),
    ConvSpec(
        "residual_start",  # identity of signed x0
        (1, 7, 4),
        (Conv(5, (1, 3), pad=(0, 1)), Conv(4, (1, 1), adds=0, top=700)),
        signed=True,
        arithmetic={"order": 1, "batch": 4, "saturation": "every_add", "master_bits": 8},
    ),
)


def make_conv_model(spec: ConvSpec, seed: int = 1) -> IntModel:
    """A random model; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    front = None if spec.front is None else make_front_model(spec.front)
    given = front.front[-1].out_shape if front else spec.given
    shapes = []
    shape = given
    entries = [given]  # what each convolution reads
    for conv in spec.convs:
        entries.append(entries[-1] if conv.side else shape)
        shapes.append(conv.shape(entries[-1]))
        shape = shape if conv.side else (*shapes[-1].pooled_size, conv.outputs)
    flat = int(np.prod(shape))
    signed = front.x0_signed if front else spec.signed
    widths = (int(np.prod(given)), *(c.outputs for c in spec.convs[:-1]), flat, *spec.widths)
    dense = ModelSpec(
        spec.name, widths, signed=signed, factors=spec.factors, arithmetic=spec.arithmetic
    )
    model = make_model(dense, seed)
    layers = [
        _conv_layer(rng, layer, conv, found, spec)
        for layer, conv, found in zip(model.layers, spec.convs, shapes, strict=False)
    ]
    for at, conv in enumerate(spec.convs):
        if conv.adds is not None and layers[min(conv.adds + 1, at)].side:
            same = layers[at].out_frac_bits
            layers[conv.adds + 1] = replace(layers[conv.adds + 1], out_frac_bits=same)
    model = replace(model, layers=(*layers, *model.layers[len(layers) :]))
    if front:
        return replace(model, input=front.input, front=front.front)
    return replace(model, input=_image(rng, model, spec.given))


def _conv_layer(
    rng: np.random.Generator, layer: TrainableLayer, conv: Conv, shape: ConvShape, spec: ConvSpec
) -> TrainableLayer:
    """The layer with masters for its windows; its ranges and scales stay."""
    top = 127 if spec.arithmetic.get("master_bits") == 8 else 32767
    master = np.clip(np.round(rng.normal(0, top / 3, (conv.outputs, shape.terms))), -top, top)
    bias = rng.integers(-(2**19), 2**19, conv.outputs)
    factor = rng.integers(1, 9, conv.outputs) if spec.factors else np.ones(conv.outputs)
    return replace(
        layer,
        master=master.astype(np.int16),
        bias=bias.astype(np.int32),
        row_factor=factor.astype(np.uint8),
        scale=Scale.from_real(0.5 / top / (2 if spec.factors else 1)),
        out_frac_bits=layer.out_frac_bits + spec.finer,
        conv=shape,
        side=conv.side,
        adds=conv.adds,
        relu=not conv.side,
        in_amax=0 if conv.side else layer.in_amax,
    )


def _image(rng: np.random.Generator, model: IntModel, shape: Shape3) -> Any:
    height, width, channels = shape
    return replace(
        model.input,
        raw_frac_bits=np.full(channels, 8, np.int16),
        zero=rng.integers(-100, 100, channels).astype(np.int16),
        mult=(rng.integers(2000, 16384, channels) * rng.choice([-1, 1], channels)).astype(np.int16),
        shift=rng.integers(10, 16, channels).astype(np.uint8),
        pixels=height * width,
        planar=bool(rng.integers(2)),
    )
