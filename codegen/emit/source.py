# SPDX-License-Identifier: Apache-2.0
"""hadapt_plan.c: arena maps and the flat call plans."""

from collections.abc import Sequence

from codegen.arena import Arena
from codegen.buffers import Operation
from codegen.emit.header import banner, has_conv
from codegen.emit.literals import comment_text
from codegen.inference import Call
from codegen.lower import Plan
from device.twin.mfcc import Mfcc
from device.twin.model import IntModel

# Element type of a buffer by the first letters of its name.
_TYPES = {
    "labels": "u8",
    "x": "s8",
    "wq": "weights",
    "y": "s16",
    "d": "s16",
    "e": "s16",
    "mask": "u8",
    "block": "s32",
    "dh": "s8",
    "over": "s16",
    "wh": "weights",
    "row": "s32",
    "dt": "weights",
    "z": "s16",
    "dz": "s16",
    "pass": "u8",
    "patch": "s8",
    "gain": "gains",
    "acc": "s32",
    "amax": "s32",
}
_C_TYPES = {
    "u8": "uint8_t",
    "s8": "int8_t",
    "s16": "int16_t",
    "s32": "int32_t",
    "weights": "had_weight",
    "gains": "had_gain",
}
IN_S32 = (
    "static int32_t *in_s32(had_learner *ln, uint32_t at) {",
    "    return (int32_t *)(void *)((uint8_t *)(void *)ln->infer + at);",
    "}",
    "",
)


def plan_source(model: IntModel, plan: Plan, board: str, trace: bool = False) -> list[str]:
    """hadapt_plan.c, to be read from top to bottom; `trace`: it sends what every layer makes."""
    return [
        *banner(model, board, "Call plans: one training step, one inference."),
        '#include "hadapt/plan.h"',
        "",
        *(['#include "hadapt/conv.h"'] if has_conv(plan) else []),
        *(['#include "hadapt/front.h"'] if model.has_image else []),
        *(['#include "hadapt/features.h"'] if model.signal else []),
        '#include "hadapt/infer.h"',
        '#include "hadapt/train.h"',
        '#include "hadapt_model.h"',
        "",
        *arena_map("Training", "AT", "HAD_ARENA_BYTES", plan.arena, _labels(plan)),
        *arena_map("Inference", "IN", "HAD_INFER_BYTES", plan.infer_arena, moments(plan.calls)),
        *_access(model, plan),
        *_operation_table(plan),
        *_train(plan),
        *_infer(model, plan, trace),
    ]


def _labels(plan: Plan) -> list[str]:
    return [op.label.lower() for op in plan.operations]


def moments(calls: Sequence[Call]) -> list[str]:
    """What is done at each moment of an inference, for `arena_map`."""
    return [comment_text(call.comment) for call in calls]


def arena_map(title: str, prefix: str, total: str, arena: Arena, steps: list[str]) -> list[str]:
    """Comment table, offsets, and asserts that they stay inside."""
    bound = f"{arena.bytes} bytes, lower bound {arena.lower_bound}"
    lines = ["/*", f" * {title} arena: {bound}.", " *", " * offset  bytes  buffer    holds"]
    for place in arena.placements:
        buffer = place.buffer
        last = min(buffer.last, len(steps) - 1)
        life = f"{steps[buffer.first]} .. {steps[last]}"
        row = f"{place.offset:6d} {buffer.bytes:6d}  {buffer.name:9s} {buffer.owner}; {life}"
        lines.append(f" * {row}")
    lines += [" */"]
    for place in arena.placements:
        lines.append(f"#define {prefix}_{place.buffer.name.upper()} {place.offset}U")
    for place in arena.placements:
        name = f"{prefix}_{place.buffer.name.upper()}"
        text = f'"{place.buffer.name} fits"'
        lines.append(f"_Static_assert({name} + {place.buffer.bytes}U <= {total}, {text});")
    return [*lines, ""]


def buffer_type(name: str) -> str:
    """Element type of a training buffer: u8, s8, s16, s32 or weights."""
    return _TYPES[name.rstrip("0123456789")]


def _access(model: IntModel, plan: Plan) -> list[str]:
    """Typed views of the arenas; offsets are multiples of four bytes."""
    used = sorted({buffer_type(p.buffer.name) for p in plan.arena.placements})
    lines: list[str] = []
    for kind in used:
        c_type = _C_TYPES[kind]
        lines += [
            f"static {c_type} *{kind}(had_learner *ln, uint32_t at) {{",
            f"    return ({c_type} *)(void *)(ln->arena.bytes + at);",
            "}",
            "",
        ]
    return [
        *lines,
        "static int8_t *in_s8(had_learner *ln, uint32_t at) {",
        "    return (int8_t *)(void *)ln->infer + at;",
        "}",
        "",
        *(IN_S32 if has_conv(plan) or isinstance(model.signal, Mfcc) else ()),
        "static int16_t *in_s16(had_learner *ln, uint32_t at) {",
        "    return (int16_t *)(void *)((uint8_t *)(void *)ln->infer + at);",
        "}",
        "",
    ]


