# SPDX-License-Identifier: Apache-2.0
"""The calls of an inference and its vectors: input stage, front, frozen layers, trainable layers.

Vector v0 is the input stage's; every node of the front and every layer adds one. A node that works
element by element takes the place of an input that nothing reads later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from codegen.arena import Buffer
from codegen.buffers import INT16_BYTES, INT32_BYTES, LayerPlan
from device.twin.conv_shape import ConvShape
from device.twin.front_node import FrontNode
from device.twin.inference import AnyModel, InferenceModel
from device.twin.mfcc import Mfcc
from device.twin.model import IntModel

IN_PLACE = ("add", "table")
KERNELS = {
    "conv": "had_conv",
    "average": "had_average",
    "max": "had_max",
    "add": "had_add",
    "concat": "had_part",
    "table": "had_table",
}
TABLES = {
    "conv": "had_convs",
    "average": "had_averages",
    "max": "had_maxima",
    "add": "had_adds",
    "concat": "had_parts",
    "table": "had_lookups",
}


@dataclass(frozen=True)
class Call:
    """One call of the inference plan: stage is x0, features or logits."""

    stage: str
    kernel: str
    arguments: tuple[str, ...]
    comment: str


@dataclass(frozen=True)
class InferencePlan:
    """Calls in order, buffers with lifetimes, and where x0 and the features end up."""

    calls: tuple[Call, ...]
    buffers: tuple[Buffer, ...]
    x0: str
    features: str


@dataclass
class _Draft:
    """Calls so far, and of each vector: buffer, bytes, owner, first and last call."""

    calls: list[Call] = field(default_factory=list)
    place: list[str] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)

    def add_vector(self, size: int, owner: str) -> str:
        """A new vector in a buffer of its own, made by the next call."""
        name, now = f"v{len(self.place)}", len(self.calls)
        self.place.append(name)
        self.buffers[name] = Buffer(name, size, owner, now, now)
        return name

    def share(self, vector: int, owner: str) -> str:
        """A new vector in the place of another."""
        name = self.place[vector]
        old = self.buffers[name]
        self.buffers[name] = Buffer(name, old.bytes, f"{old.owner}; {owner}", old.first, old.last)
        self.place.append(name)
        return name

    def scratch(self, name: str, size: int, owner: str) -> str:
        """A buffer of the next call alone."""
        now = len(self.calls)
        self.buffers[name] = Buffer(name, size, owner, now, now)
        return name

    def call(self, stage: str, kernel: str, arguments: tuple[str, ...], comment: str) -> None:
        """Append a call; every vector among its arguments lives until it."""
        now = len(self.calls)
        self.calls.append(Call(stage, kernel, arguments, comment))
        for name in arguments:
            if name in self.buffers:
                b = self.buffers[name]
                self.buffers[name] = Buffer(b.name, b.bytes, b.owner, b.first, max(b.last, now))


def inference_plan(model: IntModel, layers: tuple[LayerPlan, ...]) -> InferencePlan:
    """Calls and vectors of an inference."""
    draft = _Draft()
    _input(draft, model)
    _front(draft, model.front)
    for at, layer in enumerate(model.frozen):
        before = draft.place[-1]
        size = int(layer.weight.shape[0])
        after = draft.add_vector(
            size * parts(model, layer is model.frozen[-1]), f"frozen {at}: output"
        )
        arguments = (after, before, f"&had_frozen_layers[{at}]")
        draft.call("x0", "had_frozen", arguments, f"frozen {at}: {layer.name}")
    x0 = draft.place[-1]
    inputs = {0: x0}  # of the layers
    for plan in layers[:-1]:
        if plan.conv:
            _conv(draft, layers, plan, plan.conv, inputs)
            continue
        size = plan.out_values * parts(model, True)
        after = draft.add_vector(size, f"layer {plan.index}: output")
        arguments = (after, inputs[plan.index], f"LAYER_{plan.index}")
        draft.call("features", "had_infer_hidden", arguments, plan.name)
        inputs[plan.next] = after
    features, last = draft.place[-1], len(draft.calls)
    logits = INT16_BYTES * model.max_classes
    draft.buffers["logits"] = Buffer("logits", logits, "logits", last, last)
    arguments = ("logits", features, f"LAYER_{layers[-1].index}")
    draft.call("logits", "had_infer_head", arguments, layers[-1].name)
    return InferencePlan(tuple(draft.calls), tuple(draft.buffers.values()), x0, features)


def _conv(
    draft: _Draft,
    layers: tuple[LayerPlan, ...],
    plan: LayerPlan,
    conv: ConvShape,
    inputs: dict[int, str],
) -> None:
    """A trained convolution; a shortcut (SPEC.md 14.6) has a buffer until it is added."""
    n, before = plan.index, inputs[plan.reads]
    added = [_shortcut(draft, layers, plan, conv, inputs)] if plan.adds is not None else []
    if plan.side:
        after = _new_shortcut(draft, plan, conv)
    else:
        after = draft.add_vector(plan.out_values, f"layer {n}: output")
        inputs[plan.next] = after
    arguments = (
        after,
        before,
        f"LAYER_{n}",
        draft.scratch(f"patch{n}", plan.inputs, "unrolled row of a pixel"),
        draft.scratch(f"sums{n}", INT32_BYTES * plan.outputs, "sums of a window"),
        *added,
    )
    kernel = "had_infer_side" if plan.side else "had_infer_added" if added else "had_infer_conv"
    draft.call("features", kernel, arguments, plan.name)


def _shortcut(
    draft: _Draft,
    layers: tuple[LayerPlan, ...],
    plan: LayerPlan,
    conv: ConvShape,
    inputs: dict[int, str],
) -> str:
    """What a layer adds to its outputs: what the side layer made, or the block's input."""
    assert plan.adds is not None
    if layers[plan.adds].has_side:
        return f"s{plan.adds + 1}"
    made = _new_shortcut(draft, plan, conv)
    arguments = (made, inputs[plan.adds], f"LAYER_{plan.index}", f"LAYER_{plan.adds}")
    draft.call("features", "had_infer_identity", arguments, f"shortcut of {plan.name}")
    return made


