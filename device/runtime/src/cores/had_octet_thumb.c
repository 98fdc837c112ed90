/* SPDX-License-Identifier: Apache-2.0 */
/*
 * had_octet_product for Thumb of ARMv6-M; bounds in had_octet.h. Weights are whole groups of four terms.
 *
 * Fourteen registers hold four sums, four words of weights and where they come from, which compilers do not
 * find. In the loop: r0 weights, r1 x, r2 zero, r3 a value of x, r4 to r7 words, r8 to r11 raised sums, r12 step,
 * lr end of the tile's weights. On the stack: totals 0, x of the tile 4, terms left 8, nonzero after the first tile
 * 12, raise 16, bits of no value in range 20, tile_k 24, end of totals 28, weights of the tile 32, of
 * the column x 36 and totals 40; arguments: step 80, next 84.
 */
#include "had_octet.h"

#if HAD_OCTET && HAD_OCTET_THUMB1
extern const uint32_t had_octet_constants[3];
const uint32_t had_octet_constants[3] = {HAD_RAISE, HAD_BEYOND, HAD_TILE_K};

/* clang-format off */
/* A term of one column: eight products. */
#define TERM \
    "    ldmia r0!, {r4, r5, r6, r7}\n" \
    "    ldrsb r3, [r1, r2]\n" \
    "    add r1, r12\n" \
    "    muls r4, r3, r4\n" \
    "    muls r5, r3, r5\n" \
    "    muls r6, r3, r6\n" \
    "    muls r7, r3, r7\n" \
    "    add r8, r4\n" \
    "    add r9, r5\n" \
    "    add r10, r6\n" \
    "    add r11, r7\n"

__asm__(
    "    .syntax unified\n"
    "    .section .text.had_octet_product, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_octet_product\n"
    "    .type had_octet_product, %function\n"
    "    .thumb_func\n"
    "had_octet_product:\n"
    "    push {r4, r5, r6, r7, lr}\n"
    "    mov r4, r8\n"
    "    mov r5, r9\n"
    "    mov r6, r10\n"
    "    mov r7, r11\n"
    "    push {r4, r5, r6, r7}\n"
    "    sub sp, #44\n"
    "    str r0, [sp, #0]\n"
    "    str r1, [sp, #4]\n"
    "    str r3, [sp, #8]\n"
    "    adds r0, #64\n"
    "    str r0, [sp, #28]\n"
    "    ldr r4, 9f\n"
    "    ldmia r4!, {r5, r6, r7}\n"
    "    movs r4, #0\n"
    "    str r4, [sp, #12]\n"
    "    str r5, [sp, #16]\n"
    "    str r6, [sp, #20]\n"
    "    str r7, [sp, #24]\n"
    "    ldr r4, [sp, #80]\n"
    "    mov r12, r4\n"
    "    movs r0, r2\n"
    "10: @ a tile; r0 its weights\n"
    "    ldr r3, [sp, #8]\n"
    "    ldr r4, [sp, #24]\n"
    "    cmp r3, r4\n"
    "    bhs 11f\n"
    "    movs r4, r3\n"
    "11:\n"
    "    subs r3, r3, r4\n"
    "    str r3, [sp, #8]\n"
    "    adds r4, #3\n"
    "    lsrs r4, r4, #2\n"
    "    lsls r4, r4, #6\n"
    "    adds r4, r4, r0\n"
    "    mov lr, r4\n"
    "    str r0, [sp, #32]\n"
    "    ldr r1, [sp, #4]\n"
    "    ldr r2, [sp, #0]\n"
    "12: @ a column; r1 its values, r2 its totals\n"
    "    str r1, [sp, #36]\n"
    "    str r2, [sp, #40]\n"
    "    ldr r2, [sp, #16]\n"
    "    mov r8, r2\n"
    "    mov r9, r2\n"
    "    mov r10, r2\n"
    "    mov r11, r2\n"
    "    movs r2, #0\n"
    "13: @ four terms\n"
    TERM TERM TERM TERM
    "    cmp r0, lr\n"
    "    bne 13b\n"
    "    mov r4, r8\n"
    "    mov r5, r9\n"
    "    mov r6, r10\n"
    "    mov r7, r11\n"
    "    movs r3, r4\n"
    "    orrs r3, r5\n"
    "    orrs r3, r6\n"
    "    orrs r3, r7\n"
    "    ldr r2, [sp, #20]\n"
    "    tst r3, r2\n"
    "    bne 17f\n"
    "14:\n"
    "    ldr r2, [sp, #40]\n"
    "    ldr r3, [sp, #12]\n"
    "    cmp r3, #0\n"
    "    bne 16f\n"
    "15:\n"
    "    stmia r2!, {r4, r5, r6, r7}\n"
    "    ldr r1, [sp, #36]\n"
    "    ldr r3, [sp, #84]\n"
    "    adds r1, r1, r3\n"
    "    ldr r0, [sp, #32]\n"
    "    ldr r3, [sp, #28]\n"
    "    cmp r2, r3\n"
    "    bne 12b\n"
    "    ldr r3, [sp, #8]\n"
    "    cmp r3, #0\n"
    "    beq 18f\n"
    "    str r2, [sp, #12]\n"
    "    ldr r1, [sp, #4]\n"
    "    ldr r2, [sp, #24]\n"
    "    mov r3, r12\n"
    "    muls r2, r3, r2\n"
    "    adds r1, r1, r2\n"
    "    str r1, [sp, #4]\n"
    "    mov r0, lr\n"
    "    b 10b\n"
    "16: @ to the totals of the tiles before\n"
    "    ldr r3, [sp, #16]\n"
    "    subs r4, r4, r3\n"
    "    subs r5, r5, r3\n"
    "    subs r6, r6, r3\n"
    "    subs r7, r7, r3\n"
    "    ldr r3, [r2, #0]\n"
    "    adds r4, r4, r3\n"
    "    ldr r3, [r2, #4]\n"
    "    adds r5, r5, r3\n"
    "    ldr r3, [r2, #8]\n"
    "    adds r6, r6, r3\n"
    "    ldr r3, [r2, #12]\n"
    "    adds r7, r7, r3\n"
    "    b 15b\n"
    "17: @ fields to saturate\n"
    "    mov r0, lr\n"
    "    mov r1, r12\n"
    "    push {r0, r1}\n"
    "    movs r0, r4\n"
    "    bl had_saturate_fields\n"
    "    movs r4, r0\n"
    "    movs r0, r5\n"
    "    bl had_saturate_fields\n"
    "    movs r5, r0\n"
    "    movs r0, r6\n"
    "    bl had_saturate_fields\n"
    "    movs r6, r0\n"
    "    movs r0, r7\n"
    "    bl had_saturate_fields\n"
    "    movs r7, r0\n"
    "    pop {r0, r1}\n"
    "    mov lr, r0\n"
    "    mov r12, r1\n"
    "    b 14b\n"
    "18:\n"
    "    add sp, #44\n"
    "    pop {r4, r5, r6, r7}\n"
    "    mov r8, r4\n"
    "    mov r9, r5\n"
    "    mov r10, r6\n"
    "    mov r11, r7\n"
    "    pop {r4, r5, r6, r7, pc}\n"
    "    .align 2\n"
    "9:\n"
    "    .word had_octet_constants\n"
    "    .size had_octet_product, . - had_octet_product\n"
);
/* clang-format on */
#else
typedef int had_octet_thumb_is_left_out; /* another variant, or plain C, is chosen */
#endif
