# SPDX-License-Identifier: Apache-2.0
"""Networks as other people's tools write them, node by node: rows of docs/operators.md.

Each pattern was found in a file of the tool that is named: PyTorch's two exporters, Keras by
tf2onnx, scikit-learn by skl2onnx, onnxruntime's quantizer and float16 converter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"


@dataclass
class Sheet:
    """A file under construction, of any opset and element type."""

    shape: tuple[int, ...] = (12,)
    opset: int = 13
    x_type: int = TensorProto.FLOAT
    outputs: dict[str, int] = field(default_factory=lambda: {"y": TensorProto.FLOAT})
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))

    def add(self, operator: str, inputs: str, output: str, **attributes: Any) -> None:
        """A node; tensors are words, "ml:" marks the domain."""
        domain, _, name = operator.rpartition(":")
        label = f"{name}_{output.split()[0]}"
        self.nodes.append(
            helper.make_node(
                name,
                inputs.split(),
                output.split(),
                name=label,
                domain=ML if domain else "",
                **attributes,
            )
        )

    def number(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """A constant."""
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, name: str, *shape: int, dtype: Any = np.float32) -> str:
        """A weight, scaled by what it sums over: all axes but the last, or but the first of 3."""
        fan = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        return self.number(name, self.rng.normal(0, 1.4 / np.sqrt(fan), shape), dtype)

    def head(self, x: str, inputs: int, classes: int = 3) -> None:
        """The last layer, without a bias."""
        self.add("MatMul", f"{x} {self.weight('head', inputs, classes)}", "y")

    def file(self) -> onnx.ModelProto:
        """The model; nothing is checked, for tools do not check either."""
        outputs = [
            helper.make_tensor_value_info(name, kind, ["batch", None])
            for name, kind in self.outputs.items()
        ]
        graph = helper.make_graph(
            self.nodes,
            "stranger",
            [helper.make_tensor_value_info("x", self.x_type, ["batch", *self.shape])],
            outputs,
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(ML, 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def linear() -> Sheet:
    """One layer without bias, 7 classes, opset 9."""
    s = Sheet(opset=9)
    s.add("MatMul", f"x {s.weight('w', 12, 7)}", "h")
    s.add("LogSoftmax", "h", "y", axis=1)
    return s


def zero_pad() -> Sheet:
    """nn.ZeroPad2d by PyTorch's older exporter."""
    s = Sheet((2, 9, 7))
    s.number("four", [4], np.int64)
    s.add("ConstantOfShape", "four", "zeros", value=numpy_helper.from_array(np.zeros(1, np.int64)))
    s.add("Concat", f"{s.number('pads', [1, 2, 0, 1], np.int64)} zeros", "all", axis=0)
    s.add("Reshape", f"all {s.number('two', [-1, 2], np.int64)}", "rows")
    cut = " ".join(
        s.number(n, [v], np.int64)
        for n, v in (("last", -1), ("end", -(2**63) + 1), ("axis", 0), ("back", -1))
    )
    s.add("Slice", f"rows {cut}", "turned")
    s.add("Transpose", "turned", "columns", perm=[1, 0])
    s.add("Reshape", f"columns {s.number('flat', [-1], np.int64)}", "listed")
    s.add("Cast", "listed", "widths", to=TensorProto.INT64)
    s.add("Pad", f"x widths {s.number('zero', 0.0)}", "p", mode="constant")
    s.add("Conv", f"p {s.weight('k', 5, 2, 3, 3)}", "c", kernel_shape=[3, 3], strides=[2, 2])
    s.add("Relu", "c", "r")
    s.add("Flatten", "r", "f")
    s.head("f", 5 * 4 * 4)
    return s


def causal() -> Sheet:
    """Conv1D of Keras with padding="causal", and global maximum pooling."""
    s = Sheet((20, 3))
    s.add("Pad", f"x {s.number('pads', [0, 2, 0, 0, 0, 0], np.int64)}", "p")
    s.add("Unsqueeze", f"p {s.number('one', [1], np.int64)}", "u")
    s.add("Transpose", "u", "t", perm=[0, 3, 1, 2])
    s.add("Conv", f"t {s.weight('k', 5, 3, 1, 3)}", "c", kernel_shape=[1, 3])
    s.add("Squeeze", f"c {s.number('two', [2], np.int64)}", "s")
    s.add("Relu", "s", "r")
    s.add("GlobalMaxPool", "r", "g")
    s.add("Squeeze", "g two", "f")
    s.head("f", 5)
    return s


