# SPDX-License-Identifier: Apache-2.0
"""The exact form: SPEC.md 3 to 5 in ONNX's integer operators.

Arithmetic shifts become floor divisions of int64, since ONNX has no arithmetic shift and its Div
truncates; products are MatMulInteger, one a tile, each clipped to the accumulator and added.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from codegen.export.builder import INPUT, GraphBuilder
from codegen.export.exact_front import exact_front
from codegen.export.exact_tail import GivenInput, before_activation, exact_identity
from codegen.export.integers import clip, quant, quant_rest, round_shift
from device.twin.inference import AnyModel, InferenceModel
from device.twin.kernels import widen
from device.twin.model import FrozenLayer, IntModel
from device.twin.residual import follows, has_side, reads
from device.twin.scale import Scale, quantized_scale


def export_exact(model: IntModel) -> onnx.ModelProto:
    """The integer model as ONNX, equal to the device bit for bit.

    Args:
        model: its masters and frozen ranges are what is exported.
    Returns: a model from float32 features (N, features) to `logits` int32 (N, n_classes), in the
        head's output grid, and `class` int64 (N,).
    Raises: ExportError if the mode every_add makes the graph absurdly long.
    """
    g = GraphBuilder()
    unrounded = _input_stage(g, model)
    x = quant(g, *unrounded)
    if model.has_image and not model.front:  # the front wants pixels
        x = g.node("Reshape", x, g.constant([0, -1], np.int64))
    if model.front:
        x = exact_front(g, model, x)
    for frozen in model.frozen:
        unrounded = _frozen_layer(g, frozen, x, frozen is model.frozen[-1])
        x = quant(g, *unrounded)
    rests = quant_rest(g, *unrounded) if model.fine_inference else None
    scale, signed = model.input.scale, model.x0_signed
    inputs = {0: GivenInput(x, rests, scale, signed)}
    side = ""
    for index, layer in enumerate(model.layers):
        shortcut = None
        if layer.adds is not None:
            two = has_side(model.layers, layer.adds)
            shortcut = side if two else exact_identity(g, layer, inputs[layer.adds])
        given = inputs[reads(model.layers, index)]
        y = before_activation(g, layer, given, model, shortcut)
        if layer.side:
            side = y
        elif index + 1 < len(model.layers):
            above = follows(model.layers, index)
            following = model.layers[above]
            amax = widen(following.in_amax, following.x_range)
            x = quant(g, y, amax, 15, True)
            rests = quant_rest(g, y, amax, 15, True) if model.fine_inference else None
            scale = quantized_scale(Scale(1 << 14, -14 - layer.out_frac_bits), amax, 15)
            inputs[above] = GivenInput(x, rests, scale, False)
    g.node("Cast", y, name="logits", to=TensorProto.INT32)
    g.node("ArgMax", "logits", name="class", axis=1, keepdims=0, select_last_index=0)
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.INT32, ["N", model.n_classes]),
        helper.make_tensor_value_info("class", TensorProto.INT64, ["N"]),
    ]
    return g.model(model, "exact", outputs)


def export_network_exact(model: InferenceModel) -> onnx.ModelProto:
    """An inference-only model as ONNX, equal to the device bit for bit.

    Returns: a model from float32 features (N, features) to `output` int8 (N, outputs).
    """
    g = GraphBuilder()
    x = exact_front(g, model, quant(g, *_input_stage(g, model)))
    g.node("Cast", x, name="output", to=TensorProto.INT8)
    made = helper.make_tensor_value_info("output", TensorProto.INT8, ["N", model.outputs])
    return g.model(model, "exact", [made])


# What is to be quantised: tensor, amax, qmax, whether it is never negative.
Unrounded = tuple[str, int, int, bool]


def _input_stage(g: GraphBuilder, model: AnyModel) -> Unrounded:
    """Float features to raw samples (where the sample is born) to v of SPEC.md 3."""
    stage = model.input
    bits = stage.per_value(stage.raw_frac_bits)
    exact = g.node("Cast", INPUT, to=TensorProto.DOUBLE)
    scaled = g.node("Mul", exact, g.constant(np.ldexp(1.0, bits), np.float64))
    raw = g.node("Floor", g.node("Add", scaled, g.constant(0.5, np.float64)))
    raw = g.node("Clip", raw, g.constant(-32768.0, np.float64), g.constant(32767.0, np.float64))
    raw = g.node("Cast", raw, to=TensorProto.INT64)
    if model.has_image:
        sizes = (len(stage.zero), stage.pixels)
        order = sizes if stage.planar else sizes[::-1]
        raw = g.node("Reshape", raw, g.constant([0, *order], np.int64))
        raw = g.node("Transpose", raw, perm=[0, 2, 1]) if stage.planar else raw
    centred = g.node("Sub", raw, g.constant(stage.zero, np.int64))
    v = g.node("Mul", centred, g.constant(stage.mult, np.int64))
    v = clip(g, round_shift(g, v, stage.shift.astype(np.int64).tolist()), -32768, 32767)
    qmax = 127 if model.has_frozen_part else (7 if stage.signed else 15)
    return v, stage.amax, qmax, not stage.signed


def _frozen_layer(g: GraphBuilder, layer: FrozenLayer, x: str, last: bool) -> Unrounded:
    """SPEC.md 4. x is in [-127, 127], so int8 carries it, signed or not."""
    acc_shift = max(0, (layer.weight.shape[1] * 127 * 127).bit_length() - 15)
    narrow = g.node("Cast", x, to=TensorProto.INT8)
    acc = g.node("MatMulInteger", narrow, g.constant(layer.weight.T, np.int8))
    acc = round_shift(g, g.node("Cast", acc, to=TensorProto.INT64), acc_shift)
    acc = g.node("Mul", acc, g.constant(layer.mult, np.int64))
    y = round_shift(g, acc, layer.shift.astype(np.int64).tolist())
    y = clip(g, g.node("Add", y, g.constant(layer.bias, np.int64)), -32768, 32767)
    qmax = 127 if not last else (15 if layer.relu else 7)
    return y, layer.out_amax, qmax, layer.relu
