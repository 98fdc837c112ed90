# SPDX-License-Identifier: Apache-2.0
"""The twin's convolutions (SPEC.md 14) against the page in plain Python integers."""

from dataclasses import asdict, dataclass

import numpy as np
import pytest

from device.twin.conv_groups import groups_input_gradient
from device.twin.conv_layers import (
    conv_forward,
    conv_input_gradient,
    conv_update_weights,
    passing,
    pool_backward,
    pool_forward,
    transformed_input,
)
from device.twin.conv_shape import ConvShape
from device.twin.kernels import IntArray
from device.twin.layers import LayerInput, LayerWeights, StepContext
from device.twin.model import Arithmetic, TrainableLayer
from device.twin.scale import Scale
from tests.vectors import convolution as page
from tests.vectors import network as ref

BATCH = 3


@dataclass(frozen=True)
class Case:
    """A geometry and an arithmetic."""

    shape: ConvShape
    outputs: int
    arithmetic: Arithmetic


CASES = {
    "padded": Case(
        ConvShape((3, 4, 2), (3, 4), (3, 3), pad=(1, 1)), 3, Arithmetic(4, 4, batch=BATCH)
    ),
    "strided": Case(
        ConvShape((4, 5, 3), (2, 3), (2, 2), (2, 2), (1, 2), (0, 1), "max", (2, 1)),
        5,
        Arithmetic(8, 8, 12, batch=BATCH),
    ),
    "mean": Case(
        ConvShape((1, 9, 3), (1, 7), (1, 3), pool="average", pool_size=(1, 3)),
        4,
        Arithmetic(1, 5, batch=BATCH),
    ),
    "depthwise": Case(
        ConvShape((3, 4, 3), (3, 4), (3, 3), pad=(1, 1), groups=3, top=9000),
        3,
        Arithmetic(8, 4, batch=BATCH),
    ),
    "groups": Case(
        ConvShape((3, 5, 4), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), "max", (1, 2), 2, 12000),
        6,
        Arithmetic(4, 8, 12, batch=BATCH),
    ),
    "multiplied": Case(
        ConvShape((2, 5, 2), (2, 4), (1, 2), pool="average", pool_size=(2, 2), groups=2, top=30),
        4,
        Arithmetic(1, 3, 8, "every_add", 8, BATCH),
    ),
    "every": Case(
        ConvShape((2, 3, 2), (2, 2), (1, 2), pool="average", pool_size=(2, 2)),
        6,
        Arithmetic(4, 8, 8, "every_add", 8, BATCH),
    ),
}


def random_layer(case: Case, rng: np.random.Generator) -> TrainableLayer:
    limit = case.arithmetic.master_max // 2
    size = (case.outputs, case.shape.terms)
    return TrainableLayer(
        name="conv",
        master=rng.integers(-limit, limit + 1, size).astype(np.int16),
        bias=rng.integers(-(2**22), 2**22, case.outputs).astype(np.int32),
        row_factor=rng.integers(1, 200, case.outputs).astype(np.uint8),
        scale=Scale(20000, -29),
        out_frac_bits=9,
        relu=True,
        in_amax=500,
        x_range=20,
        w_range=24,
        conv=case.shape,
    )


def reference_network(case: Case, layer: TrainableLayer) -> ref.Network:
    a, one = case.arithmetic, (layer.scale.mantissa, layer.scale.exponent)
    entry = ref.Layer(layer.row_factor.tolist(), one, layer.out_frac_bits, 20, layer.w_range)
    zeros: list[int] = []
    return ref.Network(
        a.order, a.tile_k, a.acc_bits, a.saturation, a.master_bits, a.batch,
        zeros, zeros, zeros, 1, False, (2**14, -14), False, [], [entry, entry],
    )  # fmt: skip


def lists(values: IntArray) -> page.Cube:
    found: page.Cube = values.tolist()
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_every_operation_equals_the_page(name: str, seed: int) -> None:
    case, rng, index = CASES[name], np.random.default_rng(seed), 1
    shape, layer = case.shape, random_layer(case, rng)
    net, geometry = reference_network(case, layer), asdict(shape)
    weights = LayerWeights(layer.master.astype(np.int64), layer.bias.astype(np.int64))
    plain = ref.Weights(weights.master.tolist(), weights.bias.tolist())
    x = LayerInput(rng.integers(0, 16, (BATCH, shape.in_values)), Scale(17000, -18), False)
    given = ref.Activation(x.q.tolist(), (17000, -18), 15)

    y = conv_forward(layer, shape, weights, x, case.arithmetic)
    assert page.conv_forward(net, index, geometry, plain, given) == lists(y)
    z, passes = pool_forward(shape, y)
    assert page.pool(geometry, lists(y)) == (lists(z), lists(passes))
    assert 0 < passes.mean() < 1

    mask = passing(shape, z)
    assert mask.tolist() == [[[page.passes_bound(geometry, v) for v in a] for a in b] for b in z]
    assert shape.top == 0 or (y == shape.top).any()
    d = rng.integers(-20000, 20001, z.shape) * mask
    error, scale = pool_backward(shape, d, Scale(18000, -27), passes)
    expected, pair = page.spread(geometry, lists(d), (18000, -27), lists(passes))
    assert (lists(error), (scale.mantissa, scale.exponent)) == (expected, pair)

    context = StepContext(case.arithmetic, 5, seed, Scale.from_real(0.05))
    rate = (context.rate.mantissa, context.rate.exponent)
    step = ref.Step(5, seed, rate)
    single = shape.groups == 1
    gradient = conv_input_gradient if single else groups_input_gradient
    reference = page.conv_input_gradient if single else page.groups_input_gradient
    below, s = gradient(index, layer, shape, weights, error, scale, context)
    got = reference(net, index, geometry, plain, expected, pair, step)
    assert got == (below.tolist(), (s.mantissa, s.exponent))
    assert below.any()

    before = weights.copy()
    xh = transformed_input(index, x, context)
    conv_update_weights(index, layer, shape, weights, xh, error, scale, context)
    page.conv_update(net, index, geometry, plain, given, expected, pair, step)
    assert plain.master == weights.master.tolist() and plain.bias == weights.bias.tolist()
    assert (before.master != weights.master).any() and (before.bias != weights.bias).any()