def last_step() -> Sheet:
    """A temporal convolution in PyTorch that answers from the last step, x[:, :, -1]."""
    s = Sheet((3, 16))
    s.add("Conv", f"x {s.weight('k', 5, 3, 3)}", "c", kernel_shape=[3], dilations=[2], pads=[4, 0])
    s.add("Relu", "c", "r")
    s.add("Gather", f"r {s.number('last', -1, np.int64)}", "f", axis=2)
    s.head("f", 5)
    return s


def chomped() -> Sheet:
    """A block of a TCN in PyTorch: padded on both sides, the end cut off, x[:, :, -1:] at last."""
    s = Sheet((3, 16))
    s.add("Conv", f"x {s.weight('k', 5, 3, 3)}", "c", kernel_shape=[3], dilations=[2], pads=[4, 4])
    last = s.number("whole", [2**31 - 1], np.int64)
    start, end = s.number("start", [0], np.int64), s.number("end", [-4], np.int64)
    axis = s.number("axis", [2], np.int64)
    s.add("Slice", f"c {start} {end} {axis}", "h")
    s.add("Relu", "h", "r")
    s.add("Conv", f"x {s.weight('k2', 5, 3, 1)}", "d", kernel_shape=[1])
    s.add("Add", "r d", "a")
    s.add("Relu", "a", "q")
    s.add("Slice", f"q {s.number('one', [3], np.int64)} {end} {axis}", "m")
    s.add("Slice", f"m {s.number('minus', [-1], np.int64)} {last} {axis}", "f3")
    s.add("Flatten", "f3", "f")
    s.head("f", 5)
    return s


def pooled_classes() -> Sheet:
    """Network in network: a 1 x 1 convolution to the classes, then the mean over the image."""
    s = Sheet((2, 8, 8))
    s.add("Conv", f"x {s.weight('k', 6, 2, 3, 3)}", "c", kernel_shape=[3, 3])
    s.add("Relu", "c", "r")
    b = s.number("b", s.rng.normal(0, 0.1, 4))
    s.add("Conv", f"r {s.weight('k2', 4, 6, 1, 1)} {b}", "d", kernel_shape=[1, 1])
    s.add("GlobalAveragePool", "d", "g")
    s.add("Flatten", "g", "f")
    s.add("Softmax", "f", "y", axis=1)
    return s


def convolution_head() -> Sheet:
    """The last convolution takes the whole image."""
    s = Sheet((2, 8, 8))
    s.add("Conv", f"x {s.weight('k', 6, 2, 3, 3)}", "c", kernel_shape=[3, 3], strides=[2, 2])
    s.add("Relu", "c", "r")
    s.add("Conv", f"r {s.weight('k2', 5, 6, 3, 3)}", "d", kernel_shape=[3, 3])
    s.add("Flatten", "d", "y")
    return s


def _hidden(function: Callable[[Sheet], None], classes: int = 3) -> Sheet:
    """A dense layer, what `function` makes of "h" as "a", and 3 or more classes."""
    s = Sheet()
    s.add("MatMul", f"x {s.weight('w', 12, 11)}", "h0")
    s.add("Add", f"h0 {s.number('b', s.rng.normal(0, 0.1, 11))}", "h")
    function(s)
    s.head("a", 11, classes)
    return s


def gelu() -> Sheet:
    """GELU by Erf, 100 classes."""

    def function(s: Sheet) -> None:
        s.add("Div", f"h {s.number('root', 2**0.5)}", "d")
        s.add("Erf", "d", "e")
        s.add("Add", f"e {s.number('one', 1.0)}", "f")
        s.add("Mul", "h f", "g")
        s.add("Mul", f"g {s.number('half', 0.5)}", "a")

    return _hidden(function, 100)


