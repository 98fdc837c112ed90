/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the runtime needs from a board: a byte stream to and from whoever commands the device.
 * One implementation is linked per build: semihosting (emulators, debug probes) or stdio (host).
 */
#ifndef HADAPT_PORT_H
#define HADAPT_PORT_H

#include <stdint.h>

#include "hadapt/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Exit code of a device whose fault handler ran. */
#define HAD_PORT_EXIT_FAULT 120

/* Make the stream ready; call once, before any other function here. */
HAD_CHECKED had_status had_port_open(void);

/* Read exactly n bytes into dst; blocks. HAD_ERR_IO at the end of the input or on failure. */
HAD_CHECKED had_status had_port_read(uint8_t *dst, uint32_t n);

/* Write exactly n bytes. They may be held back until the next read, flush or exit. */
HAD_CHECKED had_status had_port_write(const uint8_t *src, uint32_t n);

/* Hand every written byte to the other side. */
HAD_CHECKED had_status had_port_flush(void);

/* Flush and end the program with this exit code; on hardware without a probe, halt. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((noreturn))
#endif
void had_port_exit(int code);

/*
 * Bounds of the region whose instructions the emulators count. Each is one instruction that changes
 * nothing (`mov r9,r9` and `mov r10,r10`; `slti x0,x0,1` and `slti x0,x0,2`), so hardware does not
 * mind. Exactly the instructions executed between the two are counted.
 */
void had_port_mark_begin(void);
void had_port_mark_end(void);

/* Deepest use of the stack since reset, in bytes, from its paint; 0 where the port cannot tell. */
uint32_t had_port_stack_used(void);

#ifdef __cplusplus
}
#endif

#endif
