# SPDX-License-Identifier: Apache-2.0
"""A small builder of ONNX graphs: nodes in order, constants by name."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from codegen.errors import ExportError
from device.twin.inference import AnyModel
from device.twin.model import IntModel

IR_VERSION = 10
OPSET = 21
INPUT = "features"


class GraphBuilder:
    """Collects nodes and initialisers; every value is called by the name it is given."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def constant(self, value: Any, dtype: Any) -> str:
        """Name of an initialiser with this value; equal values share one."""
        array = np.ascontiguousarray(np.asarray(value, dtype))
        tensor = numpy_helper.from_array(array)
        key = str((array.dtype.str, array.shape, array.tobytes()))
        if key not in self._constants:
            tensor.name = f"c{len(self._constants)}"
            self._constants[key] = tensor
        return self._constants[key].name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node of one output; the answer is the output's name."""
        return self.nodes(operator, *inputs, names=[name or self._fresh()], **attributes)[0]

    def nodes(self, operator: str, *inputs: str, names: list[str], **attributes: Any) -> list[str]:
        """Append a node with named outputs."""
        made = helper.make_node(
            operator, inputs, names, name=f"{operator}_{names[0]}", **attributes
        )
        self._nodes.append(made)
        return names

    def fresh(self, count: int) -> list[str]:
        """Unused value names."""
        return [self._fresh() for _ in range(count)]

    def graph(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        """What has been collected, as a graph."""
        return helper.make_graph(self._nodes, name, inputs, outputs, list(self._constants.values()))

    def model(
        self, source: AnyModel, form: str, outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The finished, checked model; its input is float32 (N, features).

        Of a model that takes features of a signal itself (SPEC.md 15) the input is those features.
        """
        names = source.class_names if isinstance(source, IntModel) else ()
        shape: list[str | int | None] = ["N", source.stage_values]
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)]
        graph = self.graph(f"hadapt_{form}", inputs, outputs)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="hadapt",
        )
        helper.set_model_props(model, {"form": form, "class_names": "\n".join(names)})
        onnx.checker.check_model(model, full_check=True)
        return model

    def _fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"


def require_no_front(model: IntModel, form: str) -> None:
    """Raises: ExportError if the model has convolutions, which the exports cannot write yet."""
    convs = [layer.name for layer in model.layers if layer.conv]
    if convs:
        raise ExportError(
            f"trained convolutions ({convs[0]}, SPEC.md 14) are not exported",
            where=f"{form} form",
            expected="a model of dense layers only, or the exact form",
        )
    if model.front:
        raise ExportError(
            f"a front of {len(model.front)} nodes (convolutions, SPEC.md 4.1) is not exported",
            where=f"{form} form",
            expected="a model of dense layers only, or the exact form",
        )


def int8(values: NDArray[Any]) -> NDArray[np.int8]:
    """Values known to fit, as int8."""
    return values.astype(np.int8)
