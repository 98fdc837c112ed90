/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash in memory, for emulators and tests: it outlives a reboot of the device, not of the program.
 * HAD_FLASH_FAULTS adds the hooks that cut power.
 */
#include "hadapt/flash.h"

#if HAD_FIELD && !defined(HAD_FLASH_FILE)

#include <string.h>

#include "flash_faults.h"

#ifndef HAD_FLASH_BLOCK_BYTES
#define HAD_FLASH_BLOCK_BYTES 4096U
#endif
#ifndef HAD_FLASH_BLOCKS
#define HAD_FLASH_BLOCKS 16U
#endif
#ifndef HAD_FLASH_PROGRAM_BYTES
#define HAD_FLASH_PROGRAM_BYTES 8U
#endif
#define ENDURANCE 10000U
#define ERASED 0xFF

static struct {
    uint32_t started;
    uint8_t cells[HAD_FLASH_BLOCKS * HAD_FLASH_BLOCK_BYTES];
} memory;

#ifdef HAD_FLASH_FAULTS
had_flash_faults had_faults;

uint8_t *had_flash_cells(uint32_t *bytes) {
    *bytes = (uint32_t)sizeof memory.cells;
    return memory.cells;
}

/* Whether power ends at this operation; *torn: how much of it still happens, in 1 / 256. */
static uint32_t power_ends(uint32_t *torn) {
    had_faults.operations += 1U;
    *torn = had_faults.torn;
    if (had_faults.countdown == 0U || had_faults.off != 0U) {
        return 0U;
    }
    had_faults.countdown -= 1U;
    had_faults.off = had_faults.countdown == 0U ? 1U : 0U;
    return had_faults.off;
}

static uint32_t is_off(void) {
    return had_faults.off;
}
#else
static uint32_t power_ends(uint32_t *torn) {
    *torn = 0U;
    return 0U;
}

static uint32_t is_off(void) {
    return 0U;
}
#endif

had_status had_flash_open(had_flash_info *info) {
    *info = (had_flash_info){HAD_FLASH_BLOCK_BYTES, HAD_FLASH_BLOCKS, HAD_FLASH_PROGRAM_BYTES,
                             ENDURANCE};
    if (memory.started == 0U) {
        memset(memory.cells, ERASED, sizeof memory.cells);
        memory.started = 1U;
    }
    return HAD_OK;
}

had_status had_flash_read(uint8_t *dst, uint32_t at, uint32_t n) {
    if (is_off() != 0U || at > sizeof memory.cells || n > sizeof memory.cells - at) {
        return HAD_ERR_IO;
    }
    memcpy(dst, memory.cells + at, n);
    return HAD_OK;
}

/* One unit. A torn one has programmed some of its bytes, and half the bits of one more. */
static had_status program_unit(uint8_t *cell, const uint8_t *src) {
    uint32_t torn;
    if (is_off() != 0U) {
        return HAD_ERR_IO;
    }
    uint32_t ends = power_ends(&torn);
    uint32_t done = ends != 0U ? torn * HAD_FLASH_PROGRAM_BYTES / 256U : HAD_FLASH_PROGRAM_BYTES;
    for (uint32_t i = 0U; i < done; i++) {
        if (cell[i] != ERASED) {
            return HAD_ERR_IO; /* programmed twice: a fault of the caller */
        }
        cell[i] = src[i];
    }
    if (ends != 0U && torn != 0U && done < HAD_FLASH_PROGRAM_BYTES) {
        cell[done] = (uint8_t)(cell[done] & (src[done] | 0x55U));
    }
    return ends != 0U ? HAD_ERR_IO : HAD_OK;
}

had_status had_flash_program(uint32_t at, const uint8_t *src, uint32_t n) {
    if (at % HAD_FLASH_PROGRAM_BYTES != 0U || n % HAD_FLASH_PROGRAM_BYTES != 0U ||
        at > sizeof memory.cells || n > sizeof memory.cells - at) {
        return HAD_ERR_IO;
    }
    had_status status = HAD_OK;
    for (uint32_t i = 0U; i < n && status == HAD_OK; i += HAD_FLASH_PROGRAM_BYTES) {
        status = program_unit(memory.cells + at + i, src + i);
    }
    return status;
}

/* A torn erase has cleared the first part of the block, and left bits set at random behind it. */
had_status had_flash_erase(uint32_t block) {
    uint32_t torn;
    if (block >= HAD_FLASH_BLOCKS || is_off() != 0U) {
        return HAD_ERR_IO;
    }
    uint32_t ends = power_ends(&torn);
    uint8_t *cells = memory.cells + block * HAD_FLASH_BLOCK_BYTES;
    uint32_t done = ends != 0U ? torn * (HAD_FLASH_BLOCK_BYTES / 256U) : HAD_FLASH_BLOCK_BYTES;
    memset(cells, ERASED, done);
    for (uint32_t i = done; ends != 0U && torn != 0U && i < HAD_FLASH_BLOCK_BYTES; i += 7U) {
        cells[i] = (uint8_t)(cells[i] | 0xA5U);
    }
    return ends != 0U ? HAD_ERR_IO : HAD_OK;
}

#endif
