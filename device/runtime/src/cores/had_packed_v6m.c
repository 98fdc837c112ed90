/* SPDX-License-Identifier: Apache-2.0 */
/*
 * had_dot_packed for Thumb of ARMv6-M; operands and bounds in had_dot_packed.c.
 *
 * x in [0, 15]: a multiplication makes four products of a byte each, below 2^8. The sum of words less that of their odd
 * bytes, 2^8 up, is that of the even ones. Signed x: fields of 16 bits, the first pair being what the others leave of the
 * whole words. Words wrap. Groups of four terms; the first group of a tile is entered where its last terms are all.
 *
 * In the loop: r0 weights, r1 x, r2 and r3 masks, r4 a word, r5 a value of x, r6 free, r8 to r11 sums, r12 end of the
 * tile's weights, lr what totals are raised by. On the stack: totals 0, end of the weights 4; arguments: sums 48,
 * positive 52.
 */
#include "../kernels/had_tile.h"
#include "hadapt/dot.h"

#if HAD_PACKED_THUMB && __ARM_ARCH_ISA_THUMB == 1
extern const uint32_t had_packed_constants[2];
const uint32_t had_packed_constants[2] = {HAD_RAISE, HAD_BEYOND};

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

/* clang-format off */
#define GROUP(term) \
    "    .align 2\n" \
    "1:\n" \
    "    .irp at, 0, 1, 2, 3\n" \
    "    " term " \\at\n" \
    "    .endr\n" \
    "    adds r1, #4\n" \
    "    cmp r0, r12\n" \
    "    bne 1b\n"
#define ENTER(bytes) /* at term r5 of the group */ \
    "    movs r6, #" bytes "\n" \
    "    muls r5, r6, r5\n" \
    "    adr r6, 1f\n" \
    "    adds r5, r5, r6\n" \
    "    mov pc, r5\n"