def _new_shortcut(draft: _Draft, plan: LayerPlan, conv: ConvShape) -> str:
    size = INT16_BYTES * conv.pixels * plan.outputs
    return draft.scratch(f"s{plan.index}", size, f"layer {plan.index}: shortcut")


def network_plan(model: InferenceModel) -> InferencePlan:
    """The same of a model that does not learn: its output stands for x0 and features."""
    draft = _Draft()
    _input(draft, model)
    _front(draft, model.front)
    output = draft.place[-1]
    return InferencePlan(tuple(draft.calls), tuple(draft.buffers.values()), output, output)


def parts(model: AnyModel, trained: bool) -> int:
    """Bytes a value of a vector: 2 where a trainable layer reads its rest too (SPEC.md 18)."""
    return 2 if trained and isinstance(model, IntModel) and model.fine_inference else 1


def _input(draft: _Draft, model: AnyModel) -> None:
    raw = "raw"
    if model.signal:
        raw, size = "signal", INT16_BYTES * model.signal.outputs
        draft.buffers[raw] = Buffer(raw, size, "features of the signal", 0, 0)
        arguments = (raw, "raw", "&SIGNAL")
        if isinstance(model.signal, Mfcc):
            size = model.signal.scratch_bytes
            scratch = draft.scratch("spectrum", size, "spectrum of a frame, logarithms of bands")
            draft.call("x0", "had_features_mfcc", (*arguments, scratch), "features")
        else:
            draft.call("x0", "had_features_window_stats", arguments, "features")
    size = model.stage_values * parts(model, not model.has_frozen_part)
    v0 = draft.add_vector(size, "input stage: quantised sample")
    arguments = (v0, raw, "&INPUT_STAGE")
    if not model.has_image:
        draft.call("x0", "had_input_stage_run", arguments, "input stage")
        return
    order = (f"{model.input.pixels}U", f"{int(model.input.planar)}U")
    draft.call("x0", "had_input_image", (*arguments, *order), "input stage")


def _front(draft: _Draft, nodes: Sequence[FrontNode]) -> None:
    count = dict.fromkeys(KERNELS, 0)
    for at, node in enumerate(nodes):
        sources = [draft.place[i] for i in node.sources]
        owner = f"front {at}: {node.name}"
        free = _free_source(nodes, at) if node.kind in IN_PLACE else None
        after = draft.add_vector(node.outputs, owner) if free is None else draft.share(free, owner)
        groups = [[name] for name in sources] if node.kind == "concat" else [sources]
        for group in groups:
            table = f"&{TABLES[node.kind]}[{count[node.kind]}]"
            draft.call("x0", KERNELS[node.kind], (after, *group, table), owner)
            count[node.kind] += 1


def _free_source(nodes: Sequence[FrontNode], at: int) -> int | None:
    """A source of node `at` that nothing reads later, so that the result may take its place."""
    later = {i for node in nodes[at + 1 :] for i in node.sources}
    return next((i for i in nodes[at].sources if i not in later), None)
