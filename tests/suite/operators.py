# SPDX-License-Identifier: Apache-2.0
"""Each operator in a small network, in three layouts: docs/operators.md.

`python -m tests.suite.operators > docs/operators.md`. A network is a convolution with a
ReLU, what is asked about, and a dense layer. NHWC networks are written as tf2onnx writes Keras's:
transposes around convolutions and pools, all else channels last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from codegen.errors import ModelImportError
from codegen.importer import import_onnx
from tests.suite.build import Net
from tests.suite.strangers import REFUSED, TAKEN

TOLERANCE = 1e-4  # of float32 sums, relative to the largest logit
CLASSES = 3
STEP = 0.05  # of the QuantizeLinear asked about
LAYOUTS = {"NCHW": (4, 6, 8), "NCW": (4, 12), "NHWC": (6, 8, 4)}
HEAD = """# Operators

What the importer makes of each operator, in a network with a convolution before and a dense layer
behind it, in the layout of PyTorch's 2-D and 1-D exports and of Keras's by tf2onnx. "yes": taken,
and the float graph gives what onnxruntime gives. Otherwise the refusal. Made by
`python -m tests.suite.operators`; a test holds the page to the code.

| operator | NCHW | NCW | NHWC |
| --- | --- | --- | --- |"""

PATTERNS = """
Patterns of exporters, scikit-learn and onnxruntime, dense and others, found in files that they
wrote. Also taken: Scaler, Imputer, Normalizer of scores, LinearClassifier, LinearRegressor (for
inference only), ArrayFeatureExtractor, LabelEncoder and ZipMap of ai.onnx.ml; parts of signals and
images (Slice); and sums, products and quotients of functions of one tensor
(SiLU, GELU and others written out), which become one table.

