# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks written node by node, as exporters write them, with seeded weights."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Net:
    """A file under construction; methods append nodes and return the name of the result.

    Weights are of He et al. (2015), batch norms have statistics that are not trivial, so that
    activations keep their size through the network.
    """

    def __init__(self, name: str, shape: tuple[int, ...], seed: int = 0) -> None:
        self.name = name
        self.shape = shape
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.channels = {"x": shape[0]}

    def constant(self, array: Any) -> str:
        """An initialiser."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node of one result."""
        name = f"t{len(self.nodes)}"
        label = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=label, **attributes))
        self.channels[name] = self.channels.get(inputs[0], 0)
        return name

    def conv(
        self,
        x: str,
        out: int,
        kernel: tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        pad: tuple[int, ...] | None = None,
        groups: int = 1,
        norm: bool = True,
        act: str = "Relu",
        bias: bool = False,
        dilation: int = 1,
    ) -> str:
        """Conv, then BatchNormalization and an activation if asked for; pads keep the size."""
        inputs = self.channels[x] // groups
        fan = inputs * int(np.prod(kernel))
        weight = self.rng.normal(0, np.sqrt(2 / fan), (out, inputs, *kernel))
        terms = [x, self.constant(weight.astype(np.float32))]
        if bias or not norm:
            terms.append(self.constant(self.rng.normal(0, 0.1, out).astype(np.float32)))
        strides = [stride] * len(kernel) if isinstance(stride, int) else list(stride)
        half = tuple(dilation * (k - 1) // 2 for k in kernel) * 2 if pad is None else pad
        y = self.node(
            "Conv",
            *terms,
            kernel_shape=list(kernel),
            strides=strides,
            pads=list(half),
            group=groups,
            dilations=[dilation] * len(kernel),
        )
        self.channels[y] = out
        y = self.norm(y) if norm else y
        return self.node(act, y) if act else y

    def norm(self, x: str) -> str:
        """BatchNormalization with statistics near those of its input."""
        n = self.channels[x]
        values = (
            self.rng.uniform(0.7, 1.3, n),
            self.rng.normal(0, 0.2, n),
            self.rng.normal(0, 0.2, n),
            self.rng.uniform(0.6, 1.4, n),
        )
        names = [self.constant(v.astype(np.float32)) for v in values]
        return self.node("BatchNormalization", x, *names, epsilon=1e-5)

    def gemm(self, x: str, inputs: int, outputs: int, act: str = "") -> str:
        """Gemm as PyTorch writes it."""
        weight = self.rng.normal(0, np.sqrt(2 / inputs), (outputs, inputs)).astype(np.float32)
        bias = self.rng.normal(0, 0.1, outputs).astype(np.float32)
        y = self.node("Gemm", x, self.constant(weight), self.constant(bias), transB=1)
        return self.node(act, y) if act else y

    def relu6(self, x: str) -> str:
        """Clip to [0, 6]."""
        low, high = (self.constant(np.float32(v)) for v in (0, 6))
        return self.node("Clip", x, low, high)

    def file(self, output: str, outputs: int, opset: int = OPSET) -> onnx.ModelProto:
        """The checked model, with a free batch axis."""
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self.shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])],
            self.constants,
        )
        assert output == f"t{len(self.nodes) - 1}"
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model
