# SPDX-License-Identifier: Apache-2.0
"""4-bit trainable layers: masters, grids and ranges, fitted to calibration samples (SPEC.md 5)."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codegen.errors import QuantizeError
from codegen.quantize.ranges import INT16_MAX, OUTPUT_HEADROOM, FloatArray, frac_bits_for
from codegen.quantize.tail import ConvSource, Source, after, linear
from device.twin.conv_layers import conv_forward, pool_forward
from device.twin.kernels import IntArray, saturate
from device.twin.layers import LayerInput, LayerWeights, activate, forward
from device.twin.model import Arithmetic, TrainableLayer
from device.twin.residual import identity
from device.twin.scale import Scale

# Room for weights to grow before a master saturates, as a multiple of the largest trained weight.
MASTER_HEADROOM = {8: 2.0, 16: 4.0}
# Range factors tried, in sixteenths, and samples they are judged by.
RANGE_FACTORS = (16, 20, 24, 32, 40, 48, 64)
FIT_SAMPLES = 512
FIT_TERMS = 2**20  # unrolled terms of a convolution that ranges are judged by, at the most
FEWEST_FIT_SAMPLES = 8
# In the finest output grid, 2**-15, a smaller output would have less than 16 steps.
SMALLEST_OUTPUT = 2.0**-11


def head_of(x: LayerInput, sources: tuple[Source, ...]) -> LayerInput:
    """The first samples: enough to choose ranges by."""
    terms = max(
        (s.shape.pixels * s.shape.terms for s in sources if isinstance(s, ConvSource)), default=1
    )
    count = min(FIT_SAMPLES, max(FEWEST_FIT_SAMPLES, FIT_TERMS // terms))
    return LayerInput(x.q[:count], x.scale, x.signed)


def trainable_layers(
    tail: tuple[Source, ...], x: LayerInput, max_classes: int, arithmetic: Arithmetic
) -> tuple[TrainableLayer, ...]:
    """4-bit layers with masters, grids and first activation ranges (SPEC.md 5)."""
    x = head_of(x, tail)
    fit = _Fit(tail, x, x.q * x.scale.value, arithmetic)
    for index, source in enumerate(tail):
        rows = max_classes if source is tail[-1] else source.outputs
        fit.add(index, rows)
    return tuple(fit.layers)


class _Fit:
    """Layers fitted so far, and what they make of the samples, in float and in integers."""

    def __init__(
        self,
        tail: tuple[Source, ...],
        x: LayerInput,
        exact: NDArray[np.floating],
        arithmetic: Arithmetic,
    ) -> None:
        self.tail, self.arithmetic = tail, arithmetic
        self.layers: list[TrainableLayer] = []
        self.x = {0: x}  # inputs by layer
        self.made: dict[int, tuple[TrainableLayer, IntArray]] = {}  # what a layer will read
        self.side: IntArray | None = None
        self.targets = float_outputs(tail, exact)

    def add(self, index: int, rows: int) -> None:
        """Fit one layer more."""
        source, target = self.tail[index], self.targets[index]
        alike = _of_one_grid(self.tail, index)
        bits = min(_output_bits(self.tail[i], self.targets[i]) for i in alike)
        layer = _layer(source, bits, rows, self.arithmetic)
        layer = replace(layer, side=is_side(source), adds=first_of(self.tail, index))
        given = self.x.get(index - 1 if is_side(source) else index)
        if given is not None:
            base = self._shortcut(layer, given)
            layer, y = fit_weight_range(layer, given, target, self.arithmetic, base)
        else:
            layer, y = self._fit_ranges(index, layer, target)
        self.layers.append(layer)
        if layer.side:
            self.side = y
        elif index + 1 < len(self.tail):
            above = index + (2 if has_side(self.tail, index) else 1)
            self.made[above] = layer, _pooled(layer, y)

    def _shortcut(self, layer: TrainableLayer, x: LayerInput) -> IntArray | None:
        """What a layer adds, x being its own input."""
        if layer.adds is None:
            return None
        if has_side(self.tail, layer.adds):
            return self.side
        return identity(layer, self.x.get(layer.adds, x))

    def _fit_ranges(
        self, index: int, layer: TrainableLayer, target: NDArray[np.floating]
    ) -> tuple[TrainableLayer, IntArray]:
        """x_range and w_range with the least output error, and the outputs."""
        below, z_below = self.made[index]
        in_amax = _batch_range(z_below, self.arithmetic.batch)
        tried = []
        for x_range in RANGE_FACTORS:
            x = activate(z_below, below.out_frac_bits, in_amax, x_range)
            candidate = replace(layer, in_amax=in_amax, x_range=x_range)
            base = self._shortcut(layer, x)
            fitted, y = fit_weight_range(candidate, x, target, self.arithmetic, base)
            tried.append((output_error(fitted, y, target), fitted, y, x))
        _, best, y, self.x[index] = min(tried, key=lambda item: item[0])
        return best, y


def float_outputs(tail: tuple[Source, ...], x: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    """Outputs of every layer before its ReLU, of inputs (N, values) of the first one."""
    inputs, out = {0: x}, list[NDArray[np.floating]]()
    for index, source in enumerate(tail):
        shortcut = None
        first = first_of(tail, index)
        if first is not None:
            shortcut = out[first + 1] if has_side(tail, first) else inputs[first]
        y = linear(source, inputs[index - 1 if is_side(source) else index], shortcut)
        out.append(y)
        if not is_side(source) and index + 1 < len(tail):
            inputs[index + (2 if has_side(tail, index) else 1)] = after(source, y)
    return out


def is_side(source: Source) -> bool:
    """Whether a layer's outputs are the shortcut of a residual block."""
    return isinstance(source, ConvSource) and source.side


