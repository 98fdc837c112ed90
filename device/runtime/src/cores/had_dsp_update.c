/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of 8-bit masters for Thumb with the DSP extension, four at a time; bounds in had_weight_grad.c.
 *
 * For sh >= 16 the addend of SPEC.md 6.3 b is u 2^(sh-16), u a draw of 16 bits, so delta = ((acc m >> (sh - 16)) + u) >> 16, for floors of
 * floors are floors: SMLAW takes the product and adds u, PKHTB keeps two high halves. r0 masters, r1 totals, r2 key, r3 masters left,
 * r4 step, r5 the least master in each byte, r7 and r8 factors of the hash; the others come and go.
 */
#include "had_dsp.h"

#if HAD_DSP_MASTERS
/* clang-format off */
#define WORD(a) \
    "    eor.w " a ", r2, r2, lsr #16\n" \
    "    adds r2, #1\n" \
    "    mul " a ", " a ", r7\n" \
    "    eor.w " a ", " a ", " a ", lsr #15\n" \
    "    mul " a ", " a ", r8\n" \
    "    eor.w " a ", " a ", " a ", lsr #16\n"

__asm__(
    "    .syntax unified\n"
    "    .section .text.had_dsp_update, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_dsp_update\n"
    "    .type had_dsp_update, %function\n"
    "    .thumb_func\n"
    "had_dsp_update:\n"
    "    push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
    "    ldr r4, [sp, #36]\n"
    "    movw r7, #0x352d\n"
    "    movt r7, #0x7feb\n"
    "    movw r8, #0xa68b\n"
    "    movt r8, #0x846c\n"
    "    mov.w r5, #0x81818181\n"
    "1:\n"
    WORD("r9") WORD("r10")
    "    ldr r6, [r1], #4\n" /* totals of 0 and 1 */
    "    ldr r11, [r1], #28\n" /* of 2 and 3; the next ones lie behind those of all rows */
    "    uxth r12, r9\n"
    "    lsrs.w r9, r9, #16\n"
    "    smlawb r12, r4, r6, r12\n"
    "    smlawt r9, r4, r6, r9\n"
    "    uxth.w lr, r10\n"
    "    lsrs.w r10, r10, #16\n"
    "    smlawb lr, r4, r11, lr\n"
    "    smlawt r10, r4, r11, r10\n"
    "    pkhtb r12, lr, r12, asr #16\n"
    "    pkhtb r9, r10, r9, asr #16\n"
    "    ldr r6, [r0]\n"
    "    sxtb16 r10, r6\n"
    "    sxtb16 r11, r6, ror #8\n"
    "    ssub16 r10, r10, r12\n"
    "    ssub16 r11, r11, r9\n"
    "    ssat16 r10, #8, r10\n"
    "    ssat16 r11, #8, r11\n"
    "    uxtb16 r10, r10\n"
    "    uxtb16 r11, r11\n"
    "    orr.w r10, r10, r11, lsl #8\n"
    "    ssub8 r12, r10, r5\n"
    "    sel r10, r10, r5\n"
    "    str r10, [r0], #4\n"
    "    subs r3, #4\n"
    "    bgt 1b\n"
    "    pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
    "    .size had_dsp_update, . - had_dsp_update\n"
    "    .text\n"
);
#else
typedef int had_dsp_update_is_left_out; /* another core or variant, or masters of 16 bits */
#endif
