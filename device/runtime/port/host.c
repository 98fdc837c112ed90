/* SPDX-License-Identifier: Apache-2.0 */
/* Transport of the host build: standard input and output, which are binary on POSIX. */
#include <stdio.h>
#include <stdlib.h>

#include "hadapt/port.h"
#include "hadapt_config.h"

had_status had_port_open(void) {
    return HAD_OK;
}

had_status had_port_read(uint8_t *dst, uint32_t n) {
    return fread(dst, 1U, n, stdin) == n ? HAD_OK : HAD_ERR_IO;
}

had_status had_port_write(const uint8_t *src, uint32_t n) {
    return fwrite(src, 1U, n, stdout) == n ? HAD_OK : HAD_ERR_IO;
}

had_status had_port_flush(void) {
    return fflush(stdout) == 0 ? HAD_OK : HAD_ERR_IO;
}

void had_port_exit(int code) {
    exit(code);
}

uint32_t had_port_stack_used(void) {
    return 0U;
}

#ifdef HAD_FLASH_FILE
#include "file.h"

static FILE *kept;

had_status had_file_open(uint32_t *bytes) {
    kept = fopen("flash.bin", "r+b");
    kept = kept != 0 ? kept : fopen("flash.bin", "w+b");
    if (kept == 0 || fseek(kept, 0L, SEEK_END) != 0) {
        fputs("flash.bin of the working folder cannot be opened or made\n", stderr);
        return HAD_ERR_IO;
    }
    *bytes = (uint32_t)ftell(kept);
    return HAD_OK;
}

had_status had_file_read(uint8_t *dst, uint32_t at, uint32_t n) {
    return fseek(kept, (long)at, SEEK_SET) == 0 && fread(dst, 1U, n, kept) == n ? HAD_OK
                                                                                : HAD_ERR_IO;
}

had_status had_file_write(uint32_t at, const uint8_t *src, uint32_t n) {
    if (fseek(kept, (long)at, SEEK_SET) != 0 || fwrite(src, 1U, n, kept) != n) {
        return HAD_ERR_IO;
    }
    return fflush(kept) == 0 ? HAD_OK : HAD_ERR_IO;
}
#endif
