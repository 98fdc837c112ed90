# SPDX-License-Identifier: Apache-2.0
"""Firmware of field devices: flash, signed packets, forgetting guard (SPEC.md 12, 13)."""

from dataclasses import dataclass

from codegen.emit.header import payload_bytes
from codegen.emit.literals import define, unsigned
from codegen.lower import Plan
from device.twin.model import IntModel

BLOCK_BYTES, SLOTS, HEADER_BYTES, UNIT_BYTES = 4096, 2, 64, 64
DEFAULT_GUARD_SLOTS = 32
# SPEC.md 12.2, but for what grows with the model: trust and id, flags and counts, session, guard.
BODY_BYTES = 128 + 16 + 100
# Of the learning log, and more of it for every slot (SPEC.md 13.4).
LOG_BYTES, LOG_SLOT_BYTES = 44 + 128, 14
RECORD_BYTES = 12  # of the journal, but for a packed x0


@dataclass(frozen=True)
class Field:
    """What a field device is built with.

    guard_slots: samples that the guard may keep.
    flash_in_file: the port's flash is the file flash.bin; else it is in RAM, for emulators
        without files.
    committed_in_flash: the committed masters are read from flash, not kept in RAM too (SPEC.md
        12.5): the same bits and the same flash, less RAM.
    """

    guard_slots: int = DEFAULT_GUARD_SLOTS
    flash_in_file: bool = True
    committed_in_flash: bool = False


def flash_blocks(model: IntModel, plan: Plan, field: Field) -> int:
    """Blocks of BLOCK_BYTES for two slots, each with room to journal what a session stages."""
    x0 = -(-model.x0_size // 2)
    slots = model.exemplar_slots + model.staging_slots
    body = BODY_BYTES + 2 * payload_bytes(model, plan) + slots * (4 + x0)
    body += field.guard_slots * (1 + x0) + LOG_BYTES + LOG_SLOT_BYTES * slots
    records = model.staging_slots + field.guard_slots + model.max_classes
    record = -(-(RECORD_BYTES + x0) // UNIT_BYTES) * UNIT_BYTES
    return SLOTS * -(-(HEADER_BYTES + body + records * record) // BLOCK_BYTES)


def field_readme() -> list[str]:
    """Lines of README.md."""
    return [
        "",
        "This is a field device: what it learns is kept in flash, it takes signed packets, and its",
        "forgetting guard can be armed (hadapt/flash.h, hadapt/trust.h, hadapt/guard.h). Its flash",
        "is the file flash.bin of the working folder: on hardware, your functions of",
        "hadapt/flash.h take the place of port/flash_file.c. sodium/ checks signatures; a platform",
        "with its own Ed25519 gives had_port_verify of hadapt/trust.h in place of it.",
    ]


def field_config(model: IntModel, plan: Plan, field: Field | None) -> list[str]:
    """Lines of hadapt_config.h; none for a firmware without flash."""
    if field is None:
        return []
    blocks = flash_blocks(model, plan, field)
    return [
        "/* Field device, SPEC.md 12 and 13. What is guarded is the board's to set. */",
        "#ifndef HAD_FIELD",
        define("HAD_FIELD", "1"),
        "#endif",
        "#ifndef HAD_GUARD_SLOTS",
        define("HAD_GUARD_SLOTS", unsigned(field.guard_slots), "samples the guard may keep"),
        "#endif",
        *(("#define HAD_FLASH_FILE 1 /* see port/flash_file.c */",) if field.flash_in_file else ()),
        "#ifndef HAD_FLASH_BLOCK_BYTES",
        define("HAD_FLASH_BLOCK_BYTES", unsigned(BLOCK_BYTES)),
        "#endif",
        "#ifndef HAD_FLASH_BLOCKS",
        define("HAD_FLASH_BLOCKS", unsigned(blocks), "two slots and their journals"),
        "#endif",
        *(_committed_in_flash(plan) if field.committed_in_flash else ()),
        "",
    ]


def _committed_in_flash(plan: Plan) -> list[str]:
    longest = max(layer.inputs for layer in plan.layers)
    return [
        define("HAD_COMMITTED_IN_FLASH", "1", "the masters, SPEC.md 12.5"),
        define("HAD_LONGEST_ROW", unsigned(longest), "masters of one output, at most"),
    ]
