# SPDX-License-Identifier: Apache-2.0
"""Random networks in random spellings give onnxruntime's logits; damaged files give an error.

HADAPT_FUZZ_ROUNDS multiplies the number of damaged files; a failure prints its seed.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, load_from_string
from onnx_files import Array, assert_close, model, node, run, samples, two_layers

from codegen.errors import CodegenError, ModelImportError
from codegen.graph import FloatGraph
from codegen.importer import import_onnx
from codegen.importer.wire import check_wire

FIXTURES = Path(__file__).parents[3] / "fixtures" / "onnx"
ROUNDS = int(os.environ.get("HADAPT_FUZZ_ROUNDS", "1"))
MAX_SECONDS = 2.0
"""Of processor time, so that a busy machine does not matter."""


@dataclass
class Writer:
    """Writes a network layer by layer, drawing each spelling."""

    draw: Any
    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    last: str = "x"

    def pick(self, *choices: Any) -> Any:
        """One of the choices."""
        return self.draw(st.sampled_from(choices))

    def new(self) -> str:
        """An unused tensor name."""
        return f"t{len(self.nodes)}"

    def constant(self, array: Array) -> str:
        """The name of a new initialiser."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32 if array.dtype.kind == "f" else None)
        return name

    def apply(self, operator: str, *inputs: str, **attributes: Any) -> None:
        """Append a node that reads the last tensor wherever an input is "@"."""
        output = self.new()
        words = " ".join(self.last if word == "@" else word for word in inputs)
        self.nodes.append(node(operator, words, output, **attributes))
        self.last = output

    def numbers(self, *shape: int) -> Array:
        """Normal numbers."""
        return self.rng.standard_normal(shape)

    def scale(self, width: int) -> None:
        """A random scale and shift in one of its spellings."""
        form = self.pick("mul", "div", "add", "sub", "rsub", "neg", "norm", "none")
        shape = self.pick((width,), (1, width), (1,), ())
        if form == "norm":
            names = [self.constant(self.numbers(width)) for _ in range(3)]
            variance = self.constant(self.rng.uniform(0.5, 2, width))
            self.apply("BatchNormalization", "@", *names, variance, epsilon=self.pick(1e-5, 0.1))
        elif form == "neg":
            self.apply("Neg", "@")
        elif form == "div":
            self.apply("Div", "@", self.constant(self.rng.uniform(0.5, 2, shape)))
        elif form == "rsub":
            self.apply("Sub", self.constant(self.numbers(*shape)), "@")
        elif form == "sub":
            self.apply("Sub", "@", self.constant(self.numbers(*shape)))
        elif form != "none":
            sides = self.pick(["@", None], [None, "@"])
            name = self.constant(self.numbers(*shape))
            self.apply(form.capitalize(), *(side or name for side in sides))

    def dense(self, width: int, outputs: int) -> None:
        """A random matrix and bias in one of their spellings."""
        weight = self.numbers(width, outputs) / np.sqrt(width)
        bias = self.numbers(*self.pick((outputs,), (1, outputs), (1,), ()))
        if self.pick(True, False):
            transposed = self.pick(0, 1)
            inputs = ["@", self.constant(weight.T if transposed else weight)]
            inputs += [self.constant(bias)] if self.pick(True, False) else []
            factors = {"alpha": self.pick(1.0, -0.5), "beta": self.pick(1.0, 0.0, 2.0)}
            self.apply("Gemm", *inputs, transB=transposed, **factors)
            return
        self.apply("MatMul", "@", self.constant(weight))
        name = self.constant(bias)
        self.apply("Add", *self.pick(("@", name), (name, "@")))

    def noise(self) -> None:
        """A node without effect, perhaps."""
        form = self.pick("Identity", "Dropout", "Cast", None, None)
        if form is not None:
            self.apply(form, "@", **({"to": 1} if form == "Cast" else {}))

    def flatten(self, features: int) -> None:
        """One of the ways to flatten samples."""
        form = self.pick("Flatten", "Reshape", "Shape")
        if form == "Flatten":
            self.apply("Flatten", "@")
        elif form == "Reshape":
            target = self.pick([-1, features], [0, -1], [0, features])
            self.apply("Reshape", "@", self.constant(np.array(target)))
        else:
            samples_in = self.last
            self.apply("Shape", "@")
            self.apply("Gather", "@", self.constant(np.array([0])))
            self.apply("Concat", "@", self.constant(np.array([-1])), axis=0)
            self.apply("Reshape", samples_in, "@")


