/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The product by pairs of terms for Thumb with the DSP extension, of any accumulators; operands and bounds in had_dsp.h.
 *
 * Four rows by four columns: r4 to r7 the rows' sums with the first two columns, r8 to r11 with the others, r1 x, r2 weights;
 * all fourteen registers are taken, which compilers do not find. A low field starts at 2048, so
 * that it is never negative. On the stack: totals 0, what is added to the sums of a tile 32, pairs left 64, blocks of eight
 * pairs left of the tile 68, sums 72 (0: x is signed), out 76; saved registers, then the argument 116.
 */
#include "had_dsp.h"

#if HAD_DSP_ASSEMBLY && !HAD_DSP_FIELDS
#define PAIR_BYTES "44"
#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

#if HAD_ACC_BITS < 16
#define SATURATE(a) "    ssat16 " a ", #" TEXT(HAD_ACC_BITS) ", " a "\n"
#else
#define SATURATE(a) ""
#endif

/* clang-format off */
__asm__(
    "    .syntax unified\n"
    "    .macro had_dsp_pair pitch\n"
    "    ldrd r0, r3, [r1], #\\pitch\n"
    "    ldrd r12, lr, [r2], #8\n"
    "    smlad r4, r0, r12, r4\n"
    "    smlad r8, r3, r12, r8\n"
    "    smlad r5, r0, lr, r5\n"
    "    smlad r9, r3, lr, r9\n"
    "    ldrd r12, lr, [r2], #8\n"
    "    smlad r6, r0, r12, r6\n"
    "    smlad r10, r3, r12, r10\n"
    "    smlad r7, r0, lr, r7\n"
    "    smlad r11, r3, lr, r11\n"
    "    .endm\n"
    "    .macro had_dsp_split a, b, at\n" /* between two chunks: the low fields go to what is added */
    "    ldrd r0, r3, [sp, #32+\\at]\n"
    "    ubfx r12, \\a, #0, #12\n"
    "    ubfx lr, \\b, #0, #12\n"
    "    sadd16 r0, r0, r12\n"
    "    sadd16 r3, r3, lr\n"
    "    strd r0, r3, [sp, #32+\\at]\n"
    "    bfc \\a, #0, #12\n"
    "    bfc \\b, #0, #12\n"
    "    add.w \\a, \\a, #2048\n"
    "    add.w \\b, \\b, #2048\n"
    "    .endm\n"
    "    .macro had_dsp_end a, b, at\n" /* of a tile */
    "    ldrd r0, r3, [sp, #32+\\at]\n"
    "    ubfx r12, \\a, #0, #12\n"
    "    ubfx lr, \\b, #0, #12\n"
    "    pkhbt \\a, r12, \\a, lsl #4\n"
    "    pkhbt \\b, lr, \\b, lsl #4\n"
    "    sadd16 \\a, \\a, r0\n"
    "    sadd16 \\b, \\b, r3\n"
    "    ldrd r0, r3, [sp, #\\at]\n"
    SATURATE("\\a") SATURATE("\\b")
    "    sadd16 r0, r0, \\a\n"
    "    sadd16 r3, r3, \\b\n"
    "    strd r0, r3, [sp, #\\at]\n"
    "    .endm\n"
);

