/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The update of 8-bit masters for Thumb with the DSP extension, two of them a random word; bounds in had_weight_grad.c.
 *
 * A draw of 16 bits at the top of a word, less 32 - sh bits, is the addend of SPEC.md 6.3 b. r0 masters, r1 totals, r2 key, r3 masters
 * left, r4 step, r5 sh, r6 32 - sh, r7 and r8 factors of the hash, r9 the least master in each byte; the others come and go.
 */
#include "had_dsp.h"

#if HAD_DSP_MASTERS
/* clang-format off */
#define PAIR(next) \
    "    eor.w r10, r2, r2, lsr #16\n" \
    "    adds r2, #1\n" \
    "    mul r10, r10, r7\n" \
    "    eor.w r10, r10, r10, lsr #15\n" \
    "    mul r10, r10, r8\n" \
    "    eor.w r10, r10, r10, lsr #16\n" \
    "    ldr r11, [r1], #" next "\n" \
    "    lsl.w r12, r10, #16\n" \
    "    lsr.w r12, r12, r6\n" \
    "    smlabb r12, r11, r4, r12\n" \
    "    asr.w r12, r12, r5\n" \
    "    bfc r10, #0, #16\n" \
    "    lsr.w r10, r10, r6\n" \
    "    smlatb r10, r11, r4, r10\n" \
    "    asr.w r10, r10, r5\n" \
    "    ldrsb r11, [r0]\n" \
    "    ldrsb lr, [r0, #1]\n" \
    "    sub.w r11, r11, r12\n" \
    "    sub.w lr, lr, r10\n" \
    "    ssat r11, #8, r11\n" \
    "    ssat lr, #8, lr\n" \
    "    bfi r11, lr, #8, #24\n" \
    "    ssub8 r12, r11, r9\n" \
    "    sel r11, r11, r9\n" \
    "    strh r11, [r0], #2\n"

__asm__(
    "    .syntax unified\n"
    "    .section .text.had_dsp_update, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_dsp_update\n"
    "    .type had_dsp_update, %function\n"
    "    .thumb_func\n"
    "had_dsp_update:\n"
    "    push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
    "    ldrd r4, r5, [sp, #36]\n"
    "    rsb r6, r5, #32\n"
    "    movw r7, #0x352d\n"
    "    movt r7, #0x7feb\n"
    "    movw r8, #0xa68b\n"
    "    movt r8, #0x846c\n"
    "    mov.w r9, #0x81818181\n"
    "1: @ four masters; the next ones' totals lie behind those of all rows\n"
    PAIR("4") PAIR("28")
    "    subs r3, #4\n"
    "    bgt 1b\n"
    "    pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n"
    "    .size had_dsp_update, . - had_dsp_update\n"
    "    .text\n"
);
#else
typedef int had_dsp_update_is_left_out; /* another core or variant, or masters of 16 bits */
#endif
