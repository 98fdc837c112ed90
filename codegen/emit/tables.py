# SPDX-License-Identifier: Apache-2.0
"""hadapt_tables.c: the constants of the network."""

from codegen.buffers import LayerPlan
from codegen.emit.front import front_header, front_tables
from codegen.emit.header import banner, has_blocks, has_conv
from codegen.emit.literals import byte_rows, columns, comment_text, scale, table, unsigned
from codegen.emit.signal import signal_header, signal_tables
from codegen.lower import Plan
from device.twin.inference import AnyModel
from device.twin.model import Exemplar, FrozenLayer, IntModel, TrainableLayer


def model_header(model: IntModel, plan: Plan, board: str) -> list[str]:
    """hadapt_model.h: the layers by name, and the tables that only this model has."""
    lines = [
        *banner(model, board, "Layers of this model."),
        "#ifndef HADAPT_MODEL_H",
        "#define HADAPT_MODEL_H",
        "",
        '#include "hadapt/front.h"' if model.has_image else '#include "hadapt/layer.h"',
        *(['#include "hadapt/features.h"'] if model.signal else []),
        "",
        "/* Trainable layers. */",
    ]
    for layer in plan.layers:
        size = f"{layer.inputs} to {layer.outputs}"
        name = comment_text(layer.name)
        lines.append(
            f"#define LAYER_{layer.index} (&had_layers[{layer.index}]) /* {name}: {size} */"
        )
    lines += ["", "extern const had_input_stage had_input;", "#define INPUT_STAGE had_input"]
    if model.frozen:
        count = len(model.frozen)
        lines.append(f"extern const had_frozen_layer had_frozen_layers[{count}];")
    lines += signal_header(model) + front_header(model)
    return [*lines, "", "#endif", ""]


def tables_source(model: IntModel, plan: Plan, board: str) -> list[str]:
    """hadapt_tables.c."""
    includes = ['#include "hadapt/conv.h"'] * has_conv(plan)
    includes += ['#include "hadapt/expand.h"'] * (model.expansion is not None) + [
        '#include "hadapt_model.h"',
        "",
    ]
    lines = [*banner(model, board, "Constant tables."), *includes]
    lines += model_id_table(model)
    lines += signal_tables(model) + input_stage_table(model)
    lines += front_tables(model)
    lines += _frozen(model)
    lines += _trainable(model, plan)
    if model.keep_prototypes:
        lines += _prototypes(model)
    if model.exemplars:
        lines += _exemplars(model.exemplars)
    return lines


def model_id_table(model: AnyModel) -> list[str]:
    """The 16 bytes that name the model."""
    values = columns([f"0x{b:02x}U" for b in model.model_id])
    return ["const uint8_t had_model_id[16] = {", *values, "};", ""]


def input_stage_table(model: AnyModel) -> list[str]:
    """Constants of SPEC.md 3."""
    stage = model.input
    signed_max = 7 if stage.signed else 15
    size = f"{len(stage.zero)}U" if model.has_image or model.signal else "HAD_INPUTS"
    lines = table(f"static const int16_t input_zero[{size}]", stage.zero, "input stage: zero")
    lines += table(f"static const int16_t input_mult[{size}]", stage.mult, "input stage: mult")
    lines += table(f"static const uint8_t input_shift[{size}]", stage.shift, "input stage: shift")
    return [
        *lines,
        "const had_input_stage had_input = {",
        "    .zero = input_zero,",
        "    .mult = input_mult,",
        "    .shift = input_shift,",
        f"    .amax = {stage.amax},",
        f"    .inputs = {size},",
        f"    .is_signed = {unsigned(int(stage.signed))},",
        f"    .out_qmax = {unsigned(127 if model.has_frozen_part else signed_max)},",
        "};",
        "",
    ]


def _frozen(model: IntModel) -> list[str]:
    lines: list[str] = []
    for at, layer in enumerate(model.frozen):
        lines += _frozen_tables(at, layer)
    if model.frozen:
        lines += [f"const had_frozen_layer had_frozen_layers[{len(model.frozen)}] = {{"]
        for at, layer in enumerate(model.frozen):
            lines += _frozen_entry(at, layer, at == len(model.frozen) - 1)
        lines += ["};", ""]
    return lines


