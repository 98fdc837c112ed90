/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transform of a block of four columns for Thumb with double loads (M3 and above); its bounds: had_fwht.c.
 *
 * A pass of radix 4 takes two columns of four rows at once, one of radix 2 four columns of two rows: a + b, then (a + b) - 2 b in place
 * of b. r0 values, r1 rounds left.
 */
#include "hadapt/fwht.h"

#if HAD_FWHT_THUMB
#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

/* clang-format off */
__asm__(
    "    .syntax unified\n"
    "    .macro had_fwht_four step, next\n"
    "    ldrd r2, r3, [r0]\n"
    "    ldrd r4, r5, [r0, #\\step]\n"
    "    ldrd r6, r7, [r0, #2 * \\step]\n"
    "    ldrd r8, r9, [r0, #3 * \\step]\n"
    "    add.w r10, r2, r4\n"
    "    subs r2, r2, r4\n"
    "    add.w r11, r6, r8\n"
    "    sub.w r6, r6, r8\n"
    "    add.w r12, r10, r11\n"
    "    sub.w r10, r10, r11\n"
    "    adds r4, r2, r6\n"
    "    sub.w r8, r2, r6\n"
    "    adds r2, r3, r5\n"
    "    subs r3, r3, r5\n"
    "    add.w r11, r7, r9\n"
    "    sub.w r7, r7, r9\n"
    "    add.w r6, r2, r11\n"
    "    sub.w r2, r2, r11\n"
    "    adds r5, r3, r7\n"
    "    sub.w r9, r3, r7\n"
    "    strd r4, r5, [r0, #\\step]\n"
    "    strd r10, r2, [r0, #2 * \\step]\n"
    "    strd r8, r9, [r0, #3 * \\step]\n"
    "    strd r12, r6, [r0], #\\next\n"
    "    .endm\n"
);

/* Groups of four rows that lie together, then of four that are four apart, and so on. */
#define PASS1 \
    "    mov.w r1, #" TEXT(HAD_ORDER) " / 4\n" \
    "1:\n" \
    "    had_fwht_four 16, 8\n" "    had_fwht_four 16, 56\n" \
    "    subs r1, #1\n" \
    "    bne 1b\n" \
    "    sub.w r0, r0, #" TEXT(HAD_ORDER) " * 16\n"

#define PASS4 \
    "    mov.w lr, #" TEXT(HAD_ORDER) " / 16\n" \
    "1:  movs r1, #4\n" \
    "2:\n" \
    "    had_fwht_four 64, 8\n" "    had_fwht_four 64, 8\n" \
    "    subs r1, #1\n" \
    "    bne 2b\n" \
    "    add.w r0, r0, #192\n" \
    "    subs.w lr, lr, #1\n" \
    "    bne 1b\n" \
    "    sub.w r0, r0, #" TEXT(HAD_ORDER) " * 16\n"

#define PASS16 \
    "    movs r1, #32\n" \
    "1:\n" \
    "    had_fwht_four 256, 8\n" \
    "    subs r1, #1\n" \
    "    bne 1b\n"

#define RADIX2 \
    "    ldmia.w r0, {r2, r3, r4, r5}\n" \
    "    ldmia.w r12, {r6, r7, r8, r9}\n" \
    "    adds r2, r2, r6\n" \
    "    sub.w r6, r2, r6, lsl #1\n" \
    "    adds r3, r3, r7\n" \
    "    sub.w r7, r3, r7, lsl #1\n" \
    "    add r4, r8\n" \
    "    sub.w r8, r4, r8, lsl #1\n" \
    "    add r5, r9\n" \
    "    sub.w r9, r5, r9, lsl #1\n" \
    "    stmia.w r0!, {r2, r3, r4, r5}\n" \
    "    stmia.w r12!, {r6, r7, r8, r9}\n"

#define PASS2 \
    "    add.w r12, r0, #" TEXT(HAD_ORDER) " * 8\n" \
    "    movs r1, #" TEXT(HAD_ORDER) " / 4\n" \
    "1:\n" \
    RADIX2 RADIX2 \
    "    subs r1, #1\n" \
    "    bne 1b\n"

__asm__(
    "    .syntax unified\n"
    "    .section .text.had_fwht_columns, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_fwht_columns\n"
    "    .type had_fwht_columns, %function\n"
    "    .thumb_func\n"
    "had_fwht_columns:\n"
    "    push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
    PASS1
#if HAD_ORDER >= 16
    PASS4
#endif
#if HAD_ORDER == 64
    PASS16
#elif HAD_ORDER == 8 || HAD_ORDER == 32
    PASS2
#endif
    "    pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
    "    .size had_fwht_columns, . - had_fwht_columns\n"
    "    .text\n"
);
#else
typedef int had_fwht_thumb_is_left_out; /* another core or layout, or no transform */
#endif