def first_of(tail: tuple[Source, ...], index: int) -> int | None:
    """First layer of the residual block that a layer ends; None: it ends none."""
    source = tail[index]
    span = source.span if isinstance(source, ConvSource) else None
    return None if span is None else index - span


def has_side(tail: tuple[Source, ...], first: int | None) -> bool:
    """Whether a layer is the first of a block with a side layer."""
    return first is not None and first + 1 < len(tail) and is_side(tail[first + 1])


def _of_one_grid(tail: tuple[Source, ...], index: int) -> tuple[int, ...]:
    """A side layer and the layer that adds it have one output grid; others have their own."""
    for at in range(len(tail)):
        first = first_of(tail, at)
        if first is not None and has_side(tail, first) and index in (first + 1, at):
            return first + 1, at
    return (index,)


def _outputs(
    layer: TrainableLayer, x: LayerInput, arithmetic: Arithmetic, shortcut: IntArray | None
) -> IntArray:
    """Outputs before ReLU and pool, (N, values)."""
    weights = LayerWeights(layer.master.astype(np.int64), layer.bias.astype(np.int64))
    if layer.conv is None:
        return forward(layer, weights, x, arithmetic)
    y = conv_forward(layer, layer.conv, weights, x, arithmetic, None, shortcut)
    return y.reshape(len(x.q), -1)


def _pooled(layer: TrainableLayer, y: IntArray) -> IntArray:
    """What is quantised for the next layer, of outputs (N, values)."""
    if layer.conv is None:
        return y
    z, _ = pool_forward(layer.conv, y.reshape(len(y), layer.conv.pixels, layer.outputs))
    return z.reshape(len(y), -1)


def output_error(layer: TrainableLayer, y: IntArray, target: NDArray[np.floating]) -> float:
    """Squared error of integer outputs against the float layer's, saturation included."""
    y = y[:, : target.shape[1]]
    return float(np.square(y * 2.0**-layer.out_frac_bits - target).sum())


