/* SPDX-License-Identifier: Apache-2.0 */
/* Transport of the host build: standard input and output, which are binary on POSIX. */
#include <stdio.h>
#include <stdlib.h>

#include "hadapt/port.h"

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