def gelu_tanh() -> Sheet:
    """GELU by Tanh, the cube written as products."""

    def function(s: Sheet) -> None:
        s.add("Mul", "h h", "h2")
        s.add("Mul", "h2 h", "h3")
        s.add("Mul", f"h3 {s.number('c', 0.044715)}", "d")
        s.add("Add", "h d", "e")
        s.add("Mul", f"e {s.number('root', (2 / np.pi) ** 0.5)}", "f")
        s.add("Tanh", "f", "t")
        s.add("Add", f"t {s.number('one', 1.0)}", "u")
        s.add("Mul", f"h {s.number('half', 0.5)}", "v")
        s.add("Mul", "v u", "a")

    return _hidden(function)


def softsign() -> Sheet:
    """Softsign as a quotient."""

    def function(s: Sheet) -> None:
        s.add("Abs", "h", "d")
        s.add("Add", f"d {s.number('one', 1.0)}", "e")
        s.add("Div", "h e", "a")

    return _hidden(function)


def hard_swish() -> Sheet:
    """hard_silu of Keras, by Clip."""

    def function(s: Sheet) -> None:
        s.add("Add", f"h {s.number('three', 3.0)}", "d")
        s.add("Clip", f"d {s.number('low', 0.0)} {s.number('high', 6.0)}", "e")
        s.add("Mul", f"e {s.number('sixth', 1 / 6)}", "f")
        s.add("Mul", "h f", "a")

    return _hidden(function)


def mish() -> Sheet:
    """Mish by Softplus and Tanh."""

    def function(s: Sheet) -> None:
        s.add("Softplus", "h", "d")
        s.add("Tanh", "d", "e")
        s.add("Mul", "h e", "a")

    return _hidden(function)


def columns() -> Sheet:
    """ColumnTransformer: two scalers, each for columns of its own; one column left out."""
    s = Sheet((6,), 21)
    first, second = (
        s.number("first", [4, 0, 1], np.int64),
        s.number("second", [5, 3], np.int64),
    )
    s.add("ml:ArrayFeatureExtractor", f"x {first}", "a")
    s.add("ml:Scaler", "a", "sa", offset=[0.5, -1.0, 2.0], scale=[0.5, 1.5, 0.25])
    s.add("ml:ArrayFeatureExtractor", f"x {second}", "b")
    s.add("ml:Scaler", "b", "sb", offset=[0.1, 0.0], scale=[1.0, 2.0])
    s.add("Concat", "sa sb", "c", axis=-1)
    s.add("MatMul", f"c {s.weight('w', 5, 7)}", "h")
    s.add("Relu", "h", "r")
    s.head("r", 7)
    return s


def chosen() -> Sheet:
    """SelectKBest and a network; the scores as they are go into ZipMap (SGDClassifier)."""
    s = Sheet((6,), 21)
    s.add("ml:Imputer", "x", "i", imputed_value_floats=[0.0] * 6)
    s.add("ml:ArrayFeatureExtractor", f"i {s.number('best', [3, 0, 4], np.int64)}", "c")
    s.add("MatMul", f"c {s.weight('w', 3, 7)}", "h")
    s.add("Relu", "h", "r")
    s.head("r", 7)
    return s


def projected() -> Sheet:
    """PCA and a linear classifier: two matrices with nothing between."""
    s = Sheet()
    s.add("Sub", f"x {s.number('mean', s.rng.normal(0, 1, 12))}", "d")
    s.add("MatMul", f"d {s.weight('axes', 12, 5)}", "p")
    s.head("p", 5)
    return s


def half() -> Sheet:
    """float16 by onnxruntime's converter: casts at both ends, appended out of order."""
    s = Sheet()
    s.add("MatMul", f"x16 {s.weight('w', 12, 9, dtype=np.float16)}", "h")
    s.add("Relu", "h", "r")
    s.add("MatMul", f"r {s.weight('w2', 9, 3, dtype=np.float16)}", "y16")
    s.add("Cast", "x", "x16", to=TensorProto.FLOAT16)
    s.add("Cast", "y16", "y", to=TensorProto.FLOAT)
    return s


