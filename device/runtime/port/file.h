/* SPDX-License-Identifier: Apache-2.0 */
/* The one file of a port that keeps its flash in a file; compiled in with HAD_FLASH_FILE. */
#ifndef HADAPT_PORT_FILE_H
#define HADAPT_PORT_FILE_H

#include <stdint.h>

#include "hadapt/status.h"

/* Open the file "flash.bin" of the working folder for reading and writing, or make it. *bytes: its length. */
HAD_CHECKED had_status had_file_open(uint32_t *bytes);

HAD_CHECKED had_status had_file_read(uint8_t *dst, uint32_t at, uint32_t n);

/* The other side has the bytes on return: they outlive the death of this program. */
HAD_CHECKED had_status had_file_write(uint32_t at, const uint8_t *src, uint32_t n);

#endif
