# SPDX-License-Identifier: Apache-2.0
"""Base models as ONNX files: IR 10, opset 21, any batch size; every runtime reads them."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from server.learning.float_reference import Params

IR_VERSION = 10
OPSET = 21
BATCH = "N"
# Magnitudes of features of one unit lie within this factor of their median; beyond it units differ.
ALIKE = 4.0

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Normaliser:
    """(x - mean) / scale, feature by feature; both float32 (features,)."""

    mean: Float32Array
    scale: Float32Array

    def apply(self, x: Float32Array) -> Float32Array:
        """Normalise x, float32 (N, features)."""
        return (x - self.mean) / self.scale


def fit_normaliser(x: Float32Array, floor: float = 0.1) -> Normaliser:
    """Mean and standard deviation of every feature.

    Args:
        x: float32 (N, features).
        floor: least deviation, as a share of the largest one: a feature that hardly varies, such
            as a corner pixel, is not blown up to outliers that cost every other one its resolution.
            Features in units of their own have none: there the largest says nothing of the others.
            Units are told by magnitudes: deviations differ as much where the base classes happen
            to keep still.
    """
    deviation = x.std(axis=0, dtype=np.float64)
    largest = float(deviation.max())
    varies = deviation > np.finfo(np.float32).eps * largest
    magnitude = np.abs(x).max(axis=0)
    if varies.any() and magnitude[varies].max() > ALIKE * float(np.median(magnitude[varies])):
        scale = np.where(varies, deviation, 1.0)
    else:
        scale = np.maximum(deviation, floor * largest or 1.0)
    return Normaliser(x.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32))


def to_onnx(
    params: Params,
    normaliser: Normaliser | None = None,
    *,
    softmax: bool = False,
    name: str = "base",
) -> onnx.ModelProto:
    """The network as a checked ONNX model.

    Args:
        params: layers, ReLU between them.
        normaliser: put in front, as Sub and Div.
        softmax: end in probabilities rather than in logits.
    Returns: input "x", float32 (N, features); output "logits" or "probabilities", float32
        (N, classes). The same arguments give the same bytes.
    """
    nodes, tensors = _normaliser_nodes(normaliser)
    last = nodes[-1].output[0] if nodes else "x"
    for index, layer in enumerate(params):
        tensors += [
            numpy_helper.from_array(layer.weight, f"w{index}"),
            numpy_helper.from_array(layer.bias, f"b{index}"),
        ]
        is_head = index == len(params) - 1
        out = "logits" if is_head else f"z{index}"
        nodes.append(
            helper.make_node(
                "Gemm", [last, f"w{index}", f"b{index}"], [out], f"fc{index}", transB=1
            )
        )
        last = out
        if not is_head:
            nodes.append(helper.make_node("Relu", [out], [f"a{index}"], f"relu{index}"))
            last = f"a{index}"
    if softmax:
        nodes.append(helper.make_node("Softmax", [last], ["probabilities"], "softmax", axis=1))
        last = "probabilities"
    return _model(name, nodes, tensors, params, last)


def _normaliser_nodes(
    normaliser: Normaliser | None,
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    if normaliser is None:
        return [], []
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"], "centre"),
        helper.make_node("Div", ["centred", "scale"], ["normalised"], "normalise"),
    ]
    tensors = [
        numpy_helper.from_array(normaliser.mean, "mean"),
        numpy_helper.from_array(normaliser.scale, "scale"),
    ]
    return nodes, tensors


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    params: Params,
    output: str,
) -> onnx.ModelProto:
    features, classes = params[0].weight.shape[1], params[-1].weight.shape[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, features])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [BATCH, classes])],
        tensors,
    )
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="hadapt",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
