/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Count markers, in functions of their own so that every counter finds them at a known symbol.
 * The empty asm in the host's version keeps the calls from being seen as pure and dropped.
 */
#include "hadapt/port.h"

#if defined(__arm__) && defined(__thumb__)
#define MARK_BEGIN "mov r9, r9"
#define MARK_END "mov r10, r10"
#elif defined(__riscv)
#define MARK_BEGIN "slti x0, x0, 1"
#define MARK_END "slti x0, x0, 2"
#else
#define MARK_BEGIN ""
#define MARK_END ""
#endif

__attribute__((noinline)) void had_port_mark_begin(void) {
    __asm__ volatile(MARK_BEGIN ::: "memory");
}

__attribute__((noinline)) void had_port_mark_end(void) {
    __asm__ volatile(MARK_END ::: "memory");
}