| pattern | |
| --- | --- |"""


@dataclass
class Sketch:
    """A network being written: `x` is the tensor so far, `shape` without the batch."""

    net: Net
    layout: str
    x: str
    shape: tuple[int, ...]

    @property
    def spatial(self) -> tuple[int, ...]:
        """Sizes of the image."""
        return self.shape[:-1] if self.layout == "NHWC" else self.shape[1:]

    @property
    def channels(self) -> int:
        """Channels of `x`."""
        return self.shape[-1] if self.layout == "NHWC" else self.shape[0]

    @property
    def axis(self) -> int:
        """The channels' axis."""
        return 3 if self.layout == "NHWC" else 1

    def sized(self, channels: int, spatial: tuple[int, ...]) -> None:
        """Note a shape."""
        last = self.layout == "NHWC"
        self.shape = (*spatial, channels) if last else (channels, *spatial)

    def planes(self, make: Callable[[str], str], channels: int, spatial: tuple[int, ...]) -> None:
        """An operator that wants channels first, between transposes where they are last."""
        if self.layout != "NHWC":
            self.x = make(self.x)
        else:
            first = self.net.node("Transpose", self.x, perm=[0, 3, 1, 2])
            self.net.channels[first] = self.channels
            self.x = self.net.node("Transpose", make(first), perm=[0, 2, 3, 1])
        self.sized(channels, spatial)
        self.net.channels[self.x] = channels

    def conv(self, out: int, size: int, act: str = "Relu", **options: Any) -> None:
        """Conv that keeps the size at stride 1."""
        kernel, step = (size,) * len(self.spatial), options.get("stride", 1)
        spatial = tuple((n + step - 1) // step for n in self.spatial)
        first = self.layout != "NHWC"
        self.planes(
            lambda x: self.net.conv(x, out, kernel, act=act if first else "", **options),
            out,
            spatial,
        )
        if act and not first:
            self.node(act)

    def node(self, operator: str, *constants: Any, **attributes: Any) -> None:
        """An operator on `x` that keeps the shape."""
        more = [self.net.constant(np.asarray(c)) for c in constants]
        self.x = self.net.node(operator, self.x, *more, **attributes)

    def per_channel(self, rng: np.random.Generator) -> Any:
        """One number a channel, broadcast over the image."""
        shape = [1] * len(self.shape)
        shape[self.axis - 1] = self.channels
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)

    def pool(self, operator: str, **attributes: Any) -> None:
        """Windows of two, side by side; or all of the image."""
        two = [2] * len(self.spatial)
        if operator.startswith("Global"):
            self.planes(
                lambda x: self.net.node(operator, x), self.channels, (1,) * len(self.spatial)
            )
            return
        self.planes(
            lambda x: self.net.node(operator, x, kernel_shape=two, strides=two, **attributes),
            self.channels,
            tuple(n // 2 for n in self.spatial),
        )

    def residual(self, operator: str) -> None:
        """x with a convolution of itself."""
        before = self.x
        self.conv(self.channels, 3, act="")
        self.x = self.net.node(operator, before, self.x)

    def concat(self) -> None:
        """Two convolutions behind one another."""
        before, shape = self.x, self.shape
        self.conv(3, 3)
        one = self.x
        self.x, self.shape = before, shape
        self.conv(5, 1)
        self.x = self.net.node("Concat", one, self.x, axis=self.axis)
        self.sized(8, self.spatial)
        self.net.channels[self.x] = 8

    def pad(self) -> None:
        """Zeros around the image, by an operator of its own."""
        ends = [(0, 0) if i in (0, self.axis) else (1, 1) for i in range(len(self.shape) + 1)]
        pads = np.array([a for a, _ in ends] + [b for _, b in ends], np.int64)
        self.node("Pad", pads)
        self.sized(self.channels, tuple(n + 2 for n in self.spatial))
        spatial, kernel = tuple(n - 2 for n in self.spatial), (3,) * len(self.spatial)
        none = (0,) * (2 * len(kernel))
        self.planes(lambda x: self.net.conv(x, 5, kernel, pad=none, act=""), 5, spatial)

    def mean(self, keepdims: int) -> None:
        """ReduceMean over the image."""
        axes = [i for i in range(1, len(self.shape) + 1) if i != self.axis]
        self.node("ReduceMean", axes=axes, keepdims=keepdims)
        self.shape = (self.channels,)

    def squeeze(self) -> None:
        """The global mean without its axes of one."""
        self.pool("GlobalAveragePool")
        axes = [i for i in range(1, len(self.shape) + 1) if i != self.axis]
        self.node("Squeeze", np.array(axes, np.int64))
        self.shape = (self.channels,)

    def flat_by_shape(self) -> None:
        """Reshape to (batch, -1), the batch taken from Shape, as PyTorch's exporter writes it."""
        shape = self.net.node("Shape", self.x)
        zero = self.net.constant(np.array(0, np.int64))
        batch = self.net.node("Gather", shape, zero, axis=0)
        row = self.net.node("Unsqueeze", batch, self.net.constant(np.array([0], np.int64)))
        rest = self.net.constant(np.array([-1], np.int64))
        sizes = self.net.node("Concat", row, rest, axis=0)
        self.x = self.net.node("Reshape", self.x, sizes)

    def flatten(self, operator: str = "Flatten") -> None:
        """The image as a vector."""
        if operator == "Flatten":
            self.node(operator)
        else:
            self.node(operator, np.array([-1, int(np.prod(self.shape))], np.int64))

    def gemm(self, act: str = "") -> None:
        """The dense layer of the classes."""
        self.x = self.net.gemm(self.x, int(np.prod(self.shape)), CLASSES, act)

    def matmul(self) -> None:
        """MatMul and Add in the place of Gemm."""
        weight = self.net.rng.normal(0, 0.3, (int(np.prod(self.shape)), CLASSES))
        self.node("MatMul", weight.astype(np.float32))
        self.node("Add", np.array([0.1, -0.2, 0.3], np.float32))

    def quantized(self) -> None:
        """QuantizeLinear and DequantizeLinear, in uint8."""
        pair = (np.float32(STEP), np.uint8(0))
        self.node("QuantizeLinear", *pair)
        self.node("DequantizeLinear", *pair)


def _rest(sketch: Sketch) -> None:
    sketch.flatten()
    sketch.gemm()


def _then(step: Callable[[Sketch], None]) -> Callable[[Sketch], None]:
    def write(sketch: Sketch) -> None:
        step(sketch)
        _rest(sketch)

    return write


def _operator(name: str, *constants: Any, **attributes: Any) -> Callable[[Sketch], None]:
    return _then(lambda s: s.node(name, *constants, **attributes))


def _constant(name: str) -> Callable[[Sketch], None]:
    return _then(lambda s: s.node(name, s.per_channel(s.net.rng)))


def _dense(*steps: Callable[[Sketch], None]) -> Callable[[Sketch], None]:
    def write(sketch: Sketch) -> None:
        for step in steps:
            step(sketch)

    return write


CASES: dict[str, Callable[[Sketch], None]] = {
    "Conv": _then(lambda s: s.conv(6, 3, norm=False)),
    "Conv, strides 2": _then(lambda s: s.conv(6, 3, stride=2)),
    "Conv, dilations 2": _then(lambda s: s.conv(6, 3, dilation=2)),
    "Conv, two groups": _then(lambda s: s.conv(6, 3, groups=2)),
    "Conv, depthwise": _then(lambda s: s.conv(8, 3, groups=8)),
    "Conv, pointwise": _then(lambda s: s.conv(6, 1)),
    "ConvTranspose": _then(
        lambda s: s.planes(
            lambda x: s.net.node(
                "ConvTranspose",
                x,
                s.net.constant(np.ones((s.channels, 2, *(1,) * len(s.spatial)), np.float32)),
            ),
            2,
            s.spatial,
        )
    ),
    "BatchNormalization": _then(lambda s: s.conv(6, 3, act="")),
    "BatchNormalization behind a ReLU": _then(
        lambda s: s.planes(s.net.norm, s.channels, s.spatial)
    ),
    "Relu": _operator("Relu"),
    "Clip (ReLU6)": _operator("Clip", np.float32(0), np.float32(6)),
    "LeakyRelu": _operator("LeakyRelu", alpha=0.1),
    "PRelu": _operator("PRelu", np.full(1, 0.2, np.float32)),
    "Elu": _operator("Elu"),
    "HardSwish": _operator("HardSwish"),
    "HardSigmoid": _operator("HardSigmoid"),
    "Sigmoid": _operator("Sigmoid"),
    "Tanh": _operator("Tanh"),
    **{name: _operator(name) for name in ("Exp", "Abs", "Erf", "Selu", "Celu", "Softplus")},
    "Softsign": _operator("Softsign"),
    "Add, residual": _then(lambda s: s.residual("Add")),
    "Sub, residual": _then(lambda s: s.residual("Sub")),
    "Mul of two tensors": _then(lambda s: s.residual("Mul")),
    "Add, a constant a channel": _constant("Add"),
    "Sub, a constant a channel": _constant("Sub"),
    "Mul, a constant a channel": _constant("Mul"),
    "Div, a constant a channel": _constant("Div"),
    "Concat": _then(Sketch.concat),
    "MaxPool": _then(lambda s: s.pool("MaxPool")),
    "AveragePool": _then(lambda s: s.pool("AveragePool")),
    "GlobalAveragePool": _then(lambda s: s.pool("GlobalAveragePool")),
    "GlobalMaxPool": _then(lambda s: s.pool("GlobalMaxPool")),
    "ReduceMean over the image": _dense(lambda s: s.mean(0), Sketch.gemm),
    "ReduceMean, keepdims": _then(lambda s: s.mean(1)),
    "Squeeze": _dense(Sketch.squeeze, Sketch.gemm),
    "Flatten": _rest,
    "Reshape": _dense(lambda s: s.flatten("Reshape"), Sketch.gemm),
    "Reshape by Shape, Gather, Unsqueeze, Concat": _dense(Sketch.flat_by_shape, Sketch.gemm),
    "Pad, then Conv": _then(Sketch.pad),
    "Identity": _operator("Identity"),
    "Dropout": _operator("Dropout"),
    "QuantizeLinear, DequantizeLinear": _then(Sketch.quantized),
    "MatMul, Add": _dense(Sketch.flatten, Sketch.matmul),
    "Gemm, Relu, Gemm": _dense(
        Sketch.flatten,
        lambda s: (s.gemm("Relu"), setattr(s, "shape", (CLASSES,)))[0],
        Sketch.gemm,
    ),
    "Softmax, last": _dense(_rest, lambda s: s.node("Softmax", axis=-1)),
    "ArgMax, last": _dense(_rest, lambda s: s.node("ArgMax", axis=1, keepdims=0)),
    "LSTM": _dense(
        lambda s: s.node("LSTM", np.zeros((1, 8, 8), np.float32), hidden_size=2), Sketch.gemm
    ),
    "Resize": _operator("Resize", np.zeros(0, np.float32), np.ones(2, np.float32)),
}


def network(name: str, layout: str) -> onnx.ModelProto:
    """The file of a case."""
    net = Net("operators", LAYOUTS[layout], 5)
    sketch = Sketch(net, layout, "x", LAYOUTS[layout])
    net.channels["x"] = sketch.channels
    sketch.conv(8, 3)
    CASES[name](sketch)
    net.nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        net.nodes,
        net.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *net.shape])],
        [helper.make_tensor_value_info("y", *_output(name))],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _output(name: str) -> tuple[int, list[str | int]]:
    """Element type and shape of what a case puts out."""
    if name.startswith("ArgMax"):
        return TensorProto.INT64, ["N"]
    return TensorProto.FLOAT, ["N", CLASSES]


