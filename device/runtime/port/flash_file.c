/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash in a file, for host builds: the file named by the environment variable HADAPT_FLASH, of
 * HAD_FLASH_BLOCKS blocks; made, erased, where there is none. Compiled in with HAD_FLASH_FILE.
 */
#include "hadapt/flash.h"

#if HAD_FIELD && defined(HAD_FLASH_FILE)

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static FILE *area;

static had_status write_at(uint32_t at, const uint8_t *src, uint32_t n) {
    if (area == 0 || at > AREA_BYTES || n > AREA_BYTES - at ||
        fseek(area, (long)at, SEEK_SET) != 0 || fwrite(src, 1U, n, area) != n) {
        return HAD_ERR_IO;
    }
    return fflush(area) == 0 ? HAD_OK : HAD_ERR_IO;
}

static had_status make(const char *name) {
    had_status status = HAD_OK;
    area = fopen(name, "w+b");
    for (uint32_t b = 0U; b < HAD_FLASH_BLOCKS && status == HAD_OK; b++) {
        status = had_flash_erase(b);
    }
    return status;
}

had_status had_flash_open(had_flash_info *info) {
    const char *name = getenv("HADAPT_FLASH");
    *info = (had_flash_info){HAD_FLASH_BLOCK_BYTES, HAD_FLASH_BLOCKS, HAD_FLASH_PROGRAM_BYTES,
                             ENDURANCE};
    if (area != 0) {
        return HAD_OK;
    }
    if (name == 0) {
        fputs("HADAPT_FLASH must name the file that stands for the flash\n", stderr);
        return HAD_ERR_IO;
    }
    area = fopen(name, "r+b");
    return area != 0 ? HAD_OK : make(name);
}

had_status had_flash_read(uint8_t *dst, uint32_t at, uint32_t n) {
    if (area == 0 || at > AREA_BYTES || n > AREA_BYTES - at ||
        fseek(area, (long)at, SEEK_SET) != 0) {
        return HAD_ERR_IO;
    }
    return fread(dst, 1U, n, area) == n ? HAD_OK : HAD_ERR_IO;
}

had_status had_flash_program(uint32_t at, const uint8_t *src, uint32_t n) {
    uint32_t aligned = at % HAD_FLASH_PROGRAM_BYTES == 0U && n % HAD_FLASH_PROGRAM_BYTES == 0U;
    return aligned != 0U ? write_at(at, src, n) : HAD_ERR_IO;
}

had_status had_flash_erase(uint32_t block) {
    uint8_t cells[HAD_FLASH_BLOCK_BYTES];
    memset(cells, 0xFF, sizeof cells);
    return block < HAD_FLASH_BLOCKS ? write_at(block * HAD_FLASH_BLOCK_BYTES, cells, sizeof cells)
                                    : HAD_ERR_IO;
}

#endif
