# SPDX-License-Identifier: Apache-2.0
"""Files of an inference-only model (SPEC.md 17): configuration, tables, plan, manifest, README."""

import json

from codegen.arena import Arena
from codegen.emit.front import front_header, front_tables
from codegen.emit.header import FORMAT_VERSION, HOST_WIRE_BYTES, banner, format_check
from codegen.emit.literals import define, unsigned
from codegen.emit.signal import signal_header, signal_manifest, signal_tables
from codegen.emit.source import IN_S32, arena_map, infer_argument, infer_call, moments
from codegen.emit.tables import input_stage_table, model_id_table
from codegen.inference import InferencePlan
from device.harness.boards import Board
from device.twin.inference import InferenceModel
from device.twin.mfcc import Mfcc

INFO_BYTES = 32


def network_config(model: InferenceModel, arena: Arena, board: Board) -> list[str]:
    """hadapt_config.h."""
    height, width, channels = model.output_shape
    scale = model.output_scale
    wire = max(2 + 2 * model.inputs, model.outputs, INFO_BYTES)
    wire = max(HOST_WIRE_BYTES, wire) if board.is_host else wire
    return [
        *banner(model, board.name, "Compile-time configuration of the runtime."),
        "#ifndef HADAPT_CONFIG_H",
        "#define HADAPT_CONFIG_H",
        "",
        *format_check(),
        define("HAD_INFERENCE_ONLY", "1", "nothing learns, SPEC.md 17"),
        define("HAD_INPUTS", unsigned(model.inputs), "values in a raw sample"),
        define("HAD_OUTPUTS", unsigned(model.outputs), "int8 values"),
        define("HAD_OUTPUT_HEIGHT", unsigned(height)),
        define("HAD_OUTPUT_WIDTH", unsigned(width)),
        define("HAD_OUTPUT_CHANNELS", unsigned(channels), "innermost"),
        "",
        f"/* An output q stands for {scale.value:.9g} q: mantissa 2^exponent (q - zero point). */",
        define("HAD_OUTPUT_SCALE_MANTISSA", unsigned(scale.mantissa)),
        define("HAD_OUTPUT_SCALE_EXPONENT", str(scale.exponent)),
        define("HAD_OUTPUT_ZERO_POINT", "0"),
        "",
        define("HAD_INFER_BYTES", unsigned(arena.bytes), "working memory, see hadapt_plan.c"),
        define("HAD_WIRE_MAX_BYTES", unsigned(-(-wire // 8) * 8), "longest payload"),
        "",
        "#endif",
        "",
    ]


def network_header(model: InferenceModel, board: Board) -> list[str]:
    """hadapt_model.h."""
    return [
        *banner(model, board.name, "Layers of this model."),
        "#ifndef HADAPT_MODEL_H",
        "#define HADAPT_MODEL_H",
        "",
        '#include "hadapt/front.h"',
        *(['#include "hadapt/features.h"'] if model.signal else []),
        '#include "hadapt/network.h"',
        "",
        "extern const had_input_stage had_input;",
        "#define INPUT_STAGE had_input",
        *signal_header(model),
        *front_header(model),
        "",
        "#endif",
        "",
    ]


def network_tables(model: InferenceModel, board: Board) -> list[str]:
    """hadapt_tables.c."""
    return [
        *banner(model, board.name, "Constant tables."),
        '#include "hadapt_model.h"',
        "",
        *model_id_table(model),
        *signal_tables(model),
        *input_stage_table(model),
        *front_tables(model),
    ]


def network_source(
    model: InferenceModel, plan: InferencePlan, arena: Arena, board: Board, trace: bool
) -> list[str]:
    """hadapt_plan.c, to be read from top to bottom."""
    return [
        *banner(model, board.name, "Call plan of an inference."),
        '#include "hadapt_model.h"',
        "",
        *arena_map("Inference", "IN", "HAD_INFER_BYTES", arena, moments(plan.calls)),
        *(["void had_trace(const void *data, uint32_t bytes);", ""] if trace else []),
        *_access(model),
        "const int8_t *had_network_run(had_network *ln, const uint8_t *raw) {",
        *_calls(plan, arena, trace),
        f"    return {infer_argument(plan.x0)};",
        "}",
        "",
    ]


def _access(model: InferenceModel) -> list[str]:
    """Typed views of the arena; offsets are multiples of four bytes."""
    lines = [
        "static int8_t *in_s8(had_network *ln, uint32_t at) {",
        "    return (int8_t *)(void *)(ln->infer + at);",
        "}",
        "",
    ]
    wide = IN_S32 if isinstance(model.signal, Mfcc) else ()
    return lines + [line.replace("had_learner", "had_network") for line in wide]


def _calls(plan: InferencePlan, arena: Arena, trace: bool) -> list[str]:
    sizes = {p.buffer.name: p.buffer.bytes for p in arena.placements}
    lines = []
    for call in plan.calls:
        lines.append(infer_call(call))
        made = call.arguments[0]
        if trace:
            lines.append(f"    had_trace({infer_argument(made)}, {sizes[made]}U);")
    return lines


def network_manifest(model: InferenceModel, arena: Arena, board: Board) -> list[str]:
    """manifest.json."""
    bits = model.signal.frac_bits if model.signal else model.input.raw_frac_bits
    document = {
        "format": FORMAT_VERSION,
        "kind": "inference-only",
        "model": model.name,
        "model_id": model.model_id.hex(),
        "board": board.name,
        "sizes": {
            "inputs": model.inputs,
            "outputs": model.outputs,
            "inference_bytes": arena.bytes,
            "inference_lower_bound_bytes": arena.lower_bound,
        },
        "output": {
            "shape": list(model.output_shape),
            "scale": [model.output_scale.mantissa, model.output_scale.exponent],
            "zero_point": 0,
            "type": "int8",
        },
        "raw_frac_bits": bits.tolist(),
        **signal_manifest(model),
    }
    if not model.signal:
        document["raw_order"] = {
            "pixels": model.input.pixels,
            "channels": len(model.input.zero),
            "planar": model.input.planar,
        }
    return [json.dumps(document, indent=2, sort_keys=True), ""]


def network_readme(model: InferenceModel, board: Board) -> list[str]:
    """README.md of the folder."""
    shape = " x ".join(str(n) for n in model.output_shape)
    return [
        f"# Firmware sources of {model.name.splitlines()[0] if model.name else 'a model'}",
        "",
        f"Generated by Hadapt for the board {board.name}: a network that runs with integers only",
        f"and does not learn. {len(model.front)} layers; output {shape}, int8.",
        "",
        "    make            # firmware.elf",
        "",
        "| file | what it is |",
        "| --- | --- |",
        "| hadapt_config.h | sizes; scale and zero point of the output |",
        "| hadapt_model.h, hadapt_tables.c | the network's constants |",
        "| hadapt_plan.c | arena map, and the calls of an inference |",
        "| runtime/ | what is the same for every model; include/hadapt/network.h is its manual |",
        "| port/ | start-up, transport and main loop of the board |",
        "| manifest.json | sizes, and the grid of the raw features |",
        "",
        "A raw sample is one int16 a feature: the feature times 2 to the power of raw_frac_bits",
        "(manifest.json, one number a channel), rounded to the nearest integer. By raw_order,",
        "samples come pixel by pixel, or channel by channel (planar).",
        "",
        "To put the network into a program of your own, leave port/ and had_network.c out and",
        "call had_network_run of runtime/include/hadapt/network.h.",
        "",
    ]