def verdict(name: str, layout: str) -> str:
    """ "yes", or the refusal.

    Raises: AssertionError if a network is taken and its logits are others than onnxruntime's.
    """
    file = network(name, layout).SerializeToString()
    try:
        graph = import_onnx(file)
    except ModelImportError as error:
        return str(error).split("; expected")[0]
    x = np.random.default_rng(3).normal(0, 1, (4, *LAYOUTS[layout])).astype(np.float32)
    wanted = onnxruntime.InferenceSession(file).run(None, {"x": x})[0]
    got = graph.forward(x.reshape(4, -1))
    if name.startswith("Softmax"):
        got = np.exp(got) / np.exp(got).sum(axis=1, keepdims=True)
    if name.startswith("ArgMax"):
        got = got.argmax(axis=1)
    allowed = TOLERANCE * max(1.0, np.abs(wanted).max())
    if name.startswith("Quantize"):  # the float graph does not round: half a step a value
        allowed += STEP / 2 * np.abs(graph.dense_layers[-1].weight).sum(axis=1).max()
    assert np.abs(got - wanted).max() <= allowed, (name, layout)
    return "yes"


def stranger(name: str) -> str:
    """ "yes", or the refusal; `tests/unit/codegen/importer/test_importer_strangers.py` tries it."""
    build = TAKEN[name] if name in TAKEN else REFUSED[name][0]
    try:
        import_onnx(build().file().SerializeToString())
    except ModelImportError as error:
        return str(error).split("; expected")[0]
    return "yes"


@cache
def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name in CASES:
        cells = [verdict(name, layout).replace("|", "/") for layout in LAYOUTS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [PATTERNS, *(f"| {name} | {stranger(name)} |" for name in (*TAKEN, *REFUSED))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