def _operation_table(plan: Plan) -> list[str]:
    lines = ["/* Operations of a step: number, rows, work units a row. */", "enum {"]
    lines += [f"    OP_{op.label}," for op in plan.operations]
    lines += ["};", "", "const had_operation had_operations[HAD_OPERATIONS] = {"]
    lines += [f"    [OP_{op.label}] = {{{op.rows}U, {op.units}U}}," for op in plan.operations]
    return [*lines, "};", ""]


def _train(plan: Plan) -> list[str]:
    lines = [
        f"/* One step is {plan.units_per_step} work units. */",
        "had_status had_plan_train(had_learner *ln, uint32_t op, uint32_t begin, uint32_t end) {",
        "    switch (op) {",
    ]
    for op in plan.operations:
        lines += [
            f"    case OP_{op.label}:{_layer_note(plan, op)}",
            f"        {op.kernel}(ln, {_arguments(op)}begin, end);",
            "        return HAD_OK;",
        ]
    return [*lines, "    default:", "        return HAD_ERR_ARGUMENT;", "    }", "}", ""]


def _layer_note(plan: Plan, op: Operation) -> str:
    return "" if op.layer is None else f" /* {comment_text(plan.layers[op.layer].name)} */"


def _arguments(op: Operation) -> str:
    return "".join(f"{_argument(name)}, " for name in op.arguments)


def _argument(name: str) -> str:
    if name.startswith("LAYER_"):
        return name
    return f"{buffer_type(name)}(ln, AT_{name.upper()})"


def _infer(model: IntModel, plan: Plan, trace: bool) -> list[str]:
    return [
        *(["void had_trace(const void *data, uint32_t bytes);", ""] if trace else []),
        *_stage(plan, "x0", "void had_plan_x0(had_learner *ln, const uint8_t *raw) {", (), trace),
        *_stage(
            plan,
            "features",
            "void had_plan_features(had_learner *ln) {",
            () if len(model.layers) > 1 else ("    (void)ln; /* x0 is the feature vector */",),
            trace,
        ),
        *_stage(
            plan, "logits", "void had_plan_logits(had_learner *ln, uint32_t rows) {", (), trace
        ),
        *_getter("int8_t *had_plan_at_x0(had_learner *ln)", infer_argument(plan.x0)),
        *_getter("int8_t *had_plan_at_features(had_learner *ln)", infer_argument(plan.features)),
        *_getter("int16_t *had_plan_at_logits(had_learner *ln)", "in_s16(ln, IN_LOGITS)"),
    ]


def _getter(declaration: str, value: str) -> list[str]:
    return [f"{declaration} {{", f"    return {value};", "}", ""]


def _stage(plan: Plan, stage: str, head: str, body: tuple[str, ...], trace: bool) -> list[str]:
    sizes = {p.buffer.name: p.buffer.bytes for p in plan.infer_arena.placements}
    lines = []
    for call in plan.calls:
        if call.stage == stage:
            lines.append(infer_call(call))
            made = call.arguments[0]
            if trace:
                lines.append(f"    had_trace({infer_argument(made)}, {sizes[made]}U);")
    return [head, *body, *lines, "}", ""]


def infer_call(call: Call) -> str:
    """One line of an inference."""
    arguments = [infer_argument(name) for name in call.arguments]
    context = [] if call.stage == "x0" else ["ln"]
    rows = ["rows"] if call.stage == "logits" else []
    text = ", ".join([*context, *arguments, *rows])
    return f"    {call.kernel}({text}); /* {comment_text(call.comment)} */"


def infer_argument(name: str) -> str:
    """A buffer of the inference arena, or a constant."""
    if name == "signal":
        return "(uint8_t *)in_s8(ln, IN_SIGNAL)"
    if name == "logits":
        return "in_s16(ln, IN_LOGITS)"
    if name == "spectrum" or name.startswith("sums"):
        return f"in_s32(ln, IN_{name.upper()})"
    if name.startswith("s") and name[1:].isdigit():
        return f"in_s16(ln, IN_{name.upper()})"
    if name.startswith("patch") or (name.startswith("v") and name[1:].isdigit()):
        return f"in_s8(ln, IN_{name.upper()})"
    return name