__asm__(
    "    .syntax unified\n"
    "    .macro had_packed_bytes at\n" /* a term of x in [0, 15]: 30 bytes of code */
    "    ldmia r0!, {r4}\n"
    "    ldrb r5, [r1, #\\at]\n"
    "    lsrs r6, r4, #4\n"
    "    ands r6, r2\n"
    "    muls r6, r5, r6\n"
    "    add r10, r6\n"
    "    lsrs r6, r6, #8\n"
    "    ands r6, r3\n"
    "    add r11, r6\n"
    "    ands r4, r2\n"
    "    muls r4, r5, r4\n"
    "    add r8, r4\n"
    "    lsrs r4, r4, #8\n"
    "    ands r4, r3\n"
    "    add r9, r4\n"
    "    .endm\n"
    "    .macro had_packed_field shift, sum\n"
    "    lsrs r6, r4, #\\shift\n"
    "    ands r6, r2\n"
    "    muls r6, r5, r6\n"
    "    add \\sum, r6\n"
    "    .endm\n"
    "    .macro had_packed_fields at\n" /* a term of signed x: 34 bytes of code */
    "    ldmia r0!, {r4}\n"
    "    ldrb r5, [r1, #\\at]\n"
    "    sxtb r5, r5\n"
    "    had_packed_field 4, r9\n"
    "    had_packed_field 8, r10\n"
    "    had_packed_field 12, r11\n"
    "    muls r4, r5, r4\n"
    "    add r8, r4\n"
    "    .endm\n"
    "    .macro had_packed_put word, at\n"
    "    subs \\word, \\word, r3\n"
    "    sxth r1, \\word\n"
    "    subs \\word, \\word, r1\n"
    "    asrs \\word, \\word, #16\n"
    "    str r1, [r0, #\\at]\n"
    "    .endm\n"
    "    .macro had_packed_saturate word\n"
    "    movs r0, \\word\n"
    "    bl had_saturate_fields\n"
    "    movs \\word, r0\n"
    "    .endm\n"
    "    .section .text.had_dot_packed, \"ax\", %progbits\n"
    "    .align 2\n"
    "    .global had_dot_packed\n"
    "    .type had_dot_packed, %function\n"
    "    .thumb_func\n"
    "had_dot_packed:\n"
    "    push {r4, r5, r6, r7, lr}\n"
    "    mov r4, r8\n"
    "    mov r5, r9\n"
    "    mov r6, r10\n"
    "    mov r7, r11\n"
    "    push {r4, r5, r6, r7}\n"
    "    lsls r3, r3, #2\n"
    "    adds r3, r3, r2\n"
    "    sub sp, #12\n"
    "    str r0, [sp, #0]\n"
    "    str r3, [sp, #4]\n"
    "    movs r4, #0\n"
    "    movs r5, #0\n"
    "    movs r6, #0\n"
    "    movs r7, #0\n"
    "    stmia r0!, {r4, r5, r6, r7}\n"
    "    mov lr, r4\n"
    "    movs r0, r2\n"
    "10: @ a tile\n"
    "    ldr r3, [sp, #4]\n"
    "    movs r5, #0\n"
    "    mov r8, r5\n"
    "    mov r9, r5\n"
    "    mov r10, r5\n"
    "    mov r11, r5\n"
    "    movs r4, #4*" TEXT(HAD_TILE_K) "\n"
    "    adds r4, r4, r0\n"
    "    cmp r4, r3\n"
    "    bls 11f\n"
    "    movs r4, r3\n"
    "    subs r3, r0, r3\n" /* -4 terms */
    "    movs r5, #12\n"
    "    ands r5, r3\n"
    "    lsrs r5, r5, #2\n"
    "    subs r1, r1, r5\n"
    "11:\n"
    "    mov r12, r4\n"
#if HAD_PACKED_SIGNED
    "    ldr r3, [sp, #52]\n"
    "    cmp r3, #0\n"
    "    bne 16f\n"
    "    b 20f\n"
    "16:\n"
#endif
    "    ldr r2, 30f\n"
    "    ldr r3, 31f\n"
    ENTER("30")
    GROUP("had_packed_bytes")
    "    mov r4, r8\n"
    "    mov r5, r10\n"
    "    mov r6, r9\n"
    "    mov r7, r11\n"
    "    lsls r2, r6, #8\n"
    "    subs r4, r4, r2\n"
    "    lsls r2, r7, #8\n"
    "    subs r5, r5, r2\n"
    "12: @ sums of the tile\n"
    "    ldr r2, [sp, #48]\n"
    "    ldmia r2!, {r3}\n"
    "    str r2, [sp, #48]\n"
    "    subs r4, r4, r3\n"
    "    subs r5, r5, r3\n"
    "    subs r6, r6, r3\n"
    "    subs r7, r7, r3\n"
    "    movs r3, r4\n"
    "    orrs r3, r5\n"
    "    orrs r3, r6\n"
    "    orrs r3, r7\n"
    "    ldr r2, 32f\n"
    "    ldr r2, [r2, #4]\n"
    "    tst r3, r2\n"
    "    bne 15f\n"
    "13:\n"
    "    ldr r2, [sp, #0]\n"
    "    ldr r3, [r2, #0]\n"
    "    adds r4, r4, r3\n"
    "    ldr r3, [r2, #4]\n"
    "    adds r5, r5, r3\n"
    "    ldr r3, [r2, #8]\n"
    "    adds r6, r6, r3\n"
    "    ldr r3, [r2, #12]\n"
    "    adds r7, r7, r3\n"
    "    stmia r2!, {r4, r5, r6, r7}\n"
    "    ldr r3, 32f\n"
    "    ldr r3, [r3, #0]\n"
    "    add lr, r3\n"
    "    ldr r3, [sp, #4]\n"
    "    cmp r0, r3\n"
    "    beq 14f\n"
    "    b 10b\n"
    "14:\n"
    "    ldr r0, [sp, #0]\n"
    "    mov r3, lr\n"
    "    had_packed_put r4, 0\n"
    "    had_packed_put r5, 4\n"
    "    had_packed_put r6, 8\n"
    "    had_packed_put r7, 12\n"
    "    adds r0, #16\n"
    "    stmia r0!, {r4, r5, r6, r7}\n"
    "    add sp, #12\n"
    "    pop {r4, r5, r6, r7}\n"
    "    mov r8, r4\n"
    "    mov r9, r5\n"
    "    mov r10, r6\n"
    "    mov r11, r7\n"
    "    pop {r4, r5, r6, r7, pc}\n"
    "15: @ fields to saturate\n"
    "    mov r2, lr\n"
    "    push {r0, r1, r2, r3}\n"
    "    had_packed_saturate r4\n"
    "    had_packed_saturate r5\n"
    "    had_packed_saturate r6\n"
    "    had_packed_saturate r7\n"
    "    pop {r0, r1, r2, r3}\n"
    "    mov lr, r2\n"
    "    b 13b\n"
#if HAD_PACKED_SIGNED
    "20: @ signed x\n"
    "    ldr r2, 33f\n"
    ENTER("34")
    GROUP("had_packed_fields")
    "    mov r4, r8\n"
    "    mov r5, r9\n"
    "    mov r6, r10\n"
    "    mov r7, r11\n"
    "    lsls r2, r5, #4\n"
    "    subs r4, r4, r2\n"
    "    lsls r2, r6, #8\n"
    "    subs r4, r4, r2\n"
    "    lsls r2, r7, #12\n"
    "    subs r4, r4, r2\n"
    "    b 12b\n"
#endif
    "    .align 2\n"
    "30: .word 0x0F0F0F0F\n"
    "31: .word 0x00FF00FF\n"
    "32: .word had_packed_constants\n"
#if HAD_PACKED_SIGNED
    "33: .word 0x000F000F\n"
#endif
    "    .size had_dot_packed, . - had_dot_packed\n"
    "    .text\n"
);
/* clang-format on */
#else
typedef int had_packed_v6m_is_left_out; /* another variant, or plain C, is chosen */
#endif