def fit_weight_range(
    layer: TrainableLayer,
    x: LayerInput,
    target: NDArray[np.floating],
    arithmetic: Arithmetic,
    shortcut: IntArray | None = None,
) -> tuple[TrainableLayer, IntArray]:
    """The w_range with the least output error, and the outputs."""
    tried = []
    for w_range in RANGE_FACTORS:
        candidate = replace(layer, w_range=w_range)
        y = _outputs(candidate, x, arithmetic, shortcut)
        tried.append((output_error(candidate, y, target), candidate, y))
    _, best, y = min(tried, key=lambda item: item[0])
    return best, y


def _batch_range(y: IntArray, batch: int) -> int:
    """Mean over batches of the largest activation, as training will track it (SPEC.md 5.3)."""
    parts = [y[i : i + batch].max() for i in range(0, max(1, len(y) - batch + 1), batch)]
    return max(1, round(float(np.mean(np.maximum(parts, 0)))))


def largest_output(y: NDArray[np.floating], dense: Source) -> float:
    """Largest magnitude a layer's output grid has to hold, its biases included."""
    return float(max(np.abs(y).max(), np.abs(dense.bias).max()))


def _output_bits(dense: Source, y: NDArray[np.floating]) -> int:
    """fy of SPEC.md 5, for float outputs y of the layer.

    Raises: QuantizeError if outputs are beyond 16 bits, or so small that few steps are left.
    """
    largest = largest_output(y, dense)
    if largest > INT16_MAX or 0.0 < largest < SMALLEST_OUTPUT:
        raise QuantizeError(
            f"the largest output is {largest:.3g}",
            where=f"layer {dense.name}",
            expected=f"{SMALLEST_OUTPUT:g} to {INT16_MAX}: other weights, or inputs normalised",
        )
    return min(max(frac_bits_for(largest, OUTPUT_HEADROOM), 0), 15)


def trainable_layer(
    dense: Source, x: NDArray[np.floating], rows: int, arithmetic: Arithmetic
) -> TrainableLayer:
    """A layer of `rows` rows whose ranges are still to be fitted; x: its float inputs."""
    return _layer(dense, _output_bits(dense, linear(dense, x)), rows, arithmetic)


def _layer(dense: Source, frac_bits: int, rows: int, arithmetic: Arithmetic) -> TrainableLayer:
    scale, factor, master = _masters(dense.weight, rows, arithmetic)
    bias = np.zeros(rows, np.int64)
    bias[: dense.outputs] = np.floor(dense.bias.astype(np.float64) * 2.0 ** (frac_bits + 16) + 0.5)
    return TrainableLayer(
        name=dense.name,
        master=master,
        bias=saturate(bias, 32).astype(np.int32),
        row_factor=factor,
        scale=scale,
        out_frac_bits=frac_bits,
        relu=dense.activation == "relu",
        in_amax=0,
        conv=dense.bounded(frac_bits) if isinstance(dense, ConvSource) else None,
    )


def _masters(
    weight: FloatArray, rows: int, arithmetic: Arithmetic
) -> tuple[Scale, NDArray[np.uint8], NDArray[np.int16]]:
    """Layer scale, row factors and masters; reserved rows are zero.

    16-bit masters have bits to spare and share one scale. 8-bit masters need every bit: each row
    has the range of its own weights, as a factor of the layer's scale.
    """
    limit = arithmetic.master_max
    largest = np.abs(weight).max(axis=1).astype(np.float64)
    top = float(largest.max()) or 1.0
    steps = 1 if arithmetic.master_bits == 16 else 255
    scale = Scale.from_real(top * MASTER_HEADROOM[arithmetic.master_bits] / limit / steps)
    factor = np.full(rows, steps, np.uint8)
    used = np.clip(np.ceil(largest / top * steps), 1, steps)
    factor[: len(weight)] = np.where(largest > 0, used, steps)  # a row of zeros may learn yet
    unit = scale.value * factor[: len(weight), None].astype(np.float64)
    master = np.zeros((rows, weight.shape[1]), np.int16)
    master[: len(weight)] = np.clip(np.floor(weight / unit + 0.5), -limit, limit)
    return scale, factor, master