def _frozen_tables(at: int, layer: FrozenLayer) -> list[str]:
    outputs, inputs = layer.weight.shape
    what = f"frozen {at}, {layer.name}"
    name = f"frozen{at}"
    return [
        *table(
            f"static const int8_t {name}_weight[{outputs}U * {inputs}U]",
            layer.weight,
            f"{what}: weights, {outputs} rows of {inputs}",
        ),
        *table(f"static const int32_t {name}_bias[{outputs}U]", layer.bias, f"{what}: bias"),
        *table(f"static const int16_t {name}_mult[{outputs}U]", layer.mult, f"{what}: mult"),
        *table(f"static const uint8_t {name}_shift[{outputs}U]", layer.shift, f"{what}: shift"),
    ]


def _frozen_entry(at: int, layer: FrozenLayer, last: bool) -> list[str]:
    outputs, inputs = layer.weight.shape
    shift = max(0, (int(inputs) * 127 * 127).bit_length() - 15)
    qmax = (15 if layer.relu else 7) if last else 127
    return [
        f"    {{ /* {comment_text(layer.name)} */",
        f"        .weight = frozen{at}_weight,",
        f"        .bias = frozen{at}_bias,",
        f"        .mult = frozen{at}_mult,",
        f"        .shift = frozen{at}_shift,",
        f"        .out_amax = {layer.out_amax},",
        f"        .inputs = {inputs}U,",
        f"        .outputs = {outputs}U,",
        f"        .acc_shift = {shift}U,",
        f"        .relu = {int(layer.relu)}U,",
        f"        .out_qmax = {qmax}U,",
        "    },",
    ]


def _trainable(model: IntModel, plan: Plan) -> list[str]:
    lines: list[str] = []
    for layer, spec in zip(model.layers, plan.layers, strict=True):
        declaration = f"static const uint8_t row_factor{spec.index}[{spec.outputs}U]"
        lines += table(declaration, layer.row_factor, f"layer {spec.index}: row factors")
        lines += _conv_table(spec)
    lines += ["const had_layer had_layers[HAD_LAYERS] = {"]
    for layer, spec in zip(model.layers, plan.layers, strict=True):
        lines += _layer_entry(layer, spec, plan, model.fine_inference)
    tables = (_masters(model, plan), _biases(model, plan), _draws(model))
    return [*lines, "};", "", *(line for table in tables for line in table)]


def _conv_table(spec: LayerPlan) -> list[str]:
    """Windows of a convolution and of its pool."""
    if spec.conv is None:
        return []
    conv = spec.conv
    pairs = (conv.kernel, conv.stride, conv.dilation, conv.pad)
    window = [*conv.in_shape, *conv.out_size, spec.outputs, *(n for pair in pairs for n in pair)]
    pool = [*conv.pool_size, conv.pooled_size[1]]
    return [
        f"static const struct had_conv_layer conv{spec.index} = {{",
        "    .window = {" + ", ".join(unsigned(n) for n in window) + "},",
        f"    .pool = HAD_POOL_{conv.pool.upper()},",
        f"    .pool_height = {unsigned(pool[0])},",
        f"    .pool_width = {unsigned(pool[1])},",
        f"    .pooled_width = {unsigned(pool[2])},",
        f"    .groups = {unsigned(conv.groups)},",
        f"    .top = {unsigned(conv.top)},",
        "};",
        "",
    ]


