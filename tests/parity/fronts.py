# SPDX-License-Identifier: Apache-2.0
"""Random fronts (SPEC.md 4.1) for the parity tests, built directly, without a quantizer.

Graphs with branches, windows of every form, values that saturate and clip.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from device.twin.front_node import FrontNode, Shape3
from device.twin.model import IntModel
from tests.parity.models import ModelSpec, make_model

Rng = np.random.Generator


def make_front_model(seed: int, nodes: int = 9, frozen: bool = False) -> IntModel:
    """A small model behind a random front; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 8)), int(rng.integers(3, 9)), int(rng.integers(1, 5)))
    front = _graph(rng, shape, nodes)
    front.append(_last(rng, front, frozen))
    values = front[-1].outputs
    spec = ModelSpec(
        f"front{seed}",
        (9, 6) if frozen else (values, 7, 6),
        frozen=(values, 9) if frozen else (),
        signed=not frozen and not front[-1].nonnegative,
        arithmetic={"order": 16, "batch": 5, "acc_bits": 16},
    )
    model = make_model(spec, seed)
    return replace(model, input=_input(rng, model, shape), front=tuple(front))


def make_witness() -> IntModel:
    """A model whose every node matters: dilated, grouped, padded and strided unequally, planar."""
    rng = np.random.default_rng(4)
    start = (6, 7, 4)
    dilated = FrontNode("conv", "dilated", (0,), (start,), (6, 7, 6), kernel=(3, 3))
    dilated = _conv(rng, replace(dilated, dilation=(2, 1), pad=(2, 1)), 2)
    plain = FrontNode("conv", "plain", (1,), ((6, 7, 6),), (5, 7, 5), kernel=(2, 3), pad=(0, 1))
    plain = _conv(rng, plain, 1)
    alone = FrontNode("conv", "alone", (2,), ((5, 7, 5),), (5, 7, 5), kernel=(1, 3), pad=(0, 1))
    alone = _conv(rng, alone, 5)
    middle = (3, 6, 5)
    largest = FrontNode("max", "max", (3,), ((5, 7, 5),), middle, kernel=(2, 2))
    largest = replace(largest, pad=(1, 0), stride=(2, 1))
    numbers = {"mult": np.array([9000], np.int16), "shift": np.array([9], np.uint8)}
    average = replace(largest, kind="average", name="average", out_amax=4000, **numbers)
    convs = [replace(node, out_amax=3000) for node in (dilated, plain, alone)]
    nodes = [*convs, largest, average]
    shapes = [start, *(node.out_shape for node in nodes)]
    nodes.append(replace(_add(rng, 5, (4, 5), shapes), out_amax=8000, nonnegative=False))
    table = rng.integers(-127, 128, 256).astype(np.int8)
    nodes.append(FrontNode("table", "table", (6,), (middle,), middle, table=table))
    last = _concat(rng, 7, (7, 4, 5), [start, *(node.out_shape for node in nodes)])
    nodes.append(replace(last, out_amax=8000, nonnegative=False, qmax=7))
    arithmetic = {"order": 16, "batch": 5, "acc_bits": 16}
    spec = ModelSpec("witness", (last.outputs, 7, 6), signed=True, arithmetic=arithmetic)
    model = make_model(spec)
    stage = replace(_input(rng, model, start), planar=True)
    return replace(model, input=stage, front=tuple(nodes))


def _input(rng: Rng, model: IntModel, shape: Shape3) -> Any:
    height, width, channels = shape
    return replace(
        model.input,
        raw_frac_bits=np.full(channels, 8, np.int16),
        zero=rng.integers(-100, 100, channels).astype(np.int16),
        mult=(rng.integers(2000, 16384, channels) * rng.choice([-1, 1], channels)).astype(np.int16),
        shift=rng.integers(10, 16, channels).astype(np.uint8),
        signed=True,
        pixels=height * width,
        planar=bool(rng.integers(2)),
    )


def _graph(rng: Rng, shape: Shape3, count: int) -> list[FrontNode]:
    nodes: list[FrontNode] = []
    shapes = [shape]
    for at in range(count):
        # The newest tensor mostly, so that graphs are deep; sometimes an older one.
        source = len(shapes) - 1 if rng.random() < 0.7 else int(rng.integers(len(shapes)))
        node = _node(rng, at, source, shapes)
        nodes.append(node)
        shapes.append(node.out_shape)
    return nodes


