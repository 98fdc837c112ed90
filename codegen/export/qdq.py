# SPDX-License-Identifier: Apache-2.0
"""The qdq form: QuantizeLinear and DequantizeLinear around ordinary layers.

Same weights, scales and ranges as the device, in float; no saturating tiles, no fixed-point grid.
How often it decides as the device does is measured, not promised.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from codegen.export.builder import INPUT, GraphBuilder, int8, require_no_front
from device.twin.kernels import widen
from device.twin.layers import weight_view
from device.twin.model import FrozenLayer, IntModel, TrainableLayer
from device.twin.scale import Scale, quantized_scale


def export_qdq(model: IntModel) -> onnx.ModelProto:
    """The integer model in QDQ form.

    Returns: a model from float32 features (N, features) to float32 `logits` (N, n_classes).
    Raises: ExportError if the model has a front.
    """
    require_no_front(model, "qdq")
    g = GraphBuilder()
    x = _x0(g, model)
    for index, layer in enumerate(model.layers):
        head = index + 1 == len(model.layers)
        rows = model.n_classes if head else layer.outputs
        y = _dense(g, layer, x, rows, "logits" if head else "")
        if not head:
            following = model.layers[index + 1]
            amax = widen(following.in_amax, following.x_range)
            grid = Scale(1 << 14, -14 - layer.out_frac_bits)
            step = quantized_scale(grid, amax, 15).value
            x = _requantize(g, y, step, step, 15, signed=False)
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", model.n_classes])]
    return g.model(model, "qdq", outputs)


def _x0(g: GraphBuilder, model: IntModel) -> str:
    """Input stage and frozen layers, whose tensors are kept in the grid of SPEC.md 3 and 4."""
    stage = model.input
    raw = g.node("Mul", INPUT, g.constant(np.ldexp(1.0, stage.raw_frac_bits), np.float32))
    ratio = stage.mult.astype(np.float64) * 2.0 ** -stage.shift.astype(np.float64)
    v = g.node("Mul", g.node("Sub", raw, g.constant(stage.zero, np.float32)), _float(g, ratio))
    if not model.frozen:
        qmax = 7 if stage.signed else 15
        return _requantize(g, v, stage.amax / qmax, stage.scale.value, qmax, stage.signed)
    x = _requantize(g, v, stage.amax / 127, 1.0, 127, stage.signed)
    for layer in model.frozen:
        last = layer is model.frozen[-1]
        qmax = 127 if not last else (15 if layer.relu else 7)
        y = _frozen_dense(g, layer, x)
        step_out = stage.scale.value if last else 1.0
        x = _requantize(g, y, layer.out_amax / qmax, step_out, qmax, not layer.relu)
    return x


def _float(g: GraphBuilder, values: object) -> str:
    return g.constant(values, np.float32)


def _requantize(
    g: GraphBuilder, x: str, step: float, step_out: float, qmax: int, signed: bool
) -> str:
    """Clip to the range (the lower bound 0 is the ReLU), quantize by `step`, read by `step_out`."""
    dtype = np.int8 if signed else np.uint8
    low = -qmax * step if signed else 0.0
    inside = g.node("Clip", x, _float(g, low), _float(g, qmax * step))
    zero = g.constant(0, dtype)
    q = g.node("QuantizeLinear", inside, _float(g, step), zero)
    return g.node("DequantizeLinear", q, _float(g, step_out), zero)


def _frozen_dense(g: GraphBuilder, layer: FrozenLayer, x: str) -> str:
    acc_shift = max(0, (layer.weight.shape[1] * 127 * 127).bit_length() - 15)
    shift = layer.shift.astype(np.float64) + acc_shift
    steps = layer.mult.astype(np.float64) * 2.0**-shift
    return _gemm(g, x, layer.weight, steps, layer.bias.astype(np.float64), "")


def _dense(g: GraphBuilder, layer: TrainableLayer, x: str, rows: int, name: str) -> str:
    wq, scales = weight_view(layer, layer.master.astype(np.int64))
    steps = np.array([s.value for s in scales[:rows]])
    bias = layer.bias[:rows] * 2.0 ** -(layer.out_frac_bits + 16)
    return _gemm(g, x, int8(wq[:rows]), steps, bias, name)


def _gemm(
    g: GraphBuilder,
    x: str,
    weight: NDArray[np.int8],
    steps: NDArray[np.floating],
    bias: NDArray[np.floating],
    name: str,
) -> str:
    """x W^T + b with int8 weights of one scale a row."""
    zeros = g.constant(np.zeros(len(steps)), np.int8)
    w = g.node("DequantizeLinear", g.constant(weight, np.int8), _float(g, steps), zeros, axis=0)
    return g.node("Gemm", x, w, _float(g, bias), name=name, transB=1)
