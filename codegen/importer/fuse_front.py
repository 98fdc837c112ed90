# SPDX-License-Identifier: Apache-2.0
"""Steps that are no plain stack of dense layers, to a front.

From the input on: scales and shifts of the samples make the normaliser, a permutation of them the
planar order. Then every step makes a node or goes into the node before it, if nothing else reads
that: batch norm into convolutions, ReLU and its kin into what requantises anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from codegen.errors import UnsupportedModelError
from codegen.float_front import FloatFront, FloatNode, Shape3
from codegen.importer.operators.pointwise import MAX_TOKENS
from codegen.importer.source import Array
from codegen.importer.tensors import check_finite
from codegen.importer.values import (
    AffineStep,
    ClampStep,
    ConcatStep,
    ConvStep,
    DenseStep,
    FunctionStep,
    InputStep,
    PermuteStep,
    PoolStep,
    ReluStep,
    Step,
    SumStep,
    Window,
    sources_of,
)

Parameters = tuple[float | str, ...]
_REQUANTIZING = ("conv", "average", "add", "concat")


@dataclass
class _Draft:
    """Nodes so far; `number`: tensor that holds what a step computes; `readers`: of each step;
    `shared`: tensors that are read under more than one step."""

    readers: dict[int, int]
    nodes: list[FloatNode] = field(default_factory=list)
    number: dict[int, int] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)
    channels: int = 0
    size: int = 0

    def shape(self, step: Step, size: int) -> Shape3:
        """The shape under which a step's tensor is stored."""
        at = self.number[id(step)]
        if at:
            return self.nodes[at - 1].out_shape
        channels = self.channels or size
        return (1, size // channels, channels)

    def open_node(self, step: Step) -> FloatNode | None:
        """The node that makes a step's tensor, if it may still change."""
        at = self.number[id(step)]
        free = at > 0 and at not in self.shared and self.readers[id(step)] == 1
        return self.nodes[at - 1] if free else None

    def change(self, step: Step, source: Step, **changes: object) -> None:
        """Let the node of `source` compute `step` instead."""
        at = self.number[id(source)]
        self.nodes[at - 1] = replace(self.nodes[at - 1], **changes)  # type: ignore[arg-type]
        self.number[id(step)] = at

    def add(self, step: Step, kind: str, sources: Sequence[Step], **fields: object) -> None:
        """A node of its own."""
        origin = "" if isinstance(step, InputStep) else step.origin
        numbers = tuple(self.number[id(source)] for source in sources)
        name = f"{kind}{len(self.nodes)}"
        node = FloatNode(kind, name, numbers, origin=origin, **fields)  # type: ignore[arg-type]
        self.nodes.append(node)
        self.number[id(step)] = len(self.nodes)


def ordered(last: Step) -> list[Step]:
    """All steps that `last` depends on, sources first."""
    found: list[Step] = []
    seen: set[int] = set()
    pending: list[tuple[Step, bool]] = [(last, False)]
    while pending:
        step, ready = pending.pop()
        if ready:
            found.append(step)
        elif id(step) not in seen:
            seen.add(id(step))
            pending.append((step, True))
            pending += [(source, False) for source in sources_of(step)]
    return found


def count_readers(steps: Sequence[Step]) -> dict[int, int]:
    """How often each step is read."""
    readers = {id(step): 0 for step in steps}
    for step in steps:
        for source in sources_of(step):
            readers[id(source)] += 1
    return readers


def make_front(
    steps: Sequence[Step], readers: dict[int, int]
) -> tuple[FloatFront, tuple[Array, Array, str] | None]:
    """Front and normaliser (scale, shift, origin; in the file's order) of steps, sources first.

    Raises: UnsupportedModelError, BadWeightError, naming the node.
    """
    draft = _Draft(readers)
    rest, normalizer, planar = _input_side(draft, steps)
    for step in rest:
        _HANDLERS[type(step)](draft, step)
    if not draft.nodes:  # nothing but a permutation of the samples
        _identity(draft, steps[-1])
    for node in draft.nodes:
        check_finite(node.weight, f"folded into node {node.origin}")
        check_finite(node.bias, f"folded into node {node.origin}")
    channels = draft.channels or _channels(draft, normalizer)
    if planar and normalizer is not None:
        _check_channels(normalizer, channels)
    pixels = draft.size // channels
    return FloatFront(tuple(draft.nodes), pixels, channels, planar), normalizer


def _check_channels(normalizer: tuple[Array, Array, str], channels: int) -> None:
    """A planar sample is normalised channel by channel. Raises: UnsupportedModelError."""
    for array in normalizer[:2]:
        planes = array.reshape(channels, -1)
        if not (planes == planes[:, :1]).all():
            raise UnsupportedModelError(
                "normalises every pixel by itself",
                where=f"node {normalizer[2]}",
                expected="one scale and offset a channel",
            )


def _channels(draft: _Draft, normalizer: tuple[Array, Array, str] | None) -> int:
    """Channels of the input with constants of their own: those of its reader where that does."""
    shape = next(node.in_shapes[node.sources.index(0)] for node in draft.nodes if 0 in node.sources)
    if normalizer is None:
        return shape[2]
    arrays = [array.reshape(-1, shape[2]) for array in normalizer[:2]]
    return shape[2] if all((a == a[0]).all() for a in arrays) else draft.size


def _input_side(
    draft: _Draft, steps: Sequence[Step]
) -> tuple[list[Step], tuple[Array, Array, str] | None, bool]:
    """Take the steps on the samples themselves; returns the rest, normaliser, planar."""
    scale: Array | None = None
    shift: Array = np.zeros(0)
    origin, order = "", None
    current = steps[0]
    assert isinstance(current, InputStep)
    draft.size = current.features
    taken = {id(current)}
    while True:
        readers = [step for step in steps if current in sources_of(step)]
        if len(readers) != draft.readers[id(current)] or not _alike(readers):
            break
        reader = readers[0]
        if isinstance(reader, AffineStep):
            a, b = reader.scale, reader.shift
            if order is not None:
                a, b = _restored(a, order), _restored(b, order)
            with np.errstate(all="ignore"):
                scale, shift = (a, b) if scale is None else (scale * a, shift * a + b)
            origin = origin or reader.origin
        elif isinstance(reader, PermuteStep) and order is None:
            order = reader.order
            _take_planes(draft, reader)
        elif not (isinstance(reader, ClampStep) and reader.measured):
            break
        current = reader
        taken |= {id(step) for step in readers}
        draft.number |= {id(step): 0 for step in readers}
        if len(readers) > 1 or reader is steps[-1]:
            break
    draft.number[id(current)] = 0
    rest = [step for step in steps if id(step) not in taken]
    normalizer = None if scale is None else (scale, shift, origin)
    return rest, normalizer, order is not None


def _alike(readers: Sequence[Step]) -> bool:
    """Whether all readers of a tensor do one and the same to it."""
    first = readers[0] if readers else None
    if len(readers) == 1:
        return True
    return isinstance(first, PermuteStep) and all(
        isinstance(step, PermuteStep) and np.array_equal(step.order, first.order)
        for step in readers
    )


def _restored(values: Array, order: Array) -> Array:
    """Numbers in permuted order, back in the file's."""
    restored = np.empty_like(values)
    restored[order] = values
    return restored


def _take_planes(draft: _Draft, step: PermuteStep) -> None:
    """The samples come channel by channel. Raises: UnsupportedModelError for another order."""
    planes = np.arange(step.order.size).reshape(step.channels, -1).T.reshape(-1)
    if not np.array_equal(step.order, planes):
        raise _transposed(step)
    draft.channels = step.channels


def _transposed(step: PermuteStep) -> UnsupportedModelError:
    return UnsupportedModelError(
        "needs its input in another order (a transpose cannot be removed)",
        where=f"node {step.origin}",
        expected="channels first, or transposes that cancel each other",
    )


def _permute(draft: _Draft, step: Step) -> None:
    assert isinstance(step, PermuteStep)
    raise _transposed(step)


def _identity(draft: _Draft, step: Step) -> None:
    channels = draft.channels or 1
    shape = (1, draft.size // channels, channels)
    draft.add(step, "concat", (step,), in_shapes=(shape,), out_shape=shape)


def _conv(draft: _Draft, step: Step) -> None:
    assert isinstance(step, ConvStep)
    w = step.window
    draft.add(
        step,
        "conv",
        (step.source,),
        in_shapes=(w.in_shape,),
        out_shape=w.out_shape,
        weight=step.weight,
        bias=step.bias,
        groups=step.groups,
        **_places(w),
    )


def _places(w: Window) -> dict[str, object]:
    return {"kernel": w.kernel, "stride": w.stride, "dilation": w.dilation, "pad": w.pad}


def _dense(draft: _Draft, step: Step) -> None:
    assert isinstance(step, DenseStep)
    outputs, inputs = step.weight.shape
    draft.add(
        step,
        "conv",
        (step.source,),
        in_shapes=((1, 1, inputs),),
        out_shape=(1, 1, outputs),
        weight=step.weight.reshape(outputs, 1, 1, inputs),
        bias=step.bias,
    )


def _pool(draft: _Draft, step: Step) -> None:
    assert isinstance(step, PoolStep)
    w = step.window
    shapes = {"in_shapes": (w.in_shape,), "out_shape": w.out_shape}
    draft.add(step, step.kind, (step.source,), **shapes, **_places(w))


def _sum(draft: _Draft, step: Step) -> None:
    assert isinstance(step, SumStep)
    shape = draft.shape(step.sources[0], step.size)
    draft.add(
        step, "add", step.sources, in_shapes=(shape, shape), out_shape=shape, signs=step.signs
    )


def _concat(draft: _Draft, step: Step) -> None:
    assert isinstance(step, ConcatStep)
    first = step.in_shapes[0]
    out = (first[0], first[1], sum(shape[2] for shape in step.in_shapes))
    draft.add(step, "concat", step.sources, in_shapes=step.in_shapes, out_shape=out)


def _function(draft: _Draft, step: Step) -> None:
    assert isinstance(step, FunctionStep)
    _add_function(draft, step, step.source, step.size, step.function, step.parameters)


def _add_function(
    draft: _Draft, step: Step, source: Step, size: int, name: str, parameters: Parameters
) -> None:
    shape = draft.shape(source, size)
    shapes = {"in_shapes": (shape,), "out_shape": shape}
    fields = {"function": name, "parameters": parameters}
    draft.add(step, "function", (source,), **shapes, **fields)


def _affine(draft: _Draft, step: Step) -> None:
    """Into the convolution before, else a convolution of one pixel and one channel each."""
    assert isinstance(step, AffineStep)
    size = step.scale.size
    node = draft.open_node(step.source)
    if node is not None and node.kind == "function" and step.is_uniform and _is_short(node):
        outer = (float(step.scale[0]), "mul", float(step.shift[0]), "add")
        before: tuple[float | str, ...] = ("x", *node.parameters, node.function)
        before = node.parameters if node.function == "composed" else before
        draft.change(step, step.source, function="composed", parameters=(*before, *outer))
        return
    takes = node is not None and node.kind == "conv" and not _is_closed(node)
    shape = draft.shape(step.source, size)
    scales, shifts = step.scale.reshape(-1, shape[2]), step.shift.reshape(-1, shape[2])
    if not ((scales == scales[0]).all() and (shifts == shifts[0]).all()):
        takes, shape = False, (1, 1, size)
        scales, shifts = step.scale[None], step.shift[None]
    scale, shift = scales[0], shifts[0]
    if node is not None and takes:
        with np.errstate(all="ignore"):
            weight = node.weight * scale[:, None, None, None]
            bias = node.bias * scale + shift
        draft.change(step, step.source, weight=weight, bias=bias)
        return
    weight = scale.reshape(-1, 1, 1, 1)
    shapes = {"in_shapes": (shape,), "out_shape": shape, "groups": shape[2]}
    draft.add(step, "conv", (step.source,), weight=weight, bias=shift, **shapes)


def _is_short(node: FloatNode) -> bool:
    """Whether its function may grow: a file could ask for one without end."""
    return len(node.parameters) < MAX_TOKENS


def _is_closed(node: FloatNode) -> bool:
    """Whether a ReLU or a bound follows, so that nothing linear can go in."""
    return node.relu or node.top is not None or node.limit is not None


def _relu(draft: _Draft, step: Step) -> None:
    assert isinstance(step, ReluStep)
    _bounded(draft, step, step.source, inf)


def _bounded(draft: _Draft, step: Step, source: Step, high: float) -> None:
    """Values kept in [0, high]."""
    node = draft.open_node(source)
    if node is None or node.kind not in _REQUANTIZING:
        size = _size(draft, source)
        _add_function(draft, step, source, size, "clip", (0.0, min(high, 3e38)))
        return
    top = high if node.top is None else min(high, node.top)
    draft.change(step, source, relu=True, top=None if top == inf else top)


def _size(draft: _Draft, step: Step) -> int:
    at = draft.number[id(step)]
    return draft.nodes[at - 1].outputs if at else draft.size


def _clamp(draft: _Draft, step: Step) -> None:
    assert isinstance(step, ClampStep)
    if not step.measured:
        _bounded(draft, step, step.source, step.high)
        return
    node = draft.open_node(step.source)
    if node is None or node.kind not in _REQUANTIZING:
        if step.low == 0.0:
            _add_function(
                draft, step, step.source, _size(draft, step.source), "clip", (0.0, step.high)
            )
        else:
            draft.number[id(step)] = draft.number[id(step.source)]
            draft.shared.add(draft.number[id(step)])
        return
    relu = node.relu or step.low == 0.0
    limit = max(-step.low, step.high)
    draft.change(step, step.source, relu=relu, limit=limit)


_HANDLERS = {
    ConvStep: _conv,
    DenseStep: _dense,
    PoolStep: _pool,
    SumStep: _sum,
    ConcatStep: _concat,
    FunctionStep: _function,
    AffineStep: _affine,
    ReluStep: _relu,
    ClampStep: _clamp,
    PermuteStep: _permute,
}
