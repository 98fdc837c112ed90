# SPDX-License-Identifier: Apache-2.0
"""Where a firmware's bytes go: flash and RAM by purpose, and the training arena by buffer."""

from collections.abc import Iterable
from typing import Any

from codegen.generate import plan_of
from codegen.lower import Plan, lower
from device.harness.boards import Board
from device.harness.elf import Symbol
from device.harness.firmware import Firmware
from device.twin.model import IntModel

Json = dict[str, Any]
FLASH_TABLES = (
    ("initial weights", ("had_initial_master", "had_initial_bias")),
    ("first exemplars", ("had_exemplar_",)),
    ("first prototypes", ("had_initial_prototype",)),
)


def memory_maps(firmware: Firmware, board: Board, model: IntModel) -> list[Json]:
    """Flash and RAM of a linked firmware in parts, largest first within each."""
    flash = _flash_parts(firmware)
    ram = _ram_parts(firmware, board, model, plan_of(model, board))
    return [
        _map("Flash", board.name, board.code_bytes, flash, firmware.flash_bytes),
        _map("RAM", board.name, board.ram_bytes, ram, firmware.ram_bytes),
    ]


def _map(memory: str, board: str, available: int, parts: dict[str, int], used: int) -> Json:
    """Parts by size; what no part explains is called so."""
    named = sorted(parts.items(), key=lambda item: -item[1])
    rest = used - sum(parts.values())
    listed = [{"name": name, "bytes": size} for name, size in named if size > 0]
    if rest > 0:
        listed.append({"name": "the rest", "bytes": rest})
    return {"memory": memory, "board": board, "available_bytes": available, "parts": listed}


def _flash_parts(firmware: Firmware) -> dict[str, int]:
    program = _size(s for s in firmware.symbols if s.is_function)
    data = [s for s in firmware.symbols if not s.is_function]
    tables = {
        name: _size(s for s in data if s.name.startswith(prefixes))
        for name, prefixes in FLASH_TABLES
    }
    return {"program": program, **tables}


def _size(symbols: Iterable[Symbol]) -> int:
    """Bytes of symbols; aliases at one address count once."""
    return sum({s.address: s.size_bytes for s in symbols}.values())


def _ram_parts(firmware: Firmware, board: Board, model: IntModel, plan: Plan) -> dict[str, int]:
    weights = plan.master_count * model.arithmetic.master_bits // 8 + 4 * plan.bias_count
    prototypes = model.max_classes * (2 + 2 * model.features) if model.keep_prototypes else 0
    slots = model.exemplar_slots + model.staging_slots
    return {
        "working copy (weights, prototypes)": weights + prototypes,
        "committed copy, for rollback": weights + prototypes,
        "exemplars": slots * ((model.x0_size + 1) // 2 + 3),
        "training arena": plan.arena.bytes,
        "operand of vector kernels": plan.panel_bytes,
        "inference buffers": plan.infer_arena.bytes,
        "4-bit weight view": plan.view_bytes,
        "stack set aside": board.stack_bytes,
    }


def arena_map(model: IntModel) -> Json:
    """The training arena: every buffer with its offset and the operations it lives through."""
    plan = lower(model)
    buffers = [
        {
            "name": p.buffer.name,
            "owner": p.buffer.owner,
            "offset": p.offset,
            "bytes": p.buffer.bytes,
            "first": p.buffer.first,
            "last": p.buffer.last,
        }
        for p in plan.arena.placements
    ]
    return {
        "bytes": plan.arena.bytes,
        "lower_bound_bytes": plan.arena.lower_bound,
        "operations": [op.label.lower() for op in plan.operations],
        "buffers": buffers,
    }