def _node(rng: Rng, at: int, source: int, shapes: list[Shape3]) -> FrontNode:
    kind = str(rng.choice(["conv", "conv", "conv", "average", "max", "add", "concat", "table"]))
    if kind == "add":
        like = [i for i, shape in enumerate(shapes) if shape == shapes[source]]
        return _add(rng, at, (source, int(rng.choice(like))), shapes)
    if kind == "concat":
        like = [i for i, shape in enumerate(shapes) if shape[:2] == shapes[source][:2]]
        parts = (source, *(int(i) for i in rng.choice(like, int(rng.integers(0, 3)))))
        return _concat(rng, at, parts, shapes)
    if kind == "table":
        table = rng.integers(-127, 128, 256).astype(np.int8)
        return FrontNode(
            "table", f"t{at}", (source,), (shapes[source],), shapes[source], table=table
        )
    return _windowed(rng, kind, at, source, shapes[source])


def _windowed(rng: Rng, kind: str, at: int, source: int, shape: Shape3) -> FrontNode:
    kernel = tuple(int(rng.integers(1, min(4, n + 1))) for n in shape[:2])
    pad = tuple(int(rng.integers(0, k)) for k in kernel)
    stride = tuple(int(rng.integers(1, 3)) for _ in kernel)
    fits = all(1 + 2 * (k - 1) <= n for k, n in zip(kernel, shape, strict=False))
    spread = kind == "conv" and fits and rng.random() < 0.4
    dilation = (1 + int(rng.integers(2)), 1 + int(rng.integers(2))) if spread else (1, 1)
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(shape, pad, dilation, kernel, stride, strict=False)
    )
    groups = int(rng.choice([g for g in range(1, shape[2] + 1) if shape[2] % g == 0]))
    channels = groups * int(rng.integers(1, 4)) if kind == "conv" else shape[2]
    base = FrontNode(
        kind,
        f"{kind}{at}",
        (source,),
        (shape,),
        (int(out[0]), int(out[1]), channels),
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        dilation=dilation,
        pad=(pad[0], pad[1]),
    )
    if kind == "max":
        return base
    if kind == "average":
        terms = kernel[0] * kernel[1]
        mult = np.array([(1 << 14) // terms + 3000], np.int16)
        return _requantizing(rng, replace(base, mult=mult, shift=np.array([8], np.uint8)))
    return _requantizing(rng, _conv(rng, base, groups))


def _conv(rng: Rng, base: FrontNode, groups: int) -> FrontNode:
    outputs = base.out_shape[2]
    shape = (outputs, *base.kernel, base.in_shapes[0][2] // groups)
    return replace(
        base,
        groups=groups,
        weight=rng.integers(-127, 128, shape).astype(np.int8),
        bias=rng.integers(-300, 300, outputs).astype(np.int32),
        mult=rng.integers(16384, 32768, outputs).astype(np.int16),
        shift=rng.integers(15, 18, outputs).astype(np.uint8),
    )


def _add(rng: Rng, at: int, sources: tuple[int, int], shapes: list[Shape3]) -> FrontNode:
    shape = shapes[sources[0]]
    mult = rng.integers(-32767, 32768, 2).astype(np.int16)
    shift = np.array([rng.integers(7, 12)], np.uint8)
    node = FrontNode("add", f"a{at}", sources, (shape, shape), shape, mult=mult, shift=shift)
    return _requantizing(rng, node)


def _concat(rng: Rng, at: int, parts: tuple[int, ...], shapes: list[Shape3]) -> FrontNode:
    taken = tuple(shapes[i] for i in parts)
    out = (*taken[0][:2], sum(shape[2] for shape in taken))
    mult = rng.integers(-32767, 32768, len(parts)).astype(np.int16)
    shift = rng.integers(7, 12, len(parts)).astype(np.uint8)
    node = FrontNode("concat", f"c{at}", parts, taken, out, mult=mult, shift=shift)
    return _requantizing(rng, node)


def _requantizing(rng: Rng, node: FrontNode) -> FrontNode:
    amax = int(rng.choice([300, 3000, 15000, 40000]))
    return replace(node, out_amax=amax, nonnegative=bool(rng.integers(2)))


def _last(rng: Rng, front: list[FrontNode], frozen: bool) -> FrontNode:
    """Everything of the newest tensor's height and width, brought to 8 bits or to x0."""
    shapes = [front[0].in_shapes[0], *(node.out_shape for node in front)]
    size = shapes[-1][:2]
    parts = tuple(i for i, shape in enumerate(shapes) if shape[:2] == size)[-6:]
    node = _concat(rng, len(front), parts, shapes)
    qmax = 127 if frozen else (15 if node.nonnegative else 7)
    return replace(node, qmax=qmax, out_amax=3000)
