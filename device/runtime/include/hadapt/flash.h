/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the board, SPEC.md 12: the area set aside for learned state, addressed from 0.
 *
 * An erased byte reads 0xFF. A unit of program_bytes is programmed at most once between erases.
 * HAD_ERR_IO: the operation failed or power is gone; what the cells hold is then open.
 */
#ifndef HADAPT_FLASH_H
#define HADAPT_FLASH_H

#include <stdint.h>

#include "hadapt/status.h"
#include "hadapt_config.h"

/* Field devices: flash, packets, guard (SPEC.md 12 and 13). 0: none of it is compiled in. */
#ifndef HAD_FIELD
#define HAD_FIELD 0
#endif

/* What an area is like. */
typedef struct had_flash_info {
    uint32_t block_bytes;   /* smallest erase, a multiple of 64 */
    uint32_t blocks;        /* of the area */
    uint32_t program_bytes; /* smallest program; a divisor of 64 */
    uint32_t endurance;     /* erases that a block is good for */
} had_flash_info;

/* Make the area ready and describe it. May be called again after a reboot. */
HAD_CHECKED had_status had_flash_open(had_flash_info *info);

/* Read n bytes at any address inside the area. */
HAD_CHECKED had_status had_flash_read(uint8_t *dst, uint32_t at, uint32_t n);

/* Program n bytes; `at` and n are multiples of program_bytes. */
HAD_CHECKED had_status had_flash_program(uint32_t at, const uint8_t *src, uint32_t n);

/* Erase one block. */
HAD_CHECKED had_status had_flash_erase(uint32_t block);

#endif