def _layer_entry(layer: TrainableLayer, spec: LayerPlan, plan: Plan, fine: bool) -> list[str]:
    values = [
        ("scale", scale(layer.scale)),
        ("row_factor", f"row_factor{spec.index}"),
        ("master_at", unsigned(spec.master_at)),
        ("bias_at", unsigned(spec.bias_at)),
        ("view_at", unsigned(spec.view_at)),
        ("in_amax", str(layer.in_amax)),
        ("index", unsigned(spec.index)),
        ("inputs", unsigned(spec.inputs)),
        ("outputs", unsigned(spec.outputs)),
        ("outputs_padded", unsigned(spec.outputs_padded)),
        ("out_frac_bits", unsigned(layer.out_frac_bits)),
        ("forward_shift", unsigned(spec.forward_shift)),
        ("error_shift", unsigned(spec.error_shift)),
        ("x_range", unsigned(layer.x_range)),
        ("w_range", unsigned(layer.w_range)),
        ("is_head", unsigned(int(spec.is_head))),
    ]
    if has_conv(plan):
        values += [
            ("in_values", unsigned(spec.in_values)),
            ("out_values", unsigned(spec.out_values)),
            ("conv", f"&conv{spec.index}" if spec.conv else "0"),
        ]
    if has_blocks(plan):
        values += [
            ("reads", unsigned(spec.reads)),
            ("below", unsigned(max(0, spec.below))),
            ("next", unsigned(spec.next)),
            ("side", unsigned(int(spec.side))),
            ("adds", unsigned(int(spec.adds is not None))),
        ]
    if fine:
        values.append(("fine_shift", unsigned(spec.fine_shift)))
    lines = [f"        .{name} = {value}," for name, value in values]
    return [f"    {{ /* {comment_text(spec.name)} */", *lines, "    },"]


def _masters(model: IntModel, plan: Plan) -> list[str]:
    lines = ["const had_master had_initial_master[HAD_MASTER_COUNT] = {"]
    for layer, spec in zip(model.layers, plan.layers, strict=True):
        size = f"{spec.outputs} rows of {spec.inputs}"
        lines += [f"    /* layer {spec.index}, {comment_text(spec.name)}: masters, {size} */"]
        lines += columns([str(int(v)) for v in layer.master.reshape(-1)])
    return [*lines, "};", ""]


def _biases(model: IntModel, plan: Plan) -> list[str]:
    lines = ["const int32_t had_initial_bias[HAD_BIAS_COUNT] = {"]
    for layer, spec in zip(model.layers, plan.layers, strict=True):
        lines += [f"    /* layer {spec.index}, {comment_text(spec.name)}: biases */"]
        values = [int(v) for v in layer.bias]
        lines += columns(["INT32_MIN" if v == -(2**31) else str(v) for v in values])
    return [*lines, "};", ""]


def _draws(model: IntModel) -> list[str]:
    if model.expansion is None:
        return []
    size = "[HAD_LAYERS - 1U - HAD_EXPANSION_FIRST]"
    title = "draw ranges of new blocks, SPEC.md 16"
    return table(f"const had_master had_expansion_draw{size}", model.expansion.draws, title)


def _prototypes(model: IntModel) -> list[str]:
    lines = ["const int16_t had_initial_prototype[HAD_MAX_CLASSES][1U + HAD_FEATURES] = {"]
    for count, sums in zip(model.prototype_count, model.prototype_sum, strict=True):
        values = [str(int(count)), *(str(int(v)) for v in sums)]
        lines += ["    {", *columns(values, "        "), "    },"]
    return ["/* Prototypes: n_c, then S_c. */", *lines, "};", ""]


def pack_x0(exemplar: Exemplar) -> bytes:
    """x0, two values a byte, the first in the low nibble (SPEC.md 8.1)."""
    nibbles = [int(v) & 0xF for v in exemplar.x0] + [0] * (len(exemplar.x0) % 2)
    return bytes(low | high << 4 for low, high in zip(nibbles[0::2], nibbles[1::2], strict=True))


def _exemplars(exemplars: tuple[Exemplar, ...]) -> list[str]:
    count = "[HAD_INITIAL_EXEMPLARS]"
    labels = [e.label for e in exemplars]
    ranks = [e.rank for e in exemplars]
    return [
        *table(f"const uint8_t had_exemplar_label{count}", labels, "exemplars: labels"),
        *table(f"const uint16_t had_exemplar_rank{count}", ranks, "exemplars: ranks"),
        *byte_rows(
            f"const uint8_t had_exemplar_packed{count}[HAD_X0_BYTES]",
            [pack_x0(e) for e in exemplars],
            "exemplars: packed x0",
        ),
    ]