#define PRODUCT(name, pitch) \
    "    .section .text." name ", \"ax\", %progbits\n" \
    "    .align 2\n" \
    "    .global " name "\n" \
    "    .type " name ", %function\n" \
    "    .thumb_func\n" \
    name ":\n" \
    "    push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n" \
    "    sub sp, #80\n" \
    "    str r0, [sp, #76]\n" \
    "    ldr r4, [sp, #116]\n" \
    "    str r4, [sp, #72]\n" \
    "    adds r3, #1\n" \
    "    lsrs r3, r3, #1\n" \
    "    str r3, [sp, #64]\n" \
    "    movs r4, #0\n" \
    "    movs r5, #0\n" \
    "    movw r6, #0xF800\n" \
    "    strd r4, r5, [sp, #0]\n" \
    "    strd r4, r5, [sp, #8]\n" \
    "    strd r4, r5, [sp, #16]\n" \
    "    strd r4, r5, [sp, #24]\n" \
    "    strd r6, r6, [sp, #32]\n" \
    "    strd r6, r6, [sp, #40]\n" \
    "    strd r6, r6, [sp, #48]\n" \
    "    strd r6, r6, [sp, #56]\n" \
    "1: @ a tile\n" \
    "    ldr r3, [sp, #64]\n" \
    "    movs r0, #" TEXT(HAD_TILE_K) "/2\n" \
    "    cmp r3, r0\n" \
    "    it lo\n" \
    "    movlo r0, r3\n" \
    "    subs r3, r3, r0\n" \
    "    str r3, [sp, #64]\n" \
    "    ldr r3, [sp, #72]\n" \
    "    cbz r3, 2f\n" \
    "    ldmia r3!, {r4, r5, r6, r7}\n" \
    "    str r3, [sp, #72]\n" \
    "    strd r4, r4, [sp, #32]\n" \
    "    strd r5, r5, [sp, #40]\n" \
    "    strd r6, r6, [sp, #48]\n" \
    "    strd r7, r7, [sp, #56]\n" \
    "2:\n" \
    "    subs r0, #1\n" \
    "    lsrs r3, r0, #3\n" \
    "    str r3, [sp, #68]\n" \
    "    mov.w r4, #2048\n" \
    "    mov r5, r4\n" \
    "    mov r6, r4\n" \
    "    mov r7, r4\n" \
    "    mov r8, r4\n" \
    "    mov r9, r4\n" \
    "    mov r10, r4\n" \
    "    mov r11, r4\n" \
    "    ands r0, #7\n" \
    "    rsbs r0, r0, #7\n" /* pairs to leave out */ \
    "    beq 3f\n" \
    "    movs r3, #" PAIR_BYTES "\n" \
    "    muls r0, r3, r0\n" \
    "    adr r3, 3f\n" \
    "    add r0, r3\n" \
    "    mov pc, r0\n" \
    "    .align 2\n" \
    "3: @ eight pairs\n" \
    "    .rept 8\n" \
    "    had_dsp_pair " pitch "\n" \
    "    .endr\n" \
    "    ldr r0, [sp, #68]\n" \
    "    ldr r3, [sp, #72]\n" \
    "    subs r0, #1\n" \
    "    bmi 4f\n" \
    "    str r0, [sp, #68]\n" \
    "    cmp r3, #0\n" \
    "    beq 3b\n" \
    "    had_dsp_split r4, r8, 0\n" \
    "    had_dsp_split r5, r9, 8\n" \
    "    had_dsp_split r6, r10, 16\n" \
    "    had_dsp_split r7, r11, 24\n" \
    "    b 3b\n" \
    "4:\n" \
    "    had_dsp_end r4, r8, 0\n" \
    "    had_dsp_end r5, r9, 8\n" \
    "    had_dsp_end r6, r10, 16\n" \
    "    had_dsp_end r7, r11, 24\n" \
    "    ldr r3, [sp, #64]\n" \
    "    cmp r3, #0\n" \
    "    bne 1b\n" \
    "    ldr r12, [sp, #76]\n" \
    "    ldmia sp, {r4, r5, r6, r7, r8, r9, r10, r11}\n" \
    "    str r4, [r12, #0]\n" \
    "    str r5, [r12, #4]\n" \
    "    str r6, [r12, #8]\n" \
    "    str r7, [r12, #12]\n" \
    "    str r8, [r12, #16]\n" \
    "    str r9, [r12, #20]\n" \
    "    str r10, [r12, #24]\n" \
    "    str r11, [r12, #28]\n" \
    "    add sp, #80\n" \
    "    pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n" \
    "    .size " name ", . - " name "\n" \
    "    .text\n"

__asm__(PRODUCT("had_dsp_columns", "2*" TEXT(HAD_BATCH_STRIDE)));
__asm__(PRODUCT("had_dsp_rows", "8"));
#else
typedef int had_dsp_product_is_left_out; /* a core without it, or another variant is chosen */
#endif
