/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks of the flash in memory by which tests cut its power. */
#ifndef HADAPT_PORT_FLASH_FAULTS_H
#define HADAPT_PORT_FLASH_FAULTS_H

#include <stdint.h>

typedef struct had_flash_faults {
    uint32_t countdown;  /* operations (units and block erases) until power ends in one; 0: never */
    uint32_t torn;       /* how much of that operation still happens, in 1 / 256; 0: nothing */
    uint32_t off;        /* power is gone: every operation fails until this is reset */
    uint32_t operations; /* so far */
} had_flash_faults;

extern had_flash_faults had_faults;

/* The cells themselves. */
uint8_t *had_flash_cells(uint32_t *bytes);

#endif