def quantized_tail() -> Sheet:
    """quantize_static of a Keras classifier: its probabilities are quantized, too."""
    s = Sheet()
    s.add("MatMul", f"x {s.weight('w', 12, 4)}", "h")
    s.add("Softmax", "h", "p", axis=1)
    grid = f"{s.number('scale', 1 / 255)} {s.number('zero', 0, np.uint8)}"
    s.add("QuantizeLinear", f"p {grid}", "q")
    s.add("DequantizeLinear", f"q {grid}", "y")
    return s


def two_outputs() -> Sheet:
    """Classes, and the features before them."""
    s = _hidden(lambda s: s.add("Relu", "h", "a"))
    s.outputs["a"] = TensorProto.FLOAT
    return s


def regressor() -> Sheet:
    """One number."""
    s = Sheet()
    s.head("x", 12, 1)
    return s


def labels() -> Sheet:
    """Several labels at once."""
    s = Sheet()
    s.add("MatMul", f"x {s.weight('w', 12, 4)}", "h")
    s.add("Sigmoid", "h", "y")
    return s


def gated() -> Sheet:
    """Squeeze and excitation: an image times numbers a channel that were computed."""
    s = Sheet((4, 6, 6))
    s.add("GlobalAveragePool", "x", "g")
    s.add("Conv", f"g {s.weight('k', 4, 4, 1, 1)}", "c", kernel_shape=[1, 1])
    s.add("Sigmoid", "c", "e")
    s.add("Mul", "x e", "m")
    s.add("Flatten", "m", "f")
    s.head("f", 144)
    return s


def dynamic() -> Sheet:
    """quantize_dynamic."""
    s = Sheet()
    s.add("DynamicQuantizeLinear", "x", "q scale zero")
    s.add("MatMulInteger", f"q {s.number('w', np.ones((12, 3)), np.int8)} zero", "i")
    s.add("Cast", "i", "y", to=TensorProto.FLOAT)
    return s


TAKEN: dict[str, Callable[[], Sheet]] = {
    "one layer, no bias, LogSoftmax (PyTorch, opset 9)": linear,
    "nn.ZeroPad2d (PyTorch)": zero_pad,
    "Conv1D, causal, global maximum (Keras)": causal,
    "temporal convolution, last step (PyTorch)": last_step,
    "TCN with Chomp1d, residual, Slice of the last step (PyTorch)": chomped,
    "1 x 1 Conv, mean, Softmax (PyTorch)": pooled_classes,
    "Conv over the whole image last (PyTorch)": convolution_head,
    "GELU by Erf, 100 classes (PyTorch, Keras)": gelu,
    "GELU by Tanh (PyTorch)": gelu_tanh,
    "Softsign as a quotient (PyTorch)": softsign,
    "hard_silu by Clip (Keras)": hard_swish,
    "Mish by Softplus (PyTorch, Keras)": mish,
    "ColumnTransformer of scalers (scikit-learn)": columns,
    "SimpleImputer, SelectKBest (scikit-learn)": chosen,
    "PCA, LogisticRegression (scikit-learn)": projected,
    "float16, nodes out of order (onnxruntime)": half,
    "QDQ behind Softmax (onnxruntime)": quantized_tail,
}


def linear_regressor() -> Sheet:
    """LinearRegression of two targets in scikit-learn."""
    s = Sheet()
    weights = s.rng.normal(0, 1, 24).tolist()
    s.add("ml:LinearRegressor", "x", "y", coefficients=weights, intercepts=[0.1, 0.2], targets=2)
    return s


REFUSED: dict[str, tuple[Callable[[], Sheet], str]] = {
    "two outputs of different layers": (two_outputs, "outputs y, a are computed from different"),
    "one number (a regressor)": (regressor, "output y: .*a regressor has no classes to learn"),
    "LinearRegression of two targets (scikit-learn)": (
        linear_regressor,
        "regressor's.*--inference-only",
    ),
    "several labels, Sigmoid": (labels, "node Sigmoid_y: sigmoid of 4 numbers"),
    "squeeze and excitation": (gated, "node Mul_m.*joins two computed tensors"),
    "quantize_dynamic (onnxruntime)": (dynamic, "DynamicQuantizeLinear is not.*QuantFormat.QDQ"),
}
"""What is refused, and a pattern of the message."""
