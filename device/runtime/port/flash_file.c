/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash in a file, for host builds and emulators: it outlives the program, however that ends. Made, erased,
 * where there is none. Compiled in with HAD_FLASH_FILE; had_file_open says which file.
 */
#include "hadapt/flash.h"

#if HAD_FIELD && defined(HAD_FLASH_FILE)

#include <string.h>

#include "file.h"

#ifndef HAD_FLASH_BLOCK_BYTES
#define HAD_FLASH_BLOCK_BYTES 4096U
#endif
#ifndef HAD_FLASH_BLOCKS
#define HAD_FLASH_BLOCKS 256U
#endif
#ifndef HAD_FLASH_PROGRAM_BYTES
#define HAD_FLASH_PROGRAM_BYTES 8U
#endif
#define AREA_BYTES (HAD_FLASH_BLOCKS * HAD_FLASH_BLOCK_BYTES)
#define ENDURANCE 10000U
#define PART_BYTES 256U
#define ERASED 0xFFU

static uint32_t is_open;

static uint32_t is_inside(uint32_t at, uint32_t n) {
    return is_open != 0U && at <= AREA_BYTES && n <= AREA_BYTES - at;
}

static had_status fill(uint32_t at, uint32_t end) {
    uint8_t cells[PART_BYTES];
    had_status status = HAD_OK;
    memset(cells, ERASED, sizeof cells);
    while (at < end && status == HAD_OK) {
        uint32_t part = end - at < PART_BYTES ? end - at : PART_BYTES;
        status = had_file_write(at, cells, part);
        at += part;
    }
    return status;
}

had_status had_flash_open(had_flash_info *info) {
    uint32_t bytes = 0U;
    *info = (had_flash_info){HAD_FLASH_BLOCK_BYTES, HAD_FLASH_BLOCKS, HAD_FLASH_PROGRAM_BYTES,
                             ENDURANCE};
    if (is_open != 0U) {
        return HAD_OK;
    }
    had_status status = had_file_open(&bytes);
    if (status == HAD_OK) { /* also one whose making was cut short */
        status = fill(bytes, AREA_BYTES);
    }
    is_open = status == HAD_OK ? 1U : 0U;
    return status;
}

had_status had_flash_read(uint8_t *dst, uint32_t at, uint32_t n) {
    return is_inside(at, n) != 0U ? had_file_read(dst, at, n) : HAD_ERR_IO;
}

/* As real flash would, if it told: a unit is programmed once between erases. */
static had_status check_erased(uint32_t at, uint32_t n) {
    uint8_t cells[PART_BYTES];
    had_status status = HAD_OK;
    for (uint32_t done = 0U; done < n && status == HAD_OK; done += PART_BYTES) {
        uint32_t part = n - done < PART_BYTES ? n - done : PART_BYTES;
        status = had_file_read(cells, at + done, part);
        for (uint32_t i = 0U; i < part && status == HAD_OK; i++) {
            status = cells[i] == ERASED ? HAD_OK : HAD_ERR_IO;
        }
    }
    return status;
}

had_status had_flash_program(uint32_t at, const uint8_t *src, uint32_t n) {
    uint32_t aligned = at % HAD_FLASH_PROGRAM_BYTES == 0U && n % HAD_FLASH_PROGRAM_BYTES == 0U;
    if (aligned == 0U || is_inside(at, n) == 0U) {
        return HAD_ERR_IO;
    }
    had_status status = check_erased(at, n);
    return status == HAD_OK ? had_file_write(at, src, n) : status;
}

had_status had_flash_erase(uint32_t block) {
    if (block >= HAD_FLASH_BLOCKS || is_open == 0U) {
        return HAD_ERR_IO;
    }
    return fill(block * HAD_FLASH_BLOCK_BYTES, (block + 1U) * HAD_FLASH_BLOCK_BYTES);
}

#endif