@st.composite
def networks(draw: Any) -> ModelProto:
    """A random dense network in random legal spelling, with logits as output."""
    write = Writer(draw, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    shape = draw(st.sampled_from([(3,), (7,), (1, 4), (2, 1, 3)]))
    width = int(np.prod(shape))
    if len(shape) > 1:
        write.flatten(width)
    for _ in range(draw(st.integers(0, 2))):
        write.scale(width)
    depth = draw(st.integers(1, 3))
    for layer in range(depth):
        outputs = draw(st.integers(2 if layer == depth - 1 else 1, 6))
        write.noise()
        write.dense(width, outputs)
        write.scale(outputs)
        if layer < depth - 1 and draw(st.booleans()):
            write.apply("Relu", "@")
            write.scale(outputs)
        width = outputs
    write.noise()
    batch = draw(st.sampled_from(["N", 4]))
    outputs_of = {write.last: (None, width)}
    opset = draw(st.sampled_from([13, 17, 21, 23]))
    nodes, constants = write.nodes, write.constants
    return model(nodes, constants, x=(batch, *shape), outputs=outputs_of, opset=opset)


@settings(max_examples=150 * ROUNDS, deadline=None)
@given(networks())
def test_random_network_in_random_spelling_matches_onnxruntime(file: ModelProto) -> None:
    data = file.SerializeToString()
    graph = import_onnx(data)
    x = samples(graph, 4)
    assert_close(graph.forward(x), run(data, x)[0])


def originals() -> list[bytes]:
    """Valid files to damage."""
    names = (
        "torch_batch_norm_dynamo_free",
        "torch_normalised_torchscript_free",
        "torch_binary_*_free",
    )
    paths = [path for name in names for path in sorted(FIXTURES.glob(f"{name}.onnx"))]
    return [two_layers().SerializeToString(), *(path.read_bytes() for path in paths)]


def attempt(action: Callable[[], Any]) -> Any:
    """The action's result, or its exception."""
    try:
        return action()
    except Exception as error:
        return error


def try_import(data: bytes, story: str) -> None:
    """Import must end in time, with a graph that works or with our own error."""
    begin = time.process_time()
    result = attempt(lambda: import_onnx(data))
    assert isinstance(result, FloatGraph | ModelImportError), f"{story}: {result!r}"
    if isinstance(result, FloatGraph):
        with np.errstate(all="ignore"):
            assert result.forward(samples(result, 2)).shape == (2, result.n_classes), story
    assert time.process_time() - begin < MAX_SECONDS, story


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change, insert, remove or repeat a few bytes."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(damaged))
        form = rng.randrange(5)
        if form == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif form == 1:
            damaged[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif form == 2:
            del damaged[at : at + rng.randrange(1, 9)]
        elif form == 3:
            damaged[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            damaged[at:at] = damaged[at : at + rng.randrange(1, 64)]
        damaged = damaged or bytearray(1)
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_give_a_graph_or_an_import_error(seed: int) -> None:
    rng = random.Random(seed)
    files = originals()
    for i in range(250 * ROUNDS):
        try_import(flip(rng.choice(files), rng), f"seed {seed}, file {i}")


OPERATORS = ("Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Relu", "Neg", "Identity", "Sigmoid",
             "Softmax", "LogSoftmax", "ArgMax", "Flatten", "Transpose", "Concat", "Cast",
             "Reshape", "Shape", "Squeeze", "Unsqueeze", "Gather", "Slice", "Dropout")  # fmt: skip


def rewire(file: ModelProto, rng: random.Random) -> None:
    """Exchange names, operators, attributes or sizes: valid protobuf, another network."""
    graph = file.graph
    names = [name for n in graph.node for name in (*n.input, *n.output)]
    chosen = rng.choice(graph.node)
    form = rng.randrange(6)
    if form == 0 and chosen.input:
        chosen.input[rng.randrange(len(chosen.input))] = rng.choice(names)
    elif form == 1:
        chosen.op_type = rng.choice(OPERATORS)
    elif form == 2 and chosen.attribute:
        attribute = rng.choice(chosen.attribute)
        attribute.i, attribute.f = rng.randrange(-2, 3), rng.choice((0.0, -1.5, 0.5, 2.0))
    elif form == 3:
        tensor = rng.choice(graph.initializer)
        dims = list(tensor.dims)
        rng.shuffle(dims)
        tensor.dims[:] = dims
    elif form == 4:
        chosen.input[:] = list(chosen.input)[::-1]
    else:
        graph.output[0].name = rng.choice(names)


@pytest.mark.parametrize("seed", range(8))
def test_rewired_file_is_refused_or_means_what_onnxruntime_computes(seed: int) -> None:
    rng = random.Random(seed)
    files = originals()
    for i in range(150 * ROUNDS):
        file = load_from_string(rng.choice(files))
        for _ in range(rng.choice((1, 1, 2, 3))):
            rewire(file, rng)
        data = file.SerializeToString()
        try_import(data, f"seed {seed}, file {i}")
        compare(data, f"seed {seed}, file {i}")


def compare(data: bytes, story: str) -> None:
    """If both we and onnxruntime take the file, the decisions must agree."""
    graph = attempt(lambda: import_onnx(data))
    if isinstance(graph, CodegenError):
        return
    x = samples(graph, 6)
    result = attempt(lambda: run(data, x)[0])
    if isinstance(result, Exception):
        assert "onnxruntime" in type(result).__module__, story
        return
    logits = graph.forward(x)
    if not np.isfinite(logits).all() or not np.isfinite(result).all():
        return
    ordered = np.sort(logits, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-4 * (1 + np.abs(logits).max())
    decisions = result.reshape(len(x), -1) if result.dtype.kind == "f" else result.reshape(-1)
    if decisions.ndim == 2:
        single = decisions.shape[1] == 1
        decisions = decisions[:, 0] > 0.5 if single else decisions.argmax(axis=1)
    assert (logits.argmax(axis=1) == decisions)[clear].all(), story


def test_the_oracle_of_rewired_files_sees_a_wrong_number(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = import_onnx
    data = two_layers().SerializeToString()

    def wrong(file: bytes) -> Any:
        graph = true_import(file)
        head = graph.layers[-1]
        object.__setattr__(head, "weight", -head.weight)  # type: ignore[union-attr]
        return graph

    monkeypatch.setitem(globals(), "import_onnx", wrong)
    with pytest.raises(AssertionError, match="planted"):
        compare(data, "planted")


@settings(max_examples=200 * ROUNDS, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_an_import_error(data: bytes) -> None:
    with pytest.raises(ModelImportError):
        import_onnx(data)


@settings(max_examples=200 * ROUNDS, deadline=None)
@given(st.binary(max_size=60))
def test_wire_walk_refuses_nothing_that_protobuf_takes(tail: bytes) -> None:
    file = ModelProto()
    if isinstance(attempt(lambda: file.ParseFromString(tail)), Exception):
        return
    refusal = attempt(lambda: check_wire(tail, file.DESCRIPTOR))
    # Groups, an old encoding that ONNX never writes, are the only difference.
    assert refusal is None or "wire type" in str(refusal)
